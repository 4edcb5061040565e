package reconcile

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// marks are watermarks that stand where a test puts them.
type marks map[product.Kind]*mark

type mark struct {
	kind  product.Kind
	sight diff.Sight
}

func (m *mark) Name() string             { return "queue-of-" + string(m.kind) }
func (m *mark) Sight() diff.Sight        { return m.sight }
func (m *mark) Changed() <-chan struct{} { return nil }

// pass moves a kind's watermark.
func (m marks) pass(kind product.Kind, at time.Time) {
	m[kind].sight.Passed, m[kind].sight.Moved = at, time.Now()
}

// repairingRun is a run that has begun, over watermarks that stand still.
func repairingRun(t *testing.T) (*Run, marks) {
	t.Helper()
	all := make(marks)
	parts := Parts{Watermarks: make(map[product.Kind]Watermark)}
	for _, kind := range product.Kinds() {
		all[kind] = &mark{kind: kind, sight: diff.Sight{Moved: time.Now()}}
		parts.Watermarks[kind] = all[kind]
	}
	r, err := New(parts, Config{Compare: []string{"title"}, Grace: time.Second, StallTimeout: 10 * time.Minute, Parallel: 1},
		Options{DryRun: true, Mode: run.Replay, BatchSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	r.begun = time.Now()
	r.line.open()
	return r, all
}

// An event of ours in the queue of another kind is waited for, of whichever run it is, and
// is forgotten when that queue has passed it.
func TestQueuedElsewhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, marks := repairingRun(t)
		sent := time.Now()
		of := func(kind product.Kind) *item { return &item{Key: run.Key{ID: "a", Kind: kind}} }
		want := func(step string, it *item, kind product.Kind) {
			t.Helper()
			if got := r.queuedElsewhere(it); got != kind {
				t.Errorf("%s: %q is waited for, want %q", step, got, kind)
			}
		}
		want("nothing was sent", of(product.Orphaned), "")

		created := of(product.Missing)
		r.elsewhere.add(created) // never repaired
		created.acted = sent
		r.elsewhere.add(created) // directly
		want("nothing was queued", of(product.Orphaned), "")
		created.queued = true
		r.elsewhere.add(created)
		want("a created event is queued", of(product.Orphaned), product.Missing)
		want("a created event is queued", of(product.Stale), product.Missing)
		want("its own queue is followed anyhow", of(product.Missing), "")
		other := of(product.Orphaned)
		other.ID = "b"
		want("an event of another product is queued", other, "")

		// Of two events the later one counts, whichever is noted last.
		again := of(product.Missing)
		again.queued, again.acted = true, sent.Add(2*time.Second)
		r.elsewhere.add(again)
		r.elsewhere.add(created)
		time.Sleep(3 * time.Second)
		marks.pass(product.Missing, sent.Add(2*time.Second)) // not yet beyond it
		want("the first one has passed", of(product.Orphaned), product.Missing)
		marks.pass(product.Stale, sent.Add(time.Hour)) // which says nothing of the other queue
		want("another queue has passed", of(product.Orphaned), product.Missing)
		marks.pass(product.Missing, sent.Add(2*time.Second+1))
		want("both have passed", of(product.Orphaned), "")
		if len(r.elsewhere.sent) > 0 {
			t.Errorf("it remembers %v", r.elsewhere.sent)
		}

		// What an earlier run sent is known from the ledger.
		known := of(product.Orphaned)
		known.known = []run.Standing{
			{Key: run.Key{ID: "a", Kind: product.Orphaned}, Acted: sent.Add(time.Hour)}, {Key: run.Key{ID: "a", Kind: product.Stale}},
			{Key: run.Key{ID: "a", Kind: product.Missing}, Acted: sent.Add(4 * time.Second)},
		}
		want("an earlier run's event is queued", known, product.Missing)
		marks.pass(product.Missing, sent.Add(5*time.Second))
		want("it has passed", known, "")

		r.Watermarks = nil
		known.known[2].Acted = sent.Add(time.Hour)
		want("no queue is watched", known, "")
	})
}

// While the other queue moves the item is judged again and again; where it stands, it is left
// in flight, and that queue is named.
func TestPostponed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, marks := repairingRun(t)
		it := &item{Key: run.Key{ID: "a", Kind: product.Orphaned}, part: noPart}
		r.books.enter([]*item{it})
		r.line.enter(judging, it)
		it.known = []run.Standing{{Key: run.Key{ID: "a", Kind: product.Missing}, Acted: time.Now()}}
		take := func() {
			t.Helper()
			time.Sleep(time.Until(it.until) + 1)
			marks.pass(product.Orphaned, time.Now())
			if ready, _, err := r.line.take(t.Context(), 1, roomKey{judging, product.Orphaned}); err != nil || len(ready) != 1 {
				t.Fatalf("%d items are ready, %v", len(ready), err)
			}
		}
		for range 3 {
			take()
			if !r.postponed(it) {
				t.Fatal("it is not postponed")
			}
			if wait := time.Until(it.until); wait != idleInterval {
				t.Errorf("it is judged again in %s", wait)
			}
		}
		take()
		time.Sleep(r.config.StallTimeout)
		if !r.postponed(it) {
			t.Fatal("it is not postponed")
		}
		var got []string
		for _, o := range r.books.outcomes {
			got = append(got, fmt.Sprint(o.ID, o.Kind, o.State, o.Reason.Code, o.Reason.Queue))
		}
		if want := fmt.Sprint("a", product.Orphaned, run.InFlight, run.ReasonQueue, "queue-of-missing"); len(got) != 1 || got[0] != want {
			t.Errorf("outcomes are %q, want %q", got, want)
		}
		marks.pass(product.Missing, time.Now())
		if r.postponed(it) {
			t.Error("it is postponed though the other queue has passed")
		}
	})
}
