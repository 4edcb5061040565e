package api

import (
	"fmt"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
)

// runDocument is a run as the API shows it: the ledger's record, where to go from here,
// and the fields that callers of the former service know.
type runDocument struct {
	reconcile.Record
	Links links `json:"links"`
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

func runPath(id string) string { return prefix + "/runs/" + id }

func document(run reconcile.Record) *runDocument {
	d := &runDocument{
		Record: run, Success: successful(run), Message: describe(run), Timestamp: run.Finished,
		Links: links{runPath(run.ID), runPath(run.ID) + "/products", runPath(run.ID) + "/events"},
	}
	if d.Timestamp.IsZero() {
		d.Timestamp = now()
	}
	if run.Report != nil && !run.Status.Active() {
		d.totals = figures(run)
		d.Results = &results{d.Timestamp, run.Request.DryRun, d.totals}
	}
	return d
}

// summary is a run without what may be long.
func summary(run reconcile.Record) *runDocument {
	const most = 20
	ids := len(run.Request.IDs)
	if ids > most {
		run.Request.IDs = run.Request.IDs[:most]
	} else {
		ids = 0
	}
	d := document(run)
	d.IDCount = ids
	return d
}

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// successful tells whether nothing has gone wrong. A comparison that found differences
// has done what was asked of it.
func successful(run reconcile.Record) bool {
	return run.Status.Active() || run.Status == reconcile.StatusSucceeded ||
		run.Request.DryRun && run.Status == reconcile.StatusPartial
}

func figures(run reconcile.Record) *totals {
	report := run.Report
	t := &totals{
		Missing: report.Found[product.Missing],
		Synced:  report.Outcomes[reconcile.Verified], Duration: report.Duration, Errors: []string{},
	}
	if whole(&run) {
		t.Source, t.Target = &report.Products, &report.Rows
	}
	if run.Error != "" {
		t.Errors = append(t.Errors, run.Error)
	}
	for _, state := range []reconcile.State{reconcile.Lost, reconcile.Blocked, reconcile.Failed} {
		if n := report.Outcomes[state]; n > 0 {
			t.Errors = append(t.Errors, fmt.Sprintf("%s: %d products; %s", state, n, state.Remedy()))
		}
	}
	return t
}

// whole tells whether a run was to look at all products.
func whole(run *reconcile.Record) bool {
	return len(run.Request.IDs) == 0 && run.Request.Since.IsZero() && run.Request.Apply == ""
}

// describe says in one sentence how a run stands. It names no product, person or
// address, for any user may read it.
func describe(run reconcile.Record) string {
	switch run.Status {
	case reconcile.StatusQueued:
		return "the run is accepted and waits for a worker"
	case reconcile.StatusRunning, reconcile.StatusPaused:
		return "the run is " + string(run.Status)
	case reconcile.StatusFailed:
		return "the run failed: a service did not answer as it should"
	case reconcile.StatusCancelled:
		return "the run was cancelled"
	case reconcile.StatusSkipped:
		if run.ActiveRun != "" {
			return "the run was skipped: another one was active"
		}
		return "the run was skipped: no worker began it in time"
	}
	report := run.Report
	if report == nil {
		return "the run has ended"
	}
	missing := report.Found[product.Missing]
	switch {
	case report.Result == reconcile.Stopped:
		return fmt.Sprintf("the run stopped at its findings, %d missing products: judge them, then apply the run", missing)
	case report.Result == reconcile.InSync:
		return "the stores are in sync"
	case run.Request.DryRun:
		return fmt.Sprintf("dry run completed: %d products are missing, %d are stale, %d are orphaned, %d cannot be judged yet",
			missing, report.Found[product.Stale], report.Found[product.Orphaned], report.Outcomes[reconcile.InFlight])
	case report.Unrepaired > 0:
		return fmt.Sprintf("sync completed: %d missing products are repaired and verified, %d remain",
			report.Outcomes[reconcile.Verified], report.Unrepaired)
	}
	return fmt.Sprintf("sync completed: %d missing products are repaired and verified", report.Outcomes[reconcile.Verified])
}
