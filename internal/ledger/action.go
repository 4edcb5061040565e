package ledger

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ecom-micro/etl/internal/run"
)

// noteAction keeps that somebody steered, in the transaction in which that was done.
const noteAction = `
INSERT INTO ` + actionTable + ` (pipeline, deed, actor, trigger, run) VALUES (@pipeline, @deed, @actor, @actor_trigger, @id)`

// deed are the arguments of an action.
func (l *Ledger) deed(what run.Deed, by run.Actor, others pgx.NamedArgs) pgx.NamedArgs {
	others["pipeline"], others["deed"], others["actor"], others["actor_trigger"] = l.pipeline, string(what), cut(by.Name, maxText), string(by.Trigger)
	return others
}

const listActions = `
SELECT id, at, deed, actor, trigger, run, new_run FROM ` + actionTable + `
WHERE pipeline = @pipeline
	AND (at, id) < (coalesce(@before, 'infinity'::timestamptz), coalesce(@before_id, 9223372036854775807::bigint))
	AND at >= coalesce(@since, '-infinity'::timestamptz)
	AND (@all OR run = @run::uuid)
ORDER BY at DESC, id DESC LIMIT @limit`

// Actions returns a page of what people did, the latest first. A Before that is no page's
// Next is run.ErrCursor.
func (l *Ledger) Actions(ctx context.Context, f run.ActionFilter) (run.ActionPage, error) {
	limit := pageLimit(f.Limit)
	args := pgx.NamedArgs{
		"pipeline": l.pipeline, "before": nil, "before_id": nil, "since": nil,
		"all": f.Run == "", "run": parseID(f.Run), "limit": limit + 1,
	}
	if f.Before != "" {
		at, id, err := parseActionCursor(f.Before)
		if err != nil {
			return run.ActionPage{}, err
		}
		args["before"], args["before_id"] = at, id
	}
	if !f.Since.IsZero() {
		args["since"] = f.Since
	}
	found, err := retried(ctx, l, "list what people did", func() ([]action, error) {
		return collect(ctx, l.pool, scanAction, listActions, args)
	})
	page := run.ActionPage{Actions: make([]run.Action, 0, min(len(found), limit))}
	for i := range found[:min(len(found), limit)] {
		page.Actions = append(page.Actions, found[i].Action)
	}
	if len(found) > limit {
		last := found[limit-1]
		page.Next = cursor(strconv.FormatInt(last.At.UnixMicro(), 10), strconv.FormatInt(last.id, 10))
	}
	return page, err
}

// action is an action with its place among those of one moment.
type action struct {
	id int64
	run.Action
}

func scanAction(row pgx.CollectableRow) (a action, err error) {
	var steered, made pgtype.UUID
	err = row.Scan(&a.id, &a.At, &a.Deed, &a.By, &a.Trigger, &steered, &made)
	a.At = a.At.UTC()
	if steered.Valid {
		a.Run = steered.String()
	}
	if made.Valid {
		a.NewRun = made.String()
	}
	return a, err
}

func parseActionCursor(text string) (at time.Time, id int64, err error) {
	first, second, err := parseCursor(text)
	if err != nil {
		return at, id, err
	}
	at, err = parseMicros(first)
	if err == nil {
		id, err = strconv.ParseInt(second, 10, 64)
	}
	if err != nil {
		return at, id, fmt.Errorf("%w: %q", run.ErrCursor, cut(text, maxText))
	}
	return at, id, nil
}
