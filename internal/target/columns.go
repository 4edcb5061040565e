package target

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
)

// column is one column of the table as statements name it.
type column struct {
	name     string // quoted
	typeName string // what texts are cast to on their way into it
	field    product.Field
	isID     bool
}

// columns are the id's column and then those of the given fields.
func (s *shape) columns(fields fieldSet) []column {
	columns := []column{{name: s.id, typeName: "text", isID: true}}
	for _, f := range product.CartFields() {
		if c := &s.table.Fields[f]; fields[f] {
			columns = append(columns, column{name: pgx.Identifier{c.Name}.Sanitize(), typeName: castType(c), field: f})
		}
	}
	return columns
}

func allFields() (set fieldSet) {
	for _, f := range product.CartFields() {
		set[f] = true
	}
	return set
}

// castType is what texts are cast to on their way into a column: its type, so that
// constraints are calculated as the table does it, but without a length or scale: a
// cast to varchar(10) would cut a text silently, where such a column refuses it.
func castType(c *product.Column) string {
	switch c.Type {
	case product.IntegerColumn:
		return map[int]string{16: "smallint", 32: "integer", 64: "bigint"}[c.Bits]
	case product.FloatColumn:
		return map[int]string{32: "real", 64: "double precision"}[c.Bits]
	case product.DecimalColumn:
		return "numeric"
	default:
		return "text"
	}
}

// of is what the row has in the column.
func (c column) of(row *product.Row) product.Value {
	if c.isID {
		return product.TextValue(string(row.ID))
	}
	return row.Values[c.field]
}

// textOf is a value as PostgreSQL reads it, nil for NULL.
func textOf(v product.Value) *string {
	text, is := plainText(v)
	if !is {
		return nil
	}
	return &text
}

// plainText is the same, and false where it is NULL.
func plainText(v product.Value) (text string, is bool) {
	switch v.Kind() {
	case product.Null, product.Absent:
		return "", false
	case product.Other:
		return strings.Trim(v.String(), "<>"), true // a number that is longer than any of the source, which a row may hold
	}
	return v.String(), true
}

// plainName is the column's name without quotes.
func (c column) plainName(s *shape) string {
	if c.isID {
		return s.table.ID.Name
	}
	return s.table.Fields[c.field].Name
}

// givenTable is a table of texts that a statement is given, one bound array a column.
type givenTable struct {
	names, arrays []string
	args          []any
}

// add appends a column of n values and returns how the statement calls it.
func (g *givenTable) add(n int, value func(i int) product.Value) string {
	texts := make([]*string, n)
	for i := range texts {
		texts[i] = textOf(value(i))
	}
	g.args = append(g.args, texts)
	number := strconv.Itoa(len(g.args))
	g.names = append(g.names, "c"+number)
	g.arrays = append(g.arrays, "$"+number+"::text[]")
	return "given.c" + number
}

func (g *givenTable) from() string {
	return "unnest(" + strings.Join(g.arrays, ", ") + ") AS given(" + strings.Join(g.names, ", ") + ")"
}

// rowsAsTable is a SELECT of rows as the table would hold them in these columns.
func rowsAsTable(columns []column, rows []product.Row) (query string, args []any) {
	var given givenTable
	selected := make([]string, len(columns))
	for i, c := range columns {
		text := given.add(len(rows), func(i int) product.Value { return c.of(&rows[i]) })
		selected[i] = fmt.Sprintf("%s::%s AS %s", text, c.typeName, c.name)
	}
	return "SELECT " + strings.Join(selected, ", ") + " FROM " + given.from(), given.args
}
