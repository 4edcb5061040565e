package product_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/product"
)

func TestExactInJSON(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		value product.Value
		exact bool
	}{
		{"a whole price", product.IntegerValue(777), true},
		{"2^53", product.IntegerValue(1 << 53), true},
		{"2^53 + 1", product.IntegerValue(1<<53 + 1), false},
		{"-2^53", product.IntegerValue(-1 << 53), true},
		{"-2^53 - 1", product.IntegerValue(-1<<53 - 1), false},
		{"the largest long", product.IntegerValue(math.MaxInt64), false},
		{"cents", parsed(t, "9.99"), true},
		{"seventeen digits that a double has", product.FloatValue(0.1 + 0.2), true},
		{"more digits than a double keeps", parsed(t, "0.1000000000000000055"), false},
		{"a Decimal128 of 34 digits", parsed(t, strings.Repeat("9", 34)), false},
		{"above all doubles", parsed(t, "1E+400"), false},
		{"below all doubles", parsed(t, "1E-400"), false},
		{"a text of many digits", product.TextValue("9007199254740993"), true},
		{"null", product.NullValue(), true},
		{"absent", product.Value{}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := test.value.ExactInJSON(); got != test.exact {
				t.Errorf("ExactInJSON of %.60s is %v, want %v", test.value, got, test.exact)
			}
		})
	}
}

func TestExactNumbersSurviveAJSONReader(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{1,20}(\.[0-9]{1,20})?`).Draw(t, "text")
		if rapid.Bool().Draw(t, "short") {
			text = rapid.StringMatching(`-?[0-9]{1,9}(\.[0-9]{1,5})?`).Draw(t, "short text")
		}
		v := parsed(t, text)
		var f float64
		if err := json.Unmarshal([]byte(v.String()), &f); err != nil {
			t.Fatalf("%s is no JSON: %v", v, err)
		}
		if read := product.StoredFloat(f, 64); v.ExactInJSON() && read != v {
			t.Fatalf("%s is called exact, and the reader gets %s", v, read)
		}
		if len(strings.Trim(text, "-")) <= 15 && !v.ExactInJSON() {
			t.Fatalf("%s has at most 15 digits, which every double keeps, and is called inexact", v)
		}
	})
}
