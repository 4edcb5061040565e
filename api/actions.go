package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

// actor is who calls.
func actor(ctx context.Context) run.Actor {
	return run.Actor{Name: callOf(ctx).user.Name(), Trigger: run.ByHTTP}
}

type actionList struct {
	Actions   []run.Action `json:"actions"`
	Next      string       `json:"next,omitempty"`
	Timestamp time.Time    `json:"timestamp"`
}

// getActions lists who steered what.
func (a *API) getActions(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r)
	filter := run.ActionFilter{Since: q.moment("since"), Before: q.text("before"), Limit: q.number("limit", run.MaxPage)}
	if err := q.problem(); err != nil {
		return err
	}
	page, err := a.parts.Runs.Actions(r.Context(), filter)
	switch {
	case errors.Is(err, run.ErrCursor):
		return invalid("before", "must be the next of an earlier page")
	case err != nil:
		return err
	}
	a.answer(w, r, http.StatusOK, actionList{page.Actions, page.Next, now()})
	return nil
}
