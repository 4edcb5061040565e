package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"
)

const skipExpired = `
UPDATE ` + runTable + ` SET status = 'skipped', error = ` + expired + `, finished_at = now(), version = version + 1
WHERE pipeline = @pipeline AND status = 'queued' AND fence = 0 AND expires_at <= now()`

const anyClaimable = `SELECT EXISTS (
	SELECT FROM ` + runTable + ` WHERE pipeline = @pipeline AND status IN ('queued', 'running', 'paused') AND ` + claimable + `)`

// outdated removes what is older than the retention, at most batch of it at a time.
// Runs go in small batches, because each may have many outcomes. The last comparison
// stays: the next one is measured by it.
var outdated = []struct {
	sql   string
	batch int
}{
	{`
WITH old AS (
	SELECT id FROM ` + runTable + ` WHERE pipeline = @pipeline AND finished_at < now() - @retention::interval
	ORDER BY finished_at LIMIT @batch FOR UPDATE SKIP LOCKED),
outcomes AS (DELETE FROM ` + outcomeTable + ` WHERE run IN (SELECT id FROM old))
DELETE FROM ` + runTable + ` WHERE id IN (SELECT id FROM old)`, 20},
	{`
DELETE FROM ` + differenceTable + ` d USING (
	SELECT product, kind FROM ` + differenceTable + ` WHERE pipeline = @pipeline AND closed_at < now() - @retention::interval
	ORDER BY closed_at LIMIT @batch FOR UPDATE SKIP LOCKED) AS old
WHERE d.pipeline = @pipeline AND d.product = old.product AND d.kind = old.kind`, 1000},
	{`
DELETE FROM ` + lookTable + ` WHERE run IN (
	SELECT run FROM ` + lookTable + ` WHERE pipeline = @pipeline AND began < now() - @retention::interval
		AND began < (SELECT max(began) FROM ` + lookTable + ` WHERE pipeline = @pipeline)
	ORDER BY began LIMIT @batch FOR UPDATE SKIP LOCKED)`, 1000},
	{`
DELETE FROM ` + healthTable + ` WHERE pipeline = @pipeline AND at IN (
	SELECT at FROM ` + healthTable + ` WHERE pipeline = @pipeline AND at < now() - @retention::interval
	ORDER BY at LIMIT @batch FOR UPDATE SKIP LOCKED)`, 1000},
}

// maxBatches ends a sweep that finds more and more to remove.
const maxBatches = 50

// Sweep ends queued runs that expired, removes what is older than the retention,
// and tells whether a run could be claimed now.
func (l *Ledger) Sweep(ctx context.Context) (bool, error) {
	return retried(ctx, l, "sweep the ledger", func() (any bool, err error) {
		args := pgx.NamedArgs{"pipeline": l.pipeline, "retention": l.retention}
		if _, err := l.pool.Exec(ctx, skipExpired, args); err != nil {
			return false, err
		}
		for _, old := range outdated {
			args["batch"] = old.batch
			for range maxBatches {
				removed, err := l.pool.Exec(ctx, old.sql, args)
				if err != nil {
					return false, err
				}
				if removed.RowsAffected() < int64(old.batch) {
					break
				}
			}
		}
		err = l.pool.QueryRow(ctx, anyClaimable, args).Scan(&any)
		return any, err
	})
}
