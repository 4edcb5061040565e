package target

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ecom-micro/etl/internal/product"
)

// Unchecked names what of the table only the database itself can judge when a
// difference of these kinds is repaired. An event that is refused kills the cart's
// consumer, so a replay is not safe where there is anything.
func (t *Target) Unchecked(kinds []product.Kind) []string {
	var names []string
	for _, o := range t.shape.obstacles {
		if slices.ContainsFunc(kinds, func(k product.Kind) bool { return slices.Contains(o.kinds, k) }) && !slices.Contains(names, o.name) {
			names = append(names, o.name)
		}
	}
	return names
}

// Checked names what of the table is judged before a row is made.
func (t *Target) Checked() []string {
	var names []string
	for _, k := range t.shape.checks {
		if !slices.Contains(names, k.name) {
			names = append(names, k.name)
		}
	}
	return names
}

// Check asks the database about rows that are not there yet, or not so, and returns a
// misfit for each that it would refuse, or take for another one. Nothing is written.
func (t *Target) Check(ctx context.Context, rows []product.Row) (map[product.ID]*product.Misfit, error) {
	misfits := make(map[product.ID]*product.Misfit)
	known := func(r product.Row) bool { return misfits[r.ID] != nil }
	for _, check := range []func(context.Context, []product.Row, map[product.ID]*product.Misfit) error{t.unheld, t.taken, t.oversized, t.violating} {
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

// violating adds the rows to misfits that the table's checks refuse.
func (t *Target) violating(ctx context.Context, rows []product.Row, misfits map[product.ID]*product.Misfit) error {
	if len(t.shape.checks) == 0 {
		return nil
	}
	for fields, group := range grouped(rows, func(r product.Row) fieldSet { return filledFields(&r) }) {
		if err := t.judge(ctx, fields, group, t.shape.checks, misfits); err != nil {
			return fmt.Errorf("evaluate the constraints of %s: %w", t.Name(), t.explained(ctx, err))
		}
	}
	return nil
}

// judge adds the rows to misfits that checks refuse. Where something cannot be calculated
// for a row, that row is found by halving, and then what it is.
func (t *Target) judge(ctx context.Context, fields fieldSet, rows []product.Row, checks []check, misfits map[product.ID]*product.Misfit) error {
	failures, err := t.failures(ctx, fields, rows, checks)
	var refused *pgconn.PgError
	switch {
	case err == nil:
	case !errors.As(err, &refused) || !isRowsFault(refused):
		return err
	case len(rows) > 1:
		half := len(rows) / 2
		if err := t.judge(ctx, fields, rows[:half], checks, misfits); err != nil {
			return err
		}
		return t.judge(ctx, fields, rows[half:], checks, misfits)
	case len(checks) > 1:
		half := len(checks) / 2
		if err := t.judge(ctx, fields, rows, checks[:half], misfits); err != nil || misfits[rows[0].ID] != nil {
			return err
		}
		return t.judge(ctx, fields, rows, checks[half:], misfits)
	default:
		misfits[rows[0].ID] = &product.Misfit{Column: checks[0].column, Reason: checks[0].rule + " fails: " + refused.Message}
	}
	for _, f := range failures {
		k := &checks[f.Check]
		misfits[product.ID(f.ID)] = &product.Misfit{Column: k.column, Reason: "the row violates " + k.rule}
	}
	return nil
}

// failure is a row and the first check, by its number, that it fails.
type failure struct {
	ID    string
	Check int
}

func (t *Target) failures(ctx context.Context, fields fieldSet, rows []product.Row, checks []check) ([]failure, error) {
	query, args := t.shape.judgement(fields, rows, checks)
	return retried(ctx, func() ([]failure, error) {
		result, err := t.pool.Query(ctx, query, args...)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(result, pgx.RowToStructByPos[failure])
	})
}

// judgement is a SELECT of the rows that are refused, each by its id with the number of
// the first of checks that it fails. The expressions come from the catalogue, the values
// are bound. That CASE stops at the first is why a row is not asked what only holds for
// another partition.
func (s *shape) judgement(fields fieldSet, rows []product.Row, checks []check) (query string, args []any) {
	candidates, args := s.candidates(fields, rows)
	var arms []string
	for begun := 0; begun < len(checks); {
		scope := checks[begun].scope
		var arm strings.Builder
		for ; begun < len(checks) && checks[begun].scope == scope; begun++ {
			arm.WriteString(" WHEN NOT (" + checks[begun].expression.text + ") THEN " + strconv.Itoa(begun))
		}
		arms = append(arms, "CASE WHEN ("+scope+") THEN CASE"+arm.String()+" END END")
	}
	return "SELECT id, failed FROM (SELECT candidate." + s.id + "::text AS id, coalesce(" + strings.Join(arms, ", ") + ") AS failed FROM (" + candidates + ") AS candidate) AS judged WHERE failed IS NOT NULL", args
}

// maxEntry is the size of an entry that fits into any B-tree, in bytes: a third of a page,
// 2,704, less its header.
const maxEntry = 2600

// measure is a B-tree over texts of a product.
type measure struct {
	name   string
	column string // what a misfit names
	fields []product.Field
	id     bool
}

// oversized adds the rows to misfits whose texts are too long for an index. That one may
// fit where PostgreSQL can make it shorter is not relied upon.
func (t *Target) oversized(_ context.Context, rows []product.Row, misfits map[product.ID]*product.Misfit) error {
	for _, m := range t.shape.measures {
		for i := range rows {
			size := 0
			for _, f := range m.fields {
				size += len(rows[i].Values[f].String())
			}
			if m.id {
				size += len(rows[i].ID)
			}
			if size > maxEntry {
				misfits[rows[i].ID] = &product.Misfit{Column: m.column, Reason: fmt.Sprintf("has %d bytes, and the index %s holds %d", size, m.name, maxEntry)}
			}
		}
	}
	return nil
}
