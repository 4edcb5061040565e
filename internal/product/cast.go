package product

import (
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// How PostgreSQL reads numbers that come as text. A test compares it with a real
// server (internal/target, TestCaseA4).

// blanks are what it skips at both ends.
const blanks = " \t\n\v\f\r"

// parse reads text as a whole-number or numeric column does; what it yields need not
// fit into the column yet.
func (c *Column) parse(text string) (Value, bool) {
	text = strings.Trim(text, blanks)
	if c.Type == DecimalColumn {
		if v, ok := parseNotFinite(text); ok {
			return v, true
		}
	}
	unsigned := strings.TrimPrefix(text, "-")
	if len(unsigned) == len(text) {
		unsigned = strings.TrimPrefix(text, "+")
	}
	if c.Literals {
		if v, ok := parsePrefixed(unsigned, unsigned != text && text[0] == '-'); ok {
			return v, true
		}
		var ok bool
		if text, ok = withoutSeparators(text, decimalDigits); !ok {
			return Value{}, false
		}
	}
	i := strings.IndexAny(text, "eE")
	if c.Type == IntegerColumn && (i >= 0 || strings.IndexByte(text, '.') >= 0) {
		return Value{}, false
	}
	if i >= 0 && !c.Literals { // strtol, which read exponents before PostgreSQL 16, skips blanks
		text = text[:i+1] + strings.TrimLeft(text[i+1:], blanks)
	}
	return ParseNumber(text)
}

// parseNotFinite reads the names of what is no finite number, in any case.
func parseNotFinite(text string) (Value, bool) {
	switch strings.ToLower(text) {
	case "nan":
		return notFinite("NaN"), true
	case "inf", "+inf", "infinity", "+infinity":
		return notFinite("Infinity"), true
	case "-inf", "-infinity":
		return notFinite("-Infinity"), true
	}
	return Value{}, false
}

// parsePrefixed reads a whole number in base 16, 8 or 2.
func parsePrefixed(unsigned string, negative bool) (Value, bool) {
	if len(unsigned) < 3 || len(unsigned) > maxDigits || unsigned[0] != '0' {
		return Value{}, false
	}
	base, known := map[byte]int{'x': 16, 'o': 8, 'b': 2}[unsigned[1]|0x20]
	if !known {
		return Value{}, false
	}
	digits, ok := withoutSeparators("0"+unsigned[2:], hexDigits) // which may begin with a separator
	n, valid := new(big.Int).SetString(digits, base)
	if !ok || !valid {
		return Value{}, false
	}
	if negative {
		n.Neg(n)
	}
	return ParseNumber(n.String())
}

const (
	decimalDigits = "0123456789"
	hexDigits     = decimalDigits + "abcdefABCDEF"
)

// withoutSeparators drops underscores, of which each must be between two digits.
func withoutSeparators(text, digits string) (string, bool) {
	for i := range len(text) {
		if text[i] == '_' && (i == 0 || i == len(text)-1 || strings.IndexByte(digits, text[i-1]) < 0 || strings.IndexByte(digits, text[i+1]) < 0) {
			return "", false
		}
	}
	return strings.ReplaceAll(text, "_", ""), true
}

var isNaN = regexp.MustCompile(`^[+-]?nan(\([a-z0-9_]*\))?$`)

// parseFloat reads text as strtod does, on which PostgreSQL relies. A number that is
// too near to zero is out of range too.
func parseFloat(text string, bits int) (float64, error) {
	text = strings.Trim(text, blanks)
	number := strings.ToLower(text)
	if isNaN.MatchString(number) {
		return math.NaN(), nil
	}
	if strings.Contains(number, "_") {
		return 0, strconv.ErrSyntax
	}
	mantissa, _, _ := strings.Cut(number, "e")
	if strings.Contains(number, "0x") {
		var exponent bool
		if mantissa, _, exponent = strings.Cut(number, "p"); !exponent {
			number += "p0" // which Go insists on
		}
	}
	f, err := strconv.ParseFloat(number, bits)
	if err == nil && f == 0 && strings.ContainsAny(strings.TrimPrefix(strings.TrimLeft(mantissa, "+-"), "0x"), "123456789abcdef") {
		err = strconv.ErrRange
	}
	return f, err
}
