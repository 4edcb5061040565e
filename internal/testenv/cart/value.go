package cart

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
)

// fields are the fields of an event's body. A field that is not there is undefined in the real cart.
type fields map[string]json.RawMessage

var errNullBody = errors.New("cannot read properties of null")

// parse reads a body as JSON.parse does, which refuses a byte order mark and anything after the value, and as the
// handlers take fields out of what it returns: null throws, while other values that are no objects have no fields.
func parse(body []byte) (fields, error) {
	var value json.RawMessage
	if err := json.Unmarshal(body, &value); err != nil {
		return nil, err
	}
	value = bytes.TrimSpace(value)
	if string(value) == "null" {
		return nil, errNullBody
	}
	if value[0] != '{' {
		return fields{}, nil
	}
	var found fields
	if err := json.Unmarshal(value, &found); err != nil {
		return nil, err
	}
	return found, nil
}

// has tells whether a field is there, if only as null.
func (f fields) has(name string) bool {
	_, ok := f[name]
	return ok
}

// parameter is a field as a query parameter in PostgreSQL's text format, as node-postgres 8 sends it; the server
// then takes or refuses it for the column's type. Nil is NULL: the field is null or not there.
func (f fields) parameter(name string) ([]byte, error) {
	raw, ok := f[name]
	if !ok {
		return nil, nil
	}
	return parameter(raw)
}

// Parameter is what the real cart sends to its database for a JSON value of an event; nil is NULL.
func Parameter(raw json.RawMessage) ([]byte, error) { return parameter(raw) }

func parameter(raw json.RawMessage) ([]byte, error) {
	raw = bytes.TrimSpace(raw)
	switch raw[0] {
	case 'n': // null
		return nil, nil
	case 't', 'f':
		return raw, nil
	case '"':
		var text string
		err := json.Unmarshal(raw, &text)
		return nonNil(text), err
	case '[':
		return arrayLiteral(raw)
	case '{': // JSON.stringify
		var compact bytes.Buffer
		err := json.Compact(&compact, raw)
		return compact.Bytes(), err
	default:
		return []byte(number(string(raw))), nil
	}
}

// nonNil is the text as bytes, which are not nil when it is empty: an empty text is not NULL.
func nonNil(text string) []byte { return append([]byte{}, text...) }

// number is a JSON number as JavaScript's String(number) writes it: 777.0 is 777, and a number of any length has
// become the nearest double.
func number(literal string) string {
	double, _ := strconv.ParseFloat(literal, 64) // its only error is the overflow, with an infinite result
	switch {
	case double == 0:
		return "0" // also the negative zero
	case math.IsInf(double, 1):
		return "Infinity"
	case math.IsInf(double, -1):
		return "-Infinity"
	}
	text, err := json.Marshal(double) // which writes doubles as JavaScript does
	if err != nil {
		panic(err) // a finite number always encodes
	}
	return string(text)
}

// arrayLiteral is a JSON array as a PostgreSQL array, which is what node-postgres makes of it for any column.
func arrayLiteral(raw json.RawMessage) ([]byte, error) {
	var elements []json.RawMessage
	if err := json.Unmarshal(raw, &elements); err != nil {
		return nil, err
	}
	texts := make([]string, len(elements))
	for i, element := range elements {
		text, err := parameter(element)
		switch {
		case err != nil:
			return nil, err
		case text == nil:
			texts[i] = "NULL"
		case bytes.TrimSpace(element)[0] == '[':
			texts[i] = string(text)
		default:
			texts[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(text)) + `"`
		}
	}
	return []byte("{" + strings.Join(texts, ",") + "}"), nil
}
