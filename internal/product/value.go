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
	Absent  ValueKind = iota // the field is not there
	Null                     // the field is there and null
	Integer                  // a whole number in the range of int64
	Decimal                  // any other finite number, as canonical decimal text
	Text                     // a string
	Other                    // something else, named by its type
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

// TextValue is a string.
func TextValue(s string) Value { return Value{kind: Text, s: s} }

// OtherValue is a value that no column of the cart can hold, known by the name of its type.
func OtherValue(typeName string) Value { return Value{kind: Other, s: typeName} }

// FloatValue is the canonical form of a binary floating-point number: exactly a
// whole number in the range of int64, and else its shortest decimal text that
// reads back as the same number, which is also what a JSON event carries. NaN and
// infinities are OtherValues.
func FloatValue(f float64) Value {
	if f == math.Trunc(f) && f >= -1<<63 && f < 1<<63 {
		return IntegerValue(int64(f))
	}
	return shortest(f, 64)
}

// shortest is the value of f's shortest decimal text that reads back as the same
// number of that many bits.
func shortest(f float64, bits int) Value {
	v, ok := ParseNumber(strconv.FormatFloat(f, 'e', -1, bits))
	if !ok {
		return OtherValue(strconv.FormatFloat(f, 'g', -1, bits))
	}
	return v
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

// ExactInJSON tells whether a reader that holds JSON numbers as binary64 gets
// exactly this value. Everything but long numbers does.
func (v Value) ExactInJSON() bool {
	switch v.kind {
	case Integer:
		return v.n >= -maxExactInteger && v.n <= maxExactInteger
	case Decimal:
		f, err := strconv.ParseFloat(v.s, 64)
		return err == nil && FloatValue(f) == v
	default:
		return true
	}
}

// Float32Value is the canonical form of a single-precision number: its shortest
// decimal text, which has fewer digits than that of the same double. PostgreSQL
// prints the same text (extra_float_digits above 0, the default), for long whole
// numbers too: 123456789 as a real is 123456790.
func Float32Value(f float32) Value { return shortest(float64(f), 32) }

func (v Value) float() float64 {
	if v.kind == Integer {
		return float64(v.n)
	}
	f, _ := strconv.ParseFloat(v.s, 64) // out of range gives ±Inf, which is what callers look for
	return f
}
