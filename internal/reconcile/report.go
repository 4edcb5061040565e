package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/text"
)

// report is the run's so far. The lock is held.
func (b *books) report() *run.Report {
	o := &b.r.options
	counters := &b.r.finder.Counters
	all := newTally()
	all.add(&b.memory.Total)
	for _, p := range b.parts {
		all.add(&p.tally)
	}
	report := &run.Report{
		Run: o.Run, Mode: o.Mode, DryRun: o.DryRun, Repair: o.Repair, Started: b.started,
		Source: b.r.Source.Name(), Target: b.r.Target.Name(), Products: counters.Compared.Load(), Rows: counters.Rows.Load(),
		Unsupported: b.memory.Unsupported, Suspects: all.Suspects, Resolved: all.Resolved, Found: all.Found,
		Acted: b.memory.Acted + b.acting, Attempts: b.memory.Attempts, Outcomes: make(map[run.State]int64), ByKind: all.ByKind, Notes: slices.Clone(b.notes),
	}
	if report.Unsupported == nil {
		report.Unsupported = make(map[string]int64)
	}
	if report.Notes == nil {
		report.Notes = []run.Note{}
	}
	for _, states := range all.ByKind {
		for state, n := range states {
			report.Outcomes[state] += n
		}
	}
	for _, kind := range o.Repair {
		for state, n := range all.ByKind[kind] {
			if state.Rule().Open {
				report.Unrepaired += n
			}
		}
		report.Unrepaired -= all.Young[kind]
	}
	return report
}

// finish is the report of the run's end.
func (b *books) finish(err error, cancelled bool) *run.Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conclude()
	r := b.report()
	r.Samples = b.samples.worstFirst()
	r.Finished = time.Now()
	r.Duration = r.Finished.Sub(r.Started).Milliseconds()
	switch {
	case cancelled:
		r.Result, r.Error = run.Cancelled, err.Error()
	case err != nil:
		r.Result, r.Error = run.Broken, err.Error()
	case b.stopped:
		r.Result = run.Stopped
	default:
		r.Result = b.result(r)
	}
	return r
}

// conclude adds the notes on the run as a whole.
func (b *books) conclude() {
	m := &b.memory
	for _, kind := range product.Kinds() {
		if lost := m.FirstLost[kind]; lost > 0 {
			b.remark(run.Note{Code: run.NoteConsumed, Kind: kind, Number: lost, Of: m.FirstActed[kind], Detail: b.why})
		}
	}
	for _, n := range []run.Note{
		{Code: run.NoteUnknownIDs, Number: b.r.unknownIDs(), Of: int64(len(b.r.options.IDs)), Detail: b.r.nowhere()},
		{Code: run.NoteNacked, Number: m.Nacked},
		{Code: run.NoteUnanswered, Number: m.Unknown},
		{Code: run.NoteFallback, Number: m.Rescued},
		{Code: run.NoteStockSet, Number: m.StockSet},
	} {
		if n.Number > 0 {
			b.remark(n)
		}
	}
	if b.r.Remarks != nil {
		for _, n := range b.r.Remarks() {
			b.remark(n)
		}
	}
	for _, kind := range product.Kinds() {
		if last := b.r.attempts[kind]; m.Total.ByKind[kind][run.Lost] > 0 && last.hopeless() {
			arrived, all := last.of()
			b.remark(run.Note{Code: run.NoteHopeless, Kind: kind, Number: int64(arrived), Of: int64(all)})
		}
	}
	var types []string
	var unsupported int64
	for _, name := range slices.Sorted(maps.Keys(m.Unsupported)) {
		types = append(types, fmt.Sprintf("%s: %d", name, m.Unsupported[name]))
		unsupported += m.Unsupported[name]
	}
	if unsupported > 0 {
		b.remark(run.Note{Code: run.NoteUnsupported, Number: unsupported, Detail: strings.Join(types, ", ")})
	}
}

// states is how many of all kinds are in a state.
func (t *tally) states(s run.State) (n int64) {
	for _, states := range t.ByKind {
		n += states[s]
	}
	return n
}

// unknownIDs is how many of the products that were named are in neither store.
func (r *Run) unknownIDs() int64 {
	if len(r.options.IDs) == 0 || !r.progress.scanned.Load() {
		return 0
	}
	seen := &r.finder.Counters
	return int64(len(r.options.IDs)) - (seen.Compared.Load() + seen.Rows.Load() - seen.Matched.Load())
}

// nowhere are the first of them, by name.
func (r *Run) nowhere() string {
	if r.unknownIDs() == 0 {
		return ""
	}
	const most = 60 // bytes of each
	var names []string
	for _, id := range r.finder.Nowhere() {
		names = append(names, text.Word(string(id), most))
	}
	return strings.Join(names, ", ")
}

// result is that of a run which reached its end.
func (b *books) result(r *run.Report) run.Result {
	stores := r.Stores()
	repaired := r.Acted + r.Outcomes[run.Verified] + r.Outcomes[run.Undone]
	switch {
	case r.Unrepaired > 0 || stores.Unsupported > 0 || b.r.unknownIDs() > 0 || r.DryRun && !stores.InSync():
		return run.Partial
	case repaired > 0 || !stores.InSync():
		return run.Succeeded
	}
	return run.InSync
}
