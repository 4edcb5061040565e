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

var watching = diff.WatchConfig{Grace: 2 * time.Second, Interval: 200 * time.Millisecond}

// scripted is a queue that looks as it says after so many seconds.
type scripted func(seconds float64) (diff.Depth, error)

func (q scripted) Depth(context.Context) (diff.Depth, error) {
	return q(time.Since(epoch()).Seconds())
}

// epoch is when time begins in each bubble of synctest.
func epoch() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

func always(d diff.Depth) scripted { return func(float64) (diff.Depth, error) { return d, nil } }

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

// passed waits until the watermark has reached t, and returns when that was.
func passed(ctx context.Context, w *diff.Watch, t time.Time) (time.Time, error) {
	for {
		changed := w.Changed()
		if sight := w.Sight(); !sight.Passed.IsZero() && !sight.Passed.Before(t) {
			return time.Now(), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

func TestWatchOfAnIdleQueue(t *testing.T) {
	t.Parallel()
	held, acknowledged := 0, int64(7)
	for name, d := range map[string]diff.Depth{
		"AMQP alone": {Consumers: 1},
		"statistics": {Consumers: 1, Statistics: &diff.Statistics{Unacknowledged: &held, Acknowledged: &acknowledged}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := diff.NewWatch("product-created", always(d), watching)
				if sight := w.Sight(); !sight.Passed.IsZero() || !sight.Moved.Equal(epoch()) {
					t.Errorf("before the first look: %+v", sight)
				}
				defer running(t.Context(), w)()
				at, err := passed(t.Context(), w, epoch())
				if took := at.Sub(epoch()); err != nil || took > watching.Grace+watching.Interval {
					t.Errorf("the first watermark took %s, %v", took, err)
				}
				moment := time.Now()
				if at, err = passed(t.Context(), w, moment); err != nil || at.Sub(moment) > watching.Grace+watching.Interval {
					t.Errorf("the next took %s, %v", at.Sub(moment), err)
				}
				if sight := w.Sight(); !sight.Moved.Equal(at) {
					t.Errorf("it moved at %s: %+v", at, sight)
				}
			})
		})
	}
}

// Each part of what is seen, at one moment of a queue's story.
func TestSight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := diff.NewWatch("product-created", scripted(func(now float64) (diff.Depth, error) {
			switch {
			case now < 5:
				return diff.Depth{Consumers: 1}, nil
			case now < 10:
				return diff.Depth{Ready: 7}, nil
			case now < 15:
				return diff.Depth{}, errBroken
			case now < 20:
				return diff.Depth{Ready: 7}, nil
			}
			return diff.Depth{Ready: 6, Consumers: 2}, nil
		}), watching)
		if w.Name() != "product-created" {
			t.Errorf("its name is %q", w.Name())
		}
		defer running(t.Context(), w)()
		at := func(seconds float64) time.Time { return epoch().Add(time.Duration(seconds * float64(time.Second))) }
		idle := at(5)
		for _, want := range []struct {
			at   float64
			what diff.Sight
		}{
			{4.9, diff.Sight{Passed: at(2.8), Moved: at(4.8), Depth: diff.Depth{Consumers: 1}}},
			{9.9, diff.Sight{Passed: at(2.8), Moved: at(4.8), Depth: diff.Depth{Ready: 7}, Idle: idle}},
			{14.9, diff.Sight{Passed: at(2.8), Moved: at(4.8), Depth: diff.Depth{Ready: 7}, Idle: idle, Err: errBroken}},
			{19.9, diff.Sight{Passed: at(2.8), Moved: at(4.8), Depth: diff.Depth{Ready: 7}, Idle: idle}},
			{20.9, diff.Sight{Passed: at(2.8), Moved: at(4.8), Depth: diff.Depth{Ready: 6, Consumers: 2}}},
		} {
			time.Sleep(time.Until(at(want.at)))
			got := w.Sight()
			if !got.Passed.Equal(want.what.Passed) || !got.Moved.Equal(want.what.Moved) || got.Depth != want.what.Depth ||
				!got.Idle.Equal(want.what.Idle) || !errors.Is(got.Err, want.what.Err) {
				t.Errorf("after %g s: %+v, want %+v", want.at, got, want.what)
			}
		}
	})
}

func TestAVacantQueueCountsLater(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ vacancy, want time.Duration }{{0, diff.DefaultVacancy}, {5 * time.Second, 5 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			config := watching
			config.Vacancy = test.vacancy
			w := diff.NewWatch("product-created", always(diff.Depth{}), config)
			defer running(t.Context(), w)()
			at, err := passed(t.Context(), w, epoch())
			if took := at.Sub(epoch()); err != nil || took != test.want+watching.Grace {
				t.Errorf("vacancy %s: the first watermark took %s, %v", test.vacancy, took, err)
			}
		})
	}
}

// Who waits for a change sees each look, and many may wait.
func TestChangesAreSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		w := diff.NewWatch("product-created", scripted(func(float64) (diff.Depth, error) {
			looks++
			return diff.Depth{Ready: looks}, nil
		}), watching)
		first := w.Changed()
		defer running(t.Context(), w)()
		const n = 50
		seen := make(chan int, n)
		for range n {
			go func() {
				<-first
				seen <- w.Sight().Depth.Ready
			}()
		}
		for range n {
			if got := <-seen; got != 1 {
				t.Fatalf("look %d was seen first", got)
			}
		}
		for want := 1; want < 20; want++ {
			changed := w.Changed()
			if got := w.Sight().Depth.Ready; got != want {
				t.Fatalf("look %d, want %d", got, want)
			}
			<-changed
		}
	})
}

// A look that its own end interrupts is not one that failed.
func TestAWatchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		w := diff.NewWatch("product-created", hanging{}, watching)
		end := running(ctx, w)
		synctest.Wait()
		stop()
		end()
		if sight := w.Sight(); sight.Err != nil {
			t.Error(sight.Err)
		}
	})
}

// hanging is a queue whose broker has fallen silent.
type hanging struct{}

func (hanging) Depth(ctx context.Context) (diff.Depth, error) {
	<-ctx.Done()
	return diff.Depth{}, context.Cause(ctx)
}

func TestEachKindHasItsWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		watches := diff.Watches{
			product.Missing: diff.NewWatch("product-created", always(diff.Depth{Consumers: 1}), watching),
			product.Stale:   diff.NewWatch("product-updated", always(diff.Depth{Ready: 1, Consumers: 1}), watching),
		}
		defer running(t.Context(), watches)()
		if _, err := passed(t.Context(), watches[product.Missing], epoch()); err != nil {
			t.Error(err)
		}
		if sight := watches[product.Stale].Sight(); sight.Depth.Ready != 1 || !sight.Passed.IsZero() {
			t.Errorf("the other queue: %+v", sight)
		}
	})
}
