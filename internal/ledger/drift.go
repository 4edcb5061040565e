package ledger

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Drift counts what is open by kind and state.
func (l *Ledger) Drift(ctx context.Context) (run.Drift, error) {
	const counts = `SELECT kind, state, count(*) FROM ` + differenceTable + ` WHERE pipeline = @pipeline AND closed_at IS NULL GROUP BY kind, state`
	return retried(ctx, l, "count what is open", func() (run.Drift, error) {
		drift := make(run.Drift)
		rows, err := l.pool.Query(ctx, counts, pgx.NamedArgs{"pipeline": l.pipeline})
		if err != nil {
			return nil, err
		}
		var kind product.Kind
		var state run.State
		var n int64
		_, err = pgx.ForEachRow(rows, []any{&kind, &state, &n}, func() error {
			if drift[kind] == nil {
				drift[kind] = make(map[run.State]int64)
			}
			drift[kind][state] = n
			return nil
		})
		return drift, err
	})
}

// Sampled adds what was seen at this moment to the sample of its hour.
func (l *Ledger) Sampled(ctx context.Context, s run.Sample) error {
	const add = `
INSERT INTO ` + sampleTable + ` AS s (pipeline, at, missing, stale, orphaned, blocked, delivery, lag)
VALUES (@pipeline, date_trunc('hour', now(), 'UTC'), @missing, @stale, @orphaned, @blocked, @delivery, @lag)
ON CONFLICT (pipeline, at) DO UPDATE SET missing = greatest(s.missing, excluded.missing), stale = greatest(s.stale, excluded.stale),
	orphaned = greatest(s.orphaned, excluded.orphaned), blocked = greatest(s.blocked, excluded.blocked),
	delivery = greatest(s.delivery, excluded.delivery), lag = greatest(s.lag, excluded.lag)`
	_, err := retried(ctx, l, "keep how the cart stands", func() (struct{}, error) {
		_, err := l.pool.Exec(ctx, add, pgx.NamedArgs{"pipeline": l.pipeline, "missing": s.Differing[product.Missing], "stale": s.Differing[product.Stale],
			"orphaned": s.Differing[product.Orphaned], "blocked": s.Blocked, "delivery": 1 + slices.Index(run.DeliveryStates(), s.Delivery), "lag": s.Lag})
		return struct{}{}, err
	})
	return err
}

// Samples returns those of the hours since then, the earliest first.
func (l *Ledger) Samples(ctx context.Context, since time.Time) ([]run.Sample, error) {
	const list = `
SELECT at, missing, stale, orphaned, blocked, delivery, lag FROM ` + sampleTable + ` WHERE pipeline = @pipeline AND at >= @since ORDER BY at`
	return retried(ctx, l, "read how the cart stood", func() ([]run.Sample, error) {
		return collect(ctx, l.pool, func(row pgx.CollectableRow) (s run.Sample, err error) {
			var missing, stale, orphaned int64
			var delivery int
			err = row.Scan(&s.At, &missing, &stale, &orphaned, &s.Blocked, &delivery, &s.Lag)
			s.At = s.At.UTC()
			s.Differing = map[product.Kind]int64{product.Missing: missing, product.Stale: stale, product.Orphaned: orphaned}
			if states := run.DeliveryStates(); delivery > 0 && delivery <= len(states) {
				s.Delivery = states[delivery-1]
			}
			return s, err
		}, list, pgx.NamedArgs{"pipeline": l.pipeline, "since": since})
	})
}
