package ledger

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/run"
)

// Ask pauses, resumes or cancels an active run: whoever executes it obeys with its
// next beat, and a queued or waiting run is cancelled at once. Cancelling is final. A run that
// has ended, or is being cancelled, is a *run.StatusError. What changes is kept as an action
// of whoever asks.
func (l *Ledger) Ask(ctx context.Context, id string, wanted run.Wanted, by run.Actor) (record run.Record, err error) {
	actions := map[run.Wanted]string{
		run.WantPause: "be paused", run.WantRun: "be resumed", run.WantCancel: "be cancelled",
	}
	action, known := actions[wanted]
	if !known {
		return record, fmt.Errorf("%q is nothing that may be asked of a run", wanted)
	}
	const (
		look   = `SELECT ` + columns + ` FROM ` + runTable + ` WHERE id = @id AND pipeline = @pipeline FOR NO KEY UPDATE`
		change = `
UPDATE ` + runTable + ` SET version = version + 1, wanted = @wanted,
	status = CASE WHEN (status IN ('waiting', 'queued') OR ` + unowned + `) AND @wanted = 'cancel' THEN 'cancelled' ELSE status END,
	error = CASE WHEN (status IN ('waiting', 'queued') OR ` + unowned + `) AND @wanted = 'cancel' THEN NULL ELSE error END,
	finished_at = CASE WHEN (status IN ('waiting', 'queued') OR ` + unowned + `) AND @wanted = 'cancel' THEN now() END, unread = NULL
WHERE id = @id RETURNING ` + columns
	)
	args := l.deed(wanted.Deed(), by, pgx.NamedArgs{"id": parseID(id), "wanted": string(wanted)})
	found, err := retried(ctx, l, "ask run "+id+" to "+action, func() (found *run.Record, err error) {
		err = l.inTx(ctx, func(tx pgx.Tx) error {
			found, err = first(ctx, tx, scanRecord, look, args)
			if err != nil || found == nil || !askable(found, wanted) || found.Wanted == wanted || found.Wanted == run.WantCancel {
				return err
			}
			if found, err = first(ctx, tx, scanRecord, change, args); err != nil {
				return err
			}
			if _, err = tx.Exec(ctx, noteAction, args); err != nil || found.Status.Active() {
				return err
			}
			return l.abandon(ctx, tx, parseID(id))
		})
		return found, err
	})
	switch {
	case err != nil:
		return record, err
	case found == nil:
		return record, run.ErrNotFound
	case found.Wanted == wanted && (found.Status.Active() || found.Status == run.StatusCancelled && wanted == run.WantCancel):
		return *found, nil
	case found.Status.Active():
		action += ": it is being cancelled"
	}
	return record, &run.StatusError{Run: *found, Action: action}
}

// askable tells whether the run does what it is asked: one that waits is cancelled only.
func askable(r *run.Record, wanted run.Wanted) bool {
	return r.Status.Active() || r.Status == run.StatusWaiting && wanted == run.WantCancel
}
