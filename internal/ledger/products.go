package ledger

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

const outcomeColumns = `run::text, at, product, kind, state, column_name, reason, fields`

func scanOutcome(row pgx.CollectableRow) (o run.PastOutcome, err error) {
	var fields []byte
	if err := row.Scan(&o.Run, &o.At, &o.ID, &o.Kind, &o.State, &o.Column, &o.Reason, &fields); err != nil {
		return o, err
	}
	o.At, o.Remedy = o.At.UTC(), o.State.Remedy()
	if fields != nil {
		err = json.Unmarshal(fields, &o.Fields)
	}
	return o, err
}

const listOutcomes = `
SELECT ` + outcomeColumns + ` FROM etl.outcome
WHERE run = @run AND (product, kind) > (@after, @after_kind)
	AND (@state::text[] IS NULL OR state = ANY(@state))
	AND (@kind::text[] IS NULL OR kind = ANY(@kind))
ORDER BY product, kind LIMIT @limit`

// Outcomes returns a page of what became of products in a run. An After that is no
// page's Next is run.ErrCursor.
func (l *Ledger) Outcomes(ctx context.Context, id string, f run.OutcomeFilter) (run.OutcomePage, error) {
	page := run.OutcomePage{}
	record, err := l.Run(ctx, id)
	if err != nil {
		return page, err
	}
	limit := pageLimit(f.Limit)
	args := pgx.NamedArgs{"run": record.ID, "after": "", "after_kind": "", "state": texts(f.State), "kind": texts(f.Kind), "limit": limit + 1}
	if f.After != "" {
		if args["after_kind"], args["after"], err = parseCursor(f.After); err != nil {
			return page, err
		}
	}
	all, err := retried(ctx, l, "list the products of run "+record.ID, func() ([]run.PastOutcome, error) {
		return collect(ctx, l.pool, scanOutcome, listOutcomes, args)
	})
	if len(all) > limit {
		all = all[:limit]
		last := &all[limit-1]
		page.Next = cursor(string(last.Kind), string(last.ID))
	}
	page.Outcomes = make([]run.Outcome, len(all))
	for i := range all {
		page.Outcomes[i] = all[i].Outcome
	}
	return page, err
}

// Findings returns the products that a run found missing and left alone. They are
// not complete where there were more than the ledger keeps.
func (l *Ledger) Findings(ctx context.Context, id string) (ids []product.ID, complete bool, err error) {
	type findings struct {
		Complete bool
		IDs      []product.ID
	}
	const find = `
SELECT dropped_missing = 0, ARRAY(SELECT product FROM etl.outcome WHERE run = r.id AND state = 'found' AND kind = 'missing' ORDER BY product)
FROM etl.run r WHERE id = @id AND pipeline = @pipeline`
	found, err := retried(ctx, l, "read what run "+id+" found", func() (*findings, error) {
		return first(ctx, l.pool, pgx.RowToStructByPos[findings], find, pgx.NamedArgs{"id": parseID(id), "pipeline": l.pipeline})
	})
	if err != nil {
		return nil, false, err
	}
	if found == nil {
		return nil, false, run.ErrNotFound
	}
	return found.IDs, found.Complete, nil
}

const listHistory = `
SELECT ` + outcomeColumns + ` FROM etl.outcome o
WHERE product = @product AND EXISTS (SELECT FROM etl.run WHERE id = o.run AND pipeline = @pipeline)
ORDER BY at DESC, run DESC, kind LIMIT @limit`

// History returns what became of one product in the runs that the ledger knows, the
// latest first, at most limit many.
func (l *Ledger) History(ctx context.Context, id product.ID, limit int) ([]run.PastOutcome, error) {
	return retried(ctx, l, "read the history of a product", func() ([]run.PastOutcome, error) {
		return collect(ctx, l.pool, scanOutcome, listHistory, pgx.NamedArgs{"product": stored(id), "pipeline": l.pipeline, "limit": pageLimit(limit)})
	})
}
