package target

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ecom-micro/etl/internal/product"
)

// Writer repairs directly: it inserts rows that the cart is missing.
type Writer struct {
	*Target
	batch int
}

// Writer makes a repairer that writes at most batch rows in one transaction. It
// fails where the role may not insert, or where the table wants columns that a
// product does not have.
func (t *Target) Writer(batch int) (*Writer, error) {
	if !t.shape.mayInsert {
		return nil, fmt.Errorf("the role %s may not insert into %s: GRANT INSERT, or repair with --mode replay", t.pool.Config().ConnConfig.User, t.Name())
	}
	if len(t.shape.required) > 0 {
		return nil, fmt.Errorf("%s has columns that a product does not fill: %s; repair with --mode replay", t.Name(), quotedList(t.shape.required))
	}
	return &Writer{Target: t, batch: batch}, nil
}

// Reserve grants a batch at once: writing does not queue behind live traffic.
func (w *Writer) Reserve(_ context.Context, want int) (int, error) { return min(want, w.batch), nil }

// Repair inserts the rows that are still absent, in one short transaction. What a
// live consumer wrote meanwhile is left as it is. A row that the database refuses
// is found by halving the batch; the others go in. There is one result for each
// repair, in their order.
func (w *Writer) Repair(ctx context.Context, _ int, repairs []product.Repair) ([]product.Result, error) {
	results := make([]product.Result, len(repairs))
	rows := make([]product.Row, len(repairs))
	at := make(map[product.ID]int, len(repairs))
	for i := range repairs {
		rows[i] = repairs[i].Row
		at[rows[i].ID] = i
		results[i].ID = rows[i].ID
	}
	report := func(rows []product.Row, err error) {
		for i := range rows {
			r := &results[at[rows[i].ID]]
			r.Acted, r.Err = err == nil, err
		}
	}
	var err error
	for _, group := range byDefaults(rows) {
		if err = w.insertHalving(ctx, group, report); err != nil {
			break
		}
	}
	return results, err
}

// byDefaults groups rows by the columns that they leave to the column's default,
// which are left out of the statement. Nearly always there is one group.
func byDefaults(rows []product.Row) [][]product.Row {
	var groups [][]product.Row
	index := make(map[[product.NumFields]bool]int)
	for _, row := range rows {
		var absent [product.NumFields]bool
		for _, f := range product.CartFields() {
			absent[f] = row.Values[f].Kind() == product.Absent
		}
		i, exists := index[absent]
		if !exists {
			i = len(groups)
			index[absent] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], row)
	}
	return groups
}

// insertHalving inserts rows and reports each as written or as refused. The error
// is one of the service, not of a row. Rows that may be written, because the
// connection was lost before the answer, are then reported as written; what was
// not reported was not written.
func (w *Writer) insertHalving(ctx context.Context, rows []product.Row, report func([]product.Row, error)) error {
	unknown := false
	_, err := retried(ctx, func() (struct{}, error) {
		err := w.write(ctx, rows)
		unknown = unknown || unanswered(err)
		return struct{}{}, err
	})
	var refused *pgconn.PgError
	switch {
	case err == nil:
		report(rows, nil)
		return nil
	case !errors.As(err, &refused) || !isRowsFault(refused):
		if unknown {
			report(rows, nil)
		}
		return fmt.Errorf("write %d rows to %s: %w", len(rows), w.Name(), w.explained(err))
	case len(rows) == 1:
		report(rows, misfitOf(refused))
		return nil
	}
	half := len(rows) / 2
	if err := w.insertHalving(ctx, rows[:half], report); err != nil {
		return err
	}
	return w.insertHalving(ctx, rows[half:], report)
}

// unanswered tells whether a statement was, or may have been, sent and its answer
// never came.
func unanswered(err error) bool {
	return err != nil && !errors.As(err, new(*pgconn.PgError)) && !errors.As(err, new(*pgconn.ConnectError)) && !pgconn.SafeToRetry(err)
}

// isRowsFault tells whether a row's content was refused, by the table or by a
// trigger, which may choose any code. The classes of all other errors say that the
// statement, the right to it or the server is at fault:
// https://www.postgresql.org/docs/15/errcodes-appendix.html
func isRowsFault(e *pgconn.PgError) bool {
	if len(e.Code) < 2 {
		return false
	}
	switch e.Code[:2] {
	case "08", "0A", "25", "26", "28", "2D", "34", "3B", "3D", "3F", "40", "42", "53", "55", "57", "58", "F0", "XX":
		return false
	}
	return true
}

func misfitOf(e *pgconn.PgError) *product.Misfit {
	m := &product.Misfit{Column: e.ColumnName, Reason: e.Message}
	if m.Column == "" {
		m.Column = e.ConstraintName
	}
	if m.Column == "" {
		m.Column = "row"
	}
	return m
}

// write puts rows that leave the same columns to their defaults into the table, all
// or none. COPY is about twice as fast as INSERT (see BenchmarkWrite) and cannot
// pass over a row that a live consumer wrote meanwhile; only then INSERT does it.
func (w *Writer) write(ctx context.Context, rows []product.Row) error {
	var columns []column
	for _, c := range w.shape.columns() {
		if c.isID || rows[0].Values[c.field].Kind() != product.Absent {
			columns = append(columns, c)
		}
	}
	err := w.copy(ctx, rows, columns)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == uniqueViolation {
		return w.insert(ctx, rows, columns)
	}
	return err
}

// uniqueViolation: https://www.postgresql.org/docs/15/errcodes-appendix.html
const uniqueViolation = "23505"

func (w *Writer) copy(ctx context.Context, rows []product.Row, columns []column) error {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.plain
	}
	values := make([]any, len(columns))
	_, err := w.pool.CopyFrom(ctx, pgx.Identifier{w.config.Schema, w.config.Table}, names,
		pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			for j, c := range columns {
				values[j] = c.value(&rows[i])
			}
			return values, nil
		}))
	return err
}

func (w *Writer) insert(ctx context.Context, rows []product.Row, columns []column) error {
	source, args := w.shape.rowsAsTable(rows)
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	list := strings.Join(names, ", ")
	_, err := w.pool.Exec(ctx, "INSERT INTO "+w.identifier()+" ("+list+") SELECT "+list+" FROM ("+source+") AS candidate ON CONFLICT ("+w.shape.id+") DO NOTHING", args...)
	return err
}

// Remove deletes exactly the given rows, each by itself: one that is referenced
// by another table stays and is reported, also where the reference would be
// deleted with it (ON DELETE CASCADE).
func (w *Writer) Remove(ctx context.Context, ids []product.ID) ([]product.Result, error) {
	results := make([]product.Result, len(ids))
	for i, id := range ids {
		results[i].ID = id
		err := w.remove(ctx, id)
		var refused *pgconn.PgError
		var misfit *product.Misfit
		switch {
		case err == nil:
			results[i].Acted = true
		case errors.As(err, &misfit):
			results[i].Err = misfit
		case errors.As(err, &refused) && (refused.Code == foreignKeyViolation || refused.Code == restrictViolation):
			results[i].Err = w.referencedBy(refused.TableName)
		case errors.As(err, &refused):
			results[i].Err = w.explained(err)
		default:
			return results, fmt.Errorf("delete row %q of %s: %w", id, w.Name(), w.explained(err))
		}
	}
	return results, nil
}

const (
	foreignKeyViolation = "23503"
	restrictViolation   = "23001" // of ON DELETE RESTRICT, since PostgreSQL 18
)

func (w *Writer) remove(ctx context.Context, id product.ID) error {
	statement := "DELETE FROM " + w.identifier() + " WHERE " + w.shape.id + " = $1"
	for _, r := range w.shape.references {
		statement += " AND NOT EXISTS (SELECT FROM " + r.name + " WHERE " + r.column + " = $1)"
	}
	tag, err := retried(ctx, func() (pgconn.CommandTag, error) { return w.pool.Exec(ctx, statement, string(id)) })
	if err != nil || tag.RowsAffected() > 0 || len(w.shape.references) == 0 {
		return err
	}
	referenced, err := w.Referenced(ctx, []product.ID{id})
	if err != nil {
		return err
	}
	if table, is := referenced[id]; is {
		return w.referencedBy(table)
	}
	return nil // it was not there
}

func (w *Writer) referencedBy(table string) *product.Misfit {
	return &product.Misfit{Column: w.shape.table.ID.Name, Reason: "is referenced by table " + table}
}
