package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ecom-micro/etl/internal/run"
)

// Submit enters a run that waits for a worker. An id or a key that the ledger knows
// returns that run. A slot that is taken is a *run.ActiveError.
func (l *Ledger) Submit(ctx context.Context, request run.Request) (run.Record, error) {
	record, active, err := l.enter(ctx, request, entry{status: run.StatusQueued})
	if err == nil && active != nil {
		err = &run.ActiveError{Active: *active}
	}
	return record, err
}

// Accept enters a request that came as a message, and so has nobody to tell that
// its slot is taken or that it expired: such a run is entered as skipped. A request
// whose run is recorded is only looked up.
func (l *Ledger) Accept(ctx context.Context, request run.Request) (run.Record, error) {
	if request.Recorded {
		return l.Run(ctx, request.ID)
	}
	if err := l.checkPipeline(&request); err != nil {
		return run.Record{}, err
	}
	if err := l.checkApply(ctx, &request); err != nil {
		return run.Record{}, err
	}
	record, active, err := l.enter(ctx, request, entry{status: run.StatusQueued})
	if err != nil || active == nil {
		return record, err
	}
	problem := (&run.ActiveError{Active: *active}).Error()
	record, _, err = l.enter(ctx, request, entry{status: run.StatusSkipped, problem: problem, active: &active.ID})
	return record, err
}

// checkApply refuses to apply what the API would not apply.
func (l *Ledger) checkApply(ctx context.Context, request *run.Request) error {
	if request.Apply == "" {
		return nil
	}
	found, err := l.Run(ctx, request.Apply)
	var problem string
	switch {
	case errors.Is(err, run.ErrNotFound):
		problem = "names a run that the ledger does not have"
	case err != nil:
		return err
	default:
		problem = run.NotApplicable(&found)
	}
	if problem == "" {
		return nil
	}
	return &run.InvalidError{Fields: []run.FieldError{{Field: "apply", Message: problem}}}
}

// checkPipeline refuses a request that names another pipeline.
func (l *Ledger) checkPipeline(request *run.Request) error {
	if request.Pipeline == "" || request.Pipeline == l.pipeline {
		return nil
	}
	return &run.InvalidError{Fields: []run.FieldError{{Field: "pipeline",
		Message: "is another one than that of the service here, " + l.pipeline + ": each pipeline needs a virtual host of its own"}}}
}

// Begin enters a run that this process executes itself, and takes its lease. A slot
// that is taken is a *run.ActiveError, but for one whose holder's lease has
// expired, or that was handed back and left: there may be no worker to take that run
// over, so it ends as failed.
func (l *Ledger) Begin(ctx context.Context, request run.Request, owner string, length time.Duration) (run.Lease, error) {
	owner = cut(owner, maxText)
	record, active, err := l.enter(ctx, request, entry{status: run.StatusRunning, owner: &owner, lease: &length})
	switch {
	case err != nil:
		return nil, err
	case active != nil:
		return nil, &run.ActiveError{Active: *active}
	case record.Status != run.StatusRunning || record.Owner != owner || record.Takeovers > 0:
		return nil, &run.StatusError{Run: record, Action: "begin again"}
	}
	return newLease(l, record, length), nil
}

// Discard removes a run that no worker has begun, such as one whose message could
// not be sent. Where there is none it does nothing; a run that has begun is a
// *run.StatusError.
func (l *Ledger) Discard(ctx context.Context, id string) error {
	const remove = `DELETE FROM ` + runTable + ` WHERE id = @id AND pipeline = @pipeline AND status = 'queued' AND fence = 0`
	left, err := retried(ctx, l, "discard run "+id, func() (*run.Record, error) {
		if _, err := l.pool.Exec(ctx, remove, pgx.NamedArgs{"id": parseID(id), "pipeline": l.pipeline}); err != nil {
			return nil, err
		}
		return l.find(ctx, id)
	})
	if err == nil && left != nil {
		err = &run.StatusError{Run: *left, Action: "be discarded"}
	}
	return err
}

// entry is how a run enters the ledger.
type entry struct {
	status  run.Status
	problem string
	active  *string // the run that is in the way
	unread  []byte  // the document of a request that this program cannot read
	owner   *string
	lease   *time.Duration
}

// maxEntries bounds how often a run is entered again because what stood in its way
// was gone when it was looked at.
const maxEntries = 20

// enter inserts a run. What stands in the way is returned: the run that has its id
// or its key as if it were the run, and the one that holds its slot as active.
func (l *Ledger) enter(ctx context.Context, r run.Request, e entry) (record run.Record, active *run.Record, err error) {
	id := parseID(r.ID)
	if !id.Valid {
		return record, nil, fmt.Errorf("enter run %q: the id is no UUID", cut(r.ID, maxText))
	}
	args, err := l.arguments(&r, e)
	if err != nil {
		return record, nil, fmt.Errorf("enter run %s: %w", r.ID, err)
	}
	for range maxEntries {
		inserted, err := retried(ctx, l, "enter run "+r.ID, func() (*run.Record, error) { return l.insert(ctx, e, args) })
		if err != nil {
			return record, nil, err
		}
		if inserted != nil {
			return *inserted, nil, nil
		}
		other, err := retried(ctx, l, "enter run "+r.ID, func() (*run.Record, error) {
			return first(ctx, l.pool, scanRecord, inTheWay, args)
		})
		switch {
		case err != nil:
			return record, nil, err
		case other == nil: // it has ended
		case other.ID == id.String() || r.Key != "" && other.Request.Key == r.Key:
			return *other, nil, nil
		case e.status.Active():
			return record, other, nil
		}
	}
	if foreign, err := first(ctx, l.pool, pgx.RowTo[bool], `SELECT true FROM `+runTable+` WHERE id = @id AND pipeline <> @pipeline`, args); err != nil || foreign != nil {
		if err == nil {
			err = &run.InvalidError{Fields: []run.FieldError{{Field: "id", Message: "is that of a run of another pipeline"}}}
		}
		return record, nil, err
	}
	return record, nil, fmt.Errorf("enter run %s: other runs come and go too quickly", r.ID)
}

func (l *Ledger) arguments(r *run.Request, e entry) (pgx.NamedArgs, error) {
	request, err := document(r)
	if err != nil {
		return nil, err
	}
	brief, err := briefDocument(r)
	if err != nil {
		return nil, err
	}
	args := pgx.NamedArgs{
		"id": r.ID, "pipeline": l.pipeline, "slot": string(r.Slot()), "key": nil, "trigger": string(r.Trigger),
		"mode": string(r.Mode), "dry_run": r.DryRun, "whole": whole(r),
		"request": request, "brief": brief, "requested_at": r.At, "expires_at": nil,
		"status": string(e.status), "problem": cut(e.problem, run.MaxError), "unread": e.unread, "reads": l.reads, "active": e.active, "owner": e.owner, "lease": e.lease,
		"stale": "its process gave no sign of life any more; run " + r.ID + " took its place",
		"deed":  string(run.DidApply), "actor": cut(r.By, maxText), "apply": nil,
		"left": "it was handed back, and no worker took it up again; run " + r.ID + " took its place",
	}
	if r.Key != "" {
		args["key"] = r.Key
	}
	if r.Apply != "" {
		args["apply"] = parseID(r.Apply)
	}
	if !r.Expires.IsZero() {
		args["expires_at"] = r.Expires
	}
	return args, nil
}

// whole tells whether the requested run looks at the whole catalogue.
func whole(r *run.Request) bool { return len(r.IDs) == 0 && r.Since.IsZero() && r.Apply == "" }

// expired says of a run in SQL why it never began.
const expired = `'expired: no worker began it by ' || to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`

// insertRun keeps with the run that it applies another, whoever asked for it.
const insertRun = `
WITH entered AS (
INSERT INTO ` + runTable + ` (id, pipeline, slot, key, trigger, mode, dry_run, whole, request, brief, requested_at, expires_at,
	status, error, finished_at, active_run, owner, fence, lease_until, started_at, unread, unread_by)
SELECT @id, @pipeline, @slot, @key, @trigger, @mode, @dry_run, @whole, @request, @brief, @requested_at, expires_at,
	CASE WHEN late THEN 'skipped' ELSE @status END,
	CASE WHEN late THEN ` + expired + ` ELSE nullif(@problem, '') END,
	CASE WHEN late OR @status = 'skipped' THEN now() END,
	@active::uuid, @owner, CASE WHEN @status = 'running' THEN 1 ELSE 0 END,
	now() + @lease::interval, CASE WHEN @status = 'running' THEN now() END, @unread::bytea, CASE WHEN @unread::bytea IS NOT NULL THEN @reads::bigint END
FROM (SELECT @expires_at::timestamptz AS expires_at, @status IN ('queued', 'waiting') AND coalesce(@expires_at <= now(), false) AS late) AS asked
ON CONFLICT DO NOTHING
RETURNING *), noted AS (
	INSERT INTO ` + actionTable + ` (pipeline, deed, actor, trigger, run, new_run)
	SELECT pipeline, @deed, @actor, trigger, @apply::uuid, id FROM entered WHERE @apply::uuid IS NOT NULL AND status <> 'skipped')
SELECT ` + columns + ` FROM entered`

// left is true of a run that was handed back and that no worker has taken up again, each
// of which looks every few seconds. One that a person has paused waits for that person.
const left = `(status = 'queued' OR ` + unowned + `) AND fence > 0 AND wanted <> 'pause' AND not_before < now() - interval '1 minute'`

const failStale = `
UPDATE ` + runTable + ` SET status = 'failed', error = CASE status WHEN 'queued' THEN @left ELSE @stale END, finished_at = now(), version = version + 1
WHERE id = (
	SELECT id FROM ` + runTable + `
	WHERE pipeline = @pipeline AND slot = @slot AND (status IN ('running', 'paused') AND lease_until < now() OR ` + left + `) FOR UPDATE)
RETURNING id`

var errInTheWay = errors.New("another run is in the way")

// insert returns nil where another run is in the way.
func (l *Ledger) insert(ctx context.Context, e entry, args pgx.NamedArgs) (record *run.Record, err error) {
	if e.status != run.StatusRunning {
		return first(ctx, l.pool, scanRecord, insertRun, args)
	}
	err = l.inTx(ctx, func(tx pgx.Tx) error {
		stale, err := first(ctx, tx, pgx.RowTo[pgtype.UUID], failStale, args)
		if err != nil {
			return err
		}
		if stale != nil {
			if err := l.abandon(ctx, tx, *stale); err != nil {
				return err
			}
		}
		if record, err = first(ctx, tx, scanRecord, insertRun, args); err == nil && record == nil {
			err = errInTheWay // nor may the holder of the slot end
		}
		return err
	})
	if errors.Is(err, errInTheWay) {
		return nil, nil
	}
	return record, err
}

// inTheWay finds what kept a run from being inserted, the run itself before others.
const inTheWay = `
SELECT ` + columns + ` FROM ` + runTable + `
WHERE pipeline = @pipeline AND (id = @id OR key = @key OR slot = @slot AND status IN ('queued', 'running', 'paused'))
ORDER BY id = @id DESC, coalesce(key = @key, false) DESC LIMIT 1`
