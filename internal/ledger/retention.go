package ledger

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

const (
	retentionInterval = 5 * time.Minute // it counts what is kept each time
	// batchTimeout is how long one batch may take. Whatever it meets, nobody waits for it.
	batchTimeout = 30 * time.Second
	// What one short transaction removes at most.
	forgottenRows = 5000
	forgottenRuns = 100
)

// Retain forgets what is old and what is too much, now and every few minutes, until
// ctx ends. It is a loop of its own, so that whoever looks for runs never waits for it.
func (l *Ledger) Retain(ctx context.Context, log *slog.Logger) {
	const longest = time.Hour // then what is old is measured anew
	for failing := false; ctx.Err() == nil; {
		removed, err := l.Forget(ctx, longest)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			log.Warn("cannot remove what is old from the ledger, trying again and again", "err", err)
		case err == nil && failing:
			log.Info("can remove what is old from the ledger again")
		}
		failing = err != nil
		if removed > 0 {
			log.Info("old rows of the ledger are removed", "rows", removed, "retention", l.retention, "maxRows", l.maxRows)
		}
		rest(ctx, retentionInterval)
	}
}

// Forget removes finished runs with their outcomes, closed differences, comparisons, health
// checks and actions that are older than the retention, or the oldest of what is more than
// the ledger is to keep, and returns how many rows those were. It goes on until none is
// left or the time is over, batch by batch, and rests for as long as each batch took.
func (l *Ledger) Forget(ctx context.Context, atMost time.Duration) (removed int64, err error) {
	end := time.Now().Add(atMost)
	horizon, err := l.horizon(ctx)
	if err != nil {
		return 0, err
	}
	for _, forget := range []func(context.Context, time.Time) (int64, bool, error){
		l.forgetRuns, l.forgetting(closedBefore), l.forgetting(lookedBefore), l.forgetting(checkedBefore), l.forgetting(sampledBefore), l.forgetting(noticedBefore), l.forgetting(actedBefore),
	} {
		for more := true; more && time.Now().Before(end); {
			begun := time.Now()
			n, left, err := forget(ctx, horizon)
			if err != nil {
				return removed, err
			}
			removed += n
			if more = left; more {
				rest(ctx, time.Since(begun))
			}
		}
	}
	return removed, nil
}

// rest waits, or until ctx ends.
func rest(ctx context.Context, pause time.Duration) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

// What counts against the bound: finished runs, their outcomes, closed differences. Open
// differences and what active runs need have bounds of their own.
const (
	countKept = `
SELECT (SELECT coalesce(sum(1 + kept), 0) FROM ` + runTable + ` WHERE pipeline = @pipeline AND finished_at IS NOT NULL)::bigint
	+ (SELECT count(*) FROM ` + differenceTable + ` WHERE pipeline = @pipeline AND closed_at IS NOT NULL)`
	// The newest of it stays in any case.
	bounded = `
SELECT coalesce(min(at) FILTER (WHERE total <= @most), max(at)) FROM (
	SELECT at, sum(rows) OVER (ORDER BY at DESC) AS total FROM (
		SELECT finished_at AS at, 1 + kept AS rows FROM ` + runTable + ` WHERE pipeline = @pipeline AND finished_at IS NOT NULL
		UNION ALL
		SELECT closed_at, 1 FROM ` + differenceTable + ` WHERE pipeline = @pipeline AND closed_at IS NOT NULL) AS kept) AS counted`
)

// horizon is the time, by the server's clock, before which everything is to go.
func (l *Ledger) horizon(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	args := pgx.NamedArgs{"pipeline": l.pipeline, "retention": l.retention, "most": l.maxRows}
	return retried(ctx, l, "measure the ledger", func() (horizon time.Time, err error) {
		if err := l.pool.QueryRow(ctx, `SELECT now() - @retention::interval`, args).Scan(&horizon); err != nil {
			return horizon, err
		}
		var kept int64
		if err := l.pool.QueryRow(ctx, countKept, args).Scan(&kept); err != nil || kept <= l.maxRows {
			return horizon, err
		}
		var full *time.Time // what was counted may be gone by now
		if err := l.pool.QueryRow(ctx, bounded, args).Scan(&full); err != nil || full == nil || full.Before(horizon) {
			return horizon, err
		}
		return *full, nil
	})
}

// The outcomes of a run go before it, so that none is left behind whatever happens.
// Another replica that does the same takes other runs. Outcomes are taken in the order of
// their index, without which the planner may read the whole table for each batch.
const (
	finishedBefore = `
SELECT id FROM ` + runTable + ` WHERE pipeline = @pipeline AND finished_at < @horizon
ORDER BY finished_at LIMIT @runs FOR UPDATE SKIP LOCKED`
	removeOutcomes = `
DELETE FROM ` + outcomeTable + ` WHERE ctid = ANY(ARRAY(
	SELECT o.ctid FROM unnest(@old::uuid[]) AS r (id), LATERAL (
		SELECT ctid FROM ` + outcomeTable + ` WHERE run = r.id ORDER BY product, kind LIMIT @rows) AS o LIMIT @rows))`
	removeRuns = `
DELETE FROM ` + runTable + ` r WHERE id = ANY(@old::uuid[]) AND (
	SELECT true FROM ` + outcomeTable + ` WHERE run = r.id ORDER BY product, kind LIMIT 1) IS NULL`
)

// forgetRuns removes a batch of outcomes of old runs, and those of the runs that have
// none left.
func (l *Ledger) forgetRuns(ctx context.Context, horizon time.Time) (removed int64, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	args := pgx.NamedArgs{"pipeline": l.pipeline, "horizon": horizon, "runs": forgottenRuns, "rows": forgottenRows}
	removed, err = retried(ctx, l, "remove old runs", func() (removed int64, err error) {
		err = l.inTx(ctx, func(tx pgx.Tx) error {
			old, err := collect(ctx, tx, pgx.RowTo[pgtype.UUID], finishedBefore, args)
			if err != nil || len(old) == 0 {
				return err
			}
			args["old"] = old
			outcomes, err := tx.Exec(ctx, removeOutcomes, args)
			if err != nil {
				return err
			}
			runs, err := tx.Exec(ctx, removeRuns, args)
			removed = outcomes.RowsAffected() + runs.RowsAffected()
			more = len(old) == forgottenRuns || outcomes.RowsAffected() == forgottenRows
			return err
		})
		return removed, err
	})
	return removed, more, err
}

// removeBefore removes a batch of a table's rows by a time that they have.
func removeBefore(table, at string) string {
	return `
DELETE FROM ` + table + ` WHERE ctid = ANY(ARRAY(
	SELECT ctid FROM ` + table + ` WHERE pipeline = @pipeline AND ` + at + ` < @horizon
	ORDER BY ` + at + ` LIMIT @rows FOR UPDATE SKIP LOCKED))`
}

var (
	closedBefore  = removeBefore(differenceTable, "closed_at")
	checkedBefore = removeBefore(healthTable, "at")
	sampledBefore = removeBefore(sampleTable, "at")
	noticedBefore = removeBefore(noticeTable, "at")
	actedBefore   = removeBefore(actionTable, "at")
)

// The last comparison stays: the next one is measured by it.
const lookedBefore = `
DELETE FROM ` + lookTable + ` WHERE ctid = ANY(ARRAY(
	SELECT ctid FROM ` + lookTable + ` WHERE pipeline = @pipeline AND began < @horizon
		AND began < (SELECT max(began) FROM ` + lookTable + ` WHERE pipeline = @pipeline)
	ORDER BY began LIMIT @rows FOR UPDATE SKIP LOCKED))`

// forgetting removes a batch by one statement.
func (l *Ledger) forgetting(remove string) func(context.Context, time.Time) (int64, bool, error) {
	return func(ctx context.Context, horizon time.Time) (int64, bool, error) {
		ctx, cancel := context.WithTimeout(ctx, batchTimeout)
		defer cancel()
		args := pgx.NamedArgs{"pipeline": l.pipeline, "horizon": horizon, "rows": forgottenRows}
		removed, err := retried(ctx, l, "remove what is old", func() (int64, error) {
			tag, err := l.pool.Exec(ctx, remove, args)
			return tag.RowsAffected(), err
		})
		return removed, removed == forgottenRows, err
	}
}
