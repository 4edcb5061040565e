package product

import (
	"errors"
	"fmt"
	"strconv"
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
	TextColumn                          // text, varchar, varchar(n), char(n), citext
)

// Column is what the cart's table says of one of its columns.
type Column struct {
	Name       string
	Type       ColumnType
	TypeName   string // as PostgreSQL prints it, for messages
	Bits       int    // IntegerColumn: 16, 32 or 64; FloatColumn: 32 or 64
	Precision  int    // DecimalColumn: total digits, 0 is unlimited
	Scale      int    // DecimalColumn: digits behind the point, used with Precision; negative rounds before it
	MaxLength  int    // TextColumn: characters (code points), 0 is unlimited
	Nullable   bool
	HasDefault bool
	// Padded: blanks at a text's end are padding and mean nothing (char(n)).
	Padded bool
	// CountsBytes: a byte counts as a character (a database of encoding SQL_ASCII).
	CountsBytes bool
	// Literals: "0x1F" and "1_000" are numbers too (since PostgreSQL 16).
	Literals bool
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
	switch stored, err := t.ID.Fit(TextValue(string(p.ID()))); {
	case err != nil:
		return Row{}, err
	case stored.s != string(p.ID()):
		return Row{}, t.ID.misfit("the cart would store the id as %s: %s keeps no blanks at its end", quoted(stored.s), t.ID.TypeName)
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

// Fit returns v as the column would store it, or a *Misfit: what becomes of it on its
// way through a JSON event and the cart's statement into the column. A direct write
// stores the same.
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
	case Null, NotFinite: // JSON has no number for the latter, and JavaScript writes null
		if c.Nullable {
			return NullValue(), nil
		}
		if v.kind == NotFinite {
			return Value{}, c.misfit("is %s in the source, which JSON writes as null, and the column is NOT NULL", v)
		}
		return Value{}, c.misfit("is null in the source, and the column is NOT NULL")
	case Other:
		return Value{}, c.misfit("is of type %s in the source, which %s cannot hold", v.s, c.TypeName)
	case Integer, Decimal:
		heard := v.throughJSON()
		if heard.kind == NotFinite {
			return Value{}, c.outOfRange(v.String())
		}
		v = heard
	}
	if c.Type == TextColumn {
		return c.fitText(v)
	}
	return c.fitNumber(v)
}

func (c *Column) fitText(v Value) (Value, error) {
	text := v.String()
	if v.IsNumber() {
		text = v.javaScript()
	}
	switch {
	case strings.IndexByte(text, 0) >= 0:
		return Value{}, c.misfit("contains a NUL character, which PostgreSQL cannot store")
	case !utf8.ValidString(text):
		return Value{}, c.misfit("is not valid UTF-8")
	}
	if c.Padded {
		text = strings.TrimRight(text, " ")
	}
	if c.MaxLength > 0 && len(text) > c.MaxLength {
		end, characters := c.end(text)
		if strings.Trim(text[end:], " ") != "" {
			return Value{}, c.misfit("has %d characters, %s holds %d", characters, c.TypeName, c.MaxLength)
		}
		text = text[:end] // PostgreSQL cuts what is too long by nothing but blanks
	}
	if v.kind == Text && len(text) == len(v.s) {
		return v, nil
	}
	return TextValue(text), nil
}

// end is where the longest text that the column holds ends, in bytes, and how many
// characters there are in all.
func (c *Column) end(text string) (end, characters int) {
	if c.CountsBytes {
		return min(c.MaxLength, len(text)), len(text)
	}
	end = len(text)
	for i := range text {
		if characters == c.MaxLength {
			end = i
		}
		characters++
	}
	return end, characters
}

func (c *Column) fitNumber(v Value) (Value, error) {
	switch {
	case v.kind == Boolean:
		return Value{}, c.misfit("is %s in the source, and the column is %s", v, c.TypeName)
	case v.kind == Text && c.Type == FloatColumn:
		return c.fitFloat(v.s)
	case c.Type == FloatColumn:
		return c.fitFloat(v.String())
	case v.kind == Text:
		n, ok := c.parse(v.s)
		if !ok {
			return Value{}, c.misread(v.s)
		}
		v = n
	}
	if c.Type == DecimalColumn {
		return c.fitDecimal(v)
	}
	return c.fitInteger(v)
}

func (c *Column) fitInteger(v Value) (Value, error) {
	if v.kind == Decimal && strings.IndexByte(v.s, '.') >= 0 {
		return Value{}, c.misfit("%s has a fraction, and the column is %s", shortened(v.s), c.TypeName)
	}
	limit := int64(1)<<(c.Bits-1) - 1
	if v.kind == Decimal || v.n > limit || v.n < -limit-1 {
		return Value{}, c.outOfRange(v.String())
	}
	return v, nil
}

// fitDecimal rounds to the column's scale, as PostgreSQL does.
func (c *Column) fitDecimal(v Value) (Value, error) {
	if c.Precision == 0 {
		return v, nil
	}
	if v.kind == NotFinite {
		if v.s != "NaN" {
			return Value{}, c.outOfRange(v.s)
		}
		return v, nil
	}
	stored := v.rounded(c.Scale)
	if _, digits, point := stored.decimal(); digits != "" && point > c.Precision-c.Scale {
		return Value{}, c.outOfRange(v.String())
	}
	return stored, nil
}

// fitFloat rounds to what the column keeps, as PostgreSQL reads and writes it.
func (c *Column) fitFloat(text string) (Value, error) {
	f, err := parseFloat(text, c.Bits)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return Value{}, c.outOfRange(text)
	case err != nil:
		return Value{}, c.misread(text)
	}
	return shortest(f, c.Bits), nil
}

func (c *Column) misfit(format string, args ...any) *Misfit {
	return &Misfit{Column: c.Name, Reason: fmt.Sprintf(format, args...)}
}

func (c *Column) outOfRange(number string) *Misfit {
	return c.misfit("%s is out of range for %s", shortened(number), c.TypeName)
}

// misread is the misfit of a text that the column does not take for a number.
func (c *Column) misread(text string) *Misfit {
	if n, ok := ParseNumber(strings.Trim(text, blanks)); ok && c.Type == IntegerColumn {
		if n.kind == Decimal && strings.IndexByte(n.s, '.') >= 0 {
			return c.misfit("%s has a fraction, and the column is %s", quoted(text), c.TypeName)
		}
		return c.misfit("%s is not written as a whole number, and the column is %s", quoted(text), c.TypeName)
	}
	return c.misfit("%s is not a number, and the column is %s", quoted(text), c.TypeName)
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
