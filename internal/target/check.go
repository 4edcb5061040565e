package target

import (
	"context"
	"errors"
	"fmt"
	"slices"

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

// Check asks the database about rows that are not there yet, or not so, and returns a
// misfit for each that it would refuse, or take for another one. Nothing is written.
func (t *Target) Check(ctx context.Context, rows []product.Row) (map[product.ID]*product.Misfit, error) {
	misfits := make(map[product.ID]*product.Misfit)
	known := func(r product.Row) bool { return misfits[r.ID] != nil }
	for _, check := range []func(context.Context, []product.Row, map[product.ID]*product.Misfit) error{t.unheld, t.taken, t.violating} {
		if len(rows) == 0 {
			break
		}
		if err := check(ctx, rows, misfits); err != nil {
			return nil, err
		}
		if len(misfits) > 0 {
			rows = slices.DeleteFunc(slices.Clone(rows), known)
		}
	}
	return misfits, nil
}

// violating adds the rows to misfits that violate one of the table's CHECK constraints.
func (t *Target) violating(ctx context.Context, rows []product.Row, misfits map[product.ID]*product.Misfit) error {
	for _, c := range t.shape.checks {
		if err := t.evaluate(ctx, c, rows, misfits); err != nil {
			return fmt.Errorf("evaluate constraint %s of %s: %w", c.name, t.Name(), t.explained(ctx, err))
		}
	}
	return nil
}

// evaluate adds the rows that a constraint refuses to misfits. Where it cannot be
// calculated for a row, that row is found by halving.
func (t *Target) evaluate(ctx context.Context, c check, rows []product.Row, misfits map[product.ID]*product.Misfit) error {
	source, args := rowsAsTable(t.shape.columns(allFields()), rows)
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
