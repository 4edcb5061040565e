package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Whatever happens to the two stores, the queue and the repairer while a run is on:
// each missing product has exactly one outcome and the counts add up, nothing is
// repaired that was not confirmed, read right before and drained since its last
// repair, nothing is verified that is not there, and a calm run after it leaves
// nothing missing. See audit and shop.check.
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
	s.before, s.paging = w.before, w.paging
	report, err := s.do(ctx, t, set)
	if t.Failed() {
		t.Logf("%+v, %v", report, err)
		return
	}
	s.before, s.paging = nil, nil
	calm := s.calm(mode)
	if report, err = s.do(t.Context(), t, calm); err != nil {
		t.Fatalf("a calm run after it fails: %v", err)
	}
	for id, p := range s.products {
		_, err := s.table.Fit(&p)
		if _, there := s.rows[id]; !there && err == nil && s.refused[id] == nil {
			t.Errorf("%s is missing after a calm run: %+v", id, report)
		}
	}
}

// calm is a run in which nothing goes wrong and that nothing stops.
func (s *shop) calm(mode run.Mode) setting {
	set := s.replay()
	if mode == run.Direct {
		set = s.direct()
	}
	set.options.MaxRepairs = 1_000_000
	return set
}

// drawShop makes two stores that differ at random.
func drawShop(t *rapid.T) *shop {
	s := newShop(0, none)
	s.page = rapid.IntRange(1, 8).Draw(t, "page")
	n := rapid.IntRange(0, 30).Draw(t, "products")
	for i := 1; i <= n; i++ {
		p := newProduct(id(i))
		p.Created = rapid.SampledFrom([]time.Time{longAgo, longAgo, {}, time.Now(), time.Now().Add(time.Hour)}).Draw(t, "created")
		state := rapid.SampledFrom([]string{"missing", "missing", "missing", "same", "stale", "orphaned", "misfit", "refused"}).Draw(t, "state")
		s.add(p, state == "same" || state == "stale" || state == "orphaned")
		switch state {
		case "stale":
			s.change(p.ID(), func(p *product.Product) { p.Values[product.Title] = product.TextValue("New lamp") })
		case "orphaned":
			s.delete(p.ID())
		case "misfit":
			s.change(p.ID(), func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
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
	return s
}

func drawSetting(t *rapid.T, s *shop, mode run.Mode) setting {
	set := s.replay()
	set.window = rapid.IntRange(1, 12).Draw(t, "window")
	set.config.MaxRounds = rapid.IntRange(1, 4).Draw(t, "rounds")
	set.options.Mode = mode
	set.options.BatchSize = rapid.IntRange(1, 6).Draw(t, "batch")
	set.options.DryRun = rapid.IntRange(0, 9).Draw(t, "dry run") == 0
	if rapid.Bool().Draw(t, "limited") {
		set.options.MaxRepairs = rapid.IntRange(1, 40).Draw(t, "max repairs")
	}
	set.Repairer = drawRepairer(t, s, mode == run.Direct)
	if mode == run.Replay && rapid.Bool().Draw(t, "fallback") {
		set.Fallback = drawRepairer(t, s, true)
	}
	if mode == run.Direct && rapid.IntRange(0, 3).Draw(t, "without broker") == 0 {
		set.Barriers = nil
	} else if stalling := rapid.SampledFrom([]int{0, 0, 5, 30}).Draw(t, "percent of waits that stall"); stalling > 0 {
		set.Barriers = &watch{shop: s, stalls: func(product.Kind) bool { return percent(t, "stalls", stalling) }}
	}
	return set
}

func drawRepairer(t *rapid.T, s *shop, direct bool) *repairer {
	r := &repairer{shop: s, direct: direct}
	r.credit = func(want int) int { return rapid.IntRange(1, want).Draw(t, "credit") }
	lost := rapid.SampledFrom([]int{0, 10, 50, 100}).Draw(t, "percent that vanish")
	odd := rapid.SampledFrom([]int{0, 5, 20}).Draw(t, "percent of odd answers")
	r.fate = func(int, product.ID) fate {
		switch {
		case percent(t, "odd", odd):
			return rapid.SampledFrom([]fate{misfits, fails, untried}).Draw(t, "fate")
		case percent(t, "vanishes", lost):
			return vanishes
		}
		return arrives
	}
	if breaking := rapid.SampledFrom([]int{0, 0, 2}).Draw(t, "percent of breaks"); breaking > 0 {
		r.breaks = func(product.ID) error {
			if percent(t, "breaks", breaking) {
				return errors.New("the channel was closed")
			}
			return nil
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "keeps") == 0 {
		r.keeps = func(product.ID) error { return errors.New("refused") }
	}
	return r
}

// percent is true in so many of 100 cases.
func percent(t *rapid.T, label string, n int) bool {
	return n > 0 && rapid.IntRange(0, 99).Draw(t, label) >= 100-n
}

// weather is what happens around a run, at random, before its operations.
type weather struct {
	*shop
	t      *rapid.T
	cancel context.CancelCauseFunc
	events int // percent of operations before which something happens to the stores
	errors int // percent of operations that fail
	stops  int // percent of operations before which the run is stopped
	// The page reads of the scan are made by other goroutines than all else, and a
	// draw is for one: which of them fails is drawn before.
	brokenScan, brokenSpan int
	made                   int // products created
}

func drawWeather(t *rapid.T, s *shop, cancel context.CancelCauseFunc) *weather {
	w := &weather{shop: s, t: t, cancel: cancel}
	w.events = rapid.SampledFrom([]int{0, 10, 40}).Draw(t, "percent of events")
	w.errors = rapid.SampledFrom([]int{0, 0, 3}).Draw(t, "percent of errors")
	w.stops = rapid.SampledFrom([]int{0, 0, 2}).Draw(t, "percent of stops")
	if rapid.IntRange(0, 5).Draw(t, "the scan breaks") == 0 {
		w.brokenScan = rapid.IntRange(1, 12).Draw(t, "at the page of the source")
		w.brokenSpan = rapid.IntRange(1, 12).Draw(t, "at the page of the cart")
	}
	return w
}

func (w *weather) paging(_ context.Context, c call) error {
	if c.nth == map[operation]int{scanning: w.brokenScan, spanning: w.brokenSpan}[c.operation] {
		return errReset
	}
	return nil
}

func (w *weather) before(_ context.Context, c call) error {
	if percent(w.t, "happens", w.events) {
		w.happen()
	}
	if percent(w.t, "stopped", w.stops) {
		w.cancel(rapid.SampledFrom([]error{nil, errLockLost, fmt.Errorf("a signal: %w", context.Canceled)}).Draw(w.t, "cause"))
	}
	if percent(w.t, "fails", w.errors) {
		if c.operation == reserving && rapid.Bool().Draw(w.t, "paused") {
			return &product.PausedError{Reason: "nobody consumes the queue", Waited: stallTimeout}
		}
		return errReset
	}
	return nil
}

var (
	errReset    = errors.New("the connection was reset")
	errLockLost = errors.New("the lock was lost")
)

// happen lets something happen to a random product.
func (w *weather) happen() {
	what := rapid.SampledFrom([]string{"deleted", "updated", "created", "arrived", "misfit", "referenced", "row removed", "consumed"}).Draw(w.t, "event")
	live := rapid.Bool().Draw(w.t, "the cart hears of it")
	if what == "created" {
		w.made++
		w.add(newProduct(id(1000+w.made)), live)
		return
	}
	if what == "consumed" {
		w.consume(product.Missing)
		return
	}
	w.mu.Lock()
	ids := slices.Sorted(maps.Keys(w.products))
	w.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	victim := rapid.SampledFrom(ids).Draw(w.t, "victim")
	switch what {
	case "deleted":
		w.delete(victim)
		if live {
			w.removeRow(victim)
		}
	case "updated":
		p := w.change(victim, func(p *product.Product) { p.Values[product.Title] = product.TextValue(time.Now().String()) })
		if _, err := w.table.Fit(&p); live && err == nil {
			w.update(w.rowOf(p))
		}
	case "arrived":
		p := w.change(victim, func(*product.Product) {})
		if _, err := w.table.Fit(&p); err == nil {
			w.arrive(w.rowOf(p))
		}
	case "misfit":
		w.change(victim, func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
	case "referenced":
		w.mu.Lock()
		w.references[victim] = "cart"
		w.mu.Unlock()
	case "row removed":
		w.removeRow(victim)
	}
}

// update changes a row that is there, as a ProductUpdated event does.
func (s *shop) update(row product.Row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.rows[row.ID]; there {
		s.rows[row.ID] = row
	}
}
