package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/run"
)

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
// action too; where nothing changes, it stays known who changed it last, and when.
func (l *Ledger) SetSwitch(ctx context.Context, on bool, by run.Actor) (run.Switch, error) {
	const set = `
WITH changes AS (
	SELECT WHERE coalesce((SELECT is_on FROM ` + switchTable + ` WHERE pipeline = @pipeline), true) <> @on
), noted AS (
	INSERT INTO ` + actionTable + ` (pipeline, deed, actor, trigger) SELECT @pipeline, @deed, @actor, @actor_trigger FROM changes
), changed AS (
	INSERT INTO ` + switchTable + ` (pipeline, is_on, changed_by) SELECT @pipeline, @on, @actor FROM changes
	ON CONFLICT (pipeline) DO UPDATE SET is_on = excluded.is_on, changed_by = excluded.changed_by, changed_at = now()
	RETURNING is_on, changed_by, changed_at
)
SELECT * FROM changed
UNION ALL
SELECT is_on, changed_by, changed_at FROM ` + switchTable + ` WHERE pipeline = @pipeline AND NOT EXISTS (SELECT FROM changes)`
	now, err := retried(ctx, l, "set the scheduler's switch", func() (*run.Switch, error) {
		return first(ctx, l.pool, scanSwitch, set, l.deed(run.DeedOfSwitch(on), by, pgx.NamedArgs{"on": on}))
	})
	if err != nil {
		return run.Switch{}, err
	}
	if now == nil { // nobody has changed it yet
		return run.Switch{On: true}, nil
	}
	return *now, nil
}

func scanSwitch(row pgx.CollectableRow) (s run.Switch, err error) {
	err = row.Scan(&s.On, &s.By, &s.At)
	s.At = s.At.UTC()
	return s, err
}
