package reconcile

import (
	"cmp"
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// item is one product on its way through the engine. It is in the hands of one stage
// at a time, or waits on the line.
type item struct {
	run.Key   // the difference, as it is now
	stamp     time.Time
	firstSeen time.Time
	absent    time.Time // the last look that missed a young product
	part      int       // of the scan; noPart for none
	looks     int       // at which it had become another difference
	confirmed bool
	known     []run.Standing // what earlier runs left open of the product
	pair      *diff.Pair     // as just judged, for a repair at once
	judged    time.Time
	title     string            // as it was seen last
	fields    []run.FieldChange // those that differ
	undo      bool              // it is the taking back of a repair
	passed    product.Kind      // the gate that let it pass
	way       stage             // how it is repaired
	inHand    run.Key           // the difference that the ledger has in hand
	attempt   int               // of this run
	spent     int               // attempts before it was to be taken back
	acts      int               // repairs of the product, those that were taken back among them
	acted     time.Time         // the last repair
	queued    bool              // which went through the cart's queue
	transit   time.Duration     // how long it may be on its way there
	vain      bool              // and had no effect
	brought   bool              // a repair of this run may have brought the row
	fate      product.Fate
	inherited bool // from a process that may have ended before that repair
	nacks     int
	room      roomKey      // where it waits
	until     time.Time    // it moves on when this has passed, by the clock and the watermark
	arrived   time.Time    // in its room
	outside   bool         // it is not counted in the line: the guard holds it back
	wanted    *product.Row // what its last repair makes of the row, until that is seen
	held      bool         // it counts as one that a consumer may hold in its kind's sight
}

// noPart is the part of items that no scan of this process has found.
const noPart = -1

// stage is what an item waits for.
type stage int

const (
	judging   stage = iota
	repairing       // by the repairer of the run's mode
	rescuing        // by the fallback
	undoing
	proving
	nowhere
)

type roomKey struct {
	stage
	product.Kind
}

// line is where items wait, each for its own moment, and how many are in the engine.
type line struct {
	// readiness tells whether an item may move on, and if not, whether it has waited in vain.
	readiness func(*item) (ready, stalled bool)

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at each change
	rooms    map[roomKey]*room
	inside   map[product.Kind]int
	capacity int
	shares   map[product.Kind]int
	ended    chan struct{} // closed when nothing comes any more
}

func newLine(capacity int, repairs func(product.Kind) bool) *line {
	l := &line{changed: make(chan struct{}), rooms: make(map[roomKey]*room), inside: make(map[product.Kind]int), capacity: capacity, shares: make(map[product.Kind]int)}
	// A kind that is not repaired must not take the room of those that are.
	const small = 64
	rest, repaired := capacity, 0
	for _, kind := range product.Kinds() {
		if repairs(kind) {
			repaired++
			continue
		}
		l.shares[kind] = max(capacity/small, 1)
		rest -= l.shares[kind]
	}
	if repaired == 0 {
		for _, kind := range product.Kinds() {
			l.shares[kind] = max(capacity/len(product.Kinds()), 1)
		}
		return l
	}
	for _, kind := range product.Kinds() {
		if repairs(kind) {
			l.shares[kind] = max(rest/repaired, 1)
		}
	}
	return l
}

// open begins another flow.
func (l *line) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = make(chan struct{})
}

// end lets every taker go that waits for more.
func (l *line) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.ended)
}

// wake is called with the lock held.
func (l *line) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// follow wakes the takers at each look at a queue.
func (l *line) follow(ctx context.Context, w Watermark) {
	for {
		changed := w.Changed()
		l.mu.Lock()
		l.wake()
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// admit counts items in as soon as their kind has room, and puts them into the given
// stage. full is called while it has none; it may make room.
func (l *line) admit(ctx context.Context, s stage, items []*item, full func(product.Kind)) error {
	for _, it := range items {
		for {
			l.mu.Lock()
			if l.inside[it.Kind] < l.shares[it.Kind] {
				l.inside[it.Kind]++
				l.put(s, it)
				l.mu.Unlock()
				break
			}
			l.wake() // what was admitted before can make room
			changed := l.changed
			l.mu.Unlock()
			full(it.Kind)
			if err := wait(ctx, changed, fullInterval); err != nil {
				return err
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wake()
	return nil
}

// fullInterval is how often it is seen whether something can leave a full engine.
const fullInterval = time.Second

// enter counts items in, whether there is room or not, and puts them into a stage, or
// nowhere.
func (l *line) enter(s stage, items ...*item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range items {
		l.inside[it.Kind]++
		if s != nowhere {
			l.put(s, it)
		}
	}
	l.wake()
}

// move puts items that are in the engine into a stage.
func (l *line) move(s stage, items ...*item) {
	if len(items) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range items {
		l.put(s, it)
	}
	l.wake()
}

// become changes what an item is, and whose room it takes.
func (l *line) become(it *item, kind product.Kind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inside[it.Kind]--
	l.inside[kind]++
	it.Kind = kind
}

// moveNow puts an item into a stage that it need not wait in.
func (l *line) moveNow(s stage, it *item) {
	it.until = time.Time{}
	l.move(s, it)
}

func (l *line) put(s stage, it *item) {
	it.room, it.arrived = roomKey{s, it.Kind}, time.Now()
	r := l.rooms[it.room]
	if r == nil {
		r = &room{}
		l.rooms[it.room] = r
	}
	heap.Push(r, it)
}

// leave counts an item of a kind out.
func (l *line) leave(kinds ...product.Kind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, kind := range kinds {
		l.inside[kind]--
	}
	l.wake()
}

// take waits for items that may leave one of the rooms, and returns at most n of one
// room; stalled are those that have waited in vain. Nothing at all is the end.
func (l *line) take(ctx context.Context, n int, keys ...roomKey) (ready, stalled []*item, err error) {
	for {
		l.mu.Lock()
		var next time.Time
		for _, key := range keys {
			r := l.rooms[key]
			if r == nil || r.Len() == 0 {
				continue
			}
			if ready, stalled = l.pop(r, n); len(ready)+len(stalled) > 0 {
				l.mu.Unlock()
				return ready, stalled, nil
			}
			if first := (*r)[0].until; next.IsZero() || first.Before(next) {
				next = first
			}
		}
		ended, changed := l.ended, l.changed
		l.mu.Unlock()
		pause := time.Until(next)
		if next.IsZero() || pause <= 0 { // what is due waits for a watermark, which wakes us
			pause = idleInterval
		}
		timer := time.NewTimer(pause)
		select {
		case <-changed:
		case <-timer.C:
		case <-ended:
			timer.Stop()
			return nil, nil, nil
		case <-ctx.Done():
			timer.Stop()
			return nil, nil, context.Cause(ctx)
		}
		timer.Stop()
	}
}

// idleInterval is how often is looked where nothing wakes: it bounds how late a stall
// is noticed.
const idleInterval = time.Second

func (l *line) pop(r *room, n int) (ready, stalled []*item) {
	for r.Len() > 0 && len(ready) < n {
		ok, vain := l.readiness((*r)[0])
		switch {
		case ok:
			ready = append(ready, heap.Pop(r).(*item))
		case vain:
			stalled = append(stalled, heap.Pop(r).(*item))
		default:
			return ready, stalled
		}
	}
	return ready, stalled
}

// evict takes out of the rooms of a kind all that wait for its watermark.
func (l *line) evict(kind product.Kind, stages ...stage) []*item {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*item
	now := time.Now()
	for _, s := range stages {
		r := l.rooms[roomKey{s, kind}]
		if r == nil {
			continue
		}
		kept := (*r)[:0]
		for _, it := range *r {
			if ok, _ := l.readiness(it); !ok && it.until.Before(now) {
				out = append(out, it)
				continue
			}
			kept = append(kept, it)
		}
		*r = kept
		heap.Init(r)
	}
	return out
}

// waiting is how many items each room has.
func (l *line) waiting() map[roomKey]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := make(map[roomKey]int)
	for key, r := range l.rooms {
		counts[key] = r.Len()
	}
	return counts
}

// next is the first moment of a room's items.
func (l *line) next(key roomKey) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.rooms[key]; r != nil && r.Len() > 0 {
		return (*r)[0].until
	}
	return time.Time{}
}

// present is how many items are in the engine.
func (l *line) present() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	total := 0
	for _, n := range l.inside {
		total += n
	}
	return total
}

// idle waits until nothing is in the engine.
func (l *line) idle(ctx context.Context) error {
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		if l.present() == 0 {
			return nil
		}
		if err := wait(ctx, changed, idleInterval); err != nil {
			return err
		}
	}
}

// each calls do for all that wait in one of a stage's rooms.
func (l *line) each(s stage, do func(*item)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, r := range l.rooms {
		if key.stage == s {
			for _, it := range *r {
				do(it)
			}
		}
	}
}

// all takes everything off the line, at a run's end.
func (l *line) all() []*item {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*item
	for _, r := range l.rooms {
		all = append(all, *r...)
		*r = nil
	}
	slices.SortFunc(all, func(a, b *item) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// room is a heap of items, the first to move first.
type room []*item

// before tells which of two items moves first: by its moment, then by its id.
func (it *item) before(other *item) bool {
	if it.until.Equal(other.until) {
		return it.ID < other.ID
	}
	return it.until.Before(other.until)
}

func (r room) Len() int           { return len(r) }
func (r room) Less(i, j int) bool { return r[i].before(r[j]) }
func (r room) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *room) Push(x any)        { *r = append(*r, x.(*item)) }
func (r *room) Pop() any {
	last := len(*r) - 1
	it := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	return it
}

// wait returns when a channel is closed, a time has passed, or ctx is done.
func wait(ctx context.Context, changed <-chan struct{}, most time.Duration) error {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// SleepUntil waits until t or until ctx is done.
func SleepUntil(ctx context.Context, t time.Time) error {
	if d := time.Until(t); d > 0 {
		return wait(ctx, nil, d)
	}
	return nil
}
