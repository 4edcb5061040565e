package producer

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/ecom-micro/etl/internal/product"
)

// full is the body of a ProductCreated and of a ProductUpdated event: the bare
// object that the Product Service publishes, its fields in the same order. A nil
// field is left out.
type full struct {
	ID            product.ID `json:"id"`
	Title         any        `json:"title,omitzero"`
	Price         any        `json:"price,omitzero"`
	SellerID      any        `json:"sellerId,omitzero"`
	Image         any        `json:"image,omitzero"`
	Quantity      any        `json:"quantity,omitzero"`
	Category      any        `json:"category,omitzero"`
	OriginalPrice any        `json:"originalPrice,omitzero"`
	StockQuantity any        `json:"stockQuantity,omitzero"`
	Tags          []string   `json:"tags"`
}

// deleted is the body of a ProductDeleted event.
type deleted struct {
	ID product.ID `json:"id"`
}

// encoder writes events as the platform's Node services do: without escapes for HTML.
type encoder struct {
	buffer bytes.Buffer
	json   *json.Encoder
}

func newEncoder() *encoder {
	e := &encoder{}
	e.json = json.NewEncoder(&e.buffer)
	e.json.SetEscapeHTML(false)
	return e
}

// encode is the body of the event that repairs a difference. It is good until the
// next call. A *product.Misfit says that no event can repair it.
func (e *encoder) encode(kind product.Kind, r *product.Repair) ([]byte, error) {
	if misfit := unfit(kind, r); misfit != nil {
		return nil, misfit
	}
	e.buffer.Reset()
	var err error
	if kind == product.Orphaned {
		err = e.json.Encode(deleted{r.Row.ID})
	} else {
		err = e.json.Encode(whole(r))
	}
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(e.buffer.Bytes(), []byte("\n")), nil
}

// unfit is what no event can repair, or would do harm with; nil for all else.
func unfit(kind product.Kind, r *product.Repair) *product.Misfit {
	switch {
	case r.Row.ID == "":
		return &product.Misfit{Column: "id", Reason: "the id is empty, and an event without an id changes another product"}
	case !utf8.ValidString(string(r.Row.ID)):
		return &product.Misfit{Column: "id", Reason: "is not valid UTF-8, so that an event would name another id"}
	case kind == product.Orphaned:
		return nil
	case kind == product.Stale && len(r.Fields) == 1 && r.Fields[0] == product.SellerID:
		return &product.Misfit{Column: product.SellerID.String(), Reason: "no event changes it in the cart; repair it with --mode direct"}
	}
	return nil
}

// whole is the event of a whole product. The cart's own fields travel as its columns
// will hold them.
func whole(r *product.Repair) *full {
	row, document := &r.Row.Values, &r.Product.Values
	tags := r.Product.Tags
	if tags == nil {
		tags = []string{} // as Mongoose gives a product without tags
	}
	return &full{
		ID:            r.Row.ID,
		Title:         exactly(row[product.Title]),
		Price:         exactly(row[product.Price]),
		SellerID:      exactly(row[product.SellerID]),
		Image:         exactly(row[product.Image]),
		Quantity:      exactly(row[product.Quantity]),
		Category:      inJSON(document[product.Category]),
		OriginalPrice: inJSON(document[product.OriginalPrice]),
		StockQuantity: inJSON(document[product.StockQuantity]),
		Tags:          tags,
	}
}

var null = json.RawMessage("null")

// exactly is inJSON of what the cart's database shall read: a number that JSON's
// readers would round, or that JSON does not have, travels as text, which the cart
// passes on as it is.
func exactly(v product.Value) any {
	if !v.ExactInJSON() || v.Kind() == product.NotFinite {
		return v.String()
	}
	return inJSON(v)
}

// inJSON is what the encoder shall write for a value; nil for one that is absent, or
// that no event holds.
func inJSON(v product.Value) any {
	switch {
	case v.Kind() == product.Text:
		return v.String()
	case v.IsNumber():
		return json.Number(v.String())
	case v.Kind() == product.Boolean:
		return json.RawMessage(v.String())
	case v.Kind() == product.Null, v.Kind() == product.NotFinite:
		return null
	}
	return nil
}
