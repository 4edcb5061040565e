package reconcile_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv/memoryledger"
)

// A run that is killed at any operation, again and again, is taken over each time, and
// in the end everything is repaired: each product once, and counted once.
func TestTakeovers(t *testing.T) {
	t.Parallel()
	for _, mode := range []run.Mode{run.Replay, run.Direct} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, func(t *rapid.T) { checkTakeovers(t, mode) }) })
		})
	}
}

func checkTakeovers(t *rapid.T, mode run.Mode) {
	const products, differing = 60, 10
	s := differ(products)
	s.page = rapid.IntRange(2, 20).Draw(t, "page")
	middle := id(rapid.IntRange(1, products-1).Draw(t, "middle"))
	s.ranges = []product.Range{{Class: product.ObjectIDs, Through: middle}, {Class: product.ObjectIDs, After: middle}}
	for _, q := range s.queues {
		q.pace = rapid.SampledFrom([]time.Duration{pace, time.Second}).Draw(t, "pace")
	}
	kinds := rapid.SampledFrom([]run.Kinds{product.Kinds(), {product.Missing}, {product.Stale, product.Orphaned}}).Draw(t, "kinds")
	set := s.replay(kinds...)
	if mode == run.Direct {
		set = s.direct(kinds...)
	}
	set.options.BatchSize = rapid.IntRange(1, 10).Draw(t, "batch")
	set.capacity = rapid.SampledFrom([]int{5, 1000}).Draw(t, "capacity")
	if rapid.Bool().Draw(t, "limited") {
		set.options.MaxRepairs = products
	}
	ledger := memoryledger.New()
	random := randomness(t)
	kills := rapid.IntRange(0, 6).Draw(t, "kills")
	var report *run.Report
	owned := begin(t.Context(), t, ledger)
	for i := 0; ; i++ {
		set.Ledger = owned
		set.options.Takeovers, set.options.Vanished = i, min(owned.Record().Vanished, 1) // it is cautious, and names nobody
		ctx, cancel := context.WithCancelCause(t.Context())
		left := 1 + random.upTo(80)
		die := func() {
			if left--; i < kills && left == 0 {
				cancel(run.ErrFenced)
			}
		}
		s.before = func(context.Context, call) error { die(); return nil }
		acts := s.audit.acts
		var err error
		report, err = s.goOn(ctx, t, set, acts)
		s.before = nil
		cancel(nil)
		if t.Failed() {
			t.Fatalf("%+v, %v", report, err)
		}
		if err == nil {
			if err := owned.Finish(t.Context(), report.Result.Status(), report, ""); err != nil {
				t.Fatal(err)
			}
			break
		}
		time.Sleep(2 * leaseLength)
		owned = claim(t.Context(), t, ledger)
	}
	for _, kind := range product.Kinds() {
		verified, found := report.ByKind[kind][run.Verified], report.ByKind[kind][run.Found]
		if kinds.Has(kind) && verified != differing || !kinds.Has(kind) && found != differing || report.Found[kind] != differing {
			t.Errorf("%s: %d verified, %d found, want %d; %+v", kind, verified, found, differing, report)
		}
	}
	for id, acts := range s.audit.acts {
		if len(acts) != 1 {
			t.Errorf("%s was repaired %d times: %+v", id, len(acts), acts)
		}
	}
}

// A product that each process dies of is named and left alone, and the others are
// repaired, each once.
func TestADeadlyProductIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, mode := range []run.Mode{run.Replay, run.Direct} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, func(t *rapid.T) { checkDeadly(t, mode) }) })
		})
	}
}

func checkDeadly(t *rapid.T, mode run.Mode) {
	const products, most = 20, 6
	s := newShop(products, all)
	deadly := id(rapid.IntRange(1, products).Draw(t, "deadly"))
	set := s.replay()
	if mode == run.Direct {
		set = s.direct()
	}
	set.options.BatchSize = rapid.IntRange(1, 10).Draw(t, "batch")
	set.options.MaxRepairs = products
	ledger := memoryledger.New()
	owned := begin(t.Context(), t, ledger)
	var report *run.Report
	var err error
	for owners := 0; report == nil || err != nil; owners++ {
		if owners == most {
			t.Fatalf("%d processes died: %+v", owners, report)
		}
		if owners > 0 {
			owned = claim(t.Context(), t, ledger)
		}
		set.Ledger, set.options.Takeovers, set.options.Vanished = owned, owners, owned.Record().Vanished
		ctx, cancel := context.WithCancelCause(t.Context())
		s.before = func(_ context.Context, c call) error {
			if c.operation == repairing && slices.Contains(c.ids, deadly) {
				cancel(run.ErrFenced)
			}
			return nil
		}
		report, err = s.goOn(ctx, t, set, s.audit.acts)
		s.before = nil
		cancel(nil)
		if err == nil {
			break
		}
		time.Sleep(2 * leaseLength)
	}
	states := report.ByKind[product.Missing]
	if states[run.Verified] != products-1 || states[run.Failed] != 1 {
		t.Errorf("%+v, want one failed and the others verified", report.ByKind)
	}
	for _, o := range report.Samples {
		if o.ID != deadly || o.Reason.Code != run.ReasonDeadly {
			t.Errorf("%s is %s: %+v", o.ID, o.State, o.Reason)
		}
	}
	for id, acts := range s.audit.acts {
		if id != deadly && len(acts) != 1 {
			t.Errorf("%s was repaired %d times: %+v", id, len(acts), acts)
		}
	}
}

// begin enters a run, the only one, and takes its lease.
func begin(ctx context.Context, t rapid.TB, l *memoryledger.Ledger) run.Lease {
	t.Helper()
	owned, err := l.Begin(ctx, run.Request{Version: run.RequestVersion, ID: run.NewRunID(), Trigger: run.ByCLI, At: time.Now()}, "first", leaseLength)
	if err != nil {
		t.Fatal(err)
	}
	return owned
}

// claim takes over the one run that there is.
func claim(ctx context.Context, t rapid.TB, l *memoryledger.Ledger) run.Lease {
	t.Helper()
	owned, err := l.Claim(ctx, "next", leaseLength)
	if err != nil || owned == nil {
		t.Fatalf("no lease: %v, %v", owned, err)
	}
	return owned
}

// goOn is do for a process that takes over what others did.
func (s *shop) goOn(ctx context.Context, t *rapid.T, set setting, before map[product.ID][]act) (*run.Report, error) {
	s.carried = before
	defer func() { s.carried = nil }()
	return s.do(ctx, t, set)
}

// What detectors find where the scan has been already is repaired by the same run, within
// their limit.
func TestARunTakesWhatDetectorsFind(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{0, 1, 100} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(100, none)
			ledger := memoryledger.New()
			s.hangs = func(c call) bool {
				if c.operation != scanning || c.nth != 10 { // behind those that are lost now
					return false
				}
				var lost []run.Finding
				for _, id := range idsFrom(1, 3) {
					s.mu.Lock()
					delete(s.Rows, id)
					s.mu.Unlock()
					lost = append(lost, run.Finding{Key: run.Key{ID: id, Kind: product.Missing}, Due: time.Now(), Announced: true})
				}
				if _, err := ledger.Detect(t.Context(), lost); err != nil {
					t.Error(err)
				}
				time.Sleep(5 * time.Second)
				return false
			}
			set := s.replay()
			set.options.Detected, set.options.MaxRepairs = limit, 100
			set.Ledger = begin(t.Context(), t, ledger)
			report, err := s.do(t.Context(), t, set)
			want := int64(min(limit, 3))
			if err != nil || report.Outcomes[run.Verified] != want {
				t.Errorf("with a limit of %d %d are repaired, want %d; %v", limit, report.Outcomes[run.Verified], want, err)
			}
			if left, err := ledger.Detection(t.Context()); err != nil || left.Pending != 3-want {
				t.Errorf("%d wait for a run, want %d; %v", left.Pending, 3-want, err)
			}
		})
	}
}
