package product_test

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
)

var decimalText = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)

func FuzzParseNumber(f *testing.F) {
	for _, seed := range []string{
		"777", "-9.90", "1E+3", "9E0", "-0.0", "", ".", "1e", "NaN", "0x10", "1_0", " 1", "9007199254740993", "9223372036854775808",
		"-9223372036854775808", "1E+6144", "1E-6176", "9" + strings.Repeat("0", 6300) + "E+6200", "1E99999999999999999999", "٣", "\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, ok := product.ParseNumber(text)
		form := decimalText.FindStringSubmatch(text)
		if !ok {
			if form != nil && len(text) <= 6000 && exponentOf(form[2]) <= 6000 {
				t.Fatalf("%q is a number and was refused", text)
			}
			return
		}
		if form == nil {
			t.Fatalf("%q is no number and was read as %s", text, v)
		}
		if again, ok := product.ParseNumber(v.String()); !ok || again != v {
			t.Fatalf("the canonical form of %.80q, %.80s, reads back as %.80s (%v)", text, v, again, ok)
		}
		want, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("math/big does not read %.80q", text)
		}
		if got, ok := new(big.Rat).SetString(v.String()); !ok || got.Cmp(want) != 0 {
			t.Fatalf("%.80q was read as %.80s, another value", text, v)
		}
		if _, isInteger := v.Int(); isInteger != (want.IsInt() && want.Num().IsInt64()) {
			t.Fatalf("%.80q: integer is %v", text, isInteger)
		}
	})
}

// exponentOf is the exponent's size; huge where it does not fit an int.
func exponentOf(suffix string) int {
	if suffix == "" {
		return 0
	}
	n, err := strconv.Atoi(suffix[1:])
	if err != nil {
		return 1 << 30
	}
	return max(n, -n)
}
