package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/run"
)

// looked keeps a complete comparison, if there is one.
func (l *lease) looked(ctx context.Context, tx pgx.Tx, look *run.Look) error {
	if look == nil {
		return nil
	}
	return exec(ctx, tx, pgx.NamedArgs{"id": l.id, "pipeline": l.ledger.pipeline, "began": look.At, "products": look.Products, "rows": look.Rows}, `
INSERT INTO `+lookTable+` (run, pipeline, began, products, rows) VALUES (@id, @pipeline, @began, @products, @rows)
ON CONFLICT (run) DO UPDATE SET began = excluded.began, products = excluded.products, rows = excluded.rows`)
}

// LastLook is the latest complete comparison, zero where there was none.
func (l *lease) LastLook(ctx context.Context) (run.Look, error) {
	const last = `SELECT began, products, rows FROM ` + lookTable + ` WHERE pipeline = @pipeline ORDER BY began DESC LIMIT 1`
	found, err := retried(ctx, l.ledger, "read the last comparison", func() (*run.Look, error) {
		return first(ctx, l.ledger.pool, pgx.RowToStructByPos[run.Look], last, pgx.NamedArgs{"pipeline": l.ledger.pipeline})
	})
	if err != nil || found == nil {
		return run.Look{}, err
	}
	found.At = found.At.UTC()
	return *found, nil
}

// Gap is the longest time from a product's creation to its event that was measured
// within the last hour, to the minute.
func (l *lease) Gap(ctx context.Context) (time.Duration, error) { return l.ledger.Gap(ctx) }

// Measured keeps such a gap if it is the longest of the present minute, and forgets
// those that do not count any more.
func (l *lease) Measured(ctx context.Context, gap time.Duration) error {
	return l.write(ctx, "keep a gap", func(ctx context.Context, tx pgx.Tx) error { return l.ledger.keepGap(ctx, tx, gap) })
}

// Gap is the longest time from a product's creation to its event that was measured
// within the last hour, to the minute.
func (l *Ledger) Gap(ctx context.Context) (time.Duration, error) {
	const longest = `
SELECT coalesce(max(longest), '0'::interval) FROM ` + gapTable + `
WHERE pipeline = @pipeline AND minute >= date_trunc('minute', now()) - interval '1 hour'`
	return retried(ctx, l, "read the longest gap", func() (gap time.Duration, err error) {
		err = l.pool.QueryRow(ctx, longest, pgx.NamedArgs{"pipeline": l.pipeline}).Scan(&gap)
		return gap, err
	})
}

// Measured is the same as a run's, for what sees events themselves.
func (l *Ledger) Measured(ctx context.Context, gap time.Duration) error {
	_, err := retried(ctx, l, "keep a gap", func() (struct{}, error) {
		return struct{}{}, l.inTx(ctx, func(tx pgx.Tx) error { return l.keepGap(ctx, tx, gap) })
	})
	return err
}

func (l *Ledger) keepGap(ctx context.Context, tx pgx.Tx, gap time.Duration) error {
	const keep = `
INSERT INTO ` + gapTable + ` AS g (pipeline, minute, longest) VALUES (@pipeline, date_trunc('minute', now()), @gap)
ON CONFLICT (pipeline, minute) DO UPDATE SET longest = excluded.longest WHERE g.longest < excluded.longest`
	const forget = `DELETE FROM ` + gapTable + ` WHERE pipeline = @pipeline AND minute < now() - interval '2 hours'`
	return exec(ctx, tx, pgx.NamedArgs{"pipeline": l.pipeline, "gap": gap}, keep, forget)
}
