package api

import (
	"fmt"
	"slices"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// runDocument is a run as the API shows it: the ledger's record, where to go from here,
// and the fields that callers of the former service know.
type runDocument struct {
	run.Record
	Progress *words.ProgressDocument `json:"progress,omitempty"`
	Report   *words.ReportDocument   `json:"report,omitempty"`
	Links    links                   `json:"links"`
	// Actions are what people did to the run, the latest first; set where one run is asked for.
	Actions []run.Action `json:"actions,omitempty"`
	// IDCount is how many ids the request names, where not all of them are shown.
	IDCount   int       `json:"idCount,omitempty"`
	Success   bool      `json:"success"`
	Message   string    `json:"message"`
	Timestamp time.Time `json:"timestamp"`
	*totals             // of a run that has ended
	Results   *results  `json:"results,omitempty"`
}

type links struct {
	Self     string `json:"self"`
	Products string `json:"products"`
	Events   string `json:"events"`
}

// totals are the figures of a run under their former names.
type totals struct {
	Source   *int64   `json:"totalProductsInSource,omitempty"` // of a run that looked at all products
	Target   *int64   `json:"totalProductsInTarget,omitempty"`
	Missing  int64    `json:"missingProducts"`
	Synced   int64    `json:"syncedProducts"`
	Errors   []string `json:"errors"`
	Duration int64    `json:"duration"` // milliseconds
}

// results is where the former service had them.
type results struct {
	Timestamp   time.Time `json:"timestamp"`
	DryRun      bool      `json:"dryRun"`
	ProductSync *totals   `json:"productSync"`
}

func runPath(id string) string { return Prefix + "/runs/" + id }

func document(record run.Record) *runDocument {
	d := &runDocument{
		Record: record, Progress: words.API.Progress(record.Progress), Report: words.API.Report(record.Report),
		Success: successful(record), Message: inDetail(&record, words.API), Timestamp: record.Finished,
		Links: links{runPath(record.ID), runPath(record.ID) + "/products", runPath(record.ID) + "/events"},
	}
	if d.Timestamp.IsZero() {
		d.Timestamp = now()
	}
	if record.Report != nil && !record.Status.Active() {
		d.totals = figures(record)
		d.Results = &results{d.Timestamp, record.Request.DryRun, d.totals}
	}
	return d
}

// summary is a run without what may be long.
func summary(record run.Record) *runDocument {
	const most = 20
	record.Request.IDs = record.Request.IDs[:min(len(record.Request.IDs), most)]
	d := document(record)
	if len(record.Request.IDs) < record.IDCount {
		d.IDCount = record.IDCount
	}
	return d
}

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// successful tells whether nothing has gone wrong. A comparison that found differences
// has done what was asked of it.
func successful(record run.Record) bool {
	return record.Status.Active() || record.Status == run.StatusSucceeded ||
		record.Request.DryRun && record.Status == run.StatusPartial
}

func figures(record run.Record) *totals {
	report := record.Report
	t := &totals{
		Missing: report.Found[product.Missing],
		Synced:  report.Outcomes[run.Verified], Duration: report.Duration, Errors: []string{},
	}
	if record.Whole() {
		t.Source, t.Target = &report.Products, &report.Rows
	}
	if record.Error != "" {
		t.Errors = append(t.Errors, record.Error)
	}
	for _, state := range []run.State{run.Lost, run.Blocked, run.Failed} {
		if n := report.Outcomes[state]; n > 0 {
			t.Errors = append(t.Errors, fmt.Sprintf("%s: %d products; %s", state, n, words.Remedy(run.Outcome{State: state}, words.API)))
		}
	}
	return t
}

// inDetail says in one sentence how a run stands, to those who may see details.
func inDetail(record *run.Record, t words.Terms) string {
	message := describe(record, t)
	if (record.Status == run.StatusFailed || record.Status == run.StatusWaiting || record.Status == run.StatusQueued) && record.Error != "" {
		message += ": " + record.Error
	}
	return message
}

// describe says in one sentence how a run stands. It names no product, person or
// address, for any user may read it.
func describe(record *run.Record, t words.Terms) string {
	switch record.Status {
	case run.StatusWaiting:
		return "the run waits for a newer version of this service, which can read its request"
	case run.StatusQueued:
		if record.Error != "" {
			return "the run was handed back, and is taken up again"
		}
		return "the run is accepted and waits for a worker"
	case run.StatusRunning, run.StatusPaused:
		if p := discreet(record.Progress); p != nil && p.Phase != "" {
			return "the run is " + string(record.Status) + ": " + words.Progress(p, record.Request.Repair, t)
		}
		return "the run is " + string(record.Status)
	case run.StatusFailed:
		return "the run failed"
	case run.StatusCancelled:
		return "the run was cancelled"
	case run.StatusSkipped:
		if record.ActiveRun != "" {
			return "the run was skipped: another one was active"
		}
		return "the run was skipped: no worker began it in time"
	}
	if record.Report == nil {
		return "the run has ended"
	}
	return words.Result(record.Report, t)
}

// discreet is a progress without the words of servers, for any user. It may be nil.
func discreet(progress *run.Progress) *run.Progress {
	if progress == nil {
		return nil
	}
	p := *progress
	p.Throttle = ""
	p.Waits = slices.Clone(p.Waits)
	for i := range p.Waits {
		p.Waits[i].Reason.Detail = ""
	}
	return &p
}
