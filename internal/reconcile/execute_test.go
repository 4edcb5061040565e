package reconcile_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
)

const leaseLength = 30 * time.Second

var errAway = errors.New("no server answers")

// lease is a lease on a run in a ledger in memory.
type lease struct {
	diary
	mu       sync.Mutex
	wanted   run.Wanted
	broken   error // what Beat answers
	unkept   error // what Finish and HandBack answer
	status   run.Status
	progress run.Progress
	ended    run.Status
	problem  string
	handed   bool
	pause    time.Duration
	record   run.Record
}

func (l *lease) Record() run.Record { return l.record }

func (l *lease) Beat(_ context.Context, status run.Status, progress run.Progress) (run.Wanted, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status, l.progress = status, progress
	return l.wanted, l.broken
}

func (l *lease) Finish(_ context.Context, status run.Status, _ *run.Report, problem string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended, l.problem = status, problem
	return l.unkept
}

func (l *lease) HandBack(_ context.Context, problem string, pause time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handed, l.problem, l.pause = true, problem, pause
	return l.unkept
}

func (l *lease) set(change func(*lease)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

// executing is a run under way, all of whose products are missing.
type executing struct {
	*shop
	lease  *lease
	cancel context.CancelCauseFunc
	report *run.Report
	err    error
	ended  chan struct{}
}

// execute begins a run of which wanted is what is wanted first. arrange, if given, comes
// before it.
func execute(t *testing.T, wanted run.Wanted, arrange ...func(*executing)) *executing {
	s := newShop(20, all)
	set := s.replay()
	set.options.MaxRepairs = 20
	e := &executing{shop: s, lease: &lease{wanted: wanted}, ended: make(chan struct{})}
	set.Ledger = e.lease
	ctx, cancel := context.WithCancelCause(t.Context())
	e.cancel = cancel
	for _, change := range arrange {
		change(e)
	}
	watermarks, stop := s.open(ctx)
	set.Watermarks = watermarks
	t.Cleanup(stop)
	go func() {
		defer close(e.ended)
		e.report, e.err = reconcile.Execute(ctx, e.lease, leaseLength, func(context.Context) (*reconcile.Run, error) {
			return reconcile.New(set.Parts, set.config, set.options)
		})
	}()
	return e
}

func TestExecuteEndsTheRunInTheLedger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := execute(t, run.WantRun)
		<-e.ended
		if e.err != nil || e.lease.ended != run.StatusSucceeded || e.lease.problem != "" || e.report.Outcomes[run.Verified] != 20 {
			t.Errorf("ended %q: %q, error %v, report %+v", e.lease.ended, e.lease.problem, e.err, e.report)
		}
		if p := e.lease.progress; p.Phase != run.PhaseDone || p.Verified != 20 {
			t.Errorf("the last progress is %+v", p)
		}
	})
}

// A run that fails says why.
func TestExecuteOfARunThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := execute(t, run.WantRun, func(e *executing) { e.fail(repairing, 1) })
		<-e.ended
		if !errors.Is(e.err, errReset) || e.lease.ended != run.StatusFailed || e.lease.problem != errReset.Error() {
			t.Errorf("ended %q: %q, error %v", e.lease.ended, e.lease.problem, e.err)
		}
	})
}

// A result that the ledger does not take is an error of a run that has none.
func TestExecuteWithoutALastWord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := execute(t, run.WantRun, func(e *executing) { e.lease.unkept = errAway })
		<-e.ended
		if !errors.Is(e.err, errAway) || e.report.Result != run.Succeeded {
			t.Errorf("error %v, report %+v", e.err, e.report)
		}
	})
}

// A run that cannot be made has failed, and its lease is kept while that is tried.
func TestExecuteOfARunThatCannotBeMade(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		stop   func(*lease, context.CancelCauseFunc)
		status run.Status
		handed bool
	}{
		{"fails", nil, run.StatusFailed, false},
		{"cancelled", func(l *lease, _ context.CancelCauseFunc) { l.set(func(l *lease) { l.wanted = run.WantCancel }) }, run.StatusCancelled, false},
		{"handed back", func(_ *lease, cancel context.CancelCauseFunc) { cancel(reconcile.ErrHandedBack) }, "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := &lease{wanted: run.WantRun}
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				report, err := reconcile.Execute(ctx, l, leaseLength, func(ctx context.Context) (*reconcile.Run, error) {
					if test.stop != nil {
						test.stop(l, cancel)
						<-ctx.Done()
						return nil, ctx.Err()
					}
					return nil, errAway
				})
				if report != nil || err == nil || l.ended != test.status || l.handed != test.handed || (l.problem == "") != (test.status == run.StatusCancelled) || l.pause != 0 {
					t.Errorf("error %v, ended %q because of %q, handed back %v", err, l.ended, l.problem, l.handed)
				}
			})
		})
	}
}

// A paused run beats, shows that it is paused, publishes nothing, and goes on.
func TestExecutePauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := execute(t, run.WantPause)
		time.Sleep(5 * time.Minute)
		e.lease.set(func(l *lease) {
			if l.status != run.StatusPaused || l.progress.Acted > 0 {
				t.Errorf("five minutes later it is %s and has acted on %d", l.status, l.progress.Acted)
			}
			l.wanted = run.WantRun
		})
		<-e.ended
		if e.err != nil || e.report.Outcomes[run.Verified] != 20 {
			t.Errorf("error %v, report %+v", e.err, e.report)
		}
	})
}

func TestExecuteCancels(t *testing.T) {
	t.Parallel()
	for _, paused := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			wanted := run.WantRun
			if paused {
				wanted = run.WantPause
			}
			e := execute(t, wanted)
			if paused {
				time.Sleep(time.Minute)
			}
			e.lease.set(func(l *lease) { l.wanted = run.WantCancel })
			<-e.ended
			if !errors.Is(e.err, context.Canceled) || e.lease.ended != run.StatusCancelled || e.lease.problem != "" || e.report.Result != run.Cancelled {
				t.Errorf("paused %v: error %v, ended %q: %q, %s", paused, e.err, e.lease.ended, e.lease.problem, e.report.Result)
			}
		})
	}
}

func TestExecuteHandsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := execute(t, run.WantRun, func(e *executing) {
			e.onceActed(20, func() { e.cancel(reconcile.ErrHandedBack) })
		})
		<-e.ended
		if !errors.Is(e.err, reconcile.ErrHandedBack) || !e.lease.handed || e.lease.ended != "" {
			t.Errorf("error %v, handed back %v, ended %q", e.err, e.lease.handed, e.lease.ended)
		}
		if len(e.lease.inHand) != 20 {
			t.Errorf("%d products are in hand for the next process, want 20", len(e.lease.inHand))
		}
	})
}

// A run without its lease stops and writes nothing more; one whose ledger is away
// stops while nobody else can have the lease yet, and not before.
func TestExecuteStopsWithoutALease(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		answer error
		least  time.Duration
	}{{"fenced", run.ErrFenced, 0}, {"silent", errAway, leaseLength / 2}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := execute(t, run.WantPause) // it would last
				time.Sleep(time.Minute)
				e.lease.set(func(l *lease) { l.broken = test.answer })
				begun := time.Now()
				<-e.ended
				if took := time.Since(begun); took < test.least || took >= leaseLength {
					t.Errorf("it stops after %s", took)
				}
				if !errors.Is(e.err, run.ErrFenced) || e.lease.ended != "" || e.lease.handed {
					t.Errorf("error %v, ended %q, handed back %v", e.err, e.lease.ended, e.lease.handed)
				}
			})
		})
	}
}

// A ledger that is away for a moment does not matter.
func TestExecuteOutlivesAShortSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := execute(t, run.WantPause)
		time.Sleep(time.Minute)
		e.lease.set(func(l *lease) { l.broken = errAway })
		time.Sleep(leaseLength / 3)
		e.lease.set(func(l *lease) { l.broken, l.wanted = nil, run.WantRun })
		<-e.ended
		if e.err != nil || e.lease.ended != run.StatusSucceeded {
			t.Errorf("error %v, ended %q", e.err, e.lease.ended)
		}
	})
}
