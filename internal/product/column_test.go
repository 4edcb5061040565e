package product_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/product"
)

func integerColumn(bits int, typeName string) product.Column {
	return product.Column{Name: "price", Type: product.IntegerColumn, TypeName: typeName, Bits: bits}
}

func numericColumn(precision, scale int) product.Column {
	return product.Column{Name: "price", Type: product.DecimalColumn, TypeName: "numeric", Precision: precision, Scale: scale}
}

func floatColumn(bits int) product.Column {
	return product.Column{Name: "price", Type: product.FloatColumn, TypeName: map[int]string{32: "real", 64: "double precision"}[bits], Bits: bits}
}

func textColumn(length int) product.Column {
	return product.Column{Name: "title", Type: product.TextColumn, TypeName: "character varying", MaxLength: length}
}

// fitting is one value and what a column makes of it: the stored value, or a
// misfit whose reason contains refused.
type fitting struct {
	name    string
	column  product.Column
	value   product.Value
	stored  product.Value
	refused string
}

func checkFittings(t *testing.T, tests []fitting) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			stored, err := test.column.Fit(test.value)
			if test.refused == "" {
				if err != nil || stored != test.stored {
					t.Fatalf("Fit(%.60s) is %.60s, %v; want %.60s", test.value, stored, err, test.stored)
				}
				return
			}
			var misfit *product.Misfit
			if !errors.As(err, &misfit) {
				t.Fatalf("Fit(%.60s) is %.60s, %v; want a misfit", test.value, stored, err)
			}
			if stored != (product.Value{}) {
				t.Errorf("a value that does not fit comes with %s to store", stored)
			}
			if misfit.Column != test.column.Name || !strings.Contains(misfit.Reason, test.refused) {
				t.Errorf("misfit %q, want column %q and a reason with %q", misfit, test.column.Name, test.refused)
			}
			checkReadable(t, misfit.Error())
		})
	}
}

// checkReadable wants a message that fits a line of a report: short, valid, and
// free of formatting accidents.
func checkReadable(t *testing.T, message string) {
	t.Helper()
	if len(message) > 200 || !utf8.ValidString(message) || strings.ContainsAny(message, "\x00\n") || strings.Contains(message, "%!") {
		t.Errorf("unreadable message %q", message)
	}
}

func TestIntegerColumns(t *testing.T) {
	t.Parallel()
	integer := integerColumn(32, "integer")
	small, big := integerColumn(16, "smallint"), integerColumn(64, "bigint")
	literals := integer
	literals.Literals = true
	checkFittings(t, []fitting{
		{name: "an int", column: integer, value: product.IntegerValue(777), stored: product.IntegerValue(777)},
		{name: "the double 9.0", column: integer, value: product.FloatValue(9.0), stored: product.IntegerValue(9)},
		{name: "the text 777", column: integer, value: product.TextValue("777"), stored: product.IntegerValue(777)},
		{name: "blanks around a number", column: integer, value: product.TextValue(" \t12\n"), stored: product.IntegerValue(12)},
		{name: "the text +12", column: integer, value: product.TextValue("+12"), stored: product.IntegerValue(12)},
		{name: "the text 777.00", column: integer, value: product.TextValue("777.00"), refused: `"777.00" is not written as a whole number`},
		{name: "the text 9E2", column: integer, value: product.TextValue("9E2"), refused: `"9E2" is not written as a whole number`},
		{name: "the text 0x1F", column: integer, value: product.TextValue("0x1F"), refused: `"0x1F" is not a number`},
		{name: "the text 0x1F, since PostgreSQL 16", column: literals, value: product.TextValue("0x1F"), stored: product.IntegerValue(31)},
		{name: "the text -1_000, since PostgreSQL 16", column: literals, value: product.TextValue(" -1_000"), stored: product.IntegerValue(-1000)},
		{name: "true", column: integer, value: product.BooleanValue(true), refused: "is true in the source, and the column is integer"},
		{name: "a fraction", column: integer, value: product.FloatValue(9.99), refused: "9.99 has a fraction, and the column is integer"},
		{name: "a fraction as text", column: integer, value: product.TextValue("-9.5"), refused: `"-9.5" has a fraction`},
		{name: "3e9", column: integer, value: product.FloatValue(3e9), refused: "3000000000 is out of range for integer"},
		{name: "3e9 as text", column: integer, value: product.TextValue("3000000000"), refused: "out of range for integer"},
		{name: "beyond any integer type", column: big, value: product.FloatValue(1e300), refused: "is out of range for bigint"},
		{name: "a huge fraction", column: big, value: product.TextValue("12345678901234567890.5"), refused: "has a fraction"},
		{name: "largest integer", column: integer, value: product.IntegerValue(math.MaxInt32), stored: product.IntegerValue(math.MaxInt32)},
		{name: "smallest integer", column: integer, value: product.IntegerValue(math.MinInt32), stored: product.IntegerValue(math.MinInt32)},
		{name: "above integer", column: integer, value: product.IntegerValue(math.MaxInt32 + 1), refused: "out of range"},
		{name: "below integer", column: integer, value: product.IntegerValue(math.MinInt32 - 1), refused: "out of range"},
		{name: "largest smallint", column: small, value: product.IntegerValue(math.MaxInt16), stored: product.IntegerValue(math.MaxInt16)},
		{name: "above smallint", column: small, value: product.IntegerValue(math.MaxInt16 + 1), refused: "32768 is out of range for smallint"},
		{name: "smallest smallint", column: small, value: product.IntegerValue(math.MinInt16), stored: product.IntegerValue(math.MinInt16)},
		{name: "below smallint", column: small, value: product.IntegerValue(math.MinInt16 - 1), refused: "out of range"},
		{name: "largest bigint", column: big, value: product.TextValue("9223372036854775807"), stored: product.IntegerValue(math.MaxInt64)},
		{name: "smallest bigint", column: big, value: product.TextValue("-9223372036854775808"), stored: product.IntegerValue(math.MinInt64)},
		{name: "what JavaScript makes of the largest bigint", column: big, value: product.IntegerValue(math.MaxInt64), refused: "9223372036854776000 is out of range for bigint"},
		{name: "what JavaScript makes of a long whole number", column: big, value: product.IntegerValue(9007199254740993), stored: product.IntegerValue(9007199254740992)},
		{name: "what JavaScript writes with zeros", column: big, value: product.IntegerValue(1 << 60), stored: product.IntegerValue(1152921504606847000)},
		{name: "above bigint", column: big, value: product.TextValue("9223372036854775808"), refused: "9223372036854775808 is out of range for bigint"},
		{name: "below bigint", column: big, value: parsed(t, "-9223372036854775809"), refused: "out of range"},
		{name: "words", column: integer, value: product.TextValue("cheap"), refused: `"cheap" is not a number, and the column is integer`},
		{name: "the empty text", column: integer, value: product.TextValue(""), refused: `"" is not a number`},
		{name: "a long text", column: integer, value: product.TextValue(strings.Repeat("é", 500)), refused: "…"},
		{name: "a long text cut within a character", column: integer, value: product.TextValue("x" + strings.Repeat("é", 500)), refused: "é…"},
		{name: "control characters", column: integer, value: product.TextValue("7\n7\x00"), refused: `"7\n7\x00" is not a number`},
		{name: "a long number", column: integer, value: parsed(t, "1E+3000"), refused: "…"},
		{name: "a boolean", column: integer, value: product.OtherValue("boolean"), refused: "is of type boolean in the source, which integer cannot hold"},
		{name: "NaN", column: integer, value: product.FloatValue(math.NaN()), refused: "NaN"},
	})
}

func TestDecimalColumns(t *testing.T) {
	t.Parallel()
	checkFittings(t, []fitting{
		{name: "unlimited takes any size", column: numericColumn(0, 0), value: parsed(t, "1E+300"), stored: parsed(t, "1E+300")},
		{name: "unlimited takes any fraction", column: numericColumn(0, 0), value: product.FloatValue(9.99), stored: product.FloatValue(9.99)},
		{name: "a number as text", column: numericColumn(10, 2), value: product.TextValue("1.50"), stored: product.FloatValue(1.5)},
		{name: "largest", column: numericColumn(5, 2), value: parsed(t, "999.99"), stored: parsed(t, "999.99")},
		{name: "smallest", column: numericColumn(5, 2), value: parsed(t, "-999.99"), stored: parsed(t, "-999.99")},
		{name: "too large", column: numericColumn(5, 2), value: product.IntegerValue(1000), refused: "1000 is out of range for numeric"},
		{name: "too small", column: numericColumn(5, 2), value: product.IntegerValue(-1000), refused: "-1000 is out of range"},
		{name: "more digits than are kept", column: numericColumn(5, 2), value: parsed(t, "1.234"), stored: parsed(t, "1.23")},
		{name: "a sum of doubles", column: numericColumn(10, 2), value: product.FloatValue(19.990000000000002), stored: product.FloatValue(19.99)},
		{name: "half a digit", column: numericColumn(5, 2), value: parsed(t, "1.005"), stored: parsed(t, "1.01")},
		{name: "half a digit below zero", column: numericColumn(5, 2), value: parsed(t, "-1.005"), stored: parsed(t, "-1.01")},
		{name: "rounded to more digits", column: numericColumn(5, 2), value: parsed(t, "9.995"), stored: product.IntegerValue(10)},
		{name: "rounded to too many digits", column: numericColumn(5, 2), value: parsed(t, "999.995"), refused: "999.995 is out of range for numeric"},
		{name: "rounded to nothing", column: numericColumn(5, 2), value: parsed(t, "-0.004"), stored: product.IntegerValue(0)},
		{name: "rounded before the point", column: numericColumn(3, -2), value: product.IntegerValue(12350), stored: product.IntegerValue(12400)},
		{name: "rounded before the point to nothing", column: numericColumn(3, -2), value: product.IntegerValue(49), stored: product.IntegerValue(0)},
		{name: "too large before the point", column: numericColumn(3, -2), value: product.IntegerValue(99950), refused: "out of range"},
		{name: "an exponent", column: numericColumn(10, 2), value: product.TextValue("1e3"), stored: product.IntegerValue(1000)},
		{name: "NaN as text", column: numericColumn(5, 2), value: product.TextValue(" nan "), stored: notFinite(t, "NaN")},
		{name: "infinity as text", column: numericColumn(0, 0), value: product.TextValue("-inf"), stored: notFinite(t, "-Infinity")},
		{name: "infinity where digits are limited", column: numericColumn(5, 2), value: product.TextValue("Infinity"), refused: "out of range"},
		{name: "no whole digits", column: numericColumn(2, 2), value: parsed(t, "0.99"), stored: parsed(t, "0.99")},
		{name: "one, and no whole digits", column: numericColumn(2, 2), value: product.IntegerValue(1), refused: "out of range"},
		{name: "no fraction", column: numericColumn(3, 0), value: product.IntegerValue(999), stored: product.IntegerValue(999)},
		{name: "scale above precision", column: numericColumn(3, 5), value: parsed(t, "0.00999"), stored: parsed(t, "0.00999")},
		{name: "scale above precision, too large", column: numericColumn(3, 5), value: parsed(t, "0.01"), refused: "0.01 is out of range"},
		{name: "scale above precision, zero", column: numericColumn(3, 5), value: product.IntegerValue(0), stored: product.IntegerValue(0)},
		{name: "infinity", column: numericColumn(0, 0), value: product.FloatValue(math.Inf(1)), refused: "is Infinity in the source, which JSON writes as null"},
		{name: "words", column: numericColumn(0, 0), value: product.TextValue("cheap"), refused: "is not a number"},
	})
}

func notFinite(t *testing.T, text string) product.Value {
	t.Helper()
	v, ok := product.ParseNotFinite(text)
	if !ok {
		t.Fatalf("%q is finite", text)
	}
	return v
}

// PostgreSQL: numeric(p,s) rounds to s digits behind the point, half a digit away from
// zero, and holds what is then below 10^(p-s).
func TestDecimalColumnProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		precision := rapid.IntRange(1, 12).Draw(t, "precision")
		scale := rapid.IntRange(-5, 15).Draw(t, "scale")
		digits := rapid.StringMatching(`-?[0-9]{1,14}`).Draw(t, "digits")
		behind := scale + rapid.IntRange(-2, 3).Draw(t, "digits behind the scale")
		v := parsed(t, fmt.Sprintf("%se%d", digits, -behind))
		exact, _ := new(big.Rat).SetString(v.String())
		power := func(n int) *big.Rat {
			ten := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(n, -n))), nil))
			if n < 0 {
				return ten.Inv(ten)
			}
			return ten
		}
		units := new(big.Rat).Mul(exact, power(scale))
		twice := new(big.Int).Quo(new(big.Int).Mul(units.Num(), big.NewInt(2)), units.Denom())
		half := new(big.Int).Quo(new(big.Int).Add(twice, big.NewInt(int64(units.Sign()))), big.NewInt(2))
		fits := new(big.Rat).Abs(new(big.Rat).SetInt(half)).Cmp(power(precision)) < 0
		column := numericColumn(precision, scale)
		stored, err := column.Fit(v)
		if (err == nil) != fits {
			t.Fatalf("numeric(%d,%d) and %s: %v, fits is %v", precision, scale, v, err, fits)
		}
		if !fits {
			return
		}
		want := new(big.Rat).Mul(new(big.Rat).SetInt(half), power(-scale))
		if got, _ := new(big.Rat).SetString(stored.String()); got.Cmp(want) != 0 {
			t.Fatalf("numeric(%d,%d) stores %s as %s, want %s", precision, scale, v, stored, want)
		}
	})
}

func TestFloatColumns(t *testing.T) {
	t.Parallel()
	single, double := floatColumn(32), floatColumn(64)
	checkFittings(t, []fitting{
		{name: "double keeps a price", column: double, value: product.FloatValue(9.99), stored: product.FloatValue(9.99)},
		{name: "real prints a price as short", column: single, value: product.FloatValue(9.99), stored: parsed(t, "9.99")},
		{name: "a number as text", column: double, value: product.TextValue("9.990"), stored: product.FloatValue(9.99)},
		{name: "double rounds a long decimal", column: double, value: parsed(t, "0.1000000000000000055"), stored: product.FloatValue(0.1)},
		{name: "real rounds to 24 bits", column: single, value: product.IntegerValue(1<<24 + 1), stored: parsed(t, "16777216")},
		{name: "real prints long whole numbers rounded", column: single, value: product.IntegerValue(123456789), stored: parsed(t, "1.2345679e+08")},
		{name: "double prints long whole numbers rounded", column: double, value: product.IntegerValue(1 << 60), stored: parsed(t, "1.152921504606847e+18")},
		{name: "negative zero", column: double, value: product.FloatValue(math.Copysign(0, -1)), stored: product.IntegerValue(0)},
		{name: "above real", column: single, value: product.FloatValue(1e39), refused: "is out of range for real"},
		{name: "below real", column: single, value: product.FloatValue(-1e39), refused: "is out of range for real"},
		{name: "double takes what real does not", column: double, value: product.FloatValue(1e39), stored: product.FloatValue(1e39)},
		{name: "below what real tells from zero", column: single, value: product.FloatValue(1e-50), refused: "is out of range for real"},
		{name: "below what double tells from zero", column: double, value: product.TextValue("1e-400"), refused: "is out of range for double precision"},
		{name: "zero with an exponent", column: double, value: product.TextValue("0.0e-400"), stored: product.IntegerValue(0)},
		{name: "a number in base 16, which C reads", column: double, value: product.TextValue("0x1F"), stored: product.IntegerValue(31)},
		{name: "NaN as text", column: double, value: product.TextValue("NaN"), stored: notFinite(t, "NaN")},
		{name: "above double", column: double, value: parsed(t, "1E+400"), refused: "is out of range for double precision"},
		{name: "above double as text", column: double, value: product.TextValue("-1E+400"), refused: "is out of range for double precision"},
		{name: "words", column: double, value: product.TextValue("cheap"), refused: "is not a number"},
	})
}

// What a float column stores is read back as PostgreSQL's shortest text, so this
// text must be the same value, else a written row would never be verified.
func TestFloatColumnsStoreWhatTheyPrint(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.SampledFrom([]int{32, 64}).Draw(t, "bits")
		column := floatColumn(bits)
		v := product.IntegerValue(rapid.Int64().Draw(t, "n"))
		if rapid.Bool().Draw(t, "fraction") {
			v = product.FloatValue(rapid.Float64Range(1e-30, 1e30).Draw(t, "f"))
		}
		stored, err := column.Fit(v)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := column.Fit(stored); err != nil || again != stored {
			t.Fatalf("%s is stored as %s, and this as %s (%v)", v, stored, again, err)
		}
		digits := strings.Trim(strings.NewReplacer("-", "", ".", "").Replace(stored.String()), "0")
		if most := map[int]int{32: 9, 64: 17}[bits]; len(digits) > most {
			t.Fatalf("%s is stored as %s, which has more digits than PostgreSQL prints (%d)", v, stored, most)
		}
	})
}

func TestTextColumns(t *testing.T) {
	t.Parallel()
	padded, bytes := textColumn(4), textColumn(5)
	padded.Padded, bytes.CountsBytes = true, true
	text := product.TextValue
	checkFittings(t, []fitting{
		{name: "unlimited", column: textColumn(0), value: text(strings.Repeat("x", 100_000)), stored: text(strings.Repeat("x", 100_000))},
		{name: "empty", column: textColumn(1), value: text(""), stored: text("")},
		{name: "spaces are kept", column: textColumn(10), value: text(" Lamp "), stored: text(" Lamp ")},
		{name: "as long as allowed", column: textColumn(4), value: text("Lamp"), stored: text("Lamp")},
		{name: "too long", column: textColumn(4), value: text("Lamps"), refused: "has 5 characters, character varying holds 4"},
		{name: "code points count, not bytes", column: textColumn(4), value: text("äöü💡"), stored: text("äöü💡")},
		{name: "code points count, not what a reader sees", column: textColumn(4), value: text("e\u0301e\u0301e"), refused: "has 5 characters"},
		{name: "NUL", column: textColumn(0), value: text("La\x00mp"), refused: "contains a NUL character"},
		{name: "NUL at the end", column: textColumn(0), value: text("Lamp\x00"), refused: "contains a NUL character"},
		{name: "invalid UTF-8", column: textColumn(0), value: text("La\xffmp"), refused: "is not valid UTF-8"},
		{name: "half a surrogate pair", column: textColumn(0), value: text("\xed\xa0\x80"), refused: "is not valid UTF-8"},
		{name: "too long by blanks", column: textColumn(4), value: text("Lamp  "), stored: text("Lamp")},
		{name: "blanks that fit", column: textColumn(6), value: text("Lamp  "), stored: text("Lamp  ")},
		{name: "too long by another blank", column: textColumn(4), value: text("Lamp\u00a0"), refused: "has 5 characters"},
		{name: "padding", column: padded, value: text("La  "), stored: text("La")},
		{name: "too long with padding", column: padded, value: text("Lamps"), refused: "has 5 characters"},
		{name: "bytes that fit", column: bytes, value: text("Größ"), refused: "has 6 characters"},
		{name: "true", column: textColumn(0), value: product.BooleanValue(true), stored: text("true")},
		{name: "false", column: textColumn(0), value: product.BooleanValue(false), stored: text("false")},
		{name: "a large number, as JavaScript writes it", column: textColumn(0), value: product.FloatValue(-1.5e21), stored: text("-1.5e+21")},
		{name: "a small number, as JavaScript writes it", column: textColumn(0), value: product.FloatValue(1e-7), stored: text("1e-7")},
		{name: "as large as JavaScript writes out", column: textColumn(0), value: product.FloatValue(1e20), stored: text("100000000000000000000")},
		{name: "as small as JavaScript writes out", column: textColumn(0), value: product.FloatValue(1.5e-6), stored: text("0.0000015")},
		{name: "a whole number", column: textColumn(0), value: product.IntegerValue(-5), stored: text("-5")},
		{name: "a number", column: textColumn(0), value: product.FloatValue(9.99), stored: text("9.99")},
		{name: "a number that is too long", column: textColumn(3), value: product.FloatValue(9.99), refused: "has 4 characters"},
		{name: "an object", column: textColumn(0), value: product.OtherValue("embedded document"), refused: "is of type embedded document"},
	})
}

func TestAbsentAndNull(t *testing.T) {
	t.Parallel()
	column := func(nullable, hasDefault bool) product.Column {
		c := integerColumn(32, "integer")
		c.Nullable, c.HasDefault = nullable, hasDefault
		return c
	}
	absent, null := product.Value{}, product.NullValue()
	checkFittings(t, []fitting{
		{name: "absent, NOT NULL", column: column(false, false), value: absent, refused: "is missing in the source, and the column is NOT NULL"},
		{name: "absent, nullable", column: column(true, false), value: absent, stored: null},
		{name: "absent, NOT NULL with a default", column: column(false, true), value: absent, stored: absent},
		{name: "absent, nullable with a default", column: column(true, true), value: absent, stored: absent},
		{name: "null, NOT NULL", column: column(false, false), value: null, refused: "is null in the source, and the column is NOT NULL"},
		{name: "null, NOT NULL with a default", column: column(false, true), value: null, refused: "is null in the source"},
		{name: "null, nullable", column: column(true, false), value: null, stored: null},
		{name: "null, nullable with a default", column: column(true, true), value: null, stored: null},
	})
}
