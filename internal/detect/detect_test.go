package detect

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/memoryledger"
	"github.com/ecom-micro/etl/internal/testenv/memoryshop"
)

// shop is two stores in memory, whose products were all created at one moment.
type shop struct {
	*memoryshop.Stores
	created time.Time
	err     error
}

func (s *shop) Recent(_ context.Context, from, until time.Time) iter.Seq2[[]product.ID, error] {
	return func(yield func([]product.ID, error) bool) {
		if s.err != nil {
			yield(nil, s.err)
			return
		}
		if s.created.Before(from) || !s.created.Before(until) {
			return
		}
		products, _ := s.Look()
		for _, p := range products {
			if !yield([]product.ID{p.Key.ID}, nil) {
				return
			}
		}
	}
}

// queue is a watermark that a test moves.
type queue struct {
	mu      sync.Mutex
	sight   diff.Sight
	changed chan struct{}
}

func (q *queue) Sight() diff.Sight {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.sight
}

func (q *queue) Changed() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.changed
}

func (q *queue) set(s diff.Sight) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.changed != nil {
		close(q.changed)
	}
	q.sight, q.changed = s, make(chan struct{})
}

// looking is a look at recent products, and what it works with.
type looking struct {
	*Recent
	shop   *shop
	ledger *memoryledger.Ledger
	queues map[product.Kind]*queue
}

func look(t *testing.T) *looking {
	t.Helper()
	l := &looking{shop: &shop{Stores: memoryshop.New(0), created: time.Now().Add(-2 * time.Minute)}, ledger: memoryledger.New(), queues: make(map[product.Kind]*queue)}
	finder := diff.New(memoryshop.Source{Stores: l.shop.Stores}, memoryshop.Target{Stores: l.shop.Stores}, diff.Config{Compare: []product.Field{product.Title}, Batch: 100})
	marks := make(map[product.Kind]Watermark)
	for _, kind := range product.Kinds() {
		q := &queue{}
		q.set(diff.Sight{Passed: time.Now().Add(time.Hour), Moved: time.Now()})
		l.queues[kind], marks[kind] = q, q
	}
	looker := &Looker{Ledger: gapless{l.ledger}, Stores: func(context.Context) (Stores, error) { return finder, nil },
		Config: Config{Overlap: 10 * time.Minute, Limit: 1000}, Settle: func(time.Duration) time.Duration { return 30 * time.Second }, SettleMax: 10 * time.Minute}
	l.Recent = &Recent{Looker: looker, Created: l.shop, State: l.ledger, Watermarks: marks, Owner: "one"}
	return l
}

// gapless is a ledger in which no gap was measured.
type gapless struct{ *memoryledger.Ledger }

func (gapless) Gap(context.Context) (time.Duration, error) { return 0, nil }

// add adds a product to the source, and its row where it is in the cart.
func (l *looking) add(id product.ID, inCart bool) {
	l.shop.Mu.Lock()
	defer l.shop.Mu.Unlock()
	p := memoryshop.Lamp(product.Strings, id)
	l.shop.Products[p.Key] = p
	if inCart {
		l.shop.Rows[id] = product.Row{ID: id, Values: p.Values}
	}
}

func (l *looking) state(t *testing.T) (run.DetectorState, int64) {
	t.Helper()
	d, err := l.ledger.Detection(t.Context())
	if err != nil || len(d.Detectors) != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	return d.Detectors[0], d.Pending
}

func TestRecentFindsWhatIsMissing(t *testing.T) {
	t.Parallel()
	l := look(t)
	l.add("there", true)
	l.add("lost", false)
	if err := l.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, pending := l.state(t)
	if s.Checked != 2 || s.Differing != 1 || pending != 1 || s.Mark.IsZero() || s.Problem != "" {
		t.Errorf("%+v, %d pending", s, pending)
	}
	if p, err := l.ledger.Pending(t.Context(), run.Kinds{product.Missing}, 9); err != nil || len(p.IDs) != 1 || p.IDs[0] != "lost" {
		t.Errorf("%+v, %v", p, err)
	}
	// Another process looks only when this one does not any more.
	other := *l.Recent
	other.Owner = "another"
	if err := other.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again, _ := l.state(t); again.Checked != 2 {
		t.Errorf("two processes have looked: %+v", again)
	}
}

// What was announced is due at once: its event was consumed, and nothing else is on its way.
// The other is due when it may not be on its way any more, which a direct run waits longer for.
func TestWhatWasAnnouncedIsDueAtOnce(t *testing.T) {
	t.Parallel()
	for _, direct := range []bool{false, true} {
		l := look(t)
		l.add("announced", false)
		l.add("changed", false)
		for key, p := range l.shop.Products {
			p.Created = time.Now()
			l.shop.Products[key] = p
		}
		l.Direct = direct
		wait := l.Settle(0)
		if direct {
			wait = l.SettleMax
		}
		found, err := l.Look(t.Context(), []product.ID{"announced", "changed"}, map[product.ID]bool{"announced": true, "changed": false})
		if err != nil || len(found) != 2 {
			t.Fatalf("%+v, %v", found, err)
		}
		for _, f := range found {
			due := time.Until(f.Due)
			if announced := f.ID == "announced"; f.Announced != announced || announced && due > 0 || !announced && (due < wait-20*time.Second || due > wait) {
				t.Errorf("direct %v: %+v, due in %s", direct, f, due)
			}
		}
	}
}

// What is so young that it may be on its way is left to a later look, and so is what was
// inserted longer after the time in its key than the overlap, which only complete comparisons
// find.
func TestRecentLooksAtAWindow(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		age  time.Duration
		seen int64
	}{"young": {10 * time.Second, 0}, "settled": {time.Minute, 1}, "within the overlap": {9 * time.Minute, 1}, "beyond the overlap": {12 * time.Minute, 0}} {
		l := look(t)
		l.shop.created = time.Now().Add(-tt.age)
		l.add("lost", false)
		if err := l.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s, _ := l.state(t); s.Checked != tt.seen {
			t.Errorf("%s: %+v, want %d checked", name, s, tt.seen)
		}
	}
	// After an outage it begins where it had come to.
	l := look(t)
	mark := time.Now().Add(-3 * time.Hour)
	if err := l.ledger.Looked(t.Context(), run.Recent, mark, 0, 0, nil); err != nil {
		t.Fatal(err)
	}
	l.shop.created = mark.Add(time.Minute)
	l.add("lost", false)
	if err := l.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, _ := l.state(t); s.Checked != 1 || !s.Mark.After(mark) {
		t.Errorf("%+v", s)
	}
}

// A look that fails comes no further, and says why.
func TestRecentFails(t *testing.T) {
	t.Parallel()
	l := look(t)
	l.add("lost", false)
	l.shop.err = errors.New("MongoDB is away")
	if err := l.Do(t.Context()); err == nil {
		t.Error("no error")
	}
	if s, pending := l.state(t); s.Problem != "MongoDB is away" || !s.Mark.IsZero() || pending != 0 {
		t.Errorf("%+v, %d pending", s, pending)
	}
	l.shop.err = nil
	if err := l.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, pending := l.state(t); s.Problem != "" || pending != 1 {
		t.Errorf("%+v, %d pending", s, pending)
	}
}

// What the cart has not consumed yet is no lost event: it arrives while it is waited for.
func TestRecentWaitsForTheQueue(t *testing.T) {
	t.Parallel()
	l := look(t)
	l.add("queued", false)
	created := l.queues[product.Missing]
	created.set(diff.Sight{Passed: time.Now().Add(-time.Hour), Moved: time.Now()})
	done := make(chan error, 1)
	go func() { done <- l.Do(t.Context()) }()
	testenv.Eventually(t, time.Minute, func() bool { return l.ledger.Calls("Take") > 1 }, "the look at the stores")
	l.add("queued", true)
	created.set(diff.Sight{Passed: time.Now().Add(time.Hour), Moved: time.Now()})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s, pending := l.state(t); s.Checked != 1 || s.Differing != 0 || pending != 0 {
		t.Errorf("%+v, %d pending", s, pending)
	}
}

func TestPassedGivesUp(t *testing.T) {
	t.Parallel()
	q := &queue{}
	q.set(diff.Sight{Passed: time.Now().Add(-time.Hour), Moved: time.Now().Add(-time.Hour), Depth: diff.Depth{Ready: 7}})
	ended := make(chan error, 1)
	go func() { ended <- passed(t.Context(), "product-created", q, time.Now(), 10*time.Millisecond) }()
	for {
		select {
		case err := <-ended:
			if !errors.Is(err, ErrStands) || !strings.Contains(err.Error(), "product-created has 7 messages and 0 consumers") {
				t.Errorf("%v", err)
			}
			return
		case <-time.After(time.Millisecond): // the next look at the queue
			q.set(q.Sight())
		}
	}
}

// draining is what asks for runs, on a ledger in memory.
func draining(l *memoryledger.Ledger, limit int) (*Drain, *[]run.Request) {
	rung := &[]run.Request{}
	return &Drain{Orders: l, Config: Config{Limit: limit}, Order: run.Order{Mode: run.Replay, Repair: run.Kinds{product.Missing}}, Pipeline: "products",
		Ring: func(_ context.Context, r run.Request) { *rung = append(*rung, r) }}, rung
}

func detected(t *testing.T, l *memoryledger.Ledger, kind product.Kind, ids ...product.ID) {
	t.Helper()
	for _, id := range ids {
		if _, err := l.Detect(t.Context(), []run.Finding{{Key: run.Key{ID: id, Kind: kind}, Due: time.Now().Add(-time.Second)}}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	l := memoryledger.New()
	d, rung := draining(l, 3)
	do := func() Drained {
		t.Helper()
		done, err := d.Do(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	if done := do(); done != (Drained{}) {
		t.Errorf("nothing is due: %+v", done)
	}
	detected(t, l, product.Stale, "s") // which runs here do not repair
	if done := do(); done != (Drained{}) {
		t.Errorf("nothing of these kinds is due: %+v", done)
	}
	detected(t, l, product.Missing, "a", "b")
	if _, err := l.SetSwitch(t.Context(), false, run.Actor{Name: "ann"}); err != nil {
		t.Fatal(err)
	}
	if done := do(); done.Run != "" {
		t.Errorf("switched off: %+v", done)
	}
	if _, err := l.SetSwitch(t.Context(), true, run.Actor{Name: "ann"}); err != nil {
		t.Fatal(err)
	}
	done := do()
	if done.Run == "" || done.Products != 2 || len(*rung) != 1 {
		t.Fatalf("%+v, %d were rung for", done, len(*rung))
	}
	if r, err := l.Run(t.Context(), done.Run); err != nil || r.Request.Trigger != run.ByDetector || len(r.Request.IDs) != 2 || r.Request.Expires.IsZero() || r.Request.MaxRepairs != 0 {
		t.Errorf("%+v, %v", r.Request, err)
	}
	// No second run beside an active one, and no more within the hour than the limit.
	detected(t, l, product.Missing, "c", "d")
	if done := do(); done.Run != "" {
		t.Errorf("another run is active: %+v", done)
	}
	lease, err := l.Claim(t.Context(), "worker", time.Hour)
	if err != nil || lease == nil {
		t.Fatalf("%v, %v", lease, err)
	}
	if err := lease.Finish(t.Context(), run.StatusSucceeded, nil, ""); err != nil {
		t.Fatal(err)
	}
	if done := do(); done.Products != 1 || done.Waiting != 1 {
		t.Errorf("at the limit: %+v", done)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := Config{Overlap: 10 * time.Minute, Limit: 1000}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, c := range map[string]Config{
		"SYNC_OVERLAP is -1s, it must be 0s..24h0m0s": {Overlap: -time.Second},
		"SYNC_OVERLAP is 25h0m0s":                     {Overlap: 25 * time.Hour},
		"SYNC_DETECT_LIMIT is -1":                     {Limit: -1},
		"SYNC_DETECT_LIMIT is 1000001":                {Limit: 1_000_001},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}
