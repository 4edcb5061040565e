package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
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
	left    recent // those that have an outcome
	// For the progress: what has come in, and what of it is confirmed.
	suspects, live map[product.Kind]int64
	acting         int64 // repairs of items in the engine
	samples        samples
	notes          []run.Note
	stopped        bool
	why            string // what is known of consumers that take events
	pending
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

// recall takes over what an earlier process remembered.
func (b *books) recall(document json.RawMessage) error {
	b.mu.Lock() // progress is shown already
	defer b.mu.Unlock()
	err := json.Unmarshal(document, &b.memory)
	maps.Copy(b.live, b.memory.Total.Found)
	return err
}

func newBooks(r *Run) *books {
	return &books{r: r, wake: make(chan struct{}, 1), many: make(chan struct{}, 1), started: time.Now(), memory: newMemory(),
		parts: make(map[int]*part), inside: make(map[product.ID]bool), suspects: make(map[product.Kind]int64), live: make(map[product.Kind]int64), notes: slices.Clone(r.Notes)}
}

// recent are the last products of many: a cursor may return a product twice. It goes by
// a unique key that never changes, and is reopened behind the last one, so what comes
// twice comes close together. Two documents with one canonical id, which may be far
// apart, are two products, and count as two.
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
	o := run.Outcome{Key: it.reported(), Title: it.title, State: state, Attempts: it.attempt, Column: column, Reason: reason}
	if o.Kind == it.Kind {
		o.Fields = it.fields
	}
	if !state.Rule().Open && it.inHand.ID != "" {
		o.Key = it.inHand // an update that came meanwhile makes it no other repair
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if it.passed != "" {
		b.r.guard.ended(it.passed)
	}
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
