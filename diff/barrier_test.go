package diff_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
)

var watching = diff.WatchConfig{Grace: 2 * time.Second, StallTimeout: time.Minute, Interval: 200 * time.Millisecond}

// step is what a queue looks like from one moment on.
type step struct {
	from  time.Duration
	depth diff.Depth
	err   error
}

// scripted is a queue that follows a script.
type scripted struct {
	begun time.Time
	steps []step
	slow  time.Duration // before each answer
}

func (q *scripted) Depth(context.Context) (diff.Depth, error) {
	now := q.steps[0]
	for _, s := range q.steps {
		if s.from <= time.Since(q.begun) {
			now = s
		}
	}
	time.Sleep(q.slow)
	return now.depth, now.err
}

func ready(n int) diff.Depth { return diff.Depth{Ready: n, Consumers: 1} }

func consumers(n int) diff.Depth { return diff.Depth{Consumers: n} }

func counted(ready, unacknowledged int, acknowledged int64) diff.Depth {
	return diff.Depth{Ready: ready, Consumers: 1, Statistics: &diff.Statistics{Unacknowledged: unacknowledged, Acknowledged: acknowledged}}
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

// watched runs test in a bubble with a watch of the scripted queue.
func watched(t *testing.T, steps []step, slow time.Duration, test func(t *testing.T, w *diff.Watch, begun time.Time)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		w := diff.NewWatch("product-created", &scripted{begun: begun, steps: steps, slow: slow}, watching)
		defer running(t.Context(), w)()
		test(t, w, begun)
	})
}

// running runs w; what it returns ends it.
func running(ctx context.Context, w interface{ Run(context.Context) }) (end func()) {
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(ctx)
	}()
	return func() {
		stop()
		<-ended
	}
}

// barrierTest is one wait. All times are from the beginning.
type barrierTest struct {
	name   string
	steps  []step
	slow   time.Duration // each look
	called time.Duration // when Wait is called
	moment time.Duration // what it waits for
	ends   time.Duration // when it ends, or stalls
}

// stalls stands for a wait that does not end in time.
const stalls = -1

func TestBarrier(t *testing.T) {
	t.Parallel()
	tests := []barrierTest{
		// The queue is looked at every 0.2 s. The look at the very moment does not count.
		{name: "always empty", steps: []step{{depth: ready(0)}}, ends: seconds(2.2)},
		{name: "a moment that has passed is over at once", steps: []step{{depth: ready(0)}}, called: seconds(10.1), moment: seconds(5), ends: seconds(10.1)},
		{name: "a moment of just now is not", steps: []step{{depth: ready(0)}}, called: seconds(10.1), moment: seconds(10.1), ends: seconds(12.2)},
		{name: "the grace of an earlier look is not waited for again", steps: []step{{depth: ready(0)}}, called: seconds(10.1), moment: seconds(9.1), ends: seconds(11.2)},
		{name: "drained later", steps: []step{{depth: ready(5000)}, {from: seconds(30), depth: ready(0)}}, ends: seconds(32)},
		{name: "empty before the moment", steps: []step{{depth: ready(0)}, {from: seconds(5), depth: ready(3)}}, called: seconds(4.9), moment: seconds(4.9), ends: stalls},
		{name: "empty for less than the grace", steps: []step{{depth: ready(1)}, {from: seconds(3), depth: ready(0)}, {from: seconds(4.9), depth: ready(1)}}, ends: stalls},
		{name: "empty for less than the grace, twice", steps: []step{
			{depth: ready(1)}, {from: seconds(3), depth: ready(0)}, {from: seconds(3.1), depth: ready(1)},
			{from: seconds(4.7), depth: ready(0)}, {from: seconds(4.9), depth: ready(1)},
		}, ends: stalls},
		{name: "traffic between two empty looks does not matter", steps: []step{
			{depth: ready(1)}, {from: seconds(3), depth: ready(0)}, {from: seconds(3.1), depth: ready(9)}, {from: seconds(5), depth: ready(0)}, {from: seconds(5.1), depth: ready(9)},
		}, ends: seconds(5)},
		{name: "a look that fails forgets", steps: []step{{depth: ready(0)}, {from: seconds(2), err: errBroken}, {from: seconds(2.1), depth: ready(0)}}, ends: seconds(4.2)},
		{name: "what was proven before a look fails stays proven", steps: []step{{depth: ready(0)}, {from: seconds(6), err: errBroken}}, called: seconds(7), moment: seconds(3), ends: seconds(7)},
		{name: "a consumer that leaves forgets", steps: []step{{depth: consumers(2)}, {from: seconds(2), depth: consumers(1)}}, ends: seconds(4)},
		{name: "a consumer that leaves and comes back forgets", steps: []step{{depth: consumers(1)}, {from: seconds(2), depth: consumers(0)}, {from: seconds(2.1), depth: consumers(1)}}, ends: seconds(4)},
		{name: "a consumer that leaves unseen forgets", steps: []step{{depth: consumers(2)}, {from: seconds(1), err: errBroken}, {from: seconds(1.1), depth: consumers(1)}}, ends: seconds(3.2)},
		{name: "a consumer that joins does not", steps: []step{{depth: consumers(1)}, {from: seconds(1), depth: consumers(2)}}, ends: seconds(2.2)},
		{name: "empty without consumers", steps: []step{{depth: consumers(0)}}, ends: seconds(2.2)},
		{name: "never empty", steps: []step{{depth: ready(1)}}, ends: stalls},
		{name: "never seen", steps: []step{{err: errBroken}}, ends: stalls},
		// A look counts from when it was asked for and until it was answered.
		{name: "slow looks", steps: []step{{depth: ready(0)}}, slow: time.Second, ends: seconds(5)},
		{name: "a look asked for before the moment", steps: []step{{depth: ready(0)}}, slow: time.Second, called: seconds(1.5), moment: seconds(1.5), ends: seconds(6)},
		// With statistics the second look's figures must be younger than the first look.
		{name: "statistics, empty", steps: []step{{depth: counted(0, 0, 7)}}, ends: seconds(12.2)},
		{name: "a message is held", steps: []step{{depth: counted(0, 1, 7)}, {from: seconds(20), depth: counted(0, 0, 7)}}, ends: seconds(32)},
		{name: "a message is held for ever", steps: []step{{depth: counted(0, 1, 7)}}, ends: stalls},
		{name: "a message is taken meanwhile", steps: []step{{depth: counted(0, 0, 7)}, {from: seconds(3), depth: counted(0, 1, 7)}}, ends: stalls},
	}
	runBarrierTests(t, tests)
}

// A queue that is never empty, with statistics: the looks at 0.2 s and 12.2 s count
// what waits, that at 24.2 s what has been acknowledged; Grace comes on top.
func TestBarrierByCount(t *testing.T) {
	t.Parallel()
	gone := counted(2, 1, 7)
	gone.Consumers = 0
	tests := []barrierTest{
		{name: "as many acknowledged as waited", steps: []step{{depth: counted(2, 1, 7)}, {from: seconds(30), depth: counted(2, 1, 10)}}, ends: seconds(32)},
		{name: "one less", steps: []step{{depth: counted(2, 1, 7)}, {from: seconds(30), depth: counted(2, 1, 9)}}, ends: stalls},
		{name: "acknowledged before they were counted", steps: []step{{depth: counted(2, 1, 7)}, {from: seconds(24), depth: counted(2, 1, 10)}}, ends: stalls},
		{name: "acknowledged since the count began again", steps: []step{
			{depth: counted(2, 1, 7)}, {from: seconds(20), err: errBroken}, {from: seconds(20.1), depth: counted(2, 1, 10)}, {from: seconds(50), depth: counted(2, 1, 13)},
		}, ends: seconds(52)},
		{name: "a consumer leaves before the count", steps: []step{
			{depth: counted(2, 1, 7)}, {from: seconds(15), depth: gone}, {from: seconds(15.1), depth: counted(2, 1, 7)},
			{from: seconds(20), depth: counted(2, 1, 10)}, {from: seconds(40), depth: counted(2, 1, 13)},
		}, ends: seconds(42)},
		{name: "a consumer leaves within the grace", steps: []step{
			{depth: counted(2, 1, 7)}, {from: seconds(28), depth: counted(2, 1, 10)}, {from: seconds(29), depth: gone},
			{from: seconds(29.1), depth: counted(2, 1, 10)}, {from: seconds(55), depth: counted(2, 1, 13)},
		}, ends: seconds(57)},
		// The consumer has just come, and the figures do not show yet what it holds.
		{name: "the last message is taken as it is counted", steps: []step{
			{depth: diff.Depth{Ready: 1, Statistics: &diff.Statistics{Acknowledged: 7}}},
			{from: seconds(0.1), depth: counted(0, 0, 7)}, {from: seconds(10), depth: counted(0, 1, 7)},
		}, ends: stalls},
		{name: "the last message is taken later, and the figures do not show it yet", steps: []step{
			{depth: diff.Depth{Ready: 1, Statistics: &diff.Statistics{Acknowledged: 7}}},
			{from: seconds(11.9), depth: counted(0, 0, 7)}, {from: seconds(21.9), depth: counted(0, 1, 7)},
		}, ends: stalls},
		{name: "a look asked for before the moment does not count", slow: time.Second, called: seconds(1.5), moment: seconds(1.5), steps: []step{
			{depth: counted(1, 1, 7)}, {from: seconds(1.2), depth: counted(5, 1, 7)}, {from: seconds(40), depth: counted(5, 1, 10)},
		}, ends: stalls},
		{name: "the statistics end", steps: []step{{depth: counted(2, 1, 7)}, {from: seconds(29), depth: ready(2)}, {from: seconds(30), depth: counted(2, 1, 10)}}, ends: stalls},
		{name: "the counter begins anew", steps: []step{{depth: counted(2, 1, 1000)}, {from: seconds(30), depth: counted(2, 1, 3)}}, ends: stalls},
	}
	runBarrierTests(t, tests)
}

func runBarrierTests(t *testing.T, tests []barrierTest) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			watched(t, test.steps, test.slow, func(t *testing.T, w *diff.Watch, begun time.Time) {
				time.Sleep(test.called)
				err := w.Wait(t.Context(), begun.Add(test.moment))
				took := time.Since(begun)
				var stall *diff.StalledError
				switch {
				case test.ends == stalls && (!errors.As(err, &stall) || took != test.called+watching.StallTimeout):
					t.Errorf("ends after %s with %v, want a stall", took, err)
				case test.ends != stalls && (err != nil || took != test.ends):
					t.Errorf("ends after %s with %v, want %s", took, err, test.ends)
				}
			})
		})
	}
}

func TestAStallSaysWhatTheQueueLooksLike(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		steps []step
		want  diff.StalledError
		text  string
	}{
		{
			name: "busy", steps: []step{{depth: ready(9000)}, {from: seconds(50), depth: ready(7000)}},
			want: diff.StalledError{Ready: 7000}, text: "7000 messages still queued in product-created after 1m0s",
		},
		{
			name: "nobody consumes", steps: []step{{depth: diff.Depth{Ready: 5000}}},
			want: diff.StalledError{Ready: 5000, Idle: true}, text: "5000 messages still queued in product-created after 1m0s, and nobody consumes them",
		},
		{
			name: "out of sight", steps: []step{{depth: ready(5000)}, {from: seconds(50), err: errBroken}},
			want: diff.StalledError{NoDepth: errBroken}, text: "queue product-created could not be seen for 1m0s: the connection was reset",
		},
		{
			name: "a consumer that does not finish", steps: []step{{depth: counted(0, 2, 7)}},
			want: diff.StalledError{Unacknowledged: 2}, text: "2 messages of product-created are delivered and still not acknowledged after 1m0s",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			watched(t, test.steps, 0, func(t *testing.T, w *diff.Watch, begun time.Time) {
				err := w.Wait(t.Context(), begun)
				var stall *diff.StalledError
				if !errors.As(err, &stall) {
					t.Fatalf("ends with %v", err)
				}
				test.want.Queue, test.want.Waited = "product-created", time.Minute
				if *stall != test.want {
					t.Errorf("%+v, want %+v", *stall, test.want)
				}
				if err.Error() != test.text {
					t.Errorf("%q, want %q", err, test.text)
				}
			})
		})
	}
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	watched(t, []step{{depth: ready(1)}}, 0, func(t *testing.T, w *diff.Watch, begun time.Time) {
		cause := errors.New("stopped by a person")
		ctx, stop := context.WithCancelCause(t.Context())
		time.AfterFunc(3*time.Second, func() { stop(cause) })
		if err := w.Wait(ctx, begun); !errors.Is(err, cause) || time.Since(begun) != 3*time.Second {
			t.Errorf("ends after %s with %v", time.Since(begun), err)
		}
	})
}

func TestManyWaitsEndTogether(t *testing.T) {
	t.Parallel()
	watched(t, []step{{depth: ready(1)}, {from: seconds(30), depth: ready(0)}}, 0, func(t *testing.T, w *diff.Watch, begun time.Time) {
		const n = 50
		ended := make(chan error, n)
		for i := range n {
			go func() { ended <- w.Wait(t.Context(), begun.Add(time.Duration(i)*time.Millisecond)) }()
		}
		for range n {
			if err := <-ended; err != nil || time.Since(begun) != 32*time.Second {
				t.Fatalf("ends after %s with %v", time.Since(begun), err)
			}
		}
	})
}

func TestTheLastLookIsKept(t *testing.T) {
	t.Parallel()
	watched(t, []step{{depth: ready(7)}, {from: seconds(5), err: errBroken}}, 0, func(t *testing.T, w *diff.Watch, _ time.Time) {
		time.Sleep(seconds(1.1))
		if d, err := w.Last(); err != nil || d != ready(7) {
			t.Errorf("last look %+v, %v", d, err)
		}
		time.Sleep(seconds(5))
		if _, err := w.Last(); !errors.Is(err, errBroken) {
			t.Errorf("last look failed, and the error is %v", err)
		}
	})
}

func TestEachKindWaitsForItsOwnQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		watch := func(name string, d diff.Depth) *diff.Watch {
			return diff.NewWatch(name, &scripted{begun: begun, steps: []step{{depth: d}}}, watching)
		}
		barriers := diff.QueueBarriers{
			product.Missing: watch("product-created", ready(0)),
			product.Stale:   watch("product-updated", ready(1)),
		}
		defer running(t.Context(), barriers)()
		ctx := t.Context()
		if err := barriers.Wait(ctx, product.Missing, begun); err != nil {
			t.Errorf("missing: %v", err)
		}
		var stall *diff.StalledError
		if err := barriers.Wait(ctx, product.Stale, begun); !errors.As(err, &stall) || stall.Queue != "product-updated" {
			t.Errorf("stale: %v", err)
		}
		if err := barriers.Wait(ctx, product.Orphaned, begun); err == nil || errors.As(err, &stall) {
			t.Errorf("orphaned: %v, want an error that says that no queue is watched", err)
		}
	})
}

// Many windows behind a dead queue must not wait for it one after the other.
func TestADeadQueueIsWaitedForOnce(t *testing.T) {
	t.Parallel()
	stuck := []step{{0, consumers(1), nil}, {seconds(1), ready(5), nil}, {seconds(100), ready(4), nil}}
	watched(t, stuck, 0, func(t *testing.T, w *diff.Watch, begun time.Time) {
		time.Sleep(seconds(10))
		for i, want := range []time.Duration{time.Minute, seconds(4.4), seconds(4.4)} {
			asked := time.Now()
			if err := w.Wait(t.Context(), asked); !errors.As(err, new(*diff.StalledError)) {
				t.Fatalf("wait %d ended with %v, want a stall", i, err)
			}
			if took := time.Since(asked); took != want {
				t.Errorf("wait %d took %s, want %s", i, took, want)
			}
		}
		time.Sleep(time.Until(begun.Add(seconds(101)))) // somebody has consumed one
		asked := time.Now()
		if err := w.Wait(t.Context(), asked); err == nil || time.Since(asked) != time.Minute {
			t.Errorf("after a sign of life a wait took %s and ended with %v, want all patience", time.Since(asked), err)
		}
	})
}
