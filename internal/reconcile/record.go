package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// record puts what happened into the ledger, until nothing comes any more. Only then
// have items left the engine, and are ranges finished.
func (r *Run) record(ctx context.Context) error {
	for {
		select {
		case <-r.books.wake:
		case <-r.line.ended:
			return r.books.settle(ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := r.books.settle(ctx); err != nil {
			return err
		}
		// What comes meanwhile goes with the next settlement.
		if err := wait(ctx, r.books.many, settleInterval); err != nil {
			return err
		}
	}
}

const (
	settleInterval = 100 * time.Millisecond
	settleMany     = 250
)

// tally counts what became of items.
type tally struct {
	Suspects, Resolved int64
	Found              map[product.Kind]int64
	ByKind             map[product.Kind]map[run.State]int64
	// Young are products that nobody named and that were left alone for their youth.
	Young map[product.Kind]int64
}

func newTally() tally {
	return tally{Found: make(map[product.Kind]int64), ByKind: make(map[product.Kind]map[run.State]int64), Young: make(map[product.Kind]int64)}
}

func (t *tally) add(o *tally) {
	t.Suspects += o.Suspects
	t.Resolved += o.Resolved
	for kind, n := range o.Found {
		t.Found[kind] += n
	}
	for kind, n := range o.Young {
		t.Young[kind] += n
	}
	for kind, states := range o.ByKind {
		for state, n := range states {
			t.count(kind, state, n)
		}
	}
}

func (t *tally) count(kind product.Kind, state run.State, n int64) {
	if t.ByKind[kind] == nil {
		t.ByKind[kind] = make(map[run.State]int64)
	}
	t.ByKind[kind][state] += n
}

// part is a part of the scan whose items are not all recorded.
type part struct {
	tally
	pending  int
	ended    bool
	finished diff.FinishedRange
}

// books are what the run has found and done so far, and what of it the ledger does not
// have yet.
type books struct {
	r          *Run
	wake, many chan struct{}

	mu      sync.Mutex
	started time.Time
	memory  memory
	parts   map[int]*part
	inside  map[product.ID]bool
	left    recent // those that have an outcome: a cursor may return a product twice
	// For the progress: what has come in, and what of it is confirmed.
	suspects, live map[product.Kind]int64
	acting         int64 // repairs of items in the engine
	samples        samples
	notes          []run.Note
	stopped        bool
	why            string // what is known of consumers that take events
	// What the next settlement brings to the ledger, and the kinds of the items that
	// leave the engine with it.
	outcomes []run.Outcome
	resolves []run.Key
	finished []run.FinishedRange
	leaving  []product.Kind
}

// memory is what a process that goes on with the run must know besides its ranges.
type memory struct {
	Total       tally
	Acted       int64
	Attempts    int
	Unknown     int64 // events that the broker never answered
	Nacked      int64
	FirstActed  map[product.Kind]int64 // events of first attempts
	FirstLost   map[product.Kind]int64
	Rescued     int64 // verified after the fallback
	StockSet    int64 // replayed updates
	Unsupported map[string]int64
	Orphans     diff.Orphans
	Ranges      int
	Gates       map[product.Kind]gate
}

func newMemory() memory {
	return memory{Total: newTally(), FirstActed: make(map[product.Kind]int64), FirstLost: make(map[product.Kind]int64)}
}

func newBooks(r *Run) *books {
	return &books{r: r, wake: make(chan struct{}, 1), many: make(chan struct{}, 1), started: time.Now(), memory: newMemory(),
		parts: make(map[int]*part), inside: make(map[product.ID]bool), suspects: make(map[product.Kind]int64), live: make(map[product.Kind]int64), notes: slices.Clone(r.Notes)}
}

// recent are the last products of many.
type recent struct {
	ids  map[product.ID]bool
	last []product.ID
	next int
}

func (r *recent) has(id product.ID) bool { return r.ids[id] }

func (r *recent) add(id product.ID) {
	if r.ids == nil {
		r.ids = make(map[product.ID]bool)
	}
	if len(r.last) < Capacity {
		r.last = append(r.last, id)
	} else {
		delete(r.ids, r.last[r.next])
		r.last[r.next] = id
		r.next = (r.next + 1) % Capacity
	}
	r.ids[id] = true
}

// enter takes over items of a part; one that is in the engine already, or was, is left
// out.
func (b *books) enter(items []*item) []*item {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := items[:0]
	for _, it := range items {
		if b.inside[it.ID] || b.left.has(it.ID) {
			continue
		}
		b.inside[it.ID] = true
		b.part(it.part).pending++
		b.suspects[it.Kind]++
		b.acting += int64(it.acts)
		if it.confirmed { // by an earlier process
			b.live[it.Kind]++
		}
		fresh = append(fresh, it)
	}
	return fresh
}

func (b *books) part(n int) *part {
	p := b.parts[n]
	if p == nil {
		p = &part{tally: newTally()}
		b.parts[n] = p
	}
	return p
}

// tally is where an item counts that another process would find again.
func (b *books) tally(it *item) *tally {
	if it.part == noPart {
		return &b.memory.Total
	}
	return &b.part(it.part).tally
}

// scanned ends a part of the scan: it is finished once its items are recorded.
func (b *books) scanned(batch diff.Batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.part(batch.Part)
	p.ended, p.finished = true, batch.Finished
	b.closePart(batch.Part)
}

// closePart closes a part when there is nothing more to come from it.
func (b *books) closePart(n int) {
	p := b.parts[n]
	if n == noPart || p == nil || !p.ended || p.pending > 0 {
		return
	}
	b.memory.Total.add(&p.tally)
	if p.finished.Range != (product.Range{}) {
		b.finished = append(b.finished, run.FinishedRange(p.finished))
	}
	delete(b.parts, n)
	b.ring()
}

func (b *books) ring() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
	if len(b.leaving) >= settleMany {
		select {
		case b.many <- struct{}{}:
		default:
		}
	}
}

// confirmed counts an item that is a difference beyond doubt.
func (b *books) confirmed(it *item) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !it.confirmed {
		it.confirmed = true
		b.live[it.Kind]++
	}
}

// resolved ends an item that differs no more, and was never repaired.
func (b *books) resolved(it *item) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally(it).Resolved++
	for _, known := range it.known {
		b.resolves = append(b.resolves, known.Key)
	}
	b.end(it)
}

// outcome ends an item.
func (b *books) outcome(it *item, state run.State, column string, reason run.Reason) {
	o := run.Outcome{Key: it.reported(), State: state, Attempts: it.attempt, Column: column, Reason: reason}
	if o.Kind == it.Kind {
		o.Fields = it.fields
	}
	if !state.Rule().Open && it.inHand.ID != "" {
		o.Key = it.inHand // an update that came meanwhile makes it no other repair
	}
	if it.passed != "" {
		b.r.guard.ended(it.passed)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	into := b.tally(it)
	if state.Rule().Acted {
		into = &b.memory.Total
	}
	into.count(o.Kind, state, 1)
	if it.confirmed || it.attempt > 0 {
		into.Found[o.Kind]++
	}
	if reason.Code == run.ReasonYoung && len(b.r.options.IDs) == 0 {
		into.Young[o.Kind]++
	}
	b.acting -= int64(it.acts)
	b.memory.Acted += int64(it.acts)
	b.memory.Attempts = max(b.memory.Attempts, it.attempt)
	if state == run.Verified && it.way == rescuing {
		b.memory.Rescued++
	}
	b.outcomes = append(b.outcomes, o)
	if it.inHand.ID != "" && it.inHand != o.Key {
		b.resolves = append(b.resolves, it.inHand)
	}
	for _, known := range it.known {
		if known.Key != o.Key {
			b.resolves = append(b.resolves, known.Key)
		}
	}
	b.samples.add(o)
	b.left.add(it.ID)
	b.end(it)
}

// end takes an item out of the books.
func (b *books) end(it *item) {
	b.tally(it).Suspects++
	delete(b.inside, it.ID)
	if !it.outside {
		b.leaving = append(b.leaving, it.Kind)
	}
	b.part(it.part).pending--
	b.closePart(it.part)
	b.ring()
}

// vain ends an item whose last repair had no effect.
func (b *books) vain(it *item) {
	if it.undo {
		b.outcome(it, run.Failed, "", run.Reason{Code: run.ReasonKept})
		return
	}
	b.outcome(it, run.Lost, "", lostReason(it))
}

// acted counts a repair that was sent or written.
func (b *books) acted(it *item, fate product.Fate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := &b.memory
	it.acts++
	b.acting++
	if fate == product.Unknown {
		m.Unknown++
	}
	if it.attempt == 1 && it.consumed() {
		m.FirstActed[it.Kind]++
	}
	if it.Kind == product.Stale && it.way == repairing && b.r.options.Mode == run.Replay {
		m.StockSet++
	}
}

func (b *books) nacked() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.memory.Nacked++
}

// lost counts a repair that had no effect.
func (b *books) lost(ctx context.Context, it *item) {
	b.mu.Lock()
	first := it.attempt == 1 && it.consumed()
	if first {
		b.memory.FirstLost[it.Kind]++
	}
	ask := first && b.why == "" && b.r.Diagnose != nil
	b.mu.Unlock()
	if !ask {
		return
	}
	why := b.r.Diagnose(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.why = why
}

// enterRepairing ends the stage in which everything is only looked at.
func (b *books) enterRepairing() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.r.stage = run.Repairing
}

// note adds a remark for a person, once for each code and kind.
func (b *books) note(n run.Note) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remark(n)
}

func (b *books) remark(n run.Note) {
	for i := range b.notes {
		if b.notes[i].Code == n.Code && b.notes[i].Kind == n.Kind {
			b.notes[i] = n
			return
		}
	}
	b.notes = append(b.notes, n)
}

// stop says that findings are for a person to judge.
func (b *books) stop(n run.Note) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	b.remark(n)
}

// gone closes a difference that an earlier run left open.
func (b *books) gone(key run.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.resolves = append(b.resolves, key)
}

// restart forgets the findings of a pass that only counted. What it did stays done; what
// it lost or failed at is found again.
func (b *books) restart() {
	b.mu.Lock()
	defer b.mu.Unlock()
	total := &b.memory.Total
	found := newTally()
	for kind, states := range total.ByKind {
		for state, n := range states {
			if rule := state.Rule(); rule.Acted && !rule.Open {
				found.count(kind, state, n)
				found.Found[kind] += n
				found.Suspects += n
			}
		}
	}
	*total = found
	b.left = recent{}
	b.samples = samples{}
	b.suspects, b.live = make(map[product.Kind]int64), maps.Clone(found.Found)
}

// show fills in what a progress tells of items.
func (b *books) show(p *run.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.Suspects, p.Found = make(map[product.Kind]int64), make(map[product.Kind]int64)
	for _, kind := range product.Kinds() {
		p.Suspects[kind], p.Found[kind] = b.suspects[kind], b.live[kind]
	}
	p.Acted, p.Attempts = b.memory.Acted+b.acting, b.memory.Attempts
	p.Verified = b.memory.Total.states(run.Verified)
}

// settle puts what happened since the last settlement into the ledger, and lets the
// items leave the engine.
func (b *books) settle(ctx context.Context) error { return b.keep(ctx, run.Settlement{}) }

func (b *books) keep(ctx context.Context, s run.Settlement) error {
	if err := b.keepMany(ctx, &s); err != nil {
		return err
	}
	b.mu.Lock()
	s.Stage, s.Outcomes, s.Resolved, s.Finished = b.r.stage, b.outcomes, b.resolves, b.finished
	leaving := b.leaving
	report := b.report()
	report.Samples = []run.Outcome{}
	s.Report = report
	b.memory.Gates = b.r.guard.kept(func(kind product.Kind) int64 { return b.memory.Total.ByKind[kind][run.Found] })
	var err error
	s.Memory, err = json.Marshal(&b.memory)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	if err := b.r.Ledger.Settle(ctx, s); err != nil {
		return err
	}
	b.mu.Lock()
	b.outcomes, b.resolves = b.outcomes[len(s.Outcomes):], b.resolves[len(s.Resolved):]
	b.finished, b.leaving = b.finished[len(s.Finished):], b.leaving[len(leaving):]
	b.mu.Unlock()
	b.r.progress.done.Add(int64(len(s.Finished)))
	b.r.line.leave(leaving...)
	return nil
}

// most is how many outcomes one settlement brings: the lease cannot be renewed while
// one is written.
const most = 1000

// keepMany brings outcomes to the ledger that are too many for one settlement, before
// the one that counts them.
func (b *books) keepMany(ctx context.Context, s *run.Settlement) error {
	for {
		b.mu.Lock()
		outcomes := b.outcomes[:min(len(b.outcomes), most)]
		more := len(b.outcomes) > most
		stage := b.r.stage
		b.mu.Unlock()
		if !more {
			return nil
		}
		if err := b.r.Ledger.Settle(ctx, run.Settlement{Stage: stage, Restart: s.Restart, Outcomes: outcomes}); err != nil {
			return err
		}
		s.Restart = false
		b.mu.Lock()
		b.outcomes = b.outcomes[len(outcomes):]
		b.mu.Unlock()
	}
}

// settleLast keeps what a run that ended early has done, with the time that a
// process has which was told to end.
func (b *books) settleLast(ctx context.Context) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := b.settle(ctx); err != nil {
		b.note(run.Note{Code: run.NoteLedger, Detail: err.Error()})
	}
}

// leave closes the books on items that the end of the run found in the engine.
func (b *books) leave(items []*item, err error) {
	reason := run.Reason{Code: run.ReasonStopped}
	if err != nil && !errors.Is(err, errStopped) && !errors.Is(err, context.Canceled) {
		reason = run.Reason{Code: run.ReasonService, Detail: err.Error()}
	}
	for _, it := range items {
		switch {
		case it.room.stage == proving:
			b.outcome(it, run.InFlight, "", run.Reason{Code: run.ReasonUnproved})
		case it.vain:
			b.vain(it)
		case it.room.stage == judging && it.attempt > 0:
			b.outcome(it, run.InFlight, "", run.Reason{Code: run.ReasonUnchecked})
		case it.room.stage != judging && it.confirmed:
			b.outcome(it, run.Failed, "", reason)
		}
	}
	for _, it := range b.r.guard.rest() {
		b.outcome(it, run.Found, "", run.Reason{})
	}
}

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
		{Code: run.NoteUnknownIDs, Number: b.r.unknownIDs(), Of: int64(len(b.r.options.IDs))},
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
	if b.memory.Total.states(run.Lost) > 0 && b.r.attempts.hopeless() {
		arrived, all := b.r.attempts.of()
		b.remark(run.Note{Code: run.NoteHopeless, Number: int64(arrived), Of: int64(all)})
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
