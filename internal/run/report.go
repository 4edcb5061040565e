package run

import (
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// State is what became of a product in a run.
type State string

// The states of a product that a run leaves behind.
const (
	Verified State = "verified"  // repaired, and seen on both sides
	Lost     State = "lost"      // repaired, and nothing arrived
	Blocked  State = "blocked"   // the cart cannot hold it
	Gone     State = "gone"      // deleted in the source meanwhile
	Undone   State = "undone"    // deleted while it was repaired, taken back
	InFlight State = "in flight" // possibly still on its way, so not judged
	Failed   State = "failed"    // not repaired because something failed
	Skipped  State = "skipped"   // not repaired because of a limit
	Found    State = "found"     // reported only
)

// States lists the states that a report counts, in reading order.
func States() []State {
	return []State{Verified, Lost, Blocked, Gone, Undone, InFlight, Failed, Skipped}
}

// remedies say what a person can do about a product.
var remedies = map[State]string{
	Lost:     "see the notes of the report; `etl sync --mode direct` writes it without the queue",
	Blocked:  "correct the product in the Product Service, then run again",
	InFlight: "run again when the cart has consumed its queue",
	Failed:   "remove the cause, then run again",
	Skipped:  "run again with a higher limit",
}

// Remedy is what a person can do about a product in this state; empty is nothing.
func (s State) Remedy() string { return remedies[s] }

// Outcome is what became of one product.
type Outcome struct {
	ID     product.ID   `json:"id"`
	Kind   product.Kind `json:"kind"`
	State  State        `json:"state"`
	Column string       `json:"column,omitempty"`
	Reason string       `json:"reason,omitempty"`
	// Fields are what differs in a stale product, or in one that arrived and is not
	// what the source holds.
	Fields []FieldChange `json:"fields,omitempty"`
	Remedy string        `json:"remedy,omitempty"`
}

// FieldChange is one field as each side has it, shortened.
type FieldChange struct {
	Field  string `json:"field"`
	Source string `json:"source"`
	Cart   string `json:"cart"`
}

// Result is how a run ended.
type Result string

// The ways a run ends.
const (
	InSync    Result = "in sync"   // nothing differed
	Succeeded Result = "succeeded" // all that was to be repaired is repaired and verified
	Partial   Result = "partial"   // finished, and differences remain
	Stopped   Result = "stopped"   // the findings are for a person to judge first
	Cancelled Result = "cancelled"
	Broken    Result = "failed" // a service failed
)

// MaxSamples is the number of outcomes that a report names one by one.
const MaxSamples = 1000

// Report is what a run found and did. It holds counts and the first samples, so
// its size does not depend on the number of products.
type Report struct {
	Run      string    `json:"run"`
	Mode     Mode      `json:"mode,omitempty"`
	DryRun   bool      `json:"dryRun"`
	Result   Result    `json:"result"`
	Started  time.Time `json:"startedAt"`
	Finished time.Time `json:"finishedAt,omitzero"`
	Duration int64     `json:"durationMs"`

	Source      string           `json:"source"`
	Target      string           `json:"target"`
	Products    int64            `json:"productsCompared"`
	Rows        int64            `json:"rowsCompared"`
	Unsupported map[string]int64 `json:"unsupportedIds"` // by BSON type

	Suspects int64                  `json:"suspects"`
	Resolved int64                  `json:"resolved"` // suspects that were merely on their way
	Found    map[product.Kind]int64 `json:"found"`    // confirmed differences
	Acted    int64                  `json:"acted"`    // events published or rows written, all rounds together
	Rounds   int                    `json:"rounds"`
	Outcomes map[State]int64        `json:"outcomes"`
	Samples  []Outcome              `json:"samples"`
	Notes    []string               `json:"notes"`
	Error    string                 `json:"error,omitempty"`

	// Unrepaired is the number of missing products that the run leaves: lost,
	// blocked, in flight, failed, skipped, or merely found.
	Unrepaired int64 `json:"unrepaired"`
}

// Status is where a run with this result has ended.
func (r Result) Status() Status {
	switch r {
	case InSync, Succeeded:
		return StatusSucceeded
	case Cancelled:
		return StatusCancelled
	case Broken:
		return StatusFailed
	}
	return StatusPartial
}
