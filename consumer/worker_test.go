package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

// finishing is an executor that needs some time.
func finishing(after time.Duration) Executor {
	return func(ctx context.Context, l run.Lease) error {
		if !pause(ctx, after) {
			return ctx.Err()
		}
		return l.Finish(ctx, run.StatusSucceeded, nil, "")
	}
}

const length = 30 * time.Second

// working is a worker that runs in a bubble.
type working struct {
	*Worker
	stop func() // cancels it and waits
	done chan struct{}
}

func work(t *testing.T, c *memory, execute Executor, log *slog.Logger) *working {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &working{Worker: NewWorker(c, execute, "me", Config{Lease: length}, log), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	w.stop = func() {
		cancel()
		<-w.done
	}
	return w
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for lease, valid := range map[time.Duration]bool{
		0: false, 5*time.Second - 1: false, 5 * time.Second: true, 30 * time.Second: true, 10 * time.Minute: true, 10*time.Minute + 1: false,
	} {
		if err := (&Config{Lease: lease, Messages: messagesLook}).Validate(); (err == nil) != valid {
			t.Errorf("%s: %v", lease, err)
		}
	}
	for _, messages := range []string{"", "all", "Repair"} {
		if err := (&Config{Lease: time.Minute, Messages: messages}).Validate(); err == nil || !strings.Contains(err.Error(), "ETL_MESSAGES is") {
			t.Errorf("%q: %v", messages, err)
		}
	}
}

// Two runs are in hand at once; the end of one begins the next.
func TestWorker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newMemory("repair1", "look1", "repair2", "look2", "repair3")
		w := work(t, c, finishing(time.Second), slog.New(slog.DiscardHandler))
		defer w.stop()
		for _, want := range [][]string{{"look1", "repair1"}, {"look2", "repair2"}, {"repair3"}, nil} {
			synctest.Wait()
			if busy := w.Busy(); !slices.Equal(busy, want) {
				t.Errorf("in hand are %v, want %v", busy, want)
			}
			time.Sleep(time.Second) // in the bubble: exactly one run's time
		}
		if succeeded := c.in(run.StatusSucceeded); len(succeeded) != 5 {
			t.Errorf("%v have succeeded", succeeded)
		}
	})
}

func TestWorkerIsRung(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newMemory()
		w := work(t, c, finishing(time.Millisecond), slog.New(slog.DiscardHandler))
		defer w.stop()
		synctest.Wait()
		begun := time.Now()
		c.add("repair1")
		for range 100 {
			w.Ring()
		}
		synctest.Wait()
		if busy := w.Busy(); !slices.Equal(busy, []string{"repair1"}) || time.Since(begun) > 0 {
			t.Errorf("%v after %s", busy, time.Since(begun))
		}
		calls := c.Calls("Claim")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if more := c.Calls("Claim") - calls; more > 3 {
			t.Errorf("it looked %d times more", more)
		}
	})
}

// A run whose doorbell was lost begins within the sweep's interval, one whose owner
// is dead within the interval after the end of the lease.
func TestSweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newMemory()
		w := work(t, c, finishing(10*time.Second), slog.New(slog.DiscardHandler))
		defer w.stop()
		synctest.Wait()
		for range 20 { // the phase of the sweep is random
			c.add("look1")
			time.Sleep(w.SweepInterval)
			synctest.Wait()
			if busy := w.Busy(); !slices.Equal(busy, []string{"look1"}) {
				t.Fatalf("in hand are %v", busy)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		c.add("repair1")
		if _, err := c.Claim(t.Context(), "another", length); err != nil {
			t.Fatal(err)
		}
		time.Sleep(length - 1)
		synctest.Wait()
		if busy := w.Busy(); len(busy) > 0 {
			t.Fatalf("the lease of another holds, and in hand are %v", busy)
		}
		time.Sleep(w.SweepInterval + 1)
		synctest.Wait()
		if busy := w.Busy(); !slices.Equal(busy, []string{"repair1"}) {
			t.Fatalf("after the lease of another in hand are %v", busy)
		}
	})
}

// At the end of ctx nothing more is claimed, what is in hand is cancelled, and Run
// returns when that has been handed back.
func TestWorkerStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newMemory("repair1", "look1", "repair2", "look2")
		var back atomic.Int64
		w := work(t, c, func(ctx context.Context, _ run.Lease) error {
			<-ctx.Done()
			time.Sleep(3 * time.Second) // handing back takes its time
			back.Add(1)
			return fmt.Errorf("stopped: %w", context.Cause(ctx))
		}, slog.New(slog.DiscardHandler))
		synctest.Wait()
		begun := time.Now()
		w.Ring()
		w.stop()
		if back.Load() != 2 || time.Since(begun) != 3*time.Second || len(w.Busy()) > 0 || len(c.in(run.StatusQueued)) != 2 {
			t.Errorf("%d were handed back after %s; in hand are %v, queued %v", back.Load(), time.Since(begun), w.Busy(), c.in(run.StatusQueued))
		}
		w.Ring() // harmless
	})
}

// late is a ledger whose claim succeeds at the very end.
type late struct {
	*memory
	stop context.CancelFunc
}

func (l *late) Claim(ctx context.Context, owner string, length time.Duration) (run.Lease, error) {
	lease, err := l.memory.Claim(ctx, owner, length)
	l.stop()
	return lease, err
}

// A run that was claimed while ctx ended is handed back too.
func TestWorkerStopsWhileItClaims(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		executed := 0
		w := NewWorker(&late{newMemory("repair1"), cancel}, func(ctx context.Context, _ run.Lease) error {
			executed++
			return ctx.Err()
		}, "me", Config{Lease: length}, slog.New(slog.DiscardHandler))
		if err := w.Run(ctx); err != nil || executed != 1 {
			t.Errorf("%v, executed %d times", err, executed)
		}
	})
}

// A ledger that is away is told of once, and the worker goes on when it is back.
func TestWorkerOutlivesItsLedger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, log := newMemory("repair1"), &logbook{}
		c.fail(errAway)
		w := work(t, c, finishing(time.Second), log.logger())
		defer w.stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		if calls := c.Calls("Claim"); calls < 100 || calls > 2000 {
			t.Errorf("it tried %d times in an hour", calls)
		}
		for _, what := range []string{"claim a run", "look for runs that wait"} {
			if n := log.count("cannot " + what); n != 1 {
				t.Errorf("that it cannot %s was logged %d times", what, n)
			}
		}
		c.fail(nil)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if status := c.record("repair1").Status; status != run.StatusSucceeded {
			t.Errorf("the run ended %q", status)
		}
		for _, what := range []string{"claim a run", "look for runs that wait"} {
			if n := log.count("can " + what + " again"); n != 1 {
				t.Errorf("that it can %s again was logged %d times", what, n)
			}
		}
	})
}

// A panic costs its run the lease, not the worker its life, and a run that always
// panics is given up.
func TestWorkerOutlivesPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, log := newMemory("repair1", "look1"), &logbook{}
		var panics atomic.Int64
		good := finishing(time.Second)
		w := work(t, c, func(ctx context.Context, l run.Lease) error {
			if l.Record().ID == "repair1" {
				panics.Add(1)
				panic("on purpose")
			}
			return good(ctx, l)
		}, log.logger())
		defer w.stop()
		time.Sleep(length - time.Second)
		synctest.Wait()
		if n := panics.Load(); n != 1 || len(w.Busy()) > 0 {
			t.Errorf("%d panics under one lease, in hand are %v", n, w.Busy())
		}
		if status := c.record("look1").Status; status != run.StatusSucceeded {
			t.Errorf("the other run ended %q", status)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		ended := c.record("repair1")
		if n := panics.Load(); n != maxVanished || ended.Status != run.StatusFailed {
			t.Errorf("%d panics, then it ended %q", n, ended.Status)
		}
		testenv.CheckMessage(t, errors.New(ended.Error), "given up: 5 processes in a row took this run", "look into their logs for a panic")
		if n := log.count("on purpose"); n != maxVanished || log.count("worker_test.go") != maxVanished {
			t.Errorf("the panic was logged %d times, with its stack %d times", n, log.count("worker_test.go"))
		}
	})
}

func TestWhatBecameOfRunsIsLogged(t *testing.T) {
	t.Parallel()
	for problem, want := range map[error]string{
		nil:           "level=DEBUG msg=\"run left hand\"",
		run.ErrFenced: "level=WARN msg=\"the run went to another process\"",
		errAway:       "level=ERROR msg=\"run failed\"",
	} {
		synctest.Test(t, func(t *testing.T) {
			log := &logbook{}
			w := work(t, newMemory("repair1"), func(context.Context, run.Lease) error { return problem }, log.logger())
			synctest.Wait()
			w.stop()
			if log.count(want) != 1 || log.count("run=repair1") != 2 {
				t.Errorf("%v: %s", problem, log.text.String())
			}
		})
	}
}
