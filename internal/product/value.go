package product

import (
	"math"
	"strconv"
	"strings"
)

// ValueKind tells what a Value holds.
type ValueKind uint8

// The kinds of Value.
const (
	Absent    ValueKind = iota // the field is not there
	Null                       // the field is there and null
	Integer                    // a whole number in the range of int64
	Decimal                    // any other finite number, as canonical decimal text
	Text                       // a string
	NotFinite                  // NaN, Infinity or -Infinity, as PostgreSQL writes them
	Boolean                    // true or false
	Other                      // something else, named by its type
)

// Value is one field in canonical form: two Values are equal (==) if and only if
// the stores mean the same by them. Numbers are equal by value whatever their
// storage type (int, long, double, Decimal128, integer, numeric); strings are
// equal by code points. The zero Value is absent.
type Value struct {
	kind ValueKind
	n    int64
	s    string
}

// NullValue is an explicit null.
func NullValue() Value { return Value{kind: Null} }

// IntegerValue is a whole number.
func IntegerValue(n int64) Value { return Value{kind: Integer, n: n} }

// BooleanValue is true or false.
func BooleanValue(b bool) Value {
	if b {
		return Value{kind: Boolean, n: 1}
	}
	return Value{kind: Boolean}
}

// TextValue is a string.
func TextValue(s string) Value { return Value{kind: Text, s: s} }

// OtherValue is a value that no column of the cart can hold, known by the name of its type.
func OtherValue(typeName string) Value { return Value{kind: Other, s: typeName} }

// FloatValue is the canonical form of a binary floating-point number: exactly a
// whole number in the range of int64, and else its shortest decimal text that
// reads back as the same number, which is also what a JSON event carries.
func FloatValue(f float64) Value {
	if f == math.Trunc(f) && f >= -1<<63 && f < 1<<63 {
		return IntegerValue(int64(f))
	}
	return shortest(f, 64)
}

// shortest is the value of f's shortest decimal text that reads back as the same
// number of that many bits.
func shortest(f float64, bits int) Value {
	switch {
	case math.IsNaN(f):
		return notFinite("NaN")
	case math.IsInf(f, 1):
		return notFinite("Infinity")
	case math.IsInf(f, -1):
		return notFinite("-Infinity")
	}
	v, _ := ParseNumber(strconv.FormatFloat(f, 'e', -1, bits))
	return v
}

func notFinite(name string) Value { return Value{kind: NotFinite, s: name} }

// ParseNotFinite reads "NaN" and the infinities as PostgreSQL and Decimal128 write them.
func ParseNotFinite(text string) (Value, bool) {
	switch text {
	case "NaN", "Infinity", "-Infinity":
		return notFinite(text), true
	}
	return Value{}, false
}

// maxExponent bounds exponents, and maxDigits the length of decimal text, in its
// canonical form too; Decimal128 ends at 6,144.
const (
	maxExponent = 6200
	maxDigits   = 2 * maxExponent
)

// ParseNumber reads decimal text such as "777", "-9.90" or "1E+3". It reports
// false for anything else, "NaN" and "Infinity" among them.
func ParseNumber(text string) (Value, bool) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return IntegerValue(n), true
	}
	digits, negative := text, false
	if digits != "" && (digits[0] == '-' || digits[0] == '+') {
		negative = digits[0] == '-'
		digits = digits[1:]
	}
	exponent := 0
	if i := strings.IndexAny(digits, "eE"); i >= 0 {
		e, err := strconv.Atoi(digits[i+1:])
		if err != nil || e > maxExponent || e < -maxExponent {
			return Value{}, false
		}
		digits, exponent = digits[:i], e
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	digits = whole + fraction
	if digits == "" || len(digits) > maxDigits || strings.Trim(digits, "0123456789") != "" {
		return Value{}, false
	}
	v := canonicalNumber(negative, digits, len(whole)+exponent)
	if len(v.s) > maxDigits {
		return Value{}, false // its own text could not be read again
	}
	return v, true
}

// canonicalNumber is 0.digits × 10^point with superfluous zeros removed.
func canonicalNumber(negative bool, digits string, point int) Value {
	trimmed := strings.TrimLeft(digits, "0")
	point -= len(digits) - len(trimmed)
	digits = strings.TrimRight(trimmed, "0")
	if digits == "" {
		return IntegerValue(0)
	}
	var text string
	switch {
	case point <= 0:
		text = "0." + strings.Repeat("0", -point) + digits
	case point < len(digits):
		text = digits[:point] + "." + digits[point:]
	default:
		text = digits + strings.Repeat("0", point-len(digits))
	}
	if negative {
		text = "-" + text
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return IntegerValue(n)
	}
	return Value{kind: Decimal, s: text}
}

// Kind tells what the value holds.
func (v Value) Kind() ValueKind { return v.kind }

// Int returns the number; ok is false where v is no Integer.
func (v Value) Int() (n int64, ok bool) { return v.n, v.kind == Integer }

// String is the value's text: a string's content, a number's decimal digits,
// "null", "absent", or the type's name in angle brackets.
func (v Value) String() string {
	switch v.kind {
	case Absent:
		return "absent"
	case Null:
		return "null"
	case Integer:
		return strconv.FormatInt(v.n, 10)
	case Boolean:
		return strconv.FormatBool(v.n != 0)
	case Other:
		return "<" + v.s + ">"
	default:
		return v.s
	}
}

// IsNumber tells whether v is an Integer or a Decimal.
func (v Value) IsNumber() bool { return v.kind == Integer || v.kind == Decimal }

// maxExactInteger is the largest whole number that every JSON reader with binary
// floating-point numbers (the cart's is JavaScript) takes without rounding: 2^53.
const maxExactInteger = 1 << 53

// ExactInJSON tells whether a JSON number becomes exactly this value in the cart's
// database. Everything but long numbers does; the cart passes those on as they are
// where they are written as texts.
func (v Value) ExactInJSON() bool { return !v.IsNumber() || v.throughJSON() == v }

// throughJSON is what a number becomes on its way through the cart: JavaScript takes
// it for the nearest double, and writes that with no more digits than tell it from
// others.
func (v Value) throughJSON() Value {
	if v.kind == Integer && v.n >= -maxExactInteger && v.n <= maxExactInteger {
		return v
	}
	f, _ := strconv.ParseFloat(v.String(), 64) // beyond all doubles it is infinite, there and here
	return shortest(f, 64)
}

// StoredFloat is a number of a column that keeps so many bits of it: its shortest
// decimal text, of which a single-precision number has fewer digits than the same
// double. PostgreSQL prints the same text (with extra_float_digits above 0, its
// default), for long whole numbers too: 123456789 as a real is 123456790.
func StoredFloat(f float64, bits int) Value { return shortest(f, bits) }

// javaScript is a number as JavaScript's String writes it, which is what the cart
// sends to its database: with an exponent where there are more than 21 digits before
// the point, or more than five zeros behind it.
// https://tc39.es/ecma262/multipage/ecmascript-data-types-and-values.html#sec-numeric-types-number-tostring
func (v Value) javaScript() string {
	negative, digits, point := v.decimal()
	if point > -6 && point <= 21 || digits == "" {
		return v.String()
	}
	text := digits[:1]
	if len(digits) > 1 {
		text += "." + digits[1:]
	}
	if negative {
		text = "-" + text
	}
	if point > 0 {
		return text + "e+" + strconv.Itoa(point-1)
	}
	return text + "e" + strconv.Itoa(point-1)
}

// decimal takes a number apart: it is 0.digits × 10^point, with no zero at either end
// of digits, which are empty for 0.
func (v Value) decimal() (negative bool, digits string, point int) {
	text, negative := strings.CutPrefix(v.String(), "-")
	whole, fraction, _ := strings.Cut(text, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	point = len(whole) - (len(whole+fraction) - len(digits))
	return negative, strings.TrimRight(digits, "0"), point
}

// rounded is a number with at most scale digits behind the point, half a digit away
// from zero as PostgreSQL's numeric does it. A negative scale rounds before the point.
func (v Value) rounded(scale int) Value {
	negative, digits, point := v.decimal()
	kept := point + scale
	switch {
	case kept >= len(digits):
		return v
	case kept < 0:
		return IntegerValue(0)
	}
	up := digits[kept] >= '5'
	digits = digits[:kept]
	if up {
		digits, point = increased(digits), point+1
	}
	return canonicalNumber(negative, digits, point)
}

// increased is digits plus one, with a digit more in front.
func increased(digits string) string {
	sum := []byte("0" + digits)
	for i := len(sum) - 1; ; i-- {
		if sum[i] != '9' {
			sum[i]++
			return string(sum)
		}
		sum[i] = '0'
	}
}
