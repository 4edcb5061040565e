package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// eventful is a shop in which a run meets every operation: several windows, a
// repair that is lost, a product that changes, one that is deleted meanwhile.
func eventful() (*shop, setting) {
	s := newShop(40, first(24))
	s.page = 8
	set := s.replay()
	set.window, set.options.MaxRepairs = 8, 100
	set.Repairer = &repairer{shop: s, fate: func(round int, p product.ID) fate {
		if round == 1 && (p == id(3) || p == id(12)) {
			return vanishes
		}
		return arrives
	}}
	changed := false
	s.before = func(_ context.Context, c call) error {
		if c.operation == waiting && s.audit.acted > 0 && !changed {
			changed = true
			s.change(id(2), retitle)
			s.delete(id(4))
		}
		return nil
	}
	return s, set
}

// eventfulCalls is the number of operations of each kind in such a run.
func eventfulCalls(t *testing.T) map[operation]int {
	s, set := eventful()
	report, err := s.do(t.Context(), t, set)
	if err != nil || report.Outcomes[run.Verified] != 22 || report.Outcomes[run.Undone] != 1 || report.Outcomes[run.Failed] != 1 {
		t.Fatalf("%v, %+v", err, report)
	}
	for _, o := range []operation{planning, scanning, spanning, findProducts, findRows, checking, referencing, reserving, repairing, removing, waiting} {
		if s.calls[o] == 0 {
			t.Fatalf("the run meets no %q", o)
		}
	}
	return s.calls
}

// A run that is stopped, at whichever operation, ends at once with a report that
// accounts for every product (see shop.check), and begins nothing more.
func TestARunCanBeStoppedAnywhere(t *testing.T) {
	t.Parallel()
	causes := map[string]error{"by a signal": fmt.Errorf("interrupt signal received: %w", context.Canceled), "by a lost lock": errLockLost}
	synctest.Test(t, func(t *testing.T) {
		for o, n := range eventfulCalls(t) {
			for nth := 1; nth <= n; nth++ {
				for name, cause := range causes {
					s, set := eventful()
					ctx, stop := context.WithCancelCause(t.Context())
					s.intercept(func(ctx context.Context, c call) error {
						if c.operation == repairing && context.Cause(ctx) != nil {
							t.Errorf("something is repaired after the stop %s at %s %d", name, o, nth)
						}
						if c.operation == o && c.nth == nth {
							stop(cause)
						}
						return nil
					})
					begun := time.Now()
					report, err := s.do(ctx, t, set)
					if took := time.Since(begun); took > 10*time.Minute {
						t.Errorf("stopped %s at %s %d it took %s", name, o, nth, took)
					}
					stop(nil)
					if err != nil && !errors.Is(err, cause) {
						t.Errorf("stopped %s at %s %d the error is %v", name, o, nth, err)
					}
					if t.Failed() {
						t.Fatalf("stopped %s at %s %d: %v, %+v", name, o, nth, err, report)
					}
				}
			}
		}
	})
}

// A wait that nothing ends is ended by a stop, at once: the settling time, a queue
// that stalls, a read that hangs.
func TestAStopEndsEveryWait(t *testing.T) {
	t.Parallel()
	hang := func(o operation) func(s *shop, set *setting) {
		return func(s *shop, _ *setting) {
			s.intercept(func(ctx context.Context, c call) error {
				if c.operation == o {
					<-ctx.Done()
					return errReset // a driver need not say that it was stopped
				}
				return nil
			})
		}
	}
	stalling := func(acted bool) func(s *shop, set *setting) {
		return func(s *shop, set *setting) {
			set.Barriers = &watch{shop: s, stalls: func(product.Kind) bool { return acted == (s.audit.acted > 0) }}
		}
	}
	waits := map[string]func(s *shop, set *setting){
		"settling": func(s *shop, _ *setting) {
			fresh := newProduct(id(1))
			fresh.Created = time.Now()
			s.add(fresh, false)
		},
		"a stalled confirmation": stalling(false),
		"a stalled proof":        stalling(true),
	}
	for _, o := range []operation{planning, scanning, spanning, findProducts, findRows, checking, referencing, reserving, repairing, removing, waiting} {
		waits["hanging to "+string(o)] = hang(o)
	}
	for name, change := range waits {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, set := eventful()
				change(s, &set)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					report, err := s.do(ctx, t, set)
					if err == nil || report.Result != run.Cancelled {
						t.Errorf("%v, and the run %s", err, report.Result)
					}
					for _, o := range report.Samples {
						if o.State == run.InFlight && o.Reason != "the run was stopped before the proof" ||
							o.State == run.Failed && o.Reason != "not repaired: the run was stopped" && !strings.Contains(o.Reason, "could not be taken back") && !strings.Contains(o.Reason, "it arrived") {
							t.Errorf("%+v", o)
						}
					}
				}()
				synctest.Wait()
				time.Sleep(20 * time.Second) // by now it waits
				stopped := time.Now()
				stop()
				<-ended
				if took := time.Since(stopped); took > time.Second {
					t.Errorf("it ended %s after the stop", took)
				}
			})
		})
	}
}

// Any operation may fail, and the run ends with the error, or with the failure of
// the products that it is about; all others are accounted for.
func TestAnyOperationMayFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for o, n := range eventfulCalls(t) {
			for nth := 1; nth <= n; nth++ {
				s, set := eventful()
				s.fail(o, nth)
				report, err := s.do(t.Context(), t, set)
				// Taking back is a service to single products: its failure is theirs.
				theirs := report.Outcomes[run.Failed] > 1 && report.Outcomes[run.Undone] == 0
				if !errors.Is(err, errReset) && !theirs {
					t.Errorf("%s %d failed, and the run %s: %v", o, nth, report.Result, err)
				}
				if t.Failed() {
					t.Fatalf("%s %d: %v, %+v", o, nth, err, report)
				}
			}
		}
	})
}

func TestAPlanThatFails(t *testing.T) {
	t.Parallel()
	for nth := 1; nth <= 3; nth++ {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(4, all)
			s.fail(planning, nth)
			report, err := s.do(t.Context(), t, s.replay())
			if !errors.Is(err, errReset) || report.Result != run.Broken || report.Products != 0 || s.count(scanning) != 0 {
				t.Errorf("%v, %+v", err, report)
			}
		})
	}
}

// What a scan found before it failed stays true: the windows in hand are repaired
// and proved, what was not compared is not called missing, and the run ends with
// the error.
func TestAScanThatFailsWhileAWindowIsInHand(t *testing.T) {
	t.Parallel()
	for _, side := range []operation{scanning, spanning} {
		t.Run(string(side), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(16, func(i int) bool { return i%4 != 0 })
				s.fail(side, 4)
				set := s.replay()
				set.window, set.options.MaxRepairs = 3, 100
				report, err := s.do(t.Context(), t, set)
				if !errors.Is(err, errReset) || report.Result != run.Broken || !strings.HasPrefix(report.Error, "compare objectId (start..end]: ") {
					t.Errorf("%v, and the run %s", err, report.Result)
				}
				// Three pages were compared, and each fills a window.
				if report.Products != 12 || report.Found[product.Missing] != 9 {
					t.Errorf("%d missing of %d compared, want 9 of 12", report.Found[product.Missing], report.Products)
				}
				wantCounts(t, report, map[run.State]int64{run.Verified: 9})
			})
		})
	}
	t.Run("in a pass that only counts", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := newShop(16, all)
			s.fail(scanning, 4)
			set := s.replay()
			set.window = 3
			report, err := s.do(t.Context(), t, set)
			if !errors.Is(err, errReset) || report.Acted != 0 || report.Unrepaired != report.Found[product.Missing] || report.Unrepaired == 0 {
				t.Errorf("%v, %+v", err, report)
			}
		})
	})
}

// The scan is at most two windows ahead of the window in hand, however long that
// takes, so memory does not grow with the differences.
func TestTheScanDoesNotRunAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const window, page = 6, 2
		s := newShop(500, all)
		s.page = page
		set := s.replay()
		set.window, set.options.MaxRepairs = window, 500
		windows := 0
		s.before = func(_ context.Context, c call) error {
			switch c.operation {
			case waiting:
				time.Sleep(time.Hour) // the scan goes on as far as it can
				decided := windows * window
				// In hand, in the channel, in the collector's hand, and pages that are
				// joined and read ahead.
				if most := decided + 3*window + 3*page; c.nth%2 == 1 && s.count(scanning)*page > most {
					t.Errorf("%d products are scanned, and %d decided", s.count(scanning)*page, decided)
				}
				if c.nth%2 == 0 { // the proof
					windows++
				}
			case findRows, findProducts, repairing:
				if len(c.ids) > window {
					t.Errorf("%s of %d products in a window of %d", c.operation, len(c.ids), window)
				}
			}
			return nil
		}
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Outcomes[run.Verified] != 500 {
			t.Errorf("%v, %+v", err, report)
		}
	})
}

// A confirmation that cannot be read accounts for what it had confirmed by then.
func TestAConfirmationThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, dry := range []bool{false, true} {
		t.Run(fmt.Sprintf("dry run %v", dry), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const batch = run.MaxBatchSize
				s := newShop(batch+500, all)
				s.page = batch
				s.fail(findRows, 2)
				set := s.replay()
				set.window, set.options.MaxRepairs, set.options.DryRun = batch+500, batch+500, dry
				report, err := s.do(t.Context(), t, set)
				if !errors.Is(err, errReset) || report.Found[product.Missing] != batch || report.Unrepaired != batch || report.Acted != 0 {
					t.Errorf("%v, %d found, %d unrepaired", err, report.Found[product.Missing], report.Unrepaired)
				}
				want := map[run.State]int64{run.Failed: batch}
				if dry {
					want = nil
				}
				wantCounts(t, report, want)
			})
		})
	}
}

// What was lost before a stop is called lost, and there is no other round.
func TestAStopBetweenRounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(4, all)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		set := s.replay()
		set.Repairer = &repairer{shop: s, fate: verifies(3, 1)}
		set.Diagnose = func(context.Context) string { // between two rounds
			stop()
			return "a thief"
		}
		report, err := s.do(ctx, t, set)
		if !errors.Is(err, context.Canceled) || report.Rounds != 1 {
			t.Errorf("%v after %d rounds", err, report.Rounds)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 3, run.Lost: 1})
	})
}

// A stop that comes when all is done changes nothing.
func TestAStopAfterTheLastProof(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(4, all)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		set := s.replay()
		set.Source = finder{source{s}, func() {
			if s.count(findProducts) == 3 { // confirmed, read right before, proved
				stop()
			}
		}}
		report, err := s.do(ctx, t, set)
		if err != nil || report.Result != run.Succeeded || ctx.Err() == nil {
			t.Errorf("%v, %+v", err, report)
		}
	})
}

// finder is a source that calls found after it was read by id.
type finder struct {
	source
	found func()
}

func (f finder) Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Product, error) {
	defer f.found()
	return f.source.Find(ctx, ids)
}

// A queue that stalls before anything was judged: in flight, not found, not
// repaired, and still no success.
func TestWhatCannotBeConfirmedIsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(5, first(3))
		set := s.replay()
		set.Barriers = &watch{shop: s, stalls: func(product.Kind) bool { return true }}
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Result != run.Partial || report.Found[product.Missing] != 0 || report.Unrepaired != 3 || report.Acted != 0 {
			t.Errorf("%v, %+v", err, report)
		}
		want := (&diff.StalledError{Queue: "product-created", Waited: stallTimeout, Ready: 5}).Error()
		if report.Samples[0].Reason != want {
			t.Errorf("the reason is %q, want %q", report.Samples[0].Reason, want)
		}
	})
}
