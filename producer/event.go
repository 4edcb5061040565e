package producer

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/ecom-micro/etl/internal/product"
)

// created is the body of a ProductCreated event: the bare object that the Product
// Service publishes, its fields in the same order.
type created struct {
	ID            product.ID `json:"id"`
	Title         value      `json:"title,omitzero"`
	Price         value      `json:"price,omitzero"`
	SellerID      value      `json:"sellerId,omitzero"`
	Image         value      `json:"image,omitzero"`
	Quantity      value      `json:"quantity,omitzero"`
	Category      value      `json:"category,omitzero"`
	OriginalPrice value      `json:"originalPrice,omitzero"`
	StockQuantity value      `json:"stockQuantity,omitzero"`
	Tags          []string   `json:"tags"`
}

// deleted is the body of a ProductDeleted event.
type deleted struct {
	ID product.ID `json:"id"`
}

// value is a field's value as JSON. The zero value is an absent field.
type value product.Value

func (v value) MarshalJSON() ([]byte, error) {
	pv := product.Value(v)
	switch {
	case pv.Kind() == product.Text:
		return encode(pv.String())
	case pv.IsNumber():
		return []byte(pv.String()), nil
	default:
		return []byte("null"), nil
	}
}

// errNoID guards against the events that make the cart overwrite or delete
// another product: those without an id.
var errNoID = errors.New("an event must have an id")

// encodeCreated is the event for one repair. The cart's own fields travel as its
// columns will hold them. A *product.Misfit says that a number is too long for
// the cart's JSON reader.
func encodeCreated(r *product.Repair) ([]byte, error) {
	if r.Row.ID == "" {
		return nil, errNoID
	}
	for _, f := range product.CartFields() {
		if v := r.Row.Values[f]; !v.ExactInJSON() {
			return nil, &product.Misfit{Column: f.String(), Reason: v.String() + " has more digits than a JSON number keeps on its way to the cart; repair it with --mode direct"}
		}
	}
	tags := r.Product.Tags
	if tags == nil {
		tags = []string{} // as Mongoose gives a product without tags
	}
	return encode(created{
		ID:            r.Row.ID,
		Title:         value(r.Row.Values[product.Title]),
		Price:         value(r.Row.Values[product.Price]),
		SellerID:      value(r.Row.Values[product.SellerID]),
		Image:         value(r.Row.Values[product.Image]),
		Quantity:      value(r.Row.Values[product.Quantity]),
		Category:      scalar(r.Product.Values[product.Category]),
		OriginalPrice: scalar(r.Product.Values[product.OriginalPrice]),
		StockQuantity: scalar(r.Product.Values[product.StockQuantity]),
		Tags:          tags,
	})
}

// scalar leaves out what a field that the cart does not keep cannot be in an event.
func scalar(v product.Value) value {
	if v.Kind() == product.Other {
		return value{}
	}
	return value(v)
}

func encodeDeleted(id product.ID) ([]byte, error) {
	if id == "" {
		return nil, errNoID
	}
	return encode(deleted{ID: id})
}

// encode is JSON as the platform's Node services write it: without escapes for HTML.
func encode(v any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}
