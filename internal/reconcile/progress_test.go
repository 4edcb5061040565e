package reconcile_test

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
)

// A run says at any time what it is doing, and how far it is.
func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(40, first(8))
		set := s.replay()
		set.Replay = &repairer{shop: s, fate: verifies(4, 4)}
		set.Throttle = func() string { return "the broker blocks" }
		engine, stop := s.begin(t, set)
		defer stop()
		phases := map[operation][]run.Phase{
			planning: {run.PhasePlanning},
			sampling: {run.PhasePlanning},
			scanning: {run.PhaseComparing},
			spanning: {run.PhaseComparing},
			// What is in a hand waits for nothing, so that the phase is that of others.
			repairing: {run.PhaseComparing, run.PhaseConfirming, run.PhaseRepairing, run.PhaseProving},
		}
		var last run.Progress
		s.before = func(_ context.Context, c call) error {
			p := engine.Progress()
			if allowed := phases[c.operation]; allowed != nil && !slices.Contains(allowed, p.Phase) {
				t.Errorf("%s in phase %q", c.operation, p.Phase)
			}
			if p.Compared < last.Compared || p.Acted < last.Acted || p.Verified < last.Verified || p.Attempts < last.Attempts || p.Verified > p.Acted {
				t.Errorf("from %+v to %+v", last, p)
			}
			if s.hasActed(1) && !p.Scanned {
				t.Error("it repairs, and the comparison is not complete")
			}
			if p.Throttle != "the broker blocks" {
				t.Errorf("it is throttled: %q", p.Throttle)
			}
			last = p
			return nil
		}
		begun := time.Now()
		watching := time.NewTicker(100 * time.Millisecond) // as a heart does
		ended := make(chan struct{})
		go func() {
			for {
				select {
				case <-watching.C:
					engine.Progress()
				case <-ended:
					return
				}
			}
		}()
		_, err := engine.Do(t.Context())
		close(ended)
		if err != nil {
			t.Fatal(err)
		}
		eight := map[product.Kind]int64{product.Missing: 8, product.Stale: 0, product.Orphaned: 0}
		want := run.Progress{Phase: run.PhaseDone, Compared: 40, Total: 40, Scanned: true, Acted: 12, Verified: 8, Attempts: 2,
			Ranges: 1, RangesDone: 1, Suspects: eight, Found: eight, Throttle: "the broker blocks"}
		got := engine.Progress()
		var entered []run.Phase
		var took int64
		for _, p := range got.Phases {
			entered, took = append(entered, p.Phase), took+p.Milliseconds
		}
		wantPhases := []run.Phase{run.PhasePlanning, run.PhaseComparing, run.PhaseConfirming, run.PhaseProving, run.PhaseDone}
		if entered = slices.DeleteFunc(entered, func(p run.Phase) bool { return p == run.PhaseRepairing }); !slices.Equal(entered, wantPhases) {
			t.Errorf("phases %v", got.Phases)
		}
		if whole := time.Since(begun).Milliseconds(); took < whole-int64(len(got.Phases)) || took > whole { // each is cut
			t.Errorf("phases of %d ms together, of %d", took, whole)
		}
		got.Phases = nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("in the end %+v, want %+v", got, want)
		}
	})
}

// Another pass of a run begins anew, and what is expected depends on the scope.
func TestProgressOfOtherScopes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		options reconcile.Options
		total   int64
	}{
		{"named products", reconcile.Options{IDs: idsFrom(1, 2)}, 2},
		{"recent products", reconcile.Options{Since: longAgo.Add(-time.Hour)}, 0},
		{"two passes", reconcile.Options{}, 40},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(40, first(20))
				set := s.replay()
				set.options.IDs, set.options.Since, set.capacity = test.options.IDs, test.options.Since, 3
				engine, stop := s.begin(t, set)
				defer stop()
				s.before = func(_ context.Context, c call) error {
					p := engine.Progress()
					if c.operation == scanning && p.Scanned {
						t.Errorf("page %d is scanned when all is", c.nth)
					}
					if p.Phase != run.PhasePlanning && p.Total != test.total {
						t.Errorf("the total is %d, want %d", p.Total, test.total)
					}
					return nil
				}
				if _, err := engine.Do(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// Every wait says what it waits for, since when and for how long still.
func TestProgressSaysWhatIsWaitedFor(t *testing.T) {
	t.Parallel()
	var begun time.Time
	confirming := func(kind product.Kind, n int, reason run.Reason) []run.Wait {
		return []run.Wait{{Phase: run.PhaseConfirming, Kind: kind, Products: n, Reason: reason}}
	}
	tests := []struct {
		name    string
		arrange func(s *shop)
		phase   run.Phase
		waits   func() []run.Wait
	}{
		{"products settle", func(s *shop) {
			for i := 1; i <= 3; i++ {
				p, _ := s.product(id(i))
				p.Created = time.Now()
				s.add(p, false)
			}
		}, run.PhaseConfirming, func() []run.Wait {
			return confirming(product.Missing, 3, run.Reason{Code: run.ReasonSettling, Until: begun.Add(settle)})
		}},
		{"a queue stands before the judgement", func(s *shop) {
			s.queues[product.Missing].stands, s.queues[product.Missing].waiting = true, make([]event, 5)
		}, run.PhaseConfirming, func() []run.Wait {
			return confirming(product.Missing, 3, run.Reason{Code: run.ReasonQueue, Queue: "product-created", Ready: 5, Consumers: 1, Since: begun, Until: begun.Add(stallTimeout)})
		}},
		{"a queue stands before the proof", func(s *shop) {
			s.once(func(c call) bool { return c.operation == repairing }, func() { s.queues[product.Missing].stands = true })
		}, run.PhaseProving, func() []run.Wait {
			moved := begun.Add(2200 * time.Millisecond) // the second look behind grace
			return []run.Wait{{Phase: run.PhaseProving, Kind: product.Missing, Products: 3,
				Reason: run.Reason{Code: run.ReasonQueue, Queue: "product-created", Ready: 3, Consumers: 1, Since: moved, Until: moved.Add(stallTimeout)}}}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun = time.Now()
				s := newShop(10, first(3))
				test.arrange(s)
				engine, stop := s.begin(t, s.replay())
				defer stop()
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_, _ = engine.Do(ctx)
				}()
				time.Sleep(15 * time.Second)
				p := engine.Progress()
				for i := range p.Waits { // a few milliseconds pass before the first look
					p.Waits[i].Reason.Since = p.Waits[i].Reason.Since.Round(100 * time.Millisecond)
					p.Waits[i].Reason.Until = p.Waits[i].Reason.Until.Round(100 * time.Millisecond)
				}
				if want := test.waits(); p.Phase != test.phase || !reflect.DeepEqual(p.Waits, want) {
					t.Errorf("%s waits %+v, want %s %+v", p.Phase, p.Waits, test.phase, want)
				}
				cancel()
				<-ended
				if p := engine.Progress(); len(p.Waits) > 0 {
					t.Errorf("at the end it waits %+v", p.Waits)
				}
			})
		})
	}
}

// Ranges are done when all that was found in them is recorded.
func TestProgressOfRanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(20, func(i int) bool { return i == 3 })
		s.ranges = []product.Range{{Class: product.ObjectIDs, Through: id(10)}, {Class: product.ObjectIDs, After: id(10)}}
		s.queues[product.Missing].stands, s.queues[product.Missing].waiting = true, make([]event, 1)
		engine, stop := s.begin(t, s.replay())
		defer stop()
		time.AfterFunc(15*time.Second, func() {
			if p := engine.Progress(); p.Ranges != 2 || p.RangesDone != 1 || !p.Scanned {
				t.Errorf("%+v", p)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.queues[product.Missing].goOn()
		})
		if _, err := engine.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p := engine.Progress(); p.RangesDone != 2 {
			t.Errorf("%+v", p)
		}
	})
}
