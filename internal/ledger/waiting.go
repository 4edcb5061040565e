package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ecom-micro/etl/internal/run"
)

// Defer enters a request of a message that only a newer program can read, which is why,
// beside what can be told of it. It holds no slot, and nobody claims it, until a program
// can read the document. It waits for no longer than the ledger keeps what is over.
func (l *Ledger) Defer(ctx context.Context, request run.Request, document []byte, why string) (run.Record, error) {
	if request.Recorded {
		return l.Run(ctx, request.ID)
	}
	if err := l.checkPipeline(&request); err != nil {
		return run.Record{}, err
	}
	if end := time.Now().Add(l.retention); request.Expires.IsZero() || request.Expires.After(end) {
		request.Expires = end
	}
	record, _, err := l.enter(ctx, request, entry{status: run.StatusWaiting, problem: why, unread: document})
	return record, err
}

// unread are the runs whose requests no program of this version has tried to read.
const unread = `
SELECT id, requested_at, unread FROM ` + runTable + `
WHERE pipeline = @pipeline AND status = 'waiting' AND unread_by < @reads ORDER BY requested_at, id LIMIT 20`

type unreadRun struct {
	ID       pgtype.UUID
	At       time.Time
	Document []byte
}

// readDeferred queues the runs that waited for this program, each where its slot is
// free. What no program can read has failed.
func (l *Ledger) readDeferred(ctx context.Context) (struct{}, error) {
	waiting, err := collect(ctx, l.pool, pgx.RowToStructByPos[unreadRun], unread, pgx.NamedArgs{"pipeline": l.pipeline, "reads": l.reads})
	if err != nil {
		return struct{}{}, err
	}
	for _, w := range waiting {
		request, err := run.DecodeRequest(w.Document)
		var newer *run.NewerError
		switch {
		case errors.As(err, &newer):
			err = l.stillWaiting(ctx, w.ID, newer)
		case err != nil:
			err = l.unreadable(ctx, w.ID, err)
		default:
			request.ID, request.At, request.Trigger = w.ID.String(), w.At.UTC(), run.ByMessage
			err = l.queue(ctx, request)
		}
		if err != nil {
			return struct{}{}, err
		}
	}
	return struct{}{}, nil
}

func (l *Ledger) stillWaiting(ctx context.Context, id pgtype.UUID, why error) error {
	const keep = `UPDATE ` + runTable + ` SET unread_by = @reads, error = @why, version = version + 1 WHERE id = @id AND status = 'waiting' AND unread_by < @reads`
	_, err := l.pool.Exec(ctx, keep, pgx.NamedArgs{"id": id, "reads": l.reads, "why": cut(why.Error(), run.MaxError)})
	return err
}

func (l *Ledger) unreadable(ctx context.Context, id pgtype.UUID, why error) error {
	const end = `UPDATE ` + runTable + ` SET status = 'failed', error = @why, finished_at = now(), unread = NULL, version = version + 1 WHERE id = @id AND status = 'waiting'`
	_, err := l.pool.Exec(ctx, end, pgx.NamedArgs{"id": id, "why": cut(why.Error(), run.MaxError)})
	return err
}

func (l *Ledger) queue(ctx context.Context, request run.Request) error {
	const queue = `
UPDATE ` + runTable + ` SET status = 'queued', error = NULL, unread = NULL, version = version + 1,
	slot = @slot, trigger = @trigger, mode = @mode, dry_run = @dry_run, whole = @whole, request = @request, brief = @brief, expires_at = @expires_at
WHERE id = @id AND status = 'waiting' AND NOT EXISTS (
	SELECT FROM ` + runTable + ` WHERE pipeline = @pipeline AND slot = @slot AND status IN ('queued', 'running', 'paused'))`
	args, err := l.arguments(&request, entry{status: run.StatusQueued})
	if err != nil {
		return err
	}
	_, err = l.pool.Exec(ctx, queue, args)
	var taken *pgconn.PgError
	if errors.As(err, &taken) && taken.Code == "23505" {
		return nil // the slot was taken at this moment: the next sweep tries again
	}
	return err
}
