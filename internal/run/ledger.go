package run

import (
	"context"
	"encoding/json"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// Ledger is where a run writes down what another process needs to go on with it,
// and what a person may want to look up. It keeps each open difference once, and of
// each run only what the run did. Every method may return ErrFenced.
type Ledger interface {
	// Resume returns what an earlier process of this run left, nil where this one
	// is the first.
	Resume(ctx context.Context) (*Checkpoint, error)
	// Plan keeps the key ranges of the run, all unfinished, instead of any before.
	Plan(ctx context.Context, ranges []product.Range) error
	// Known returns what earlier runs, and this one, left open of these products, in
	// no order; products without an open difference are left out.
	Known(ctx context.Context, ids []product.ID) ([]Standing, error)
	// Judged returns those of ids, by kind, that have an outcome of this run already.
	Judged(ctx context.Context, ids []product.ID) (map[Key]bool, error)
	// Begin keeps products as being in hand: they are about to be repaired. One that is
	// in hand already is kept with its new attempt.
	Begin(ctx context.Context, hands []Hand) error
	// Settle keeps what happened since the last settlement, all of it or nothing.
	Settle(ctx context.Context, s Settlement) error
	// Open returns a page of the pipeline's open differences, ordered by id and kind,
	// behind the given one; at most limit.
	Open(ctx context.Context, after Key, limit int) ([]Standing, error)
	// TakeDue returns what detectors have found of these kinds that is due, and for which no
	// run was asked yet: this one repairs it. At most so many are taken within an hour, those
	// included for which other runs were asked.
	TakeDue(ctx context.Context, kinds Kinds, hourly int) ([]product.ID, error)
	// LastLook is the latest complete comparison, zero where there was none.
	LastLook(ctx context.Context) (Look, error)
	// Gap is the longest time from a product's creation to its event of the last hour.
	Gap(ctx context.Context) (time.Duration, error)
	// Measured tells of such a gap, as of now.
	Measured(ctx context.Context, gap time.Duration) error
}

// Key names one difference.
type Key struct {
	ID   product.ID   `json:"id"`
	Kind product.Kind `json:"kind"`
}

// Hand is a product that is being repaired.
type Hand struct {
	Key
	// Attempt counts the repairs of the product by this run, from 1.
	Attempt int
}

// Standing is a difference that was seen before and has not been seen to be gone.
type Standing struct {
	Key
	State  State
	Opened time.Time // when it was first seen
	// Acted is when a run last repaired it, zero where none did. Attempts is how often
	// the present run has.
	Acted    time.Time
	Attempts int
	// Announced tells that the product's own event was consumed, and made no row.
	Announced bool
}

// Look is one complete comparison of the whole catalogue.
type Look struct {
	At       time.Time // when it began
	Products int64     // of the source
	Rows     int64     // of the cart
}

// Stage is which of its passes over the stores a run is in.
type Stage string

// The stages.
const (
	Counting  Stage = "counting"  // look at the whole before anything is repaired
	Repairing Stage = "repairing" // differences are repaired as they are found
)

// Settlement is what happened in a run since the last one.
type Settlement struct {
	Stage Stage
	// Restart forgets this run's outcomes so far, and that ranges are finished: another
	// pass begins. It comes first.
	Restart bool
	// Finished are ranges whose findings are all settled now.
	Finished []FinishedRange
	// Outcomes are new ones; each replaces this run's older one of its product and
	// kind, and takes the product out of hand. Its state says whether the difference
	// stays open.
	Outcomes []Outcome
	// Resolved are differences that were known as open and are gone without a repair.
	Resolved []Key
	// Look is set at the end of a complete comparison.
	Look *Look
	// Report is the run's so far. Memory is what only the run itself reads again.
	Report *Report
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
	InHand []Hand
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
	// HandBack gives the run to whoever takes it next, from its last settlement on, but
	// not before the pause is over. problem says why, until then.
	HandBack(ctx context.Context, problem string, pause time.Duration) error
}
