package run

import (
	"errors"
	"fmt"
	"time"
)

// Status is where a run is in its life.
type Status string

// queued → running ⇄ paused → succeeded | partial | failed | cancelled; skipped
// where another run was active; waiting before queued where a newer program is needed.
const (
	StatusWaiting   Status = "waiting" // for a newer version of this program, which can read its request
	StatusQueued    Status = "queued"
	StatusRunning   Status = "running"
	StatusPaused    Status = "paused"
	StatusSucceeded Status = "succeeded" // in sync, or all that was missing is repaired and verified
	StatusPartial   Status = "partial"   // finished, and differences remain
	StatusFailed    Status = "failed"    // a service failed
	StatusCancelled Status = "cancelled"
	StatusSkipped   Status = "skipped" // another run was active, or the request expired
)

// Statuses lists all of them, in the order of a run's life.
func Statuses() []Status {
	return []Status{StatusWaiting, StatusQueued, StatusRunning, StatusPaused, StatusSucceeded, StatusPartial, StatusFailed, StatusCancelled, StatusSkipped}
}

// Active tells whether a run in this status holds its slot.
func (s Status) Active() bool { return s == StatusQueued || s == StatusRunning || s == StatusPaused }

// Wanted is what a person asked of an active run.
type Wanted string

// What may be asked of an active run.
const (
	WantRun    Wanted = "run"
	WantPause  Wanted = "pause"
	WantCancel Wanted = "cancel"
)

// Record is a run as the ledger keeps it.
type Record struct {
	ID        string    `json:"id"`
	Version   int64     `json:"version"` // grows with each change
	Status    Status    `json:"status"`
	Request   Request   `json:"request"`
	Wanted    Wanted    `json:"wanted"`
	Attention Attention `json:"attention"`
	Started   time.Time `json:"startedAt,omitzero"`
	Finished  time.Time `json:"finishedAt,omitzero"`
	Owner     string    `json:"owner,omitempty"` // the process that executes it
	Takeovers int       `json:"takeovers"`       // how often another process went on with it
	// Vanished is how many owners in a row gave no sign of life any more and had
	// settled nothing.
	Vanished int `json:"-"`
	// IDCount is how many ids the request names. Lists have none of them.
	IDCount  int       `json:"-"`
	Progress *Progress `json:"progress,omitempty"`
	// Report is the run's so far, without samples: the outcomes are kept one by one.
	Report    *Report `json:"report,omitempty"`
	Error     string  `json:"error,omitempty"`     // what went wrong, or what a run that was handed back waits for, and what to do; at most MaxError bytes
	ActiveRun string  `json:"activeRun,omitempty"` // a skipped run: the one that was active
}

// Whole tells whether the run was to look at all products.
func (r *Record) Whole() bool {
	return r.IDCount == 0 && len(r.Request.IDs) == 0 && r.Request.Since.IsZero() && r.Request.Apply == ""
}

// Applicability is whether the findings of a run may be applied.
type Applicability string

// Findings are applied of a dry run, and of a run that stopped at them.
const (
	Applicable  Applicability = "applicable"
	StillActive Applicability = "active"
	Incomplete  Applicability = "incomplete" // it did not look at all that it was to look at
	HasRepaired Applicability = "repaired"
)

// Applicable tells whether the run's findings may be applied.
func (r *Record) Applicable() Applicability {
	switch {
	case r.Status.Active():
		return StillActive
	case r.Report == nil || r.Status != StatusSucceeded && r.Status != StatusPartial:
		return Incomplete
	case !r.Request.DryRun && r.Report.Result != Stopped:
		return HasRepaired
	}
	return Applicable
}

// NotApplicable says why the findings of a run are not applied, empty where they are.
func NotApplicable(r *Record) string {
	switch r.Applicable() {
	case StillActive:
		return fmt.Sprintf("names run %s, which is %s: wait for its end", r.ID, r.Status)
	case Incomplete:
		return fmt.Sprintf("names run %s, which is %s, so its findings are not complete: ask for a new dry run", r.ID, r.Status)
	case HasRepaired:
		return fmt.Sprintf("names run %s, which repaired what it found: only a dry run, or a run that stopped at its findings, is applied", r.ID)
	}
	return ""
}

// Bounds of what the ledger keeps of one run.
const (
	MaxError    = 2000
	MaxOutcomes = 100_000 // then counts only
)

// Slot is what at most one active run of a pipeline holds.
type Slot string

// The slots: one run that repairs, and one that only looks.
const (
	RepairSlot Slot = "repair"
	LookSlot   Slot = "look"
)

// Slot is the one that the requested run takes.
func (r *Request) Slot() Slot {
	if r.DryRun {
		return LookSlot
	}
	return RepairSlot
}

// ActiveError says that the slot that a run needs is taken.
type ActiveError struct{ Active Record }

func (e *ActiveError) Error() string {
	what := "repairing run"
	if e.Active.Request.DryRun {
		what = "comparison"
	}
	return fmt.Sprintf("another %s is active: run %s, %s", what, e.Active.ID, e.Active.Status)
}

// StatusError says that a run's status does not allow what was asked.
type StatusError struct {
	Run    Record
	Action string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("run %s is %s, so it cannot %s", e.Run.ID, e.Run.Status, e.Action)
}

// ErrNotFound says that the ledger has no such run.
var ErrNotFound = errors.New("no such run")

// ErrFenced says that the run's lease went to another process, or that the run has
// ended: whoever meets it must stop at once and write nothing more.
var ErrFenced = errors.New("the lease of the run was lost, another process may have taken it over")
