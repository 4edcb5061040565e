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
	"github.com/ecom-micro/etl/internal/run"
)

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

// books are a run's report while it is written.
type books struct {
	run.Report
	memory
	fresh []run.Outcome // not in the ledger yet
}

func newBooks(options Options, parts Parts) *books {
	return &books{Report: run.Report{Unsupported: make(map[string]int64), Run: options.Run, Mode: options.Mode, DryRun: options.DryRun, Started: time.Now(),
		Source: parts.Source.Name(), Target: parts.Target.Name()}}
}

// beginPass forgets the findings of a pass that only counted.
func (r *books) beginPass() {
	r.Suspects, r.Resolved, r.Unjudged = 0, 0, 0
	r.Found = make(map[product.Kind]int64)
	r.Outcomes = make(map[run.State]int64)
	r.Samples, r.Notes = []run.Outcome{}, []string{}
}

// found takes over what a window's confirmation decided.
func (r *books) found(v diff.Verdict) {
	r.Resolved += int64(v.Resolved)
	for _, d := range v.Confirmed {
		r.Found[d.Kind]++
		if d.Kind != product.Missing {
			r.sample(run.Outcome{ID: d.ID, Kind: d.Kind, State: run.Found, Reason: describe(d.Fields), Fields: changes(d.Fields)})
		}
	}
	for _, f := range v.InFlight {
		if f.Kind == product.Missing {
			r.Unjudged++
		}
		r.add(run.Outcome{ID: f.ID, Kind: f.Kind, State: run.InFlight, Reason: f.Reason})
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

func changes(fields []diff.FieldDifference) []run.FieldChange {
	all := make([]run.FieldChange, len(fields))
	for i, f := range fields {
		all[i] = run.FieldChange{Field: f.Field.String(), Source: shown(f.Source), Cart: shown(f.Cart)}
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

func (r *books) add(o run.Outcome) {
	r.Outcomes[o.State]++
	r.sample(o)
}

// named adds those products to the samples that are missing and left alone.
func (r *books) named(missing ...product.ID) {
	for _, id := range missing {
		r.sample(run.Outcome{ID: id, Kind: product.Missing, State: run.Found})
	}
}

// remember keeps missing products for the ledger: they may yet be repaired.
func (r *books) remember(missing []product.ID) {
	for _, id := range missing {
		r.fresh = append(r.fresh, run.Outcome{ID: id, Kind: product.Missing, State: run.Found})
	}
}

func (r *books) sample(o run.Outcome) {
	r.fresh = append(r.fresh, o)
	if len(r.Samples) < run.MaxSamples {
		o.Remedy = o.State.Remedy()
		r.Samples = append(r.Samples, o)
	}
}

// verified names the product to the ledger only: reports sample what needs an eye.
func (r *books) verified(id product.ID) {
	r.Outcomes[run.Verified]++
	r.fresh = append(r.fresh, run.Outcome{ID: id, Kind: product.Missing, State: run.Verified})
}

func (r *books) round(n int) { r.Rounds = max(r.Rounds, n) }

// note adds a remark for a person. A run makes few, however many windows it has.
func (r *books) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// stop ends the run at its findings.
func (r *books) stop(reason string, missing []product.ID) {
	r.Result = run.Stopped
	r.note("Nothing was repaired: %s", reason)
	r.named(missing...)
}

func (r *books) finish(err error, cancelled bool, counters *diff.Counters) {
	r.Finished = time.Now()
	r.Duration = r.Finished.Sub(r.Started).Milliseconds()
	r.Products, r.Rows = counters.Compared.Load(), counters.Rows.Load()
	r.Unrepaired = r.Found[product.Missing] + r.Unjudged - r.Outcomes[run.Verified] - r.Outcomes[run.Gone] - r.Outcomes[run.Undone]
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
		r.Result, r.Error = run.Cancelled, err.Error()
	case err != nil:
		r.Result, r.Error = run.Broken, err.Error()
	case r.Result == run.Stopped:
	default:
		r.Result = r.judge()
	}
}

// judge is the result of a run that reached its end.
func (r *books) judge() run.Result {
	switch {
	case r.Unrepaired > 0 || r.unsupported() > 0:
		return run.Partial
	case r.DryRun && r.Found[product.Stale]+r.Found[product.Orphaned]+r.Outcomes[run.InFlight] > 0:
		return run.Partial
	case r.Found[product.Missing] > 0 && !r.DryRun:
		return run.Succeeded
	}
	return run.InSync
}

func (r *books) unsupported() (n int64) {
	for _, count := range r.Unsupported {
		n += count
	}
	return n
}

func (r *books) unsupportedTypes() string {
	types := slices.Sorted(maps.Keys(r.Unsupported))
	for i, name := range types {
		types[i] = fmt.Sprintf("%s: %d", name, r.Unsupported[name])
	}
	return strings.Join(types, ", ")
}
