package platform

import (
	"encoding/json"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Product is one product as the Product Service stores it: its Mongoose document, in the schema's field order.
// Whole numbers are int32, as the Node driver writes them.
type Product struct {
	ID            bson.ObjectID `bson:"_id"`
	Title         string        `bson:"title"`
	Image         string        `bson:"image"`
	Price         int32         `bson:"price"`
	OriginalPrice int32         `bson:"originalPrice"`
	StockQuantity int32         `bson:"stockQuantity"`
	Quantity      int32         `bson:"quantity"`
	SellerID      bson.ObjectID `bson:"sellerId"`
	Category      string        `bson:"category"`
	Tags          []string      `bson:"tags"`
	Description   string        `bson:"description,omitempty"`
	Rating        float64       `bson:"rating,omitempty"`
	CreatedAt     time.Time     `bson:"createdAt"`
	UpdatedAt     time.Time     `bson:"updatedAt"`
	Version       int32         `bson:"__v"`
}

// Absent as the value of a change removes the field from a document.
var Absent = absent{}

type absent struct{}

// Document is the product's document with some fields changed: a field that is there keeps its place and gets the
// new value, a new one is added at the end, and Absent removes one. Thus odd documents are made of a proper one.
func (p Product) Document(changes ...bson.E) (bson.D, error) {
	encoded, err := bson.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode product %s: %w", p.ID.Hex(), err)
	}
	var proper bson.D
	if err := bson.Unmarshal(encoded, &proper); err != nil {
		return nil, fmt.Errorf("decode product %s: %w", p.ID.Hex(), err)
	}

	changed := make(map[string]any, len(changes))
	for _, change := range changes {
		changed[change.Key] = change.Value
	}
	document := make(bson.D, 0, len(proper)+len(changes))
	take := func(field bson.E) {
		if field.Value != Absent {
			document = append(document, field)
		}
	}
	for _, field := range proper {
		if value, ok := changed[field.Key]; ok {
			field.Value = value
			delete(changed, field.Key)
		}
		take(field)
	}
	for _, change := range changes {
		if _, ok := changed[change.Key]; ok {
			delete(changed, change.Key)
			take(change)
		}
	}
	return document, nil
}

// Event is the body of the ProductCreated or ProductUpdated event that the Product Service publishes for the
// product: the bare object, without an envelope.
func (p Product) Event() []byte {
	body, err := json.Marshal(struct {
		ID            string   `json:"id"`
		Title         string   `json:"title"`
		Price         int32    `json:"price"`
		SellerID      string   `json:"sellerId"`
		Image         string   `json:"image"`
		Quantity      int32    `json:"quantity"`
		Category      string   `json:"category"`
		OriginalPrice int32    `json:"originalPrice"`
		StockQuantity int32    `json:"stockQuantity"`
		Tags          []string `json:"tags"`
	}{
		p.ID.Hex(), p.Title, p.Price, p.SellerID.Hex(), p.Image, p.Quantity, p.Category,
		p.OriginalPrice, p.StockQuantity, p.Tags,
	})
	if err != nil {
		panic(err) // strings and integers always encode
	}
	return body
}

// DeletedEvent is the body of the product's ProductDeleted event.
func (p Product) DeletedEvent() []byte {
	return fmt.Appendf(nil, `{"id":%q}`, p.ID.Hex())
}

// CreatedAnew is a product of the same content that was created at another time, with a new id of that time.
func (p Product) CreatedAnew(at time.Time) Product {
	at = at.UTC().Truncate(time.Millisecond)
	p.ID = bson.NewObjectIDFromTimestamp(at)
	p.CreatedAt, p.UpdatedAt, p.Version = at, at, 0
	return p
}
