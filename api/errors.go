package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

// refusal is an answer that is no success, in words that any caller may read.
type refusal struct {
	status  int
	message string
	run     *run.Record // the run that it is about
	cause   error       // for the log only
}

func (e *refusal) Error() string { return e.message }
func (e *refusal) Unwrap() error { return e.cause }

func conflict(record *run.Record, format string, args ...any) *refusal {
	return &refusal{status: http.StatusConflict, message: fmt.Sprintf(format, args...), run: record}
}

// failure is the platform's shape of an error, and the run that it is about.
type failure struct {
	Errors []run.FieldError `json:"errors"`
	Run    *runDocument     `json:"run,omitempty"`
}

// retryAfter is when a caller may try again what failed because a service was away.
const retryAfter = 5 * time.Second

// Problem is an error in words that any caller may read.
type Problem struct {
	Status int // of the answer
	// Errors are what is wrong; a field is named where one is to blame.
	Errors []run.FieldError
	Run    *run.Record // that it is about, nil for none
}

// Problem puts words to an error. This is the one table of errors and statuses. Errors
// that are not listed are those of databases and broker: they go to the log, and the
// caller learns only that something is away. It is nil where the caller has left.
func (a *API) Problem(ctx context.Context, err error) *Problem {
	var (
		refused  *refusal
		invalid  *run.InvalidError
		active   *run.ActiveError
		wrong    *run.StatusError
		foreign  *run.ForeignError
		tooLarge *http.MaxBytesError
	)
	switch {
	case errors.As(err, &refused):
	case errors.As(err, &invalid):
		return &Problem{Status: http.StatusBadRequest, Errors: invalid.Fields}
	case errors.As(err, &active):
		refused = conflict(&active.Active, "%s", active)
	case errors.As(err, &wrong):
		refused = conflict(&wrong.Run, "%s", wrong)
	case errors.As(err, &foreign):
		refused = notOurs(foreign.Error())
	case errors.Is(err, run.ErrNotFound):
		refused = &refusal{status: http.StatusNotFound, message: "no such run"}
	case errors.As(err, &tooLarge):
		refused = &refusal{status: http.StatusRequestEntityTooLarge, message: fmt.Sprintf("the body is longer than %d bytes", tooLarge.Limit)}
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return nil
	default:
		refused = &refusal{
			status:  http.StatusServiceUnavailable,
			message: "a service that this needs does not answer: GET /api/etl/health shows which, the log says more under request id " + RequestID(ctx),
			cause:   err,
		}
	}
	if refused.cause != nil {
		logger(ctx).Error("request failed", "err", refused.cause)
	}
	return &Problem{Status: refused.status, Errors: []run.FieldError{{Message: refused.message}}, Run: refused.run}
}

// refuse answers with an error.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := a.Problem(r.Context(), err)
	if p == nil {
		return
	}
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
	}
	f := failure{Errors: p.Errors}
	if p.Run != nil {
		f.Run = summary(*p.Run)
		w.Header().Set("Location", f.Run.Links.Self)
	}
	a.answer(w, r, p.Status, f)
}
