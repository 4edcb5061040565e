package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/run"
)

// claimable are runs that a worker may begin, or go on with after another one, and whose
// requests it can read. Expiry is for runs that never began.
const claimable = `coalesce((request ->> 'version')::bigint, 1) <= @reads AND (status = 'queued' AND wanted <> 'pause' AND coalesce(not_before <= now(), true) AND (fence > 0 OR coalesce(expires_at > now(), true))
	OR status IN ('running', 'paused') AND lease_until < now() OR ` + unowned + ` AND wanted <> 'pause' AND coalesce(not_before <= now(), true))`

// unowned is true of a run that was handed back while a person had paused it.
const unowned = `(status = 'paused' AND lease_until IS NULL)`

// usable is true while the schema is one that this program can use. A newer program may
// have changed it since the start, and its runs are then not for this one.
const usable = `@newest >= (
	SELECT coalesce((SELECT since FROM ` + compatibilityTable + ` c WHERE c.version = v.version), v.version)
	FROM (SELECT coalesce(max(version_id), 0) AS version FROM ` + versionTable + ` WHERE is_applied) AS v)`

const claimRun = `
UPDATE ` + runTable + ` SET status = CASE WHEN status = 'queued' OR ` + unowned + ` THEN 'running' ELSE status END, version = version + 1, fence = fence + 1,
	vanished = CASE WHEN status = 'queued' OR ` + unowned + ` THEN vanished ELSE vanished + 1 END,
	owner = @owner, error = NULL, not_before = NULL, lease_until = now() + @lease::interval, started_at = coalesce(started_at, now())
WHERE id = (
	SELECT id FROM ` + runTable + `
	WHERE pipeline = @pipeline AND status IN ('queued', 'running', 'paused') AND ` + claimable + ` AND ` + usable + `
	ORDER BY requested_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING ` + columns

// Claim takes the lease of the oldest run that waits for a worker, or that another
// process has left; nil where there is none. A schema that only newer programs can use
// is an error. Nothing is tried again: if the answer is lost, the lease expires.
func (l *Ledger) Claim(ctx context.Context, owner string, length time.Duration) (run.Lease, error) {
	record, err := first(ctx, l.pool, scanRecord, claimRun,
		pgx.NamedArgs{"pipeline": l.pipeline, "owner": cut(owner, maxText), "lease": length, "newest": l.newest, "reads": l.reads})
	if err != nil {
		return nil, fmt.Errorf("claim a run: %w", l.explained(ctx, err))
	}
	if record == nil {
		if _, err := l.compare(ctx); err != nil {
			return nil, fmt.Errorf("claim a run: %w", err)
		}
		return nil, nil
	}
	return newLease(l, *record, length), nil
}

const skipExpired = `
UPDATE ` + runTable + ` SET status = 'skipped', error = ` + expired + `, finished_at = now(), unread = NULL, version = version + 1
WHERE id IN (
	SELECT id FROM ` + runTable + ` WHERE pipeline = @pipeline AND (status = 'queued' OR status = 'waiting') AND fence = 0 AND expires_at <= now()
	FOR UPDATE SKIP LOCKED)`

const anyClaimable = `SELECT EXISTS (
	SELECT FROM ` + runTable + ` WHERE pipeline = @pipeline AND status IN ('queued', 'running', 'paused') AND ` + claimable + `)`

// Sweep tells whether a run could be claimed now, which comes first, ends queued runs
// that expired, and queues those that waited for this version of the program.
func (l *Ledger) Sweep(ctx context.Context) (bool, error) {
	args := pgx.NamedArgs{"pipeline": l.pipeline, "reads": l.reads}
	waits, err := retried(ctx, l, "look for runs that wait", func() (waits bool, err error) {
		err = l.pool.QueryRow(ctx, anyClaimable, args).Scan(&waits)
		return waits, err
	})
	if err != nil {
		return false, err
	}
	_, err = retried(ctx, l, "end runs that expired", func() (struct{}, error) {
		_, err := l.pool.Exec(ctx, skipExpired, args)
		return struct{}{}, err
	})
	if err != nil {
		return waits, err
	}
	_, err = retried(ctx, l, "read requests that waited for this version", func() (struct{}, error) { return l.readDeferred(ctx) })
	return waits, err
}
