package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv/memoryledger"
)

// What is asked of each server.
var (
	ofSource = []operation{planning, sampling, scanning, findProducts}
	ofTarget = []operation{spanning, findRows, checking, referencing}
)

func errAwayFrom(server string) error {
	return &product.AwayError{Server: server, Err: errors.New("connection refused")}
}

// outage lets a server be away for some time, from the nth operation of a kind on.
func (s *shop) outage(server string, of []operation, from operation, nth int, lasting time.Duration) {
	var began time.Time
	s.intercept(func(_ context.Context, c call) error {
		if c.operation == from && c.nth == nth && began.IsZero() {
			began = time.Now()
		}
		if !began.IsZero() && time.Since(began) < lasting && slices.Contains(of, c.operation) {
			return errAwayFrom(server)
		}
		return nil
	})
}

// differing is a shop with differences of all kinds, and what repairs them.
func differing(mode run.Mode) (*shop, setting) {
	s := differ(60)
	s.page = 7
	set := s.replay(product.Kinds()...)
	if mode == run.Direct {
		set = s.direct(product.Kinds()...)
	}
	set.options.MaxRepairs, set.options.BatchSize = 60, 4
	return s, set
}

// wantRepairedOnce checks that all 30 differences were repaired and counted once.
func (s *shop) wantRepairedOnce(t *testing.T, report *run.Report) {
	t.Helper()
	wantCounts(t, report, map[run.State]int64{run.Verified: 30})
	for id, acts := range s.audit.acts {
		if len(acts) != 1 {
			t.Errorf("%s was repaired %d times", id, len(acts))
		}
	}
}

// A server that is away for some seconds is waited for, whatever is asked of it then.
func TestCaseD13AServerThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	const away = 11 * time.Second
	for _, mode := range []run.Mode{run.Replay, run.Direct} {
		for server, of := range map[string][]operation{"MongoDB": ofSource, "PostgreSQL": append(ofTarget, repairing)} {
			for _, from := range append(ofSource, append(ofTarget, repairing)...) {
				for _, nth := range []int{1, 3} {
					synctest.Test(t, func(t *testing.T) {
						s, set := differing(mode)
						if mode == run.Replay {
							of = slices.DeleteFunc(slices.Clone(of), func(o operation) bool { return o == repairing })
						}
						s.outage(server, of, from, nth, away)
						report, err := s.do(t.Context(), t, set)
						if err != nil {
							t.Errorf("%s, %s away from %s %d on: %v", mode, server, from, nth, err)
						}
						s.wantRepairedOnce(t, report)
					})
				}
			}
		}
	}
}

// A run that waits for a server says so: for which, since when and until when.
func TestCaseD13AWaitForAServerIsSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := execute(t, run.WantRun, func(e *executing) { e.outage("MongoDB", ofSource, findProducts, 1, time.Minute) })
		time.Sleep(10 * time.Second)
		e.lease.set(func(l *lease) {
			waits := l.progress.Waits
			if len(waits) == 0 {
				t.Fatalf("it waits for nothing: %+v", l.progress)
			}
			reason := waits[0].Reason
			if waits[0].Kind != "" || reason.Code != run.ReasonAway || reason.Detail != "MongoDB" || time.Since(reason.Since) > 10*time.Second || !reason.Until.Equal(reason.Since.Add(stallTimeout)) {
				t.Errorf("it waits for %+v", waits)
			}
		})
		<-e.ended
		if e.err != nil || len(e.lease.progress.Waits) > 0 {
			t.Errorf("%v, and in the end it waits for %+v", e.err, e.lease.progress.Waits)
		}
	})
}

// A stop ends the wait for a server at once.
func TestCaseD13AStopEndsTheWaitForAServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := execute(t, run.WantRun, func(e *executing) { e.outage("MongoDB", ofSource, scanning, 1, time.Hour) })
		time.Sleep(time.Minute)
		asked := time.Now()
		e.lease.set(func(l *lease) { l.wanted = run.WantCancel })
		<-e.ended
		if e.lease.ended != run.StatusCancelled || time.Since(asked) > 2*time.Second {
			t.Errorf("it ended as %q after %s: %v", e.lease.ended, time.Since(asked), e.err)
		}
	})
}

// execute executes a run under its lease.
func (s *shop) execute(t *testing.T, set setting, owned run.Lease) (*run.Report, error) {
	watermarks, stop := s.open(t.Context())
	defer stop()
	set.Watermarks, set.Ledger = watermarks, owned
	return reconcile.Execute(t.Context(), owned, leaseLength, func(context.Context) (*reconcile.Run, error) {
		return reconcile.New(set.Parts, set.config, set.options)
	})
}

// Where a server stays away the run goes back to the ledger, and rests; whoever takes it
// up goes on with what was in hand, and each product is repaired and counted once.
func TestCaseD13ARunWhoseServerStaysAwayIsHandedBack(t *testing.T) {
	t.Parallel()
	const limit = time.Minute
	for _, mode := range []run.Mode{run.Replay, run.Direct} {
		for server, of := range map[string][]operation{"MongoDB": ofSource, "PostgreSQL": ofTarget} {
			for _, from := range append(ofSource, ofTarget...) {
				synctest.Test(t, func(t *testing.T) {
					s, set := differing(mode)
					set.config.StallTimeout = limit
					s.outage(server, of, from, 2, 3*limit/2)
					ledger := memoryledger.New()
					owned := begin(t.Context(), t, ledger)
					began := time.Now()
					_, err := s.execute(t, set, owned)
					if err == nil { // it had fewer such operations
						return
					}
					if !errors.Is(err, reconcile.ErrHandedBack) || time.Since(began) < limit {
						t.Errorf("%s, %s away from %s on: after %s %v", mode, server, from, time.Since(began), err)
					}
					if r := ledger.All()[0]; r.Status != run.StatusQueued || !strings.Contains(r.Error, server+" has not answered since ") {
						t.Errorf("the run is %s, %q", r.Status, r.Error)
					}
					for rests := range 2 {
						next, err := ledger.Claim(t.Context(), "next", leaseLength)
						if err != nil || next != nil {
							t.Errorf("%d: taken up at once: %v", rests, err)
						}
						time.Sleep(10 * time.Second)
						_, err = reconcile.Execute(t.Context(), claim(t.Context(), t, ledger), leaseLength, func(context.Context) (*reconcile.Run, error) {
							return nil, fmt.Errorf("%w: %w", reconcile.ErrHandedBack, errAwayFrom(server))
						})
						if !errors.Is(err, reconcile.ErrHandedBack) {
							t.Errorf("a run that cannot go on: %v", err)
						}
					}
					time.Sleep(limit)
					report, err := s.execute(t, set, claim(t.Context(), t, ledger))
					if err != nil {
						t.Errorf("%s, %s was away from %s on: %v", mode, server, from, err)
					}
					s.wantRepairedOnce(t, report)
					if r := ledger.All()[0]; r.Status != run.StatusSucceeded || len(ledger.Hands(r.ID)) > 0 {
						t.Errorf("the run is %s, %q", r.Status, r.Error)
					}
				})
			}
		}
	}
}

// A run that nobody could go on with ends in the end, and one that has not begun yet
// says at once what does not answer.
func TestCaseD13AServerIsNotWaitedForInVain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, set := differing(run.Replay)
		s.outage("MongoDB", ofSource, findProducts, 1, time.Hour)
		began := time.Now()
		report, err := s.do(t.Context(), t, set)
		if !errors.As(err, new(*product.AwayError)) || errors.Is(err, reconcile.ErrHandedBack) || report.Result != run.Broken || time.Since(began) < stallTimeout {
			t.Errorf("after %s %v, %+v", time.Since(began), err, report)
		}
		ledger := memoryledger.New()
		_, err = reconcile.Execute(t.Context(), begin(t.Context(), t, ledger), leaseLength, func(context.Context) (*reconcile.Run, error) {
			return nil, errAwayFrom("MongoDB")
		})
		if r := ledger.All()[0]; !errors.As(err, new(*product.AwayError)) || r.Status != run.StatusFailed {
			t.Errorf("%v, and the run is %s", err, r.Status)
		}
	})
}

// breaking is a writer whose first call loses the connection before the answers.
type breaking struct {
	*repairer
	broken bool
}

func (b *breaking) Repair(ctx context.Context, kind product.Kind, attempt int, repairs []product.Repair) ([]product.Result, error) {
	results, err := b.repairer.Repair(ctx, kind, attempt, repairs)
	if b.broken || err != nil {
		return results, err
	}
	b.broken = true
	for i := range results {
		results[i].Fate = product.Unknown
	}
	return results, errAwayFrom("PostgreSQL")
}

// A direct write that breaks in the middle may have happened: it is proved, and not
// repeated.
func TestCaseD13AWriteThatBreaksIsNotRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, set := differing(run.Direct)
		set.Direct = &breaking{repairer: &repairer{shop: s, direct: true}}
		report, err := s.do(t.Context(), t, set)
		if err != nil {
			t.Error(err)
		}
		s.wantRepairedOnce(t, report)
	})
}

// A ledger that is away is waited for while the lease holds. Then the run is left as it
// is, and whoever takes it over finds what was in hand.
func TestCaseD13ALedgerThatIsAway(t *testing.T) {
	t.Parallel()
	for away, left := range map[time.Duration]bool{11 * time.Second: false, 40 * time.Second: true} {
		for _, method := range []string{"Resume", "Plan", "Known", "Begin", "Settle"} {
			synctest.Test(t, func(t *testing.T) {
				s, set := differing(run.Replay)
				ledger := memoryledger.New()
				var began time.Time
				owned := begin(t.Context(), t, ledger)
				ledger.Intercept(func(_ context.Context, called string) error {
					s.mu.Lock()
					defer s.mu.Unlock()
					if called == method && began.IsZero() {
						began = time.Now()
					}
					if !began.IsZero() && time.Since(began) < away {
						s.away = time.Now()
						return errAwayFrom("the ledger's PostgreSQL")
					}
					return nil
				})
				report, err := s.execute(t, set, owned)
				if method == "Known" && began.IsZero() { // nothing is known yet
					return
				}
				if left {
					if !errors.Is(err, run.ErrFenced) {
						t.Errorf("away at %s: %v", method, err)
					}
					time.Sleep(2 * leaseLength)
					report, err = s.execute(t, set, claim(t.Context(), t, ledger))
				}
				if err != nil {
					t.Errorf("away at %s for %s: %v", method, away, err)
				}
				s.wantRepairedOnce(t, report)
			})
		}
	}
}
