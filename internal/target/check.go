package target

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ecom-micro/etl/internal/product"
)

// Unchecked lists the constraints and triggers of the table that only the
// database itself can judge. An event for a row that one of them refuses kills
// the cart's consumer, so a replay is not safe where there are any.
func (t *Target) Unchecked() []string {
	names := slices.Clone(t.shape.unchecked)
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
		if err := t.evaluate(ctx, c, rows, misfits); err != nil {
			return nil, fmt.Errorf("evaluate constraint %s of %s: %w", c.name, t.Name(), t.explained(err))
		}
	}
	return misfits, nil
}

// evaluate adds the rows that a constraint refuses to misfits. Where it cannot be
// calculated for a row, that row is found by halving.
func (t *Target) evaluate(ctx context.Context, c check, rows []product.Row, misfits map[product.ID]*product.Misfit) error {
	source, args := t.shape.rowsAsTable(rows)
	// The expression comes from the catalogue (pg_get_expr), the values are bound.
	query := "SELECT " + t.shape.id + "::text FROM (" + source + ") AS candidate WHERE NOT (" + c.expression + ")"
	refused, err := retried(ctx, func() ([]string, error) {
		result, err := t.pool.Query(ctx, query, args...)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(result, pgx.RowTo[string])
	})
	var failed *pgconn.PgError
	switch {
	case err == nil:
	case !errors.As(err, &failed) || !isRowsFault(failed):
		return err
	case len(rows) == 1:
		misfits[rows[0].ID] = &product.Misfit{Column: c.name, Reason: "the check constraint " + c.expression + " fails: " + failed.Message}
	default:
		half := len(rows) / 2
		if err := t.evaluate(ctx, c, rows[:half], misfits); err != nil {
			return err
		}
		return t.evaluate(ctx, c, rows[half:], misfits)
	}
	for _, id := range refused {
		misfits[product.ID(id)] = &product.Misfit{Column: c.name, Reason: "the row violates the check constraint " + c.expression}
	}
	return nil
}

// rowsAsTable is a SELECT of rows as the table would hold them, one bound array of
// texts a column.
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

// column is one column of the table as statements name it.
type column struct {
	name     string // quoted
	plain    string // as it is
	typeName string
	whole    bool // it holds whole numbers
	field    product.Field
	isID     bool
}

func (s *shape) columns() []column {
	columns := []column{{name: s.id, plain: s.table.ID.Name, typeName: "text", isID: true}}
	for _, f := range product.CartFields() {
		c := &s.table.Fields[f]
		columns = append(columns, column{name: pgx.Identifier{c.Name}.Sanitize(), plain: c.Name, typeName: castType(c), whole: c.Type == product.IntegerColumn, field: f})
	}
	return columns
}

// value is the row's value for COPY: a number where the column holds whole
// numbers, else its text, which the driver converts; nil is NULL.
func (c column) value(row *product.Row) any {
	if c.whole {
		if n, ok := row.Values[c.field].Int(); ok {
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
		held, err := retried(ctx, func() ([]string, error) {
			rows, err := t.pool.Query(ctx, "SELECT DISTINCT "+r.column+"::text FROM "+r.name+" WHERE "+r.column+" = ANY($1)", texts)
			if err != nil {
				return nil, err
			}
			return pgx.CollectRows(rows, pgx.RowTo[string])
		})
		if err != nil {
			return nil, fmt.Errorf("look for references from %s: %w", r.name, t.explained(err))
		}
		for _, id := range held {
			referenced[product.ID(id)] = r.name
		}
	}
	return referenced, nil
}
