package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/run"
)

// SaveHealth keeps the result of a scheduled health check, as of now where it has
// no time.
func (l *Ledger) SaveHealth(ctx context.Context, h run.HealthRecord) error {
	if h.At.IsZero() {
		h.At = time.Now()
	}
	const save = `
INSERT INTO ` + healthTable + ` (pipeline, at, healthy, document) VALUES (@pipeline, @at, @healthy, @document)
ON CONFLICT (pipeline, at) DO UPDATE SET healthy = excluded.healthy, document = excluded.document`
	found, err := document(h.Document)
	if err != nil {
		return fmt.Errorf("keep the health check: %w", err)
	}
	_, err = retried(ctx, l, "keep the health check", func() (struct{}, error) {
		_, err := l.pool.Exec(ctx, save, pgx.NamedArgs{"pipeline": l.pipeline, "at": h.At, "healthy": h.Healthy, "document": found})
		return struct{}{}, err
	})
	return err
}

// LastHealth returns the latest health check, nil where there is none.
func (l *Ledger) LastHealth(ctx context.Context) (*run.HealthRecord, error) {
	const last = `SELECT at, healthy, document::text FROM ` + healthTable + ` WHERE pipeline = @pipeline ORDER BY at DESC LIMIT 1`
	return retried(ctx, l, "read the last health check", func() (*run.HealthRecord, error) {
		return first(ctx, l.pool, scanHealth, last, pgx.NamedArgs{"pipeline": l.pipeline})
	})
}

func scanHealth(row pgx.CollectableRow) (h run.HealthRecord, err error) {
	var document string
	err = row.Scan(&h.At, &h.Healthy, &document)
	h.At, h.Document = h.At.UTC(), []byte(document)
	return h, err
}
