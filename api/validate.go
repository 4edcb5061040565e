package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

const (
	defaultMaxAge = 5 * time.Minute
	// defaultWait is where nothing is preferred; proxies often give up after a minute.
	defaultWait = 45 * time.Second
)

type validationDocument struct {
	Success bool `json:"success"`
	validation
	Message     string       `json:"message"`
	ProductSync *validation  `json:"productSync"` // where the former service had it
	Run         *runDocument `json:"run"`
	Timestamp   time.Time    `json:"timestamp"`
}

// getValidate answers with a recent comparison of all products, or has one made.
func (a *API) getValidate(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r)
	maxAge := q.duration("maxAge", defaultMaxAge)
	if err := q.problem(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
	recent, err := a.parts.Runs.LatestLook(ctx, time.Now().Add(-maxAge))
	cancel()
	if err != nil {
		return err
	}
	if recent == nil {
		record, err := a.compare(r)
		if err != nil {
			return err
		}
		wait, given := preferredWait(r.Header)
		if given {
			w.Header().Set("Preference-Applied", "wait="+strconv.Itoa(int(wait.Seconds())))
		} else {
			wait = defaultWait
		}
		if record = a.await(r.Context(), record, wait); record.Status.Active() {
			a.answerRun(w, r, record)
			return nil
		}
		recent = &record
	}
	if recent.Report == nil || recent.Status != run.StatusSucceeded && recent.Status != run.StatusPartial {
		return &refusal{status: http.StatusServiceUnavailable, message: "the comparison is " + string(recent.Status) + ", so it says nothing about the stores", run: recent}
	}
	v := judge(recent.Report)
	a.answer(w, r, http.StatusOK, validationDocument{
		Success: true, validation: *v, Message: inDetail(recent), ProductSync: v, Run: summary(*recent), Timestamp: now(),
	})
	return nil
}

// compare starts a comparison of all products, or joins the one that is under way.
func (a *API) compare(r *http.Request) (run.Record, error) {
	acting := r.Clone(r.Context())
	acting.Method = http.MethodPost // for this GET starts something
	if a.protection.Check(acting) != nil {
		return run.Record{}, crossSite
	}
	record, err := a.submit(r, run.Request{Trigger: run.ByHTTP, Order: run.Order{DryRun: true, Reason: "validation"}})
	var active *run.ActiveError
	if errors.As(err, &active) {
		if asked := active.Active.Request; len(asked.IDs) == 0 && asked.Since.IsZero() {
			return active.Active, nil
		}
	}
	return record, err
}
