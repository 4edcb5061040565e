package ledger

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/text"
)

// wasOpen is true of a difference d that was open when the run ended, or is now where
// it goes on. A run that never began met none.
const wasOpen = `(@began AND d.opened_at <= coalesce(@ended, now()) AND (d.closed_at IS NULL OR d.closed_at > coalesce(@ended, now())))`

// otherwiseTold is true of a difference d of which the run tells another state, which
// another run has changed since.
const otherwiseTold = `coalesce((SELECT o.state <> d.state FROM ` + outcomeTable + ` o WHERE o.run = @run AND o.product = d.product AND o.kind = d.kind), false)`

// picked is true of a d that the filter picks, and that is behind the page's begin.
const picked = `(product, kind) > (@after, @after_kind) AND state = ANY(@states) AND kind = ANY(@kinds)`

// openInWhole are the first differences that were open in a run over the whole
// catalogue. Each state and kind is an ordered part of an index, so that rare ones
// are found as fast as others.
const openInWhole = `
SELECT part.product, part.kind FROM unnest(@states::text[]) AS s (state), unnest(@kinds::text[]) AS k (kind), LATERAL (
	SELECT d.product, d.kind FROM ` + differenceTable + ` d
	WHERE d.pipeline = @pipeline AND d.state = s.state AND d.kind = k.kind
		AND d.product >= @after AND (d.product, d.kind) > (@after, @after_kind) AND ` + wasOpen + ` AND NOT ` + otherwiseTold + `
	ORDER BY d.product LIMIT @limit) AS part`

// openInPart are those that were open in a run over some products: it changed or
// opened them, or they were named.
const openInPart = `
(SELECT d.product, d.kind FROM ` + differenceTable + ` d
	WHERE d.changed_by = @run AND d.pipeline = @pipeline AND ` + picked + ` AND ` + wasOpen + ` AND NOT ` + otherwiseTold + `
	ORDER BY d.product, d.kind LIMIT @limit)
UNION
(SELECT d.product, d.kind FROM ` + differenceTable + ` d
	WHERE d.opened_by = @run AND d.opened_by <> d.changed_by AND d.pipeline = @pipeline AND ` + picked + ` AND ` + wasOpen + ` AND NOT ` + otherwiseTold + `
	ORDER BY d.product, d.kind LIMIT @limit)
UNION
(SELECT d.product, d.kind FROM ` + differenceTable + ` d
	WHERE d.pipeline = @pipeline AND d.product = ANY(@named) AND ` + picked + ` AND ` + wasOpen + ` AND NOT ` + otherwiseTold + `
	ORDER BY d.product, d.kind LIMIT @limit)`

// listOutcomes are a run's outcomes together with what was open, in the run's own
// words where it has some.
func listOutcomes(open string) string {
	return `
WITH open AS (SELECT product, kind FROM (` + open + `) AS o ORDER BY product, kind LIMIT @limit)
SELECT DISTINCT ON (product, kind) ` + outcomeColumns + ` FROM (
	(SELECT 0 AS rank, run, at, product, title, kind, state, attempts, column_name, reason, fields FROM ` + outcomeTable + `
		WHERE run = @run AND ` + picked + ` ORDER BY product, kind LIMIT @limit)
	UNION ALL
	SELECT 1, changed_by, changed_at, product, title, kind, state, CASE WHEN acted_by = @run THEN attempts ELSE 0 END, column_name, reason, fields
		FROM open JOIN ` + differenceTable + ` USING (product, kind) WHERE pipeline = @pipeline) AS p
ORDER BY product, kind, rank LIMIT @limit`
}

const outcomeColumns = `run::text, at, product, title, kind, state, attempts, column_name, reason, fields`

func scanOutcome(row pgx.CollectableRow) (o run.PastOutcome, err error) {
	var reason, fields []byte
	if err := row.Scan(&o.Run, &o.At, &o.ID, &o.Title, &o.Kind, &o.State, &o.Attempts, &o.Column, &reason, &fields); err != nil {
		return o, err
	}
	o.At = o.At.UTC()
	if o.Run == nobody {
		o.Run = ""
	}
	if err := json.Unmarshal(reason, &o.Reason); err != nil || fields == nil {
		return o, err
	}
	return o, json.Unmarshal(fields, &o.Fields)
}

// scope are the arguments that say what was open in a run.
func (l *Ledger) scope(record *run.Record) pgx.NamedArgs {
	args := pgx.NamedArgs{"run": record.ID, "pipeline": l.pipeline, "began": !record.Started.IsZero(), "ended": (*time.Time)(nil),
		"whole": whole(&record.Request), "named": storedAll(record.Request.IDs)}
	if !record.Finished.IsZero() {
		args["ended"] = &record.Finished
	}
	return args
}

// Outcomes returns a page of what became of products in a run, by product and kind:
// what the run did, and what else was open when it ended, or is now where it goes on.
// For a run over the whole catalogue that is every open difference of the pipeline;
// for one over some products those that it named, opened, or was the last to change.
// A difference that a later run has changed is told as it is known by now, and one
// that a run over some products did not name is then not among its own any more. An
// After that is no page's Next is run.ErrCursor.
func (l *Ledger) Outcomes(ctx context.Context, id string, f run.OutcomeFilter) (run.OutcomePage, error) {
	page := run.OutcomePage{}
	record, err := l.Run(ctx, id)
	if err != nil {
		return page, err
	}
	limit := pageLimit(f.Limit)
	args := l.scope(&record)
	args["after"], args["after_kind"], args["limit"] = "", "", limit+1
	args["states"], args["kinds"] = orAll(f.State, run.StateNames()), orAll(f.Kind, product.Kinds())
	if f.After != "" {
		if args["after_kind"], args["after"], err = parseCursor(f.After); err != nil {
			return page, err
		}
	}
	list := listOutcomes(openInPart)
	if whole(&record.Request) {
		list = listOutcomes(openInWhole)
	}
	all, err := retried(ctx, l, "list the products of run "+record.ID, func() ([]run.PastOutcome, error) {
		return collect(ctx, l.pool, scanOutcome, list, args)
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

// Findings returns the differences of some kinds that were open in a run and can be
// repaired, as Outcomes tells them, ordered by id and kind. They are not complete where
// the run found more than the ledger keeps.
func (l *Ledger) Findings(ctx context.Context, id string, kinds run.Kinds) (keys []run.Key, complete bool, err error) {
	record, err := l.Run(ctx, id)
	if err != nil {
		return nil, false, err
	}
	const find = `
SELECT d.product, d.kind FROM ` + differenceTable + ` d
WHERE d.pipeline = @pipeline AND d.kind = ANY(@kinds) AND d.state <> @blocked AND ` + wasOpen + `
	AND (@whole OR d.changed_by = @run OR d.opened_by = @run OR d.product = ANY(@named))
ORDER BY d.product, d.kind`
	const whether = `SELECT dropped = 0 FROM ` + runTable + ` WHERE id = @run`
	args := l.scope(&record)
	args["kinds"], args["blocked"] = texts(kinds), string(run.Blocked)
	keys, err = retried(ctx, l, "read what run "+id+" found", func() (keys []run.Key, err error) {
		if err := l.pool.QueryRow(ctx, whether, args).Scan(&complete); err != nil {
			return nil, err
		}
		return collect(ctx, l.pool, scanKey, find, args)
	})
	return keys, complete, err
}

// orAll are the chosen ones as texts, all where none is chosen.
func orAll[T ~string](chosen, all []T) []string {
	if len(chosen) == 0 {
		chosen = all
	}
	names := make([]string, len(chosen))
	for i, c := range chosen {
		names[i] = text.Stored(string(c))
	}
	return names
}

// listHistory has outcomes of runs, and what is known of differences beside: that one
// was opened, changed, closed, by runs that have no outcome of it.
var listHistory = strings.NewReplacer("{outcome}", outcomeTable, "{difference}", differenceTable, "{run}", runTable, "{columns}", outcomeColumns).Replace(`
SELECT {columns} FROM (
	SELECT run, at, product, title, kind, state, attempts, column_name, reason, fields FROM {outcome} o
	WHERE product = @product AND EXISTS (SELECT FROM {run} WHERE id = o.run AND pipeline = @pipeline)
	UNION ALL
	SELECT e.run, e.at, d.product, d.title, d.kind, e.state, CASE WHEN d.acted_by = e.run THEN d.attempts ELSE 0 END, e.column_name, e.reason, e.fields
	FROM {difference} d, LATERAL (VALUES
		(CASE WHEN d.opened_by <> d.changed_by THEN d.opened_by END, d.opened_at, @found, '', '{}'::jsonb, NULL::json),
		(d.changed_by, d.changed_at, d.state, d.column_name, d.reason, d.fields),
		(d.closed_by, d.closed_at, CASE WHEN d.acted_by = d.closed_by THEN @verified ELSE @gone END, '', '{}'::jsonb, NULL::json)
	) AS e (run, at, state, column_name, reason, fields)
	WHERE d.pipeline = @pipeline AND d.product = @product AND e.run IS NOT NULL
		AND NOT EXISTS (SELECT FROM {outcome} o WHERE o.run = e.run AND o.product = d.product AND o.kind = d.kind)
) AS past
ORDER BY at DESC, run DESC, kind LIMIT @limit`)

// History returns what is known of one product's past, the latest first, at most
// limit many: what runs did, and when its differences were opened, last changed, and
// closed without a repair.
func (l *Ledger) History(ctx context.Context, id product.ID, limit int) ([]run.PastOutcome, error) {
	args := pgx.NamedArgs{"product": stored(id), "pipeline": l.pipeline, "limit": pageLimit(limit),
		"found": string(run.Found), "gone": string(run.Gone), "verified": string(run.Verified)}
	return retried(ctx, l, "read the history of a product", func() ([]run.PastOutcome, error) {
		return collect(ctx, l.pool, scanOutcome, listHistory, args)
	})
}
