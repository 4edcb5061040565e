package words

import (
	"strconv"
	"strings"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/text"
)

const (
	maxValue = 60 // bytes of a value in a sentence
	maxID    = 80 // bytes of an id in a line
)

// ID is a product's id in a line: quoted where it could mislead, cut where it is long.
func ID(id product.ID) string { return text.Word(string(id), maxID) }

// Values are both sides of a field as a line shows them: around the first difference
// where they are long, in quotes where they are text.
func Values(f run.FieldChange) (source, cart string) {
	source, cart = text.Apart(f.Source, f.Cart, maxValue)
	return value(source) + size(f.SourceWhole), value(cart) + size(f.CartWhole)
}

// size is how long a value is of which only an excerpt is kept.
func size(w run.Whole) string {
	if w.Bytes == 0 {
		return ""
	}
	return " (" + strconv.Itoa(w.Bytes) + " bytes)"
}

// value is in quotes unless it is a number, or a word of product.Value for something
// that has no text.
func value(s string) string {
	if s == product.NullValue().String() || s == (product.Value{}).String() {
		return s
	}
	if n, isNumber := product.ParseNumber(s); isNumber && n.String() == s {
		return s
	}
	return text.Quoted(s)
}

// Changes says what differs.
func Changes(fields []run.FieldChange) string {
	texts := make([]string, len(fields))
	for i, f := range fields {
		source, cart := Values(f)
		texts[i] = f.Field + " is " + source + " in the source and " + cart + " in the cart"
	}
	return strings.Join(texts, ", ")
}
