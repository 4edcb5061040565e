package ledger

import (
	"context"
	"fmt"
	"time"

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

// Switch tells whether scheduled runs are wanted; they are until somebody says
// otherwise.
func (l *Ledger) Switch(ctx context.Context) (run.Switch, error) {
	const look = `SELECT is_on, changed_by, changed_at FROM ` + switchTable + ` WHERE pipeline = @pipeline`
	found, err := retried(ctx, l, "read the scheduler's switch", func() (*run.Switch, error) {
		return first(ctx, l.pool, scanSwitch, look, pgx.NamedArgs{"pipeline": l.pipeline})
	})
	if err != nil {
		return run.Switch{}, err
	}
	if found == nil {
		return run.Switch{On: true}, nil
	}
	return *found, nil
}

// SetSwitch says whether scheduled runs are wanted, and who says so. A change is kept as an
// action too.
func (l *Ledger) SetSwitch(ctx context.Context, on bool, by run.Actor) (run.Switch, error) {
	const set = `
WITH noted AS (
	INSERT INTO ` + actionTable + ` (pipeline, deed, actor, trigger) SELECT @pipeline, @deed, @actor, @actor_trigger
	WHERE coalesce((SELECT is_on FROM ` + switchTable + ` WHERE pipeline = @pipeline), true) <> @on)
INSERT INTO ` + switchTable + ` (pipeline, is_on, changed_by) VALUES (@pipeline, @on, @actor)
ON CONFLICT (pipeline) DO UPDATE SET is_on = excluded.is_on, changed_by = excluded.changed_by, changed_at = now()
RETURNING is_on, changed_by, changed_at`
	now, err := retried(ctx, l, "set the scheduler's switch", func() (*run.Switch, error) {
		return first(ctx, l.pool, scanSwitch, set, l.deed(run.DeedOfSwitch(on), by, pgx.NamedArgs{"on": on}))
	})
	if err != nil {
		return run.Switch{}, err
	}
	return *now, nil
}

func scanSwitch(row pgx.CollectableRow) (s run.Switch, err error) {
	err = row.Scan(&s.On, &s.By, &s.At)
	s.At = s.At.UTC()
	return s, err
}

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
