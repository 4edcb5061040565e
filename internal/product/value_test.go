package product_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
)

func TestValuesReadWellInReports(t *testing.T) {
	t.Parallel()
	tests := []struct {
		value product.Value
		want  string
	}{
		{product.Value{}, "absent"},
		{product.NullValue(), "null"},
		{product.IntegerValue(-7), "-7"},
		{product.FloatValue(9.90), "9.9"},
		{product.TextValue("Lamp"), "Lamp"},
		{product.OtherValue("embedded document"), "<embedded document>"},
		{product.FloatValue(math.Inf(-1)), "-Infinity"},
		{product.BooleanValue(true), "true"},
	}
	for _, test := range tests {
		if got := fmt.Sprint(test.value); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestOnlyIntegersHaveAnInt(t *testing.T) {
	t.Parallel()
	if n, ok := product.FloatValue(9).Int(); !ok || n != 9 {
		t.Errorf("Int of 9.0 is %d, %v", n, ok)
	}
	for _, v := range []product.Value{{}, product.NullValue(), product.TextValue("9"), product.FloatValue(9.5), product.OtherValue("9")} {
		if n, ok := v.Int(); ok {
			t.Errorf("Int of %s is %d", v, n)
		}
	}
}
