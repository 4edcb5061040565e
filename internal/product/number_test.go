package product_test

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/product"
)

// parsed is ParseNumber for texts that must be numbers.
func parsed(t interface{ Fatalf(string, ...any) }, text string) product.Value {
	v, ok := product.ParseNumber(text)
	if !ok {
		t.Fatalf("ParseNumber(%.60q) refused a number", text)
	}
	return v
}

func TestNumbersAreEqualByValueWhateverTheirStorage(t *testing.T) {
	t.Parallel()
	zeros := strings.Repeat("0", 40)
	tests := []struct {
		name      string
		canonical string
		kind      product.ValueKind
		values    []product.Value // int, long and double
		texts     []string        // numeric and Decimal128
	}{
		{
			name: "nine", canonical: "9", kind: product.Integer,
			values: []product.Value{product.IntegerValue(9), product.FloatValue(9.0), product.StoredFloat(9, 32)},
			texts:  []string{"9", "9.0", "9.00", "9.", "+9", "009", "9E0", "9e+0", "90E-1", "0.9E+1", ".9e1", "9" + zeros + "E-40"},
		},
		{
			name: "zero has no sign", canonical: "0", kind: product.Integer,
			values: []product.Value{product.IntegerValue(0), product.FloatValue(0), product.FloatValue(math.Copysign(0, -1)), product.StoredFloat(math.Copysign(0, -1), 32)},
			texts:  []string{"0", "-0", "-0.0", "0.00", "-0E+5", "0E-6176", "0E+6111", "-0E-6176"},
		},
		{
			name: "a price with cents", canonical: "9.99", kind: product.Decimal,
			values: []product.Value{product.FloatValue(9.99), product.StoredFloat(float64(float32(9.99)), 32)},
			texts:  []string{"9.99", "9.990", "999E-2", "0.0999E2", "+09.99"},
		},
		{
			name: "a negative fraction below one", canonical: "-0.05", kind: product.Decimal,
			values: []product.Value{product.FloatValue(-0.05)},
			texts:  []string{"-0.05", "-.05", "-5E-2", "-0.050"},
		},
		{
			name: "2^53 - 1", canonical: "9007199254740991", kind: product.Integer,
			values: []product.Value{product.IntegerValue(1<<53 - 1), product.FloatValue(1<<53 - 1)},
			texts:  []string{"9007199254740991", "9007199254740991.0", "9.007199254740991E+15"},
		},
		{
			name: "2^53 + 1, which no double holds", canonical: "9007199254740993", kind: product.Integer,
			values: []product.Value{product.IntegerValue(1<<53 + 1)},
			texts:  []string{"9007199254740993", "9007199254740993.00", "9.007199254740993E+15"},
		},
		{
			name: "the largest long", canonical: "9223372036854775807", kind: product.Integer,
			values: []product.Value{product.IntegerValue(math.MaxInt64)},
			texts:  []string{"9223372036854775807", "9223372036854775807.0", "9.223372036854775807E+18"},
		},
		{
			name: "the smallest long, -2^63", canonical: "-9223372036854775808", kind: product.Integer,
			values: []product.Value{product.IntegerValue(math.MinInt64), product.FloatValue(-1 << 63)},
			texts:  []string{"-9223372036854775808", "-9223372036854775808.0", "-9.223372036854775808E+18"},
		},
		{
			name: "2^63, one more than the largest long", canonical: "9223372036854775808", kind: product.Decimal,
			texts: []string{"9223372036854775808", "9223372036854775808.00", "9.223372036854775808E+18"},
		},
		{
			name: "2^63 as a double, in as many digits as a JSON event carries", canonical: "9223372036854776000", kind: product.Decimal,
			values: []product.Value{product.FloatValue(1 << 63)},
			texts:  []string{"9.223372036854776E+18"},
		},
		{
			name: "the largest Decimal128", canonical: strings.Repeat("9", 34) + strings.Repeat("0", 6111), kind: product.Decimal,
			texts: []string{"9.999999999999999999999999999999999E+6144", "9999999999999999999999999999999999E+6111"},
		},
		{
			name: "the smallest Decimal128", canonical: "0." + strings.Repeat("0", 6175) + "1", kind: product.Decimal,
			texts: []string{"1E-6176", "0.1E-6175"},
		},
		{
			name: "the largest double", canonical: "17976931348623157" + strings.Repeat("0", 292), kind: product.Decimal,
			values: []product.Value{product.FloatValue(math.MaxFloat64)},
			texts:  []string{"1.7976931348623157E+308"},
		},
		{
			name: "the smallest double", canonical: "0." + strings.Repeat("0", 323) + "5", kind: product.Decimal,
			values: []product.Value{product.FloatValue(math.SmallestNonzeroFloat64)},
			texts:  []string{"5E-324"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, text := range test.texts {
				test.values = append(test.values, parsed(t, text))
			}
			for i, v := range test.values {
				if v != test.values[0] {
					t.Errorf("value %d is %s, and value 0 is %s: the same number twice", i, v, test.values[0])
				}
				if v.String() != test.canonical || v.Kind() != test.kind || !v.IsNumber() {
					t.Errorf("value %d is %.60s (kind %d), want %.60s (kind %d)", i, v, v.Kind(), test.canonical, test.kind)
				}
			}
		})
	}
}

func TestDifferentValuesAreDifferent(t *testing.T) {
	t.Parallel()
	values := []product.Value{
		{}, product.NullValue(), product.IntegerValue(0), product.IntegerValue(9), product.TextValue("9"),
		product.TextValue(""), product.TextValue("absent"), product.TextValue("null"), product.OtherValue("9"),
		product.FloatValue(9.99), product.TextValue("9.99"), product.FloatValue(-9.99), product.FloatValue(9.990000000000002),
		product.IntegerValue(1 << 53), product.IntegerValue(1<<53 + 1), product.IntegerValue(math.MaxInt64), parsed(t, "9223372036854775808"),
		product.OtherValue("boolean"), product.OtherValue("NaN"),
		product.TextValue("é"), product.TextValue("e\u0301"), // the same to a reader, other code points
	}
	for i, a := range values {
		for j, b := range values {
			if (a == b) != (i == j) {
				t.Errorf("value %d (%s) == value %d (%s) is %v", i, a, j, b, a == b)
			}
		}
	}
}

func TestTextsThatAreNoNumbers(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "-", "+", ".", "-.", "e", "e5", ".e5", "1e", "1e+", "1e1.5", "1e5e5", "1e+-5", "--5", "+-5", "1-5", "5-", "1.2.3", "1,5",
		"1_000", "1e1_0", "0x1F", "0b1", "NaN", "nan", "Infinity", "-Infinity", "Inf", " 777", "777 ", "7 7", "٣", "777\x00", "\xff",
		"1E+9999999999999999999999", "1E+10000", "1E-10000", "1E+100000", "1E-100000", strings.Repeat("9", 20_000), "0." + strings.Repeat("0", 20_000) + "1",
	} {
		if v, ok := product.ParseNumber(text); ok {
			t.Errorf("ParseNumber(%.40q) is %.40s, want no number", text, v)
		}
	}
}

func TestNaNAndInfinitiesAreNoNumbers(t *testing.T) {
	t.Parallel()
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, v := range []product.Value{product.FloatValue(f), product.StoredFloat(f, 32)} {
			if v.Kind() != product.NotFinite || v.IsNumber() {
				t.Errorf("%v becomes %s of kind %d, want none that is finite", f, v, v.Kind())
			}
		}
	}
	if a, b := product.FloatValue(math.NaN()), product.FloatValue(math.NaN()); a != b {
		t.Error("NaN in both stores is a difference that no repair could end")
	}
}

// A decimal number in random spellings: the value is that of math/big, the
// canonical text is one for all spellings and reads back as itself.
func TestDecimalTextProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sign := rapid.SampledFrom([]string{"", "-", "+"}).Draw(t, "sign")
		digits := rapid.StringMatching(`[0-9]{1,40}`).Draw(t, "digits")
		exponent := rapid.IntRange(-60, 60).Draw(t, "exponent") // of the last digit
		want, ok := new(big.Rat).SetString(fmt.Sprintf("%s%se%d", sign, digits, exponent))
		if !ok {
			t.Fatal("math/big does not read the text of the test")
		}
		v := parsed(t, fmt.Sprintf("%s%se%d", sign, digits, exponent))
		if got, ok := new(big.Rat).SetString(v.String()); !ok || got.Cmp(want) != 0 {
			t.Fatalf("value %s, want %s", v, want.RatString())
		}
		if again := parsed(t, v.String()); again != v {
			t.Fatalf("the canonical text %s reads back as %s", v, again)
		}
		if n, isInteger := v.Int(); isInteger != (want.IsInt() && want.Num().IsInt64()) || (isInteger && n != want.Num().Int64()) {
			t.Fatalf("Int of %s is %d, %v", v, n, isInteger)
		}
		spelling := respelled(t, sign, digits, exponent)
		if other := parsed(t, spelling); other != v {
			t.Fatalf("%s%se%d is %s, and its spelling %s is %s", sign, digits, exponent, v, spelling, other)
		}
	})
}

// respelled writes sign digits × 10^exponent in another way.
func respelled(t *rapid.T, sign, digits string, exponent int) string {
	leading := rapid.IntRange(0, 5).Draw(t, "leading zeros")
	trailing := rapid.IntRange(0, 5).Draw(t, "trailing zeros")
	digits = strings.Repeat("0", leading) + digits + strings.Repeat("0", trailing)
	exponent -= trailing
	point := rapid.IntRange(0, len(digits)).Draw(t, "point")
	exponent += len(digits) - point
	e := rapid.SampledFrom([]string{"e", "E"}).Draw(t, "e")
	if exponent >= 0 {
		e += rapid.SampledFrom([]string{"", "+"}).Draw(t, "plus")
	}
	return sign + digits[:point] + "." + digits[point:] + e + strconv.Itoa(exponent)
}

func TestFloatsReadBackAsThemselves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.Float64().Draw(t, "f")
		if math.IsInf(f, 0) {
			t.Skip("no number")
		}
		if back, err := strconv.ParseFloat(product.FloatValue(f).String(), 64); err != nil || back != f {
			t.Fatalf("FloatValue(%v) is %s, which reads back as %v (%v)", f, product.FloatValue(f), back, err)
		}
		if up := math.Nextafter(f, math.Inf(1)); !math.IsInf(up, 0) && product.FloatValue(up) == product.FloatValue(f) {
			t.Fatalf("%v and %v have the same canonical form", f, up)
		}
		single := rapid.Float32().Draw(t, "single")
		if math.IsInf(float64(single), 0) {
			t.Skip("no number")
		}
		if back, err := strconv.ParseFloat(product.StoredFloat(float64(single), 32).String(), 32); err != nil || float32(back) != single {
			t.Fatalf("StoredFloat(%v, 32) is %s, which reads back as %v (%v)", single, product.StoredFloat(float64(single), 32), back, err)
		}
	})
}

func TestWholeNumbersAreEqualAsLongDoubleAndText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		v := product.IntegerValue(n)
		if text := parsed(t, strconv.FormatInt(n, 10)+".0"); text != v {
			t.Fatalf("as text %s, as long %s", text, v)
		}
		if f := float64(n); f < 1<<63 && int64(f) == n && product.FloatValue(f) != v {
			t.Fatalf("as double %s, as long %s", product.FloatValue(f), v)
		}
	})
}
