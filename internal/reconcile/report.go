package reconcile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ecom-micro/etl/diff"
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

	memory `json:"-"`
	fresh  []Outcome // not in the ledger yet
}

// memory is what a process that goes on with the run must know besides its report.
type memory struct {
	Unjudged int64 // missing suspects in flight, which are not among those found
	Losses   losses
	// Attempted is the number of products counted against Options.MaxRepairs.
	Attempted int64
	Orphans   diff.Orphans // how the run finds them
	Ranges    int          // as planned
}

// losses is what the first rounds of all windows lost, and what became of it.
type losses struct {
	Acted, Lost, Rescued int64
	Why                  string
}

func newReport(options Options, parts Parts) *Report {
	return &Report{Unsupported: make(map[string]int64), Run: options.Run, Mode: options.Mode, DryRun: options.DryRun, Started: time.Now(),
		Source: parts.Source.Name(), Target: parts.Target.Name()}
}

// beginPass forgets the findings of a pass that only counted.
func (r *Report) beginPass() {
	r.Suspects, r.Resolved, r.Unjudged = 0, 0, 0
	r.Found = make(map[product.Kind]int64)
	r.Outcomes = make(map[State]int64)
	r.Samples, r.Notes = []Outcome{}, []string{}
}

// found takes over what a window's confirmation decided.
func (r *Report) found(v diff.Verdict) {
	r.Resolved += int64(v.Resolved)
	for _, d := range v.Confirmed {
		r.Found[d.Kind]++
		if d.Kind != product.Missing {
			r.sample(Outcome{ID: d.ID, Kind: d.Kind, State: Found, Reason: describe(d.Fields), Fields: changes(d.Fields)})
		}
	}
	for _, f := range v.InFlight {
		if f.Kind == product.Missing {
			r.Unjudged++
		}
		r.add(Outcome{ID: f.ID, Kind: f.Kind, State: InFlight, Reason: f.Reason})
	}
}

// describe says what differs in a product.
func describe(fields []diff.FieldDifference) string {
	texts := make([]string, len(fields))
	for i, f := range fields {
		texts[i] = f.Field.String() + " is " + shown(f.Source) + " in the source and " + shown(f.Cart) + " in the cart"
	}
	return strings.Join(texts, ", ")
}

func changes(fields []diff.FieldDifference) []FieldChange {
	all := make([]FieldChange, len(fields))
	for i, f := range fields {
		all[i] = FieldChange{Field: f.Field.String(), Source: shown(f.Source), Cart: shown(f.Cart)}
	}
	return all
}

// shown is a value as a reason names it: short, because an image may be there as
// its whole content, and a report holds many.
func shown(v product.Value) string {
	const most = 60
	text := v.String()
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

func (r *Report) add(o Outcome) {
	r.Outcomes[o.State]++
	r.sample(o)
}

// named adds those products to the samples that are missing and left alone.
func (r *Report) named(missing ...product.ID) {
	for _, id := range missing {
		r.sample(Outcome{ID: id, Kind: product.Missing, State: Found})
	}
}

// remember keeps missing products for the ledger: they may yet be repaired.
func (r *Report) remember(missing []product.ID) {
	for _, id := range missing {
		r.fresh = append(r.fresh, Outcome{ID: id, Kind: product.Missing, State: Found})
	}
}

func (r *Report) sample(o Outcome) {
	r.fresh = append(r.fresh, o)
	if len(r.Samples) < MaxSamples {
		o.Remedy = o.State.Remedy()
		r.Samples = append(r.Samples, o)
	}
}

// verified names the product to the ledger only: reports sample what needs an eye.
func (r *Report) verified(id product.ID) {
	r.Outcomes[Verified]++
	r.fresh = append(r.fresh, Outcome{ID: id, Kind: product.Missing, State: Verified})
}

func (r *Report) round(n int) { r.Rounds = max(r.Rounds, n) }

// note adds a remark for a person. A run makes few, however many windows it has.
func (r *Report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// stop ends the run at its findings.
func (r *Report) stop(reason string, missing []product.ID) {
	r.Result = Stopped
	r.note("Nothing was repaired: %s", reason)
	r.named(missing...)
}

func (r *Report) finish(err error, cancelled bool, counters *diff.Counters) {
	r.Finished = time.Now()
	r.Duration = r.Finished.Sub(r.Started).Milliseconds()
	r.Products, r.Rows = counters.Compared.Load(), counters.Rows.Load()
	r.Unrepaired = r.Found[product.Missing] + r.Unjudged - r.Outcomes[Verified] - r.Outcomes[Gone] - r.Outcomes[Undone]
	if l := r.Losses; l.Lost > 0 {
		why := cmp.Or(l.Why, "the cart's consumer did not store them")
		r.note("%d of %d events of the first round were consumed and left no row in the cart, so further rounds were needed: %s", l.Lost, l.Acted, why)
	}
	if n := r.Losses.Rescued; n > 0 {
		r.note("%d products that the replay lost were written directly (fallback)", n)
	}
	if n := r.unsupported(); n > 0 {
		r.note("%d products have an _id of a type that cannot be compared (%s): they were not looked at", n, r.unsupportedTypes())
	}
	switch {
	case cancelled:
		r.Result, r.Error = Cancelled, err.Error()
	case err != nil:
		r.Result, r.Error = Broken, err.Error()
	case r.Result == Stopped:
	default:
		r.Result = r.judge()
	}
}

// judge is the result of a run that reached its end.
func (r *Report) judge() Result {
	switch {
	case r.Unrepaired > 0 || r.unsupported() > 0:
		return Partial
	case r.DryRun && r.Found[product.Stale]+r.Found[product.Orphaned]+r.Outcomes[InFlight] > 0:
		return Partial
	case r.Found[product.Missing] > 0 && !r.DryRun:
		return Succeeded
	}
	return InSync
}

func (r *Report) unsupported() (n int64) {
	for _, count := range r.Unsupported {
		n += count
	}
	return n
}

func (r *Report) unsupportedTypes() string {
	types := slices.Sorted(maps.Keys(r.Unsupported))
	for i, name := range types {
		types[i] = fmt.Sprintf("%s: %d", name, r.Unsupported[name])
	}
	return strings.Join(types, ", ")
}
