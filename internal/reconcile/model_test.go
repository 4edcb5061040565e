package reconcile_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Whatever happens to the two stores, the queues and the repairer while a run is on:
// each difference has exactly one outcome and the counts add up, nothing is repaired
// that was not read right before, or while an event of ours about it is queued, nothing
// is taken back that was not brought, and a calm run after it leaves the two stores
// equal but for what the cart cannot hold. See audit and shop.check.
func TestRunProperties(t *testing.T) {
	t.Parallel()
	for _, mode := range []run.Mode{run.Replay, run.Direct} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, func(t *rapid.T) { checkRun(t, mode) }) })
		})
	}
}

func checkRun(t *rapid.T, mode run.Mode) {
	s := drawShop(t)
	set := drawSetting(t, s, mode)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	w := drawWeather(t, s, cancel)
	s.before = w.before
	report, err := s.do(ctx, t, set)
	s.before = nil
	w.publishing.Wait()
	if t.Failed() {
		t.Logf("%+v, %v", report, err)
		return
	}
	calm := s.afterwards(t, mode)
	if report, err = s.do(t.Context(), t, calm); err != nil {
		t.Fatalf("a calm run after it fails: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, p := range s.Products {
		id := key.ID
		row, there := s.Rows[id]
		if _, err := s.Columns.Fit(&p); err != nil || s.refused[id] != nil {
			continue
		}
		if !there || len(s.Columns.Differing(&p, &row, product.ProofFields())) > 0 {
			t.Errorf("%s is in the cart: %v, after a calm run, which says %+v", id, there, report)
		}
	}
	for id := range s.Rows {
		// An empty source deletes nothing.
		if _, there := s.product(id); !there && s.references[id] == "" && len(s.Products) > 0 {
			t.Errorf("%s is in the cart only, after a calm run, which says %+v", id, report)
		}
	}
}

// afterwards is a run in which nothing goes wrong and that nothing stops. It comes when all
// is old.
func (s *shop) afterwards(t *rapid.T, mode run.Mode) setting {
	time.Sleep(2 * time.Hour)
	_, stop := s.open(t.Context())
	defer stop()
	for _, q := range s.queues {
		s.mu.Lock()
		q.stands, q.leaderless = false, nil
		s.mu.Unlock()
		q.ring()
		for left := 1; left > 0; {
			time.Sleep(time.Second)
			depth, _ := q.Depth(t.Context())
			left = depth.Ready
		}
	}
	time.Sleep(time.Second) // the last one is being consumed
	set := s.replay(product.Kinds()...)
	if mode == run.Direct {
		set = s.direct(product.Kinds()...)
	}
	set.options.MaxRepairs, set.options.MaxDeletes = 1_000_000, 1_000_000
	return set
}

// drawShop makes two stores that differ at random.
func drawShop(t *rapid.T) *shop {
	s := newShop(0, none)
	s.page = rapid.IntRange(1, 8).Draw(t, "page")
	n := rapid.IntRange(0, 30).Draw(t, "products")
	for i := 1; i <= n; i++ {
		p := newProduct(id(i))
		p.Created = rapid.SampledFrom([]time.Time{longAgo, longAgo, longAgo, {}, time.Now(), time.Now().Add(time.Hour)}).Draw(t, "created")
		state := rapid.SampledFrom([]string{"missing", "missing", "same", "stale", "orphaned", "held", "misfit", "refused"}).Draw(t, "state")
		s.add(p, state == "same" || state == "stale" || state == "orphaned" || state == "held")
		switch state {
		case "stale":
			p.Values[product.Title] = product.TextValue("New lamp")
			s.put(p)
		case "orphaned":
			s.delete(p.ID())
		case "held":
			s.delete(p.ID())
			s.references[p.ID()] = "cart"
		case "misfit":
			p.Values[product.Price] = product.FloatValue(9.99)
			s.put(p)
		case "refused":
			s.refused[p.ID()] = &product.Misfit{Column: "price_positive", Reason: "the row violates the check constraint"}
		}
	}
	if n > 0 && rapid.Bool().Draw(t, "two ranges") {
		middle := id(rapid.IntRange(1, n).Draw(t, "middle"))
		s.ranges = []product.Range{{Class: product.ObjectIDs, Through: middle}, {Class: product.ObjectIDs, After: middle}}
	}
	if rapid.IntRange(0, 9).Draw(t, "unsupported") == 0 {
		s.unsupported = map[string]int64{"double": 2}
	}
	s.repeats = rapid.IntRange(0, 9).Draw(t, "pages come twice") == 0
	for _, kind := range product.Kinds() {
		s.queues[kind].pace = rapid.SampledFrom([]time.Duration{0, pace, time.Second}).Draw(t, "pace")
		s.queues[kind].stands = rapid.IntRange(0, 19).Draw(t, "stands") == 0
		s.queues[kind].leaderless = drawLeaderless(t)
	}
	return s
}

// drawLeaderless draws the times at which a quorum queue has no leader, nil for never:
// again and again, for less than the minute after which an empty look counts.
func drawLeaderless(t *rapid.T) func() bool {
	if rapid.IntRange(0, 2).Draw(t, "leaders are lost") > 0 {
		return nil
	}
	every := rapid.SampledFrom([]time.Duration{5 * time.Second, 70 * time.Second, 3 * time.Minute}).Draw(t, "a leader is lost every")
	most := min(every*3/4, 50*time.Second)
	lasting := time.Duration(rapid.Int64Range(int64(time.Second), int64(most)).Draw(t, "for"))
	began := time.Now().Add(-time.Duration(rapid.Int64Range(0, int64(every)).Draw(t, "first after")))
	return func() bool { return time.Since(began)%every < lasting }
}

func drawSetting(t *rapid.T, s *shop, mode run.Mode) setting {
	kinds := rapid.SampledFrom([]run.Kinds{{product.Missing}, {product.Stale}, {product.Orphaned}, product.Kinds(), product.Kinds()}).Draw(t, "kinds")
	set := s.replay(kinds...)
	set.capacity = rapid.SampledFrom([]int{3, 10, 1000}).Draw(t, "capacity")
	set.config.MaxRounds = rapid.IntRange(1, 4).Draw(t, "rounds")
	set.options.Mode = mode
	set.options.BatchSize = rapid.IntRange(1, 6).Draw(t, "batch")
	set.options.DryRun = rapid.IntRange(0, 9).Draw(t, "dry run") == 0
	set.options.MaxDeletes = rapid.SampledFrom([]int{1, 100}).Draw(t, "max deletes")
	if rapid.Bool().Draw(t, "limited") {
		set.options.MaxRepairs = rapid.IntRange(1, 40).Draw(t, "max repairs")
	}
	random := randomness(t)
	if mode == run.Direct {
		set.Replay, set.Direct = nil, drawRepairer(t, s, random, true)
		set.blind = rapid.IntRange(0, 3).Draw(t, "without broker") == 0
	} else {
		set.Replay = drawRepairer(t, s, random, false)
		if rapid.Bool().Draw(t, "fallback") {
			set.Direct = drawRepairer(t, s, random, true)
		}
	}
	if rapid.Bool().Draw(t, "may delete") {
		set.Undo = &repairer{shop: s, direct: true}
	}
	return set
}

// dice are thrown by several goroutines.
type dice struct {
	throw sync.Mutex
	rand  *rand.Rand
}

func randomness(t *rapid.T) *dice {
	return &dice{rand: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))}
}

// percent is true in so many of 100 cases.
func (d *dice) percent(n int) bool { return d.upTo(100) < n }

func (d *dice) upTo(n int) int {
	d.throw.Lock()
	defer d.throw.Unlock()
	return d.rand.IntN(n)
}

func drawRepairer(t *rapid.T, s *shop, random *dice, direct bool) *repairer {
	r := &repairer{shop: s, direct: direct, depth: rapid.SampledFrom([]int{1, 5, 200}).Draw(t, "depth")}
	lost := rapid.SampledFrom([]int{0, 10, 50, 100}).Draw(t, "percent that vanish")
	odd := rapid.SampledFrom([]int{0, 5, 20}).Draw(t, "percent of odd answers")
	r.fate = func(int, product.ID) fate {
		switch {
		case random.percent(odd):
			return []fate{misfits, fails, untried, nacked}[random.upTo(4)]
		case random.percent(lost):
			return vanishes
		}
		return arrives
	}
	if breaking := rapid.SampledFrom([]int{0, 0, 2}).Draw(t, "percent of breaks"); breaking > 0 {
		r.breaks = func(product.ID) error {
			if random.percent(breaking) {
				return errReset
			}
			return nil
		}
	}
	return r
}

// weather is what happens around a run, at random, before its operations.
type weather struct {
	*shop
	*dice
	cancel     context.CancelCauseFunc
	events     int // percent of operations before which something happens to the stores
	errors     int // per thousand of operations that fail
	stops      int // per thousand of operations before which the run is stopped
	away       int // per thousand of looks that a server does not answer
	made       int // products created
	publishing sync.WaitGroup
}

func drawWeather(t *rapid.T, s *shop, cancel context.CancelCauseFunc) *weather {
	return &weather{
		shop: s, dice: randomness(t), cancel: cancel,
		events: rapid.SampledFrom([]int{0, 10, 40}).Draw(t, "percent of events"),
		errors: rapid.SampledFrom([]int{0, 0, 10}).Draw(t, "errors in a thousand"),
		stops:  rapid.SampledFrom([]int{0, 0, 10}).Draw(t, "stops in a thousand"),
		away:   rapid.SampledFrom([]int{0, 0, 20}).Draw(t, "servers away in a thousand"),
	}
}

func (w *weather) before(_ context.Context, c call) error {
	if w.percent(w.events) {
		w.happen()
	}
	if w.upTo(1000) < w.stops {
		w.cancel([]error{nil, errLockLost, fmt.Errorf("a signal: %w", context.Canceled)}[w.upTo(3)])
	}
	if w.upTo(1000) < w.away && c.operation != reserving && c.operation != repairing {
		return errAwayFrom("a server")
	}
	if w.upTo(1000) < w.errors {
		if c.operation == reserving && w.percent(50) {
			return &product.PausedError{Reason: "nobody consumes the queue", Waited: stallTimeout}
		}
		return errReset
	}
	return nil
}

// publish lets the Product Service announce something a while later, as it does.
func (w *weather) publish(kind product.Kind, row product.Row) {
	late := time.Duration(w.upTo(int(settle * 9 / 10)))
	w.publishing.Go(func() {
		time.Sleep(late)
		w.queues[kind].put(event{row: row})
	})
}

// happen lets something happen to a random product.
func (w *weather) happen() {
	what := []string{"deleted", "updated", "created", "misfit", "referenced", "row removed"}[w.upTo(6)]
	live := w.percent(50) // the cart hears of it
	if what == "created" {
		w.made++
		p := newProduct(id(1000 + w.made))
		p.Created, p.Updated = time.Now(), time.Now()
		w.add(p, false)
		if live {
			w.publish(product.Missing, w.rowOf(p))
		}
		return
	}
	w.mu.Lock()
	var ids []product.ID
	for key := range w.Products {
		ids = append(ids, key.ID)
	}
	w.mu.Unlock()
	slices.Sort(ids)
	if len(ids) == 0 {
		return
	}
	victim := ids[w.upTo(len(ids))]
	switch what {
	case "deleted":
		w.delete(victim)
		w.mu.Lock()
		held := w.references[victim] != ""
		w.mu.Unlock()
		if live && !held {
			w.publish(product.Orphaned, product.Row{ID: victim})
		}
	case "updated":
		p := w.change(victim, func(p *product.Product) { p.Values[product.Title] = product.TextValue(time.Now().String()) })
		if _, err := w.Columns.Fit(&p); live && err == nil {
			w.publish(product.Stale, w.rowOf(p))
		}
	case "misfit":
		w.change(victim, func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
	case "referenced":
		w.mu.Lock()
		if _, there := w.Rows[victim]; there { // so that a customer can put it into a cart
			w.references[victim] = "cart"
		}
		w.mu.Unlock()
	case "row removed":
		w.removeRow(victim)
	}
}
