package run

import (
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// State is what became of a product in a run.
type State string

// The states of a product that a run leaves behind.
const (
	Verified State = "verified"
	Lost     State = "lost"
	Blocked  State = "blocked"
	Gone     State = "gone"
	Undone   State = "undone"
	InFlight State = "in flight"
	Failed   State = "failed"
	Skipped  State = "skipped"
	Found    State = "found"
)

// StateRule is what a state means.
type StateRule struct {
	State   State
	Meaning string // for people
	// Open tells whether the difference stands when the run has ended.
	Open bool
	// Acted tells whether the run did something, which it keeps for itself.
	Acted bool
}

// stateRules are in reading order.
var stateRules = []StateRule{
	{Verified, "repaired, seen on both sides", false, true},
	{Lost, "repair accepted, nothing arrived", true, true},
	{Blocked, "the cart cannot hold it, or must keep it", true, false},
	{Gone, "gone by itself before it was repaired", false, false},
	{Undone, "deleted meanwhile, taken back", false, true},
	{InFlight, "possibly still on its way", true, false},
	{Failed, "not repaired, something failed", true, true},
	{Skipped, "beyond the limit", true, false},
	{Found, "found and left alone", true, false},
}

// States lists what all states mean, in reading order.
func States() []StateRule { return stateRules }

// StateNames lists the states themselves, in reading order.
func StateNames() []State {
	names := make([]State, len(stateRules))
	for i := range stateRules {
		names[i] = stateRules[i].State
	}
	return names
}

// Rule is what the state means. It must be one of States.
func (s State) Rule() *StateRule {
	for i := range stateRules {
		if stateRules[i].State == s {
			return &stateRules[i]
		}
	}
	panic("there is no state " + string(s))
}

// Outcome is what became of one product.
type Outcome struct {
	Key
	// Title is what the product is called where it was seen last, by the Product Service if
	// that has it; at most MaxTitle bytes.
	Title string `json:"title,omitempty"`
	State State  `json:"state"`
	// Attempts is how often it was repaired.
	Attempts int    `json:"attempts,omitempty"`
	Column   string `json:"column,omitempty"`
	Reason   Reason `json:"reason,omitzero"`
	// Fields are what differs in a product that is in both stores.
	Fields []FieldChange `json:"fields,omitempty"`
}

// FieldChange is one field as each side has it, whole where neither has more than
// MaxValue bytes; else both are shown around their first difference.
type FieldChange struct {
	Field  string `json:"field"`
	Source string `json:"source"`
	Cart   string `json:"cart"`
	// SourceWhole and CartWhole tell of the whole of a value that is shown in part.
	SourceWhole Whole `json:"sourceWhole,omitzero"`
	CartWhole   Whole `json:"cartWhole,omitzero"`
}

// Whole is a value of which only an excerpt is shown.
type Whole struct {
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// MaxTitle is the most of a title, in bytes, that is kept of a product that differs.
const MaxTitle = 120

// MaxValue is the most of a value, in bytes, that is kept of a product that differs.
// Reports, the ledger and answers hold many of them.
const MaxValue = 1000

// Result is how a run ended.
type Result string

// The ways a run ends.
const (
	InSync    Result = "in sync"   // nothing differed, of any kind: see Stores.InSync
	Succeeded Result = "succeeded" // all that was to be repaired is; of other kinds there may be differences
	Partial   Result = "partial"   // finished, and differences remain
	Stopped   Result = "stopped"   // the findings are for a person to judge first
	Cancelled Result = "cancelled"
	Broken    Result = "failed" // a service failed
)

// Bounds of the outcomes that a report names one by one.
const (
	MaxSamples = 1000 // in all
	// SampleQuota is how many of one state and kind there are at most while others
	// might still want the room.
	SampleQuota = 100
)

// Report is what a run found and did. It holds counts and the first samples, so
// its size does not depend on the number of products.
type Report struct {
	Run      string    `json:"run"`
	Mode     Mode      `json:"mode,omitempty"`
	DryRun   bool      `json:"dryRun"`
	Repair   Kinds     `json:"repair"` // the kinds that were to be repaired
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
	// Acted is the number of events published or rows changed, all attempts together,
	// and Attempts the largest number of them for one product.
	Acted    int64           `json:"acted"`
	Attempts int             `json:"attempts"`
	Outcomes map[State]int64 `json:"outcomes"`
	// ByKind are the outcomes of each kind of difference, those that are merely found
	// among them.
	ByKind  map[product.Kind]map[State]int64 `json:"byKind"`
	Samples []Outcome                        `json:"samples"`
	Notes   []Note                           `json:"notes"`
	Error   string                           `json:"error,omitempty"`

	// Unrepaired is the number of differences of the kinds to be repaired that stand at
	// the end: see StateRule.Open. Products that are merely too young to be judged and
	// that nobody named are not among them.
	Unrepaired int64 `json:"unrepaired"`
}

// Stores is how the two stores stand at the end of a run. It speaks of every kind of
// difference, whichever of them the run was to repair.
type Stores struct {
	Products, Rows int64 // with what the run has repaired
	// Differing are known to differ, InFlight may merely be on their way.
	Differing map[product.Kind]int64
	InFlight  int64
	// Unsupported have an _id that cannot be compared.
	Unsupported int64
}

// Stores judges the stores by the outcomes of a run that has looked at all that it was
// to look at.
func (r *Report) Stores() Stores {
	verified := func(kind product.Kind) int64 { return r.ByKind[kind][Verified] }
	s := Stores{Products: r.Products, Rows: r.Rows + verified(product.Missing) - verified(product.Orphaned), Differing: make(map[product.Kind]int64)}
	for kind, states := range r.ByKind {
		for state, n := range states {
			switch {
			case state == InFlight:
				s.InFlight += n
			case state.Rule().Open:
				s.Differing[kind] += n
			}
		}
	}
	for _, n := range r.Unsupported {
		s.Unsupported += n
	}
	return s
}

// InSync tells whether nothing differs that could be compared, and all could be.
func (s *Stores) InSync() bool {
	n := s.InFlight + s.Unsupported
	for _, differing := range s.Differing {
		n += differing
	}
	return n == 0
}

// Note is a remark on a run as a whole: a code, and what the code speaks of.
type Note struct {
	Code NoteCode     `json:"code"`
	Kind product.Kind `json:"kind,omitempty"`
	// Number products, or events, of Of.
	Number int64  `json:"number,omitempty"`
	Of     int64  `json:"of,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// NoteCode is what a note says.
type NoteCode string

// The notes.
const (
	NoteNoneShared   NoteCode = "none-shared"   // stopped: of Number products none is among Of rows
	NoteTooMany      NoteCode = "too-many"      // stopped: Number of Of differ so, which is more than Detail
	NoteShrunken     NoteCode = "shrunken"      // no deletes: Number products where there were Of
	NoteVanishing    NoteCode = "vanishing"     // stopped: Number of Of products vanished while they were repaired
	NoteUnknownIDs   NoteCode = "unknown-ids"   // Number of Of named products are in neither store
	NoteConsumed     NoteCode = "consumed"      // Number of Of events were consumed and left no row: Detail
	NoteNacked       NoteCode = "nacked"        // Number events were refused by the broker and sent again
	NoteUnanswered   NoteCode = "unanswered"    // Number events were sent, and the broker's answer never came
	NoteHopeless     NoteCode = "hopeless"      // no more attempts: of the last Of repairs Number arrived
	NoteFallback     NoteCode = "fallback"      // Number products that the replay lost were written directly
	NoteUnsupported  NoteCode = "unsupported"   // Number products have an _id of a type that cannot be compared: Detail
	NoteStockSet     NoteCode = "stock-set"     // Number replayed updates set the cart's stock quantity too
	NoteLedger       NoteCode = "ledger"        // the ledger does not have what happened last: Detail
	NoteNoManagement NoteCode = "no-management" // the management API does not answer, the run goes on without it: Detail
	NoteQueueLimit   NoteCode = "queue-limit"   // the queue holds Number messages at most: Detail
	NoteNotUsed      NoteCode = "not-used"      // options of the source's URL that are not used: Detail
	NoteCeiling      NoteCode = "ceiling"       // more than the Number that was judged differ by now
)

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
