package reconcile_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
)

// book is a ledger in memory, as one run sees it.
type book struct {
	stage    run.Stage
	memory   []byte
	planned  []product.Range
	finished map[product.Range]run.FinishedRange
	inHand   map[product.ID]bool
	outcomes map[product.ID]run.Outcome
	written  bool
	// before, if set, is called before each write and each read.
	before func() error
}

func newBook() *book {
	return &book{finished: make(map[product.Range]run.FinishedRange), inHand: make(map[product.ID]bool), outcomes: make(map[product.ID]run.Outcome)}
}

func (b *book) enter() error {
	if b.before == nil {
		return nil
	}
	return b.before()
}

func (b *book) Resume(context.Context) (*run.Checkpoint, error) {
	if err := b.enter(); err != nil || !b.written {
		return nil, err
	}
	at := &run.Checkpoint{Stage: b.stage, Memory: b.memory, Planned: b.planned != nil, InHand: slices.Sorted(maps.Keys(b.inHand))}
	for _, r := range b.planned {
		f, is := b.finished[r]
		if !is {
			at.Ranges = append(at.Ranges, r)
		}
		at.Products, at.Rows, at.Matched = at.Products+f.Products, at.Rows+f.Rows, at.Matched+f.Matched
	}
	for _, id := range slices.Sorted(maps.Keys(b.outcomes)) {
		if o := b.outcomes[id]; o.State == run.Found && o.Kind == product.Missing {
			at.Missing = append(at.Missing, id)
		}
	}
	return at, nil
}

func (b *book) Plan(_ context.Context, ranges []product.Range) error {
	if err := b.enter(); err != nil {
		return err
	}
	b.planned, b.written = slices.Clone(ranges), true
	clear(b.finished)
	return nil
}

func (b *book) Begin(_ context.Context, s run.Stage, ids []product.ID) error {
	if err := b.enter(); err != nil {
		return err
	}
	b.stage, b.written = s, true
	for _, id := range ids {
		delete(b.outcomes, id)
		b.inHand[id] = true
	}
	return nil
}

func (b *book) Settle(_ context.Context, s run.Settlement) error {
	if err := b.enter(); err != nil {
		return err
	}
	b.stage, b.memory, b.written = s.Stage, s.Memory, true
	clear(b.inHand)
	if s.Restart {
		clear(b.outcomes)
		clear(b.finished)
	}
	for _, o := range s.Outcomes {
		b.outcomes[o.ID] = o
	}
	for _, f := range s.Finished {
		b.finished[f.Range] = f
	}
	return nil
}

func (b *book) Judged(_ context.Context, ids []product.ID) (map[product.ID]bool, error) {
	judged := make(map[product.ID]bool)
	for _, id := range ids {
		if _, is := b.outcomes[id]; is {
			judged[id] = true
		}
	}
	return judged, b.enter()
}

// A run whose process is killed again and again, at whatever moment, is brought to
// its end by those that take it over: everything missing arrives, no product has
// two events in the queue, and the last report counts each product once.
func TestAnotherProcessGoesOnWithARun(t *testing.T) {
	t.Parallel()
	for range 10 { // a process has many moments to be killed at
		rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, checkTakeover) })
	}
}

func checkTakeover(t *rapid.T) {
	n := rapid.IntRange(0, 40).Draw(t, "products")
	lost := rapid.SliceOfNDistinct(rapid.IntRange(1, 40), 0, 40, rapid.ID).Draw(t, "lost")
	misfit := rapid.IntRange(0, 5).Draw(t, "one in so many does not fit")
	s := newShop(n, func(i int) bool { return slices.Contains(lost, i) })
	s.ranges = []product.Range{
		{Class: product.ObjectIDs, Through: id(7)}, {Class: product.ObjectIDs, After: id(7), Through: id(20)}, {Class: product.ObjectIDs, After: id(20)},
	}
	var missing, blocked int64
	for i := 1; i <= n; i++ {
		if !slices.Contains(lost, i) {
			continue
		}
		missing++
		if misfit > 0 && i%misfit == 0 {
			blocked++
			s.change(id(i), func(p *product.Product) { p.Values[product.Price] = product.TextValue("dear") })
		}
	}
	set := rapid.SampledFrom([]func() setting{s.replay, s.direct, s.dryRun}).Draw(t, "kind of run")()
	set.window = rapid.IntRange(1, 12).Draw(t, "window")
	set.options.MaxRepairs = rapid.SampledFrom([]int{0, 100}).Draw(t, "limit")
	kept := newBook()
	set.Ledger = kept

	killed := errors.New("killed")
	var report *run.Report
	for {
		var left atomic.Int64
		left.Store(rapid.Int64Range(0, 60).Draw(t, "operations before the end"))
		if rapid.Bool().Draw(t, "lives") {
			left.Store(1 << 20)
		}
		tick := func() error {
			if left.Add(-1) < 0 {
				return killed
			}
			return nil
		}
		s.look() // a scan that goes on does not begin at the first range
		ctx, cancel := context.WithCancelCause(t.Context())
		s.before = func(_ context.Context, c call) error {
			if c.operation == repairing {
				for _, id := range c.ids {
					if s.queued(id) {
						t.Errorf("%s is in the queue, and published again", id)
					}
				}
			}
			err := tick()
			if err != nil {
				cancel(run.ErrFenced) // it writes nothing more
			}
			return err
		}
		kept.before = tick
		set.Barriers = &watch{shop: s}
		engine, err := reconcile.NewWithWindow(set.Parts, set.config, set.options, set.window)
		if err != nil {
			t.Fatal(err)
		}
		report, err = engine.Do(ctx)
		cancel(nil)
		if err == nil {
			break
		}
		if !errors.Is(err, killed) && !errors.Is(err, run.ErrFenced) {
			t.Fatal(err)
		}
	}
	if got := report.Found[product.Missing]; got != missing {
		t.Errorf("%d found missing, %d are", got, missing)
	}
	if report.Products != int64(n) || report.Rows != int64(n)-missing && set.options.DryRun {
		t.Errorf("%d products and %d rows compared of %d and %d", report.Products, report.Rows, n, int64(n)-missing)
	}
	if len(kept.inHand) > 0 {
		t.Errorf("in hand at the end: %v", kept.inHand)
	}
	if set.options.DryRun {
		if int64(len(kept.outcomes)) != missing || report.Acted > 0 {
			t.Errorf("the ledger has %d outcomes of %d missing", len(kept.outcomes), missing)
		}
		return
	}
	if report.Outcomes[run.Blocked] != blocked || report.Outcomes[run.Verified] != missing-blocked || int64(len(s.rows)) != int64(n)-blocked {
		t.Errorf("%d verified and %d blocked of %d missing, %d do not fit; %d rows", report.Outcomes[run.Verified], report.Outcomes[run.Blocked], missing, blocked, len(s.rows))
	}
	counts := make(map[run.State]int64)
	for _, o := range kept.outcomes {
		counts[o.State]++
	}
	if counts[run.Blocked] != blocked || counts[run.Verified] != missing-blocked || int64(len(kept.outcomes)) != missing || report.Unrepaired != blocked {
		t.Errorf("the ledger has %v, %d unrepaired; %d were missing, %d do not fit", counts, report.Unrepaired, missing, blocked)
	}
}

// queued tells whether an event about a product waits for the cart.
func (s *shop) queued(id product.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.queue, func(e event) bool { return e.row.ID == id })
}
