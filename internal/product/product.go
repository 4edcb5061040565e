package product

import (
	"strings"
	"time"
)

// Field is one of a product's fields that travel to the cart's side.
type Field uint8

// The fields of a ProductCreated event that hold one value each (tags is a list).
const (
	Title Field = iota
	Price
	Image
	SellerID
	Quantity
	Category
	OriginalPrice
	StockQuantity
	NumFields
)

var fieldNames = [NumFields]string{"title", "price", "image", "sellerId", "quantity", "category", "originalPrice", "stockQuantity"}

// String is the field's name in documents and events.
func (f Field) String() string { return fieldNames[f] }

// CartFields are the fields that the cart keeps.
func CartFields() []Field { return []Field{Title, Price, Image, SellerID, Quantity} }

// ProofFields are the cart's fields that a repair sets and that nothing but a
// product event changes. Quantity is not one: order events lower it.
func ProofFields() []Field { return []Field{Title, Price, Image, SellerID} }

// FieldNamed finds a field of the cart by its name, ignoring case.
func FieldNamed(name string) (Field, bool) {
	for _, f := range CartFields() {
		if strings.EqualFold(name, f.String()) {
			return f, true
		}
	}
	return 0, false
}

// Product is one document of the Product Service.
type Product struct {
	Key    Key
	Values [NumFields]Value
	Tags   []string
	// Created and Updated are zero where the document lacks them.
	Created, Updated time.Time
	// Ambiguous is set when a second document has the same canonical id.
	Ambiguous bool
}

// ID is the product's identity.
func (p *Product) ID() ID { return p.Key.ID }

// Row is one row of the cart's product table. Only CartFields are set.
type Row struct {
	ID     ID
	Values [NumFields]Value
}

// CreatedAt is when the product was created: as the document says, else the time in
// its ObjectId; zero where neither is there.
func (p *Product) CreatedAt() time.Time {
	if !p.Created.IsZero() || p.Key.Class != ObjectIDs {
		return p.Created
	}
	return CreatedBy(p.Key.ID)
}
