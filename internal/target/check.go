package target

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
)

// Unchecked lists the constraints and triggers of the table that only the
// database itself can judge. An event for a row that one of them refuses kills
// the cart's consumer, so a replay is not safe where there are any.
func (t *Target) Unchecked() []string {
	names := t.shape.unchecked
	for _, column := range t.shape.required {
		names = append(names, "NOT NULL of "+column)
	}
	return names
}

// Check evaluates the table's CHECK constraints for rows that are not there yet
// and returns a misfit for each row that would be refused. Nothing is written.
func (t *Target) Check(ctx context.Context, rows []product.Row) (map[product.ID]*product.Misfit, error) {
	if len(t.shape.checks) == 0 || len(rows) == 0 {
		return nil, nil
	}
	misfits := make(map[product.ID]*product.Misfit)
	for _, c := range t.shape.checks {
		source, args := t.shape.rowsAsTable(rows)
		// The expression comes from the catalogue (pg_get_expr), the values are bound.
		query := "SELECT id::text FROM (" + source + ") AS candidate WHERE NOT (" + c.expression + ")"
		refused, err := retried(ctx, func() ([]string, error) {
			result, err := t.pool.Query(ctx, query, args...)
			if err != nil {
				return nil, err
			}
			return pgx.CollectRows(result, pgx.RowTo[string])
		})
		if err != nil {
			return nil, fmt.Errorf("evaluate constraint %s of %s: %w", c.name, t.Name(), t.explained(err))
		}
		for _, id := range refused {
			misfits[product.ID(id)] = &product.Misfit{Column: c.name, Reason: "the row violates the check constraint " + c.expression}
		}
	}
	return misfits, nil
}

// rowsAsTable is a SELECT of rows as the table would hold them: its column names
// and (wide) types, one bound array of texts a column.
func (s *shape) rowsAsTable(rows []product.Row) (query string, args []any) {
	columns := s.columns()
	selected := make([]string, len(columns))
	arrays := make([]string, len(columns))
	names := make([]string, len(columns))
	for i, c := range columns {
		values := make([]*string, len(rows))
		for j := range rows {
			values[j] = c.text(&rows[j])
		}
		args = append(args, values)
		names[i] = fmt.Sprintf("c%d", i)
		arrays[i] = fmt.Sprintf("$%d::text[]", i+1)
		selected[i] = fmt.Sprintf("c%d::%s AS %s", i, c.typeName, c.name)
	}
	return "SELECT " + strings.Join(selected, ", ") + " FROM unnest(" + strings.Join(arrays, ", ") + ") AS given(" + strings.Join(names, ", ") + ")", args
}

// wideTypes are what texts are cast to on their way into a column. They have no
// length or scale: a cast to varchar(10) would cut a text silently, where the
// assignment to such a column refuses it.
var wideTypes = map[product.ColumnType]string{
	product.IntegerColumn: "bigint",
	product.DecimalColumn: "numeric",
	product.FloatColumn:   "double precision",
	product.TextColumn:    "text",
}

// column is one column of the table as statements name it.
type column struct {
	name     string // quoted
	plain    string // as it is
	typeName string
	field    product.Field
	isID     bool
}

func (s *shape) columns() []column {
	columns := []column{{name: s.id, plain: s.table.ID.Name, typeName: "text", isID: true}}
	for _, f := range product.CartFields() {
		c := s.table.Fields[f]
		columns = append(columns, column{name: pgx.Identifier{c.Name}.Sanitize(), plain: c.Name, typeName: wideTypes[c.Type], field: f})
	}
	return columns
}

// value is the row's value for COPY: a number where the column holds whole
// numbers, else its text, which the driver converts; nil is NULL.
func (c column) value(row *product.Row) any {
	if !c.isID {
		if n, whole := row.Values[c.field].Int(); whole && c.typeName == wideTypes[product.IntegerColumn] {
			return n
		}
	}
	if text := c.text(row); text != nil {
		return *text
	}
	return nil
}

// text is the row's value as PostgreSQL reads it, nil for NULL.
func (c column) text(row *product.Row) *string {
	text := string(row.ID)
	if !c.isID {
		v := row.Values[c.field]
		if v.Kind() == product.Null || v.Kind() == product.Absent {
			return nil
		}
		text = v.String()
	}
	return &text
}

// Referenced tells which of ids are referenced by other tables' rows, and by
// which table. A row that is referenced cannot be deleted.
func (t *Target) Referenced(ctx context.Context, ids []product.ID) (map[product.ID]string, error) {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = string(id)
	}
	referenced := make(map[product.ID]string)
	for _, r := range t.shape.references {
		rows, err := t.pool.Query(ctx, "SELECT DISTINCT "+r.column+"::text FROM "+r.name+" WHERE "+r.column+" = ANY($1)", texts)
		if err != nil {
			return nil, fmt.Errorf("look for references from %s: %w", r.name, t.explained(err))
		}
		held, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, fmt.Errorf("look for references from %s: %w", r.name, t.explained(err))
		}
		for _, id := range held {
			referenced[product.ID(id)] = r.name
		}
	}
	return referenced, nil
}
