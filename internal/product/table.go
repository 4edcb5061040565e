package product

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// ColumnType is a family of column types with the same rules for what fits.
type ColumnType uint8

// The families of column types that the cart's fields may have.
const (
	IntegerColumn ColumnType = iota + 1 // smallint, integer, bigint
	DecimalColumn                       // numeric, numeric(p,s)
	FloatColumn                         // real, double precision
	TextColumn                          // text, varchar, varchar(n)
)

// Column is what the cart's table says of one of its columns.
type Column struct {
	Name       string
	Type       ColumnType
	TypeName   string // as PostgreSQL prints it, for messages
	Bits       int    // IntegerColumn: 16, 32 or 64; FloatColumn: 32 or 64
	Precision  int    // DecimalColumn: total digits, 0 is unlimited
	Scale      int    // DecimalColumn: digits behind the point, used with Precision
	MaxLength  int    // TextColumn: characters (code points), 0 is unlimited
	Nullable   bool
	HasDefault bool
	// ASCIIOnly is set where the database's encoding is not UTF-8, so that what
	// else fits is unknown.
	ASCIIOnly bool
}

// Table is what the cart's product table says of itself.
type Table struct {
	Name   string // schema-qualified, for messages
	ID     Column
	Fields [NumFields]Column // only CartFields are set
	// HexOrdered: the id column sorts lower-case hexadecimal texts of equal length as bytes do.
	HexOrdered bool
	// BytewiseOrdered: the id column sorts all texts as bytes do ("C" collation).
	BytewiseOrdered bool
}

// Misfit says why the cart cannot hold a product.
type Misfit struct {
	Column string
	Reason string
}

func (m *Misfit) Error() string { return m.Column + ": " + m.Reason }

// maxID is the longest id, in bytes, that fits into an index of PostgreSQL whatever
// its content: a third of a page, 2,704 bytes, less the entry's header.
const maxID = 2600

// Fit returns the row that the table would hold for p, or a *Misfit for the
// first field that does not fit.
func (t *Table) Fit(p *Product) (Row, error) {
	row := Row{ID: p.ID()}
	switch {
	case p.Ambiguous:
		return Row{}, &Misfit{t.ID.Name, "ambiguous id: two documents share this id as text"}
	case p.ID() == "":
		return Row{}, &Misfit{t.ID.Name, "the id is empty"}
	case len(p.ID()) > maxID:
		return Row{}, t.ID.misfit("the id has %d bytes, and an index of PostgreSQL holds %d", len(p.ID()), maxID)
	}
	if _, err := t.ID.Fit(TextValue(string(p.ID()))); err != nil {
		return Row{}, err
	}
	for _, f := range CartFields() {
		v, err := t.Fields[f].Fit(p.Values[f])
		if err != nil {
			return Row{}, err
		}
		row.Values[f] = v
	}
	return row, nil
}

// Differing lists those of fields in which the cart's row is not what the table
// would hold for p.
func (t *Table) Differing(p *Product, row *Row, fields []Field) []Field {
	var differing []Field
	for _, f := range fields {
		if !t.Fields[f].same(p.Values[f], row.Values[f]) {
			differing = append(differing, f)
		}
	}
	return differing
}

func (c *Column) same(source, stored Value) bool {
	if source == stored {
		return true
	}
	if source.kind == Absent && (stored.kind == Null || c.HasDefault) {
		return true // nothing in the source says what the cart should hold
	}
	fitting, err := c.Fit(source)
	return err == nil && fitting == stored
}

// Fit returns v as the column would store it, or a *Misfit.
func (c *Column) Fit(v Value) (Value, error) {
	switch v.kind {
	case Absent:
		// An event without the field and an insert without the column both leave
		// the column at its default.
		if c.Nullable && !c.HasDefault {
			return NullValue(), nil
		}
		if c.HasDefault {
			return v, nil
		}
		return Value{}, c.misfit("is missing in the source, and the column is NOT NULL")
	case Null:
		if c.Nullable {
			return v, nil
		}
		return Value{}, c.misfit("is null in the source, and the column is NOT NULL")
	case Other:
		return Value{}, c.misfit("is of type %s in the source, which %s cannot hold", v.s, c.TypeName)
	}
	if c.Type == TextColumn {
		return c.fitText(v)
	}
	return c.fitNumber(v)
}

func (c *Column) fitText(v Value) (Value, error) {
	text := v.String()
	switch {
	case strings.IndexByte(text, 0) >= 0:
		return Value{}, c.misfit("contains a NUL character, which PostgreSQL cannot store")
	case !utf8.ValidString(text):
		return Value{}, c.misfit("is not valid UTF-8")
	case c.MaxLength > 0 && len(text) > c.MaxLength && utf8.RuneCountInString(text) > c.MaxLength:
		return Value{}, c.misfit("has %d characters, %s holds %d", utf8.RuneCountInString(text), c.TypeName, c.MaxLength)
	case c.ASCIIOnly && strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0:
		return Value{}, c.misfit("has characters outside ASCII, and the database's encoding is not UTF-8")
	}
	if v.kind == Text {
		return v, nil
	}
	return TextValue(text), nil
}

func (c *Column) fitNumber(v Value) (Value, error) {
	if v.kind == Text {
		n, ok := ParseNumber(v.s)
		if !ok {
			return Value{}, c.misfit("%s is not a number, and the column is %s", quoted(v.s), c.TypeName)
		}
		v = n
	}
	switch c.Type {
	case IntegerColumn:
		if v.kind == Decimal {
			if strings.IndexByte(v.s, '.') >= 0 {
				return Value{}, c.misfit("%s has a fraction, and the column is %s", shortened(v.s), c.TypeName)
			}
			return Value{}, c.misfit("%s is out of range for %s", shortened(v.s), c.TypeName)
		}
		limit := int64(1)<<(c.Bits-1) - 1
		if v.n > limit || v.n < -limit-1 {
			return Value{}, c.misfit("%d is out of range for %s", v.n, c.TypeName)
		}
		return v, nil
	case DecimalColumn:
		return c.fitDecimal(v)
	default:
		f := v.float()
		if math.IsInf(f, 0) {
			return Value{}, c.misfit("%s is out of range for %s", shortened(v.String()), c.TypeName)
		}
		if c.Bits == 32 {
			if math.IsInf(float64(float32(f)), 0) {
				return Value{}, c.misfit("%s is out of range for %s", shortened(v.String()), c.TypeName)
			}
			return Float32Value(float32(f)), nil
		}
		return shortest(f, 64), nil // as PostgreSQL prints it
	}
}

func (c *Column) fitDecimal(v Value) (Value, error) {
	if c.Precision == 0 {
		return v, nil
	}
	whole, fraction, _ := strings.Cut(strings.TrimLeft(v.String(), "-"), ".")
	if len(fraction) > c.Scale {
		return Value{}, c.misfit("%s has %d digits behind the point, %s keeps %d", shortened(v.String()), len(fraction), c.TypeName, c.Scale)
	}
	// A scale above the precision demands zeros behind the point: numeric(3,5) ends at 0.00999.
	zeros := fraction[:min(len(fraction), max(c.Scale-c.Precision, 0))]
	if whole != "0" && len(whole) > c.Precision-c.Scale || strings.Trim(zeros, "0") != "" {
		return Value{}, c.misfit("%s is out of range for %s", shortened(v.String()), c.TypeName)
	}
	return v, nil
}

func (c *Column) misfit(format string, args ...any) *Misfit {
	return &Misfit{Column: c.Name, Reason: fmt.Sprintf(format, args...)}
}

// quoted and shortened keep a hostile document from filling a report.
func quoted(s string) string { return fmt.Sprintf("%q", shortened(s)) }

func shortened(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
