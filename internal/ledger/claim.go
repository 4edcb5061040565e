package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/run"
)

// claimable are runs that a worker may begin, or go on with after another one.
// Expiry is for runs that never began.
const claimable = `(status = 'queued' AND wanted <> 'pause' AND (fence > 0 OR coalesce(expires_at > now(), true))
	OR status IN ('running', 'paused') AND lease_until < now())`

const claimRun = `
UPDATE etl.run SET status = CASE status WHEN 'queued' THEN 'running' ELSE status END, version = version + 1, fence = fence + 1,
	vanished = CASE status WHEN 'queued' THEN vanished ELSE vanished + 1 END,
	owner = @owner, lease_until = now() + @lease::interval, started_at = coalesce(started_at, now())
WHERE id = (
	SELECT id FROM etl.run
	WHERE pipeline = @pipeline AND status IN ('queued', 'running', 'paused') AND ` + claimable + `
	ORDER BY requested_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING ` + columns

// Claim takes the lease of the oldest run that waits for a worker, or that another
// process has left; nil where there is none. Nothing is tried again: if the answer
// is lost, the lease expires.
func (l *Ledger) Claim(ctx context.Context, owner string, length time.Duration) (run.Lease, error) {
	record, err := first(ctx, l.pool, scanRecord, claimRun, pgx.NamedArgs{"pipeline": l.pipeline, "owner": cut(owner, maxText), "lease": length})
	if err != nil {
		return nil, fmt.Errorf("claim a run: %w", l.explained(err))
	}
	if record == nil {
		return nil, nil
	}
	return newLease(l, *record, length), nil
}

const (
	skipExpired = `
UPDATE etl.run SET status = 'skipped', error = ` + expired + `, finished_at = now(), version = version + 1
WHERE pipeline = @pipeline AND status = 'queued' AND fence = 0 AND expires_at <= now()`
	removeOld = `
DELETE FROM etl.run WHERE id IN (
	SELECT id FROM etl.run WHERE pipeline = @pipeline AND finished_at < now() - @retention::interval
	ORDER BY finished_at LIMIT @batch FOR UPDATE SKIP LOCKED)`
	removeOldHealth = `DELETE FROM etl.health WHERE pipeline = @pipeline AND at < now() - @retention::interval`
	anyClaimable    = `SELECT EXISTS (SELECT FROM etl.run WHERE pipeline = @pipeline AND status IN ('queued', 'running', 'paused') AND ` + claimable + `)`
)

// Runs are removed in batches, because each may have many outcomes, and a sweep
// ends after so many of them.
const (
	removeBatch = 20
	maxBatches  = 50
)

// Sweep ends queued runs that expired, removes what is older than the retention,
// and tells whether a run could be claimed now.
func (l *Ledger) Sweep(ctx context.Context) (bool, error) {
	return retried(ctx, l, "sweep the ledger", func() (any bool, err error) {
		args := pgx.NamedArgs{"pipeline": l.pipeline, "retention": l.retention, "batch": removeBatch}
		for _, sql := range []string{skipExpired, removeOldHealth} {
			if _, err := l.pool.Exec(ctx, sql, args); err != nil {
				return false, err
			}
		}
		for range maxBatches {
			removed, err := l.pool.Exec(ctx, removeOld, args)
			if err != nil {
				return false, err
			}
			if removed.RowsAffected() < removeBatch {
				break
			}
		}
		err = l.pool.QueryRow(ctx, anyClaimable, args).Scan(&any)
		return any, err
	})
}
