package reconcile

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// guard keeps a wrong URL from replaying a catalogue, and an empty source from emptying
// the cart. Each kind has a gate: it is open where there is nothing to fear, or a
// person has set the limit; else it holds what is confirmed back until all is judged.
// What was judged is a ceiling for what is repaired afterwards.
type guard struct {
	r     *Run
	mu    sync.Mutex
	gates map[product.Kind]*gate
}

// gate is what may pass of one kind. Its exported fields outlive the process.
type gate struct {
	Open bool
	// Ceiling is how many may be repaired in all, unlimited where it is negative, Code
	// which limit that is, and Ended how many repairs below it have ended.
	Ceiling int64
	Code    run.Code
	Ended   int64
	// Judged counts what has come to the gate. Overflow is set where more was held back
	// than is kept in memory.
	Judged   int64
	Overflow bool

	taken   int64 // have passed, and are in hand
	held    []*item
	refused bool // a person decides on what was held back, and on what comes yet
}

const unlimited = -1

// The share of the source, and the number, above which findings are suspicious.
const (
	suspiciousShare  = 0.20
	suspiciousNumber = 1000
)

func newGuard(r *Run) *guard {
	g := &guard{r: r, gates: make(map[product.Kind]*gate)}
	for _, kind := range r.options.Repair {
		g.gates[kind] = &gate{Ceiling: unlimited}
	}
	return g
}

// prepare opens the gates that need not hold anything back.
func (g *guard) prepare(ctx context.Context, scope diff.Scope) error {
	if g.r.options.DryRun || g.r.resumed {
		return nil
	}
	limited := g.r.options.MaxRepairs > 0
	few := len(scope.IDs) > 0
	if !limited && !few && g.r.options.Repair.Has(product.Missing) {
		var err error
		if few, err = g.fewMissing(ctx); err != nil {
			return err
		}
	}
	for kind, gate := range g.gates {
		switch {
		case kind == product.Orphaned: // whether the source was read completely shows in the end
		case limited:
			gate.Open = true
		case len(scope.IDs) > 0:
			gate.Open = true
		case few && kind == product.Missing:
			gate.Open, gate.Ceiling, gate.Code = true, suspicious(g.r.progress.total.Load()), run.ReasonGuard
		}
	}
	return nil
}

// fewMissing looks up a sample of the source's keys in the cart. It is true where the
// share of those missing is so far below the suspicious one that a running ceiling is
// guard enough.
func (g *guard) fewMissing(ctx context.Context) (bool, error) {
	const size, share = 1000, suspiciousShare / 2
	ids, err := g.r.Source.Sample(ctx, size)
	if err != nil || len(ids) == 0 {
		return false, err
	}
	present, err := g.r.Target.Present(ctx, ids)
	if err != nil {
		return false, err
	}
	missing := len(ids) - len(present)
	return len(present) > 0 && float64(missing) <= share*float64(len(ids)), nil
}

// suspicious is the number of differences of one kind above which a person decides.
func suspicious(products int64) int64 {
	return max(suspiciousNumber, int64(suspiciousShare*float64(products)))
}

// admit tells whether a confirmed item may pass to its repair. One that may not is held
// back, or has its outcome. One that has passed, and became another difference
// meanwhile, is judged; but deleting is always judged for itself.
func (g *guard) admit(it *item) bool {
	r := g.r
	if it.passed != "" && it.Kind.Rule().InSource {
		it.until = time.Time{}
		return true
	}
	if it.Kind == product.Orphaned && it.ours() {
		r.undo(it)
		return false
	}
	if spared := r.settling.sparedUntil(it); r.options.Mode == run.Direct && it.Kind == product.Missing && spared.After(time.Now()) {
		r.books.outcome(it, run.InFlight, "", run.Reason{Code: run.ReasonYoung, Until: spared})
		return false
	}
	pass, outcome := g.gate(it)
	switch {
	case outcome != nil:
		r.books.outcome(it, outcome.State, "", outcome.Reason)
	case !pass:
		r.line.leave(it.Kind) // it is held back where it is in nobody's way
	}
	return pass
}

// gate decides on an item at its gate: it passes, it is held back, or that is its
// outcome.
func (g *guard) gate(it *item) (pass bool, outcome *run.Outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gate := g.gates[it.Kind]
	if !it.returned() {
		gate.Judged++
	}
	switch {
	case gate.refused:
		outcome = &run.Outcome{State: run.Found}
	case !gate.Open && len(gate.held) < g.r.capacity:
		it.pair, it.outside = nil, true
		gate.held = append(gate.held, it)
	case !gate.Open:
		gate.Overflow = true
		outcome = &run.Outcome{State: run.Found}
	default:
		limit := g.pass(it, gate)
		if pass = limit.Code == ""; !pass {
			outcome = &run.Outcome{State: run.Skipped, Reason: limit}
		}
	}
	return pass, outcome
}

// returned tells whether an item comes to its gate although this run has let it pass and
// has repaired it before, in an earlier pass or process.
func (it *item) returned() bool { return it.passed == "" && it.attempt > 0 }

// pass lets an item pass an open gate, or returns the limit that is reached. A person's
// limit is one for all kinds together, and a product counts once: not anew where it has
// become another difference, or returned. The lock is held.
func (g *guard) pass(it *item, gate *gate) run.Reason {
	before := g.gates[it.passed] // nil where it has passed none
	if most := int64(g.r.options.MaxRepairs); most > 0 && before == nil && !it.returned() {
		var used int64
		for _, gate := range g.gates {
			used += gate.Ended + gate.taken
		}
		if used >= most {
			return run.Reason{Code: run.ReasonLimit, Number: most}
		}
	}
	if gate.Ceiling != unlimited && gate.Ended+gate.taken >= gate.Ceiling {
		return run.Reason{Code: gate.Code, Number: gate.Ceiling}
	}
	switch {
	case before != nil:
		before.taken--
	case it.returned() && gate.Ended > 0:
		gate.Ended--
	}
	gate.taken++
	it.passed, it.until = it.Kind, time.Time{}
	return run.Reason{}
}

// ended counts an item that had passed and has an outcome.
func (g *guard) ended(kind product.Kind) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if gate := g.gates[kind]; gate != nil && gate.taken > 0 {
		gate.taken--
		gate.Ended++
	}
}

// tookOver counts items that an earlier process had let pass.
func (g *guard) tookOver(kind product.Kind) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if gate := g.gates[kind]; gate != nil {
		gate.taken++
	}
}

// kept are the gates as another process needs them. It judges anew what is held back,
// but not what was merely found in finished ranges, of which found tells how much.
func (g *guard) kept(found func(product.Kind) int64) map[product.Kind]gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	kept := make(map[product.Kind]gate, len(g.gates))
	for kind, gate := range g.gates {
		one := *gate
		if !one.Open {
			one.Judged = found(kind)
			one.Overflow = one.Judged > 0
		}
		kept[kind] = one
	}
	return kept
}

// restore takes over the gates of an earlier process.
func (g *guard) restore(kept map[product.Kind]gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for kind, one := range kept {
		if g.gates[kind] != nil {
			g.gates[kind] = &one
		}
	}
}

// rest takes out what is held back.
func (g *guard) rest() []*item {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []*item
	for _, gate := range g.gates {
		all = append(all, gate.held...)
		gate.held = nil
	}
	return all
}

// reopen prepares the second pass.
func (g *guard) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, gate := range g.gates {
		gate.Overflow, gate.refused = false, false
		gate.Judged = gate.Ended
	}
}

// overflowed tells whether more was judged, and may be repaired, than was kept.
func (g *guard) overflowed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, gate := range g.gates {
		if gate.Overflow && gate.Open {
			return true
		}
	}
	return false
}

// decide opens the gates whose findings are not suspicious, now that all is judged, and
// lets pass what they held back. The findings of the others are for a person.
func (g *guard) decide(ctx context.Context, scope diff.Scope) error {
	for _, kind := range g.r.options.Repair {
		if g.r.options.DryRun {
			return nil
		}
		held, judged, closed := g.taking(kind)
		if !closed {
			g.exceeded(kind)
		}
		if !closed {
			continue
		}
		note, err := g.objection(ctx, scope, kind, judged)
		if err != nil {
			return err
		}
		if note != nil {
			g.refuse(kind, held, *note)
			continue
		}
		if err := g.open(ctx, kind, held, judged); err != nil {
			return err
		}
	}
	return nil
}

// taking returns what a closed gate has held back.
func (g *guard) taking(kind product.Kind) (held []*item, judged int64, closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gate := g.gates[kind]
	held, gate.held = gate.held, nil
	return held, gate.Judged, !gate.Open
}

// exceeded says where more differs than the guard lets pass unattended.
func (g *guard) exceeded(kind product.Kind) {
	g.mu.Lock()
	gate := *g.gates[kind]
	g.mu.Unlock() // the books ask for the gates while they are locked
	switch {
	case gate.Ceiling == unlimited || gate.Judged <= gate.Ceiling:
	case gate.Code == run.ReasonGuard:
		g.r.books.stop(run.Note{Code: run.NoteTooMany, Kind: kind, Number: gate.Judged, Of: g.r.finder.Counters.Compared.Load(), Detail: strconv.FormatInt(gate.Ceiling, 10)})
	case gate.Code == run.ReasonCeiling:
		g.r.books.note(run.Note{Code: run.NoteCeiling, Kind: kind, Number: gate.Ceiling})
	}
}

// refuse leaves what was held back, and what comes yet, to a person.
func (g *guard) refuse(kind product.Kind, held []*item, note run.Note) {
	g.mu.Lock()
	g.gates[kind].refused = true
	g.mu.Unlock()
	g.r.books.stop(note)
	for _, it := range held {
		g.r.books.outcome(it, run.Found, "", run.Reason{})
	}
}

// open lets pass what was held back, and nothing beyond what was judged.
func (g *guard) open(ctx context.Context, kind product.Kind, held []*item, judged int64) error {
	g.mu.Lock()
	gate := g.gates[kind]
	// An earlier process had some in hand that it could not tell of.
	gate.Open, gate.Ceiling, gate.Code = true, judged+gate.Ended+gate.taken, run.ReasonCeiling
	overflow := gate.Overflow
	var passing, beyond []*item
	var limit run.Reason
	for _, it := range held {
		if overflow { // the second pass finds them again
			beyond = append(beyond, it)
		} else if reached := g.pass(it, gate); reached.Code != "" {
			beyond, limit = append(beyond, it), reached
		} else {
			it.outside, passing = false, append(passing, it)
		}
	}
	g.mu.Unlock()
	g.r.books.enterRepairing()
	state := run.Skipped
	if overflow {
		state = run.Found
	}
	for _, it := range beyond {
		g.r.books.outcome(it, state, "", limit)
	}
	return g.r.line.admit(ctx, repairing, passing, g.r.makeRoom)
}

// objection says why the findings of one kind are for a person to judge, nil where
// nothing speaks against their repair.
func (g *guard) objection(ctx context.Context, scope diff.Scope, kind product.Kind, judged int64) (*run.Note, error) {
	counters := &g.r.finder.Counters
	compared, rows := counters.Compared.Load(), counters.Rows.Load()
	switch {
	case judged == 0:
		return nil, nil
	case kind == product.Orphaned:
		return g.deleting(ctx, scope, judged)
	case scope.Whole() && compared > 0 && rows > 0 && counters.Matched.Load() == 0:
		return &run.Note{Code: run.NoteNoneShared, Kind: kind, Number: compared, Of: rows}, nil
	case judged > suspicious(compared):
		return &run.Note{Code: run.NoteTooMany, Kind: kind, Number: judged, Of: compared, Detail: strconv.FormatInt(suspicious(compared), 10)}, nil
	}
	return nil, nil
}

// deleting says why rows must not be deleted: there are more of them than the limit, or
// the source is empty, or much smaller than at the last complete comparison.
func (g *guard) deleting(ctx context.Context, scope diff.Scope, judged int64) (*run.Note, error) {
	products := g.r.finder.Counters.Compared.Load()
	if !scope.Whole() {
		var err error
		if products, err = g.r.Source.EstimatedCount(ctx); err != nil {
			return nil, err
		}
	}
	last, err := g.r.Ledger.LastLook(ctx)
	if err != nil {
		return nil, err
	}
	least := last.Products - last.Products*int64(g.r.config.MaxShrink)/100
	switch {
	case products == 0 || products < least:
		return &run.Note{Code: run.NoteShrunken, Kind: product.Orphaned, Number: products, Of: last.Products}, nil
	case judged > int64(g.r.options.MaxDeletes):
		return &run.Note{Code: run.NoteTooMany, Kind: product.Orphaned, Number: judged, Of: g.r.finder.Counters.Rows.Load(), Detail: strconv.Itoa(g.r.options.MaxDeletes)}, nil
	}
	return nil, nil
}
