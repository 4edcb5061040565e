package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// run is the run that the path names.
func (a *API) run(ctx context.Context, r *http.Request) (run.Record, error) {
	id, err := runID(r)
	if err != nil {
		return run.Record{}, err
	}
	return a.parts.Runs.Run(ctx, id)
}

// runID is the id in the path.
func runID(r *http.Request) (string, error) {
	return RunID(mux.Vars(r)["id"])
}

// RunID never lets through what is no run's id; that is run.ErrNotFound.
func RunID(id string) (string, error) {
	if len(id) != 36 || uuid.Validate(id) != nil {
		return "", run.ErrNotFound
	}
	return strings.ToLower(id), nil
}

func (a *API) getRun(w http.ResponseWriter, r *http.Request) error {
	record, err := a.run(r.Context(), r)
	if err != nil {
		return err
	}
	d := document(record)
	page, err := a.parts.Runs.Actions(r.Context(), run.ActionFilter{Run: record.ID, Limit: run.MaxPage})
	if err != nil {
		return err
	}
	d.Actions = page.Actions
	a.answer(w, r, http.StatusOK, d)
	return nil
}

type runList struct {
	Runs      []*runDocument `json:"runs"`
	Next      string         `json:"next,omitempty"`
	Timestamp time.Time      `json:"timestamp"`
}

func (a *API) getRuns(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r)
	filter := run.Filter{
		Status:    oneOf(q, "status", run.Statuses()),
		Trigger:   oneOf(q, "trigger", run.Triggers()),
		Attention: oneOf(q, "attention", run.Attentions()),
		DryRun:    q.boolean("dryRun"),
		Since:     q.moment("since"),
		Before:    q.text("before"),
		Limit:     q.number("limit", run.MaxPage),
	}
	if modes := oneOf(q, "mode", []run.Mode{run.Replay, run.Direct}); len(modes) == 1 {
		filter.Mode = modes[0]
	}
	if err := q.problem(); err != nil {
		return err
	}
	page, err := a.parts.Runs.Runs(r.Context(), filter)
	switch {
	case errors.Is(err, run.ErrCursor):
		return invalid("before", "must be the next of an earlier page")
	case err != nil:
		return err
	}
	list := runList{Runs: make([]*runDocument, len(page.Runs)), Next: page.Next, Timestamp: now()}
	for i, record := range page.Runs {
		list.Runs[i] = summary(record)
	}
	a.answer(w, r, http.StatusOK, list)
	return nil
}

type outcomeList struct {
	Products  []words.OutcomeDocument `json:"products"`
	Next      string                  `json:"next,omitempty"`
	Timestamp time.Time               `json:"timestamp"`
}

func (a *API) getRunProducts(w http.ResponseWriter, r *http.Request) error {
	id, err := runID(r)
	if err != nil {
		return err
	}
	q := readQuery(r)
	filter := run.OutcomeFilter{
		State: oneOf(q, "state", run.StateNames()),
		Kind:  oneOf(q, "kind", product.Kinds()),
		After: q.text("after"),
		Limit: q.number("limit", run.MaxPage),
	}
	if err := q.problem(); err != nil {
		return err
	}
	page, err := a.parts.Runs.Outcomes(r.Context(), id, filter)
	switch {
	case errors.Is(err, run.ErrCursor):
		return invalid("after", "must be the next of an earlier page")
	case err != nil:
		return err
	}
	a.answer(w, r, http.StatusOK, outcomeList{Products: words.API.Outcomes(page.Outcomes), Next: page.Next, Timestamp: now()})
	return nil
}

// ask tells the worker of a run what is wanted of it.
func (a *API) ask(action string) func(http.ResponseWriter, *http.Request) error {
	wanted := map[string]run.Wanted{"cancel": run.WantCancel, "pause": run.WantPause, "resume": run.WantRun}[action]
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := runID(r)
		if err != nil {
			return err
		}
		if err := readQuery(r).problem(); err != nil {
			return err
		}
		if err := withoutBody(w, r); err != nil {
			return err
		}
		record, err := a.Steer(r.Context(), id, wanted)
		if err != nil {
			return err
		}
		a.answerRun(w, r, record)
		return nil
	}
}
