package producer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
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

// maxEvent is how large an event may get, in bytes: what RabbitMQ 4 takes unless it is told
// otherwise. No document of MongoDB is larger, but JSON writes one byte of it as up to six,
// and several times of what is encoded is held in memory meanwhile.
const maxEvent = 16 << 20

// texts are the event's, which is next to nothing without them.
func (f *full) texts() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, v := range []any{string(f.ID), f.Title, f.Price, f.SellerID, f.Image, f.Quantity, f.Category, f.OriginalPrice, f.StockQuantity} {
			if text, is := v.(string); is && !yield(text) {
				return
			}
		}
		for _, tag := range f.Tags {
			if !yield(tag) {
				return
			}
		}
	}
}

// size is what the event takes at least, in bytes; less where that is far from too much.
func (f *full) size() (size int) {
	for text := range f.texts() {
		size += len(text)
	}
	if size*len(`\u0000`) <= maxEvent {
		return size
	}
	for text := range f.texts() {
		for i := range len(text) {
			switch c := text[i]; {
			case c == '"', c == '\\', c == '\b', c == '\f', c == '\n', c == '\r', c == '\t':
				size++
			case c < ' ':
				size += len(`\u0000`) - 1
			}
		}
	}
	return size
}

func aboveMost(size int) *product.Misfit {
	return &product.Misfit{Column: "event", Reason: fmt.Sprintf("has %d bytes or more, and etl sends at most %d; repair it with --mode direct", size, maxEvent)}
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
	var event any = deleted{r.Row.ID}
	if kind != product.Orphaned {
		full := whole(r)
		if size := full.size(); size > maxEvent {
			return nil, aboveMost(size)
		}
		event = full
	}
	e.buffer.Reset()
	if err := e.json.Encode(event); err != nil {
		return nil, err
	}
	if size := e.buffer.Len() - len("\n"); size > maxEvent {
		return nil, aboveMost(size)
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
