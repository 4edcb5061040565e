package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ecom-micro/etl/internal/run"
)

// lease is the right of one process to execute one run. Each claim of the run
// raises its fence, so that whoever claimed it before can write no more.
type lease struct {
	ledger *Ledger
	record run.Record
	id     pgtype.UUID
	length time.Duration
}

func newLease(l *Ledger, record run.Record, length time.Duration) *lease {
	return &lease{l, record, parseID(record.ID), length}
}

// Record is the run as it was when the lease was taken.
func (l *lease) Record() run.Record { return l.record }

// mine is true of the run only while it is this lease's. taken picks it, behind whatever
// the lease is writing at this moment.
const (
	mine  = `id = @id AND fence = @fence AND status IN ('running', 'paused')`
	taken = `id = (SELECT id FROM ` + runTable + ` WHERE ` + mine + ` FOR UPDATE)`
)

// args are the arguments of mine and more.
func (l *lease) args(more pgx.NamedArgs) pgx.NamedArgs {
	args := pgx.NamedArgs{"id": l.id, "fence": l.record.Takeovers + 1}
	for name, value := range more {
		args[name] = value
	}
	return args
}

// Beat renews the lease by the server's clock, shows the progress, and returns what
// is wanted. status is running or paused.
func (l *lease) Beat(ctx context.Context, status run.Status, progress run.Progress) (run.Wanted, error) {
	what := "renew the lease of run " + l.record.ID
	if status != run.StatusRunning && status != run.StatusPaused {
		return "", fmt.Errorf("%s: a run that is %s has none", what, status)
	}
	progress.Throttle = cut(progress.Throttle, maxReason)
	progress.Waits = slices.Clone(progress.Waits)
	for i := range progress.Waits {
		progress.Waits[i].Reason = storableReason(progress.Waits[i].Reason)
	}
	shown, err := document(progress)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	const beat = `UPDATE ` + runTable + ` SET version = version + 1, status = @status, progress = @progress, lease_until = now() + @lease::interval
		WHERE ` + mine + ` RETURNING wanted`
	args := l.args(pgx.NamedArgs{"status": string(status), "progress": shown, "lease": l.length})
	return retried(ctx, l.ledger, what, func() (run.Wanted, error) {
		wanted, err := first(ctx, l.ledger.pool, pgx.RowTo[run.Wanted], beat, args)
		if err != nil {
			return "", err
		}
		if wanted == nil {
			return "", run.ErrFenced
		}
		return *wanted, nil
	})
}

// Finish ends the run. What only a process that goes on with it would need is
// removed, and what is still in hand stays known as possibly on its way.
func (l *lease) Finish(ctx context.Context, status run.Status, report *run.Report, problem string) error {
	what := "finish run " + l.record.ID
	kept, err := reportDocument(report)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if status.Active() {
		return fmt.Errorf("%s: %s is no end", what, status)
	}
	const finish = `
UPDATE ` + runTable + ` SET version = version + 1, status = @status, report = coalesce(@report, report), error = nullif(@problem, ''), finished_at = now(), attention = @attention
WHERE ` + taken + ` RETURNING true`
	const done = `SELECT true FROM ` + runTable + ` WHERE id = @id AND fence = @fence AND status = @status AND error IS NOT DISTINCT FROM nullif(@problem, '')`
	args := l.args(pgx.NamedArgs{"status": string(status), "report": kept, "problem": cut(problem, run.MaxError), "attention": string(run.AttentionOf(&l.record, status, report)),
		"pipeline": l.ledger.pipeline, "speaks": l.record.Speaks(status), "applied": parseID(l.record.Request.Apply)})
	return l.end(ctx, what, finish, done, args, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, attended, args); err != nil {
			return err
		}
		return l.ledger.abandon(ctx, tx, l.id)
	})
}

// attended ends the attention of runs whose findings were applied, and of all before one
// that speaks for all.
const attended = `
UPDATE ` + runTable + ` SET attention = 'none', version = version + 1
WHERE pipeline = @pipeline AND attention <> 'none' AND id <> @id AND (@speaks OR id = @applied::uuid)`

// HandBack gives the run to whoever claims it next, after the pause. One that a person has
// paused stays so, and is claimed when it is resumed.
func (l *lease) HandBack(ctx context.Context, problem string, pause time.Duration) error {
	const handBack = `
UPDATE ` + runTable + ` SET version = version + 1, status = CASE wanted WHEN 'pause' THEN 'paused' ELSE 'queued' END, error = nullif(@problem, ''), owner = NULL, lease_until = NULL, not_before = now() + @pause::interval
WHERE ` + taken + ` RETURNING true`
	const done = `SELECT true FROM ` + runTable + ` WHERE id = @id AND fence = @fence AND (status = 'queued' OR ` + unowned + `)`
	return l.end(ctx, "hand back run "+l.record.ID, handBack, done, l.args(pgx.NamedArgs{"problem": cut(problem, run.MaxError), "pause": pause}), func(pgx.Tx) error { return nil })
}

// end does the lease's last write, and what goes with it. Where the lease is over
// already, it may be so because of this very write, whose answer was lost.
func (l *lease) end(ctx context.Context, what, write, done string, args pgx.NamedArgs, then func(pgx.Tx) error) error {
	_, err := retried(ctx, l.ledger, what, func() (struct{}, error) {
		return struct{}{}, l.ledger.inTx(ctx, func(tx pgx.Tx) error {
			written, err := first(ctx, tx, pgx.RowTo[bool], write, args)
			if err != nil {
				return err
			}
			if written != nil {
				return then(tx)
			}
			if before, err := first(ctx, tx, pgx.RowTo[bool], done, args); err != nil || before != nil {
				return err
			}
			return run.ErrFenced
		})
	})
	return err
}
