package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

// postSync starts a run.
func (a *API) postSync(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r)
	mode := run.Mode(q.text("mode"))
	if err := q.problem(); err != nil {
		return err
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	order, err := run.DecodeOrder(body)
	if err != nil {
		return err
	}
	if mode != "" {
		given := asGiven(body)
		if given.Mode != "" && given.Mode != mode {
			return invalid("mode", "is %s in the body, and another one in the address", given.Mode)
		}
		order.Mode = mode
	}
	return a.start(w, r, run.Request{Trigger: run.ByHTTP, Order: order})
}

// given is what has another default than an order's own, as a body has it.
type given struct {
	Mode   run.Mode
	Repair run.Kinds
}

// asGiven is an order without its defaults. The body must have been decoded before.
func asGiven(body []byte) (g given) {
	if len(body) > 0 {
		_ = json.Unmarshal(body, &g) // it was just decoded
	}
	return g
}

// postApply repairs what an earlier run found.
func (a *API) postApply(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
	defer cancel()
	found, err := a.run(ctx, r)
	if err != nil {
		return err
	}
	if err := readQuery(r).problem(); err != nil {
		return err
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	order, err := applyOrder(body, found.Request.Repair)
	if err != nil {
		return err
	}
	request, err := a.application(ctx, &found, order)
	if err != nil {
		return err
	}
	return a.start(w, r, request)
}

// application is the request that repairs what a run has found.
func (a *API) application(ctx context.Context, found *run.Record, order run.Order) (run.Request, error) {
	if err := a.applicable(ctx, found, order.Repair); err != nil {
		return run.Request{}, err
	}
	return run.Request{Trigger: run.ByHTTP, Order: order, Apply: found.ID}, nil
}

// applyOrder is how findings are to be repaired, and of which kinds: those that the
// run looked for where the body names none. Which products is not to be said.
func applyOrder(body []byte, sought run.Kinds) (run.Order, error) {
	order, err := run.DecodeOrder(body)
	if err != nil {
		return order, err
	}
	problem := &run.InvalidError{}
	for _, choice := range []struct {
		field string
		given bool
	}{{"dryRun", order.DryRun}, {"ids", len(order.IDs) > 0}, {"since", !order.Since.IsZero()}} {
		if choice.given {
			problem.Fields = append(problem.Fields, run.FieldError{Field: choice.field, Message: "does not go with apply, which repairs what the run found"})
		}
	}
	if len(problem.Fields) > 0 {
		return order, problem
	}
	if len(asGiven(body).Repair) == 0 {
		order.Repair = sought
	}
	return order, nil
}

func (a *API) applicable(ctx context.Context, record *run.Record, kinds run.Kinds) error {
	switch record.Applicable() {
	case run.StillActive:
		return conflict(record, "the run is %s: wait for its end, then apply it", record.Status)
	case run.Incomplete:
		return conflict(record, "the run is %s, so its findings are not complete: start a new dry run", record.Status)
	case run.HasRepaired:
		return conflict(record, "the run repaired what it found: only a dry run, or a run that stopped at its findings, is applied")
	}
	keys, complete, err := a.parts.Runs.Findings(ctx, record.ID, kinds)
	switch {
	case err != nil:
		return err
	case !complete:
		return conflict(record, "the run found more %s products than the ledger keeps (%d): POST %s/sync with \"maxRepairs\" repairs what is found anew", kinds, run.MaxOutcomes, Prefix)
	case len(keys) == 0:
		return conflict(record, "the run found no %s products that still stand, so there is nothing to apply", kinds)
	}
	return nil
}

// start submits the run, waits for its end where the caller prefers that, and answers
// with it.
func (a *API) start(w http.ResponseWriter, r *http.Request, request run.Request) error {
	record, err := a.Submit(r.Context(), request)
	if err != nil {
		return err
	}
	if wait := grantedWait(w, r, 0); wait > 0 {
		record = a.await(r.Context(), record, wait)
	}
	a.answerRun(w, r, record)
	return nil
}

// answerRun is 202 while the run goes on, 200 with its result afterwards.
func (a *API) answerRun(w http.ResponseWriter, r *http.Request, record run.Record) {
	status := http.StatusOK
	if record.Status.Active() {
		status = http.StatusAccepted
	}
	d := summary(record)
	w.Header().Set("Location", d.Links.Self)
	a.answer(w, r, status, d)
}

// Submit writes the run to the ledger and rings the doorbell, both or neither, whether
// or not the caller stays to hear of it.
func (a *API) Submit(ctx context.Context, request run.Request) (run.Record, error) {
	c := callOf(ctx)
	request.Version, request.By = run.RequestVersion, c.user.Name()
	if a.expires > 0 {
		request.Expires = now().Add(a.expires)
	}
	if err := request.Check(); err != nil {
		return run.Record{}, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	record, err := a.parts.Runs.Submit(ctx, request)
	if err != nil {
		return record, err
	}
	a.summary.forget()
	request.Recorded = true
	if err := a.parts.Doorbell.Ring(ctx, request); err != nil {
		return a.withdraw(ctx, record, err)
	}
	c.log.Info("run requested", "run", record.ID, "trigger", request.Trigger, "mode", request.Mode, "dryRun", request.DryRun, "reason", request.Reason)
	return record, nil
}

// withdraw takes a run back that no worker could be told of. It may have begun all the
// same: a message whose confirm was lost can have arrived.
func (a *API) withdraw(ctx context.Context, record run.Record, cause error) (run.Record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	err := a.parts.Runs.Discard(ctx, record.ID)
	var begun *run.StatusError
	fate := "it was taken back, try again later"
	switch {
	case errors.As(err, &begun):
		return begun.Run, nil
	case err != nil && !errors.Is(err, run.ErrNotFound):
		cause = errors.Join(cause, fmt.Errorf("discard run %s, which may still begin: %w", record.ID, err))
		fate = "it may still begin, see " + runPath(record.ID)
	}
	return record, &refusal{status: http.StatusServiceUnavailable, cause: fmt.Errorf("ring the doorbell of run %s: %w", record.ID, cause),
		message: "RabbitMQ does not answer, so no worker can be told of the run: " + fate}
}

// await returns the run when it has ended, or as it is when the wait is over, the
// caller leaves, the service stops or too many watch already.
func (a *API) await(ctx context.Context, record run.Record, wait time.Duration) run.Record {
	watched, leave, err := a.watches.join(ctx, record)
	if err != nil {
		return record
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	// Whatever goes wrong meanwhile: the run goes on, and this is what is known of it.
	for {
		later, changed, ok := watched.later(record)
		if record = later; !ok || !record.Status.Active() {
			return record
		}
		select {
		case <-changed:
		case <-a.draining:
			return record
		case <-ctx.Done():
			return record
		}
	}
}

func invalid(field, format string, args ...any) error {
	return &run.InvalidError{Fields: []run.FieldError{{Field: field, Message: fmt.Sprintf(format, args...)}}}
}
