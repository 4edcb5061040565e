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
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
)

// operations are all that a run may ask for.
var operations = []operation{planning, sampling, scanning, spanning, findProducts, findRows, checking, referencing, reserving, repairing}

// eventful is a shop in which a run meets every operation: a second pass, all kinds, a
// repair that is lost, a product that changes, one that is deleted meanwhile.
func eventful() (*shop, setting) {
	s := newShop(40, first(24))
	s.page = 8
	s.stale(idsFrom(25, 27)...)
	s.orphan(idsFrom(28, 30)...)
	set := s.replay(product.Kinds()...)
	set.capacity, set.options.BatchSize, set.config.Settle = 20, 8, 2*time.Second
	set.Replay = &repairer{shop: s, depth: 200, fate: func(attempt int, p product.ID) fate {
		if attempt == 1 && (p == id(3) || p == id(12)) {
			return vanishes
		}
		return arrives
	}}
	s.onceProved(id(2), func() { s.change(id(2), retitle) })
	s.onceProved(id(4), func() { s.delete(id(4)) })
	return s, set
}

// eventfulCalls is the number of operations of each kind in such a run, and how long it takes.
func eventfulCalls(t *testing.T) (map[operation]int, time.Duration) {
	s, set := eventful()
	begun := time.Now()
	report, err := s.do(t.Context(), t, set)
	if err != nil || report.Result != run.Succeeded {
		t.Fatalf("%v, %+v", err, report)
	}
	wantCounts(t, report, map[run.State]int64{run.Verified: 29, run.Undone: 1})
	for _, o := range operations {
		if s.calls[o] == 0 {
			t.Fatalf("the run meets no %q", o)
		}
	}
	return s.calls, time.Since(begun)
}

// calm is a run of all kinds in which nothing goes wrong.
func (s *shop) calm(t *testing.T) {
	t.Helper()
	s.before = nil
	set := s.replay(product.Kinds()...)
	set.options.MaxRepairs, set.options.MaxDeletes = 1000, 1000
	if report, err := s.do(t.Context(), t, set); err != nil {
		t.Errorf("a calm run afterwards: %v, %+v", err, report)
	}
	s.wantAgreement(t)
}

// A run that is stopped, at whichever operation, ends at once with a report that
// accounts for every product (see shop.check), and begins nothing more.
func TestARunCanBeStoppedAnywhere(t *testing.T) {
	t.Parallel()
	causes := []error{fmt.Errorf("interrupt signal received: %w", context.Canceled), errLockLost}
	synctest.Test(t, func(t *testing.T) {
		calls, _ := eventfulCalls(t)
		for o, n := range calls {
			for nth := 1; nth <= n; nth++ {
				cause := causes[nth%len(causes)]
				s, set := eventful()
				ctx, stop := context.WithCancelCause(t.Context())
				var stopped time.Time
				s.intercept(func(_ context.Context, c call) error {
					if c.operation == repairing && !stopped.IsZero() && time.Since(stopped) > time.Millisecond {
						t.Errorf("something is repaired %s after the stop at %s %d", time.Since(stopped), o, nth)
					}
					if c.operation == o && c.nth == nth && stopped.IsZero() {
						stopped = time.Now()
						stop(cause)
					}
					return nil
				})
				report, err := s.do(ctx, t, set)
				if took := time.Since(stopped); !stopped.IsZero() && took > time.Second { // else it had fewer operations
					t.Errorf("stopped at %s %d it took %s more", o, nth, took)
				}
				stop(nil)
				if err != nil && !errors.Is(err, cause) {
					t.Errorf("stopped at %s %d the error is %v", o, nth, err)
				}
				if t.Failed() {
					t.Fatalf("stopped at %s %d: %v, %+v", o, nth, err, report)
				}
			}
		}
	})
}

var errLockLost = errors.New("the lock is lost")

// Nor does it matter at which moment, and the next run brings all to its end.
func TestARunCanBeStoppedAtAnyMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const moments = 40
		_, whole := eventfulCalls(t)
		for i := range moments {
			s, set := eventful()
			ctx, stop := context.WithCancel(t.Context())
			after := whole * time.Duration(i) / moments
			time.AfterFunc(after, stop)
			report, err := s.do(ctx, t, set)
			stop()
			if err != nil && (!errors.Is(err, context.Canceled) || report.Result != run.Cancelled) {
				t.Errorf("%v, and the run %s", err, report.Result)
			}
			for _, o := range report.Samples {
				if o.State == run.Failed && o.Reason != (run.Reason{Code: run.ReasonStopped}) {
					t.Errorf("%+v", o)
				}
			}
			s.calm(t)
			if t.Failed() {
				t.Fatalf("stopped after %s: %+v", after, report)
			}
		}
	})
}

// A wait that nothing ends is ended by a stop, at once: the settling time, a queue
// that stands, credit, an operation that hangs.
func TestAStopEndsEveryWait(t *testing.T) {
	t.Parallel()
	waits := map[string]func(s *shop, set *setting){
		"settling": func(s *shop, set *setting) {
			set.config.Settle = settle
			fresh := newProduct(id(1))
			fresh.Created = time.Now()
			s.add(fresh, false)
		},
		"a stalled confirmation": func(s *shop, _ *setting) {
			s.queues[product.Missing].stands, s.queues[product.Missing].waiting = true, []event{{}}
		},
		"a stalled proof": func(s *shop, _ *setting) {
			s.once(func(c call) bool { return c.operation == repairing }, func() { s.queues[product.Missing].stands = true })
		},
		"credit": func(s *shop, set *setting) {
			set.Replay = &repairer{shop: s, depth: 1}
			s.once(func(c call) bool { return c.operation == repairing }, func() { s.queues[product.Missing].stands = true })
		},
	}
	for _, o := range operations {
		waits["hanging to "+string(o)] = func(s *shop, _ *setting) { s.hangs = func(c call) bool { return c.operation == o } }
	}
	for name, change := range waits {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, set := eventful()
				change(s, &set)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				var stopped time.Time
				time.AfterFunc(20*time.Second, func() { // by now it waits
					stopped = time.Now()
					stop()
				})
				report, err := s.do(ctx, t, set)
				if err == nil || report.Result != run.Cancelled {
					t.Errorf("%v, and the run %s", err, report.Result)
				}
				if took := time.Since(stopped); stopped.IsZero() || took > time.Second {
					t.Errorf("it ended %s after the stop", took)
				}
				for _, o := range report.Samples {
					switch {
					case o.State == run.InFlight && (o.Reason.Code == run.ReasonUnproved || o.Reason.Code == run.ReasonUnchecked):
					case o.State == run.Failed && o.Reason.Code == run.ReasonStopped:
					case o.State == run.Found && o.Attempts == 0, o.State == run.Undone:
					default:
						t.Errorf("%+v", o)
					}
				}
			})
		})
	}
}

// Any operation may fail, and the run ends with the error, but for a look at what has
// arrived, which is waited for. All products are accounted for, and the next run brings
// them to their end.
func TestAnyOperationMayFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls, _ := eventfulCalls(t)
		for o, n := range calls {
			for nth := 1; nth <= n; nth++ {
				s, set := eventful()
				s.fail(o, nth)
				report, err := s.do(t.Context(), t, set)
				if errors.Is(err, errReset) == (o == seeing) && s.count(o) >= nth {
					t.Errorf("%s %d failed, and the run %s: %v", o, nth, report.Result, err)
				}
				if nth%4 == 0 {
					s.calm(t)
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

// What a scan found before it failed stays true: it is repaired and proved as far as
// nothing more must be known for that, what was not compared is not called missing, and
// the run ends with the error.
func TestAScanThatFails(t *testing.T) {
	t.Parallel()
	for _, side := range []operation{scanning, spanning} {
		for limit, want := range map[int]map[run.State]int64{100: {run.Verified: 9}, 0: {run.Found: 9}} {
			t.Run(fmt.Sprintf("%s, limit %d", side, limit), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newShop(16, func(i int) bool { return i%4 != 0 })
					s.fail(side, 4)
					set := s.replay()
					set.options.MaxRepairs = limit
					report, err := s.do(t.Context(), t, set)
					if !errors.Is(err, errReset) || report.Result != run.Broken || !strings.HasPrefix(report.Error, "compare objectId (start..end]: ") {
						t.Errorf("%v, and the run %s", err, report.Result)
					}
					if report.Products != 12 || report.Found[product.Missing] != 9 {
						t.Errorf("%d missing of %d compared, want 9 of 12", report.Found[product.Missing], report.Products)
					}
					wantCounts(t, report, want)
				})
			})
		}
	}
}

// A judgement that cannot be read says nothing of what it has not seen.
func TestAJudgementThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, dry := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const batch = run.MaxBatchSize
			s := newShop(batch+500, all)
			s.page = batch
			s.fail(findRows, 3) // behind the sample and a first batch
			set := s.replay()
			set.options.DryRun = dry
			if dry {
				s.fail(findRows, 2)
			}
			report, err := s.do(t.Context(), t, set)
			if !errors.Is(err, errReset) || report.Found[product.Missing] != batch || report.Unrepaired != batch || report.Acted != 0 {
				t.Errorf("dry run %v: %v, %d found, %d unrepaired", dry, err, report.Found[product.Missing], report.Unrepaired)
			}
			wantCounts(t, report, map[run.State]int64{run.Found: batch})
		})
	}
}

// The repairer that has to wait in vain ends the run. What it has published by then is
// left to be proved, and nothing more is done.
func TestAPauseOfTheRepairerEndsTheRunWithItsReason(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(12, all)
		paused := &product.PausedError{Reason: "nobody consumes queue product-created", Waited: stallTimeout}
		s.before = func(_ context.Context, c call) error {
			if c.operation == reserving && c.nth == 3 {
				return paused
			}
			return nil
		}
		set := s.replay()
		set.options.BatchSize = 5
		report, err := s.do(t.Context(), t, set)
		if !errors.As(err, new(*product.PausedError)) || report.Result != run.Broken {
			t.Errorf("%v, and the run %s", err, report.Result)
		}
		wantCounts(t, report, map[run.State]int64{run.InFlight: 10, run.Failed: 2})
		for _, o := range report.Samples {
			if want := (run.Reason{Code: run.ReasonService, Detail: paused.Error()}); o.State == run.Failed && o.Reason != want {
				t.Errorf("%+v", o)
			}
		}
	})
}

// A repairer that breaks down in the middle of a batch has acted on what it came to.
func TestARepairerThatBreaksDown(t *testing.T) {
	t.Parallel()
	for _, mode := range []run.Mode{run.Replay, run.Direct} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(10, all)
			tried := 0
			r := &repairer{shop: s, direct: mode == run.Direct, breaks: func(product.ID) error {
				if tried++; tried > 7 {
					return errReset
				}
				return nil
			}}
			set := s.replay()
			if set.Replay = r; mode == run.Direct {
				set = s.direct()
				set.Direct = r
			}
			report, err := s.do(t.Context(), t, set)
			if !errors.Is(err, errReset) || report.Acted != 7 || report.Outcomes[run.Failed] != 3 || report.Outcomes[run.InFlight]+report.Outcomes[run.Verified] != 7 {
				t.Errorf("%s: %v, %+v", mode, err, report)
			}
		})
	}
}

// The engine is never over its capacity, however long its products wait, so memory
// does not grow with the differences.
func TestTheScanDoesNotRunAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const capacity, page = 32, 4
		s := newShop(500, all)
		s.page = page
		set := s.replay()
		set.capacity, set.options.MaxRepairs, set.options.BatchSize = capacity, 500, 4
		created := s.queues[product.Missing]
		created.pace = time.Second
		engine, stop := s.begin(t, set)
		defer stop()
		s.before = func(_ context.Context, c call) error {
			if len(c.ids) > capacity {
				t.Errorf("%s of %d products", c.operation, len(c.ids))
			}
			// Beside what is in the engine: at the door, and pages that are joined and read ahead.
			decided := int(engine.Progress().Verified)
			if most := decided + capacity + 4*page; s.count(scanning)*page > most {
				t.Errorf("%d products are scanned, and %d decided", s.count(scanning)*page, decided)
			}
			return nil
		}
		report, err := engine.Do(t.Context())
		if err != nil || report.Outcomes[run.Verified] != 500 {
			t.Errorf("%v, %+v", err, report)
		}
	})
}

// What was lost before a stop is called lost, and there is no other attempt.
func TestAStopBetweenAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(4, all)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		set := s.replay()
		set.Replay = &repairer{shop: s, fate: verifies(3, 1)}
		set.Diagnose = func(context.Context) string { // between two attempts
			stop()
			return "a thief"
		}
		report, err := s.do(ctx, t, set)
		if !errors.Is(err, context.Canceled) || report.Attempts != 1 {
			t.Errorf("%v after %d attempts", err, report.Attempts)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 3, run.Lost: 1})
	})
}

// What arrived, and waits for an update that came meanwhile, is not lost when the run
// is stopped.
func TestAStopWhileAnUpdateIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := sole(func(s *shop) { s.change(id(1), retitle) })
		ctx, stop := context.WithTimeout(t.Context(), settle/2)
		defer stop()
		report, err := s.do(ctx, t, s.replay(product.Missing, product.Stale))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		wantOutcome(t, report, product.Stale, run.InFlight, run.ReasonUnchecked)
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
		set.Ledger = finishing{stop: stop}
		report, err := s.do(ctx, t, set)
		if err != nil || report.Result != run.Succeeded || ctx.Err() == nil {
			t.Errorf("%v, %+v", err, report)
		}
	})
}

// finishing is a ledger that stops the run when all of it is recorded.
type finishing struct {
	reconcile.NoLedger
	stop context.CancelFunc
}

func (f finishing) Settle(_ context.Context, s run.Settlement) error {
	if s.Look != nil {
		f.stop()
	}
	return nil
}

// A queue that stands before anything was judged: in flight, not found, not repaired,
// and still no success.
func TestWhatCannotBeConfirmedIsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(5, first(3))
		created := s.queues[product.Missing]
		created.stands, created.waiting = true, []event{{}, {}}
		report, err := s.do(t.Context(), t, s.replay())
		if err != nil || report.Result != run.Partial || report.Found[product.Missing] != 0 || report.Unrepaired != 3 || report.Acted != 0 {
			t.Errorf("%v, %+v", err, report)
		}
		wantCounts(t, report, map[run.State]int64{run.InFlight: 3})
		if r := report.Samples[0].Reason; r.Code != run.ReasonQueue || r.Queue != "product-created" || r.Ready != 2 || r.Consumers != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// A queue that cannot be seen is not empty.
func TestAQueueThatCannotBeSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(5, first(3))
		set := s.replay()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := diff.NewWatch("product-created", unseen{}, diff.WatchConfig{Grace: grace, Interval: time.Second})
		go w.Run(ctx)
		set.Watermarks = map[product.Kind]reconcile.Watermark{product.Missing: w, product.Stale: w, product.Orphaned: w}
		set.blind = true // keep these
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Acted != 0 {
			t.Errorf("%v, %+v", err, report)
		}
		wantCounts(t, report, map[run.State]int64{run.InFlight: 3})
		if r := report.Samples[0].Reason; r.Code != run.ReasonUnseen || r.Detail != errReset.Error() {
			t.Errorf("%+v", r)
		}
	})
}

type unseen struct{}

func (unseen) Depth(context.Context) (diff.Depth, error) { return diff.Depth{}, errReset }

// A paused run takes no credit, however long, and proves what was sent.
func TestAPausedRunHoldsBeforeCreditIsTaken(t *testing.T) {
	t.Parallel()
	const pause = 5 * time.Minute
	for _, when := range []call{
		{operation: planning, nth: 1}, {operation: scanning, nth: 1}, {operation: findRows, nth: 1},
		{operation: reserving, nth: 1}, {operation: repairing, nth: 1}, {operation: reserving, nth: 2}, // waiting for credit
	} {
		t.Run(fmt.Sprintf("%s %d", when.operation, when.nth), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(20, all)
				set := s.replay()
				set.options.BatchSize, set.options.MaxRepairs = 4, 20
				set.Replay = &repairer{shop: s, depth: 4}
				s.queues[product.Missing].pace = time.Second
				engine, stop := s.begin(t, set)
				defer stop()
				acted := 0
				s.once(func(c call) bool { return c.operation == when.operation && c.nth == when.nth }, func() {
					engine.Pause()
					engine.Pause()                       // again is no other pause
					time.AfterFunc(time.Minute, func() { // what was on its way has arrived
						acted = s.audit.acted
						sent := 0
						if when.operation == repairing || when.nth == 2 {
							sent = 4
						}
						if p := engine.Progress(); p.Verified != int64(acted) || acted != sent {
							t.Errorf("%d repairs, %d verified", acted, p.Verified)
						}
					})
					time.AfterFunc(pause, func() {
						if s.audit.acted != acted {
							t.Errorf("%d repairs, %d when it was paused", s.audit.acted, acted)
						}
						engine.Continue()
						engine.Continue()
					})
				})
				begun := time.Now()
				report, err := engine.Do(t.Context())
				if err != nil || report.Outcomes[run.Verified] != 20 || time.Since(begun) < pause || time.Since(begun) > pause+2*time.Minute {
					t.Errorf("%v after %s, %+v", err, time.Since(begun), report)
				}
			})
		})
	}
}

// A run that another process goes on with decides nothing more; one that lost its
// lease writes nothing more.
func TestARunThatIsHandedBackDecidesNothing(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{reconcile.ErrHandedBack, run.ErrFenced} {
		t.Run(cause.Error(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(20, all)
				set := s.replay()
				kept := &diary{}
				set.Ledger = kept
				ctx, stop := context.WithCancelCause(t.Context())
				defer stop(nil)
				settled := 0
				s.onceActed(20, func() {
					stop(cause)
					settled = kept.count()
				})
				report, err := s.do(ctx, t, set)
				if !errors.Is(err, cause) || report.Result != run.Broken || report.Error != cause.Error() {
					t.Errorf("%v, %+v", err, report)
				}
				wantCounts(t, report, nil)
				if len(kept.entries) != 0 || len(kept.inHand) != 20 {
					t.Errorf("the ledger has %v, in hand %d", kept.entries, len(kept.inHand))
				}
				if more := kept.count() - settled; errors.Is(cause, run.ErrFenced) && more > 0 || more > 1 {
					t.Errorf("it was settled %d times more", more)
				}
			})
		})
	}
}
