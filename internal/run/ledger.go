package run

import (
	"context"
	"encoding/json"

	"github.com/ecom-micro/etl/internal/product"
)

// Ledger is where a run writes down what another process needs to go on with it,
// and what a person may want to look up. Every method may return ErrFenced.
type Ledger interface {
	// Resume returns what an earlier process of this run left, nil where this one
	// is the first.
	Resume(ctx context.Context) (*Checkpoint, error)
	// Plan keeps the key ranges of the run, all unfinished, instead of any before.
	Plan(ctx context.Context, ranges []product.Range) error
	// Begin keeps the products that are about to be repaired as being in hand.
	Begin(ctx context.Context, s Stage, ids []product.ID) error
	// Settle keeps what a window led to, all of it or nothing.
	Settle(ctx context.Context, s Settlement) error
	// Judged returns those of ids that have an outcome already.
	Judged(ctx context.Context, ids []product.ID) (map[product.ID]bool, error)
}

// Stage is which of its passes over the stores a run is in.
type Stage string

// The stages.
const (
	Counting  Stage = "counting"  // look at the whole before anything is repaired
	Repairing Stage = "repairing" // windows are repaired as they are found
)

// Settlement is what one window led to.
type Settlement struct {
	Stage Stage
	// Restart forgets the outcomes so far, and that ranges are finished: another
	// pass begins. Apart from that, products in hand are so no longer.
	Restart bool
	// Finished are the ranges whose findings are all settled now.
	Finished []FinishedRange
	// Outcomes are the new ones; each replaces an older one of its product and kind.
	Outcomes []Outcome
	Report   *Report
	// Memory is what only the run itself reads again.
	Memory json.RawMessage
}

// FinishedRange is a key range and what was compared in it.
type FinishedRange struct {
	Range                   product.Range
	Products, Rows, Matched int64
}

// Checkpoint is what a process that stopped has left of a run.
type Checkpoint struct {
	Stage  Stage
	Memory json.RawMessage
	// Planned is set once Plan was called. Ranges are those not finished.
	Planned bool
	Ranges  []product.Range
	// Products, Rows and Matched are the sums of the finished ranges.
	Products, Rows, Matched int64
	// InHand are the products that were being repaired.
	InHand []product.ID
	// Missing are products found missing and not acted on, at most limit many; more
	// than that are left out altogether.
	Missing []product.ID
}

// Lease is the right to execute one run. Whoever holds it beats regularly, and
// stops when it is fenced.
type Lease interface {
	Ledger
	// Record is the run as it was when the lease was taken.
	Record() Record
	// Beat renews the lease, shows the progress, and returns what is wanted.
	Beat(ctx context.Context, status Status, progress Progress) (Wanted, error)
	// Finish ends the run.
	Finish(ctx context.Context, status Status, report *Report, problem string) error
	// HandBack gives the run to whoever takes it next, from its last settlement on.
	HandBack(ctx context.Context) error
}
