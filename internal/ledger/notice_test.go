package ledger

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

// news keeps a notice, and insists on whether it is news.
func news(t *testing.T, l *Ledger, subject string, event run.NoticeOf, want bool) {
	t.Helper()
	if got, err := l.Notify(t.Context(), run.Notice{Subject: subject, Event: event, Text: subject + ": " + string(event)}); err != nil || got != want {
		t.Errorf("%s, %s: news %v, want %v, %v", subject, event, got, want, err)
	}
}

// The same is not told twice in a row, and no end without a begin.
func TestNoticesAreNews(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	news(t, l, "delivery", run.DeliveryHealed, false)
	news(t, l, "delivery", run.DeliveryBroken, true)
	news(t, l, "delivery", run.DeliveryBroken, false)
	news(t, l, "detector tap", run.DetectorOn, false)
	news(t, l, "delivery", run.DeliveryHealed, true)
	news(t, l, "delivery", run.DeliveryHealed, false)
	news(t, l, "delivery", run.DeliveryBroken, true)
	// Many processes see it at once.
	var told atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			is, err := l.Notify(t.Context(), run.Notice{Subject: "run x", Event: run.RunFailed, Text: "it failed"})
			if err != nil {
				t.Error(err)
			}
			if is {
				told.Add(1)
			}
		})
	}
	if all.Wait(); told.Load() != 1 {
		t.Errorf("it is news %d times", told.Load())
	}
}

func TestNoticesAreToldInTurn(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	id := run.NewRunID()
	if _, err := l.Notify(t.Context(), run.Notice{Subject: "run " + id, Event: run.RunFailed, Text: "it failed", Run: id}); err != nil {
		t.Fatal(err)
	}
	news(t, l, "delivery", run.DeliveryBroken, true)
	take := func(want string) *run.Notice {
		t.Helper()
		n, err := l.TakeNotice(t.Context(), time.Hour)
		if err != nil || (n == nil) != (want == "") || n != nil && n.Text != want {
			t.Fatalf("%+v, want %q, %v", n, want, err)
		}
		return n
	}
	first := take("it failed")
	if first.Run != id || first.Attempts != 1 || first.Event != run.RunFailed || time.Since(first.At) > time.Minute {
		t.Errorf("%+v", first)
	}
	second := take("delivery: delivery broken")
	take("") // both are in somebody's hands
	told := func(n *run.Notice, problem error, again time.Duration) {
		t.Helper()
		if err := l.Told(t.Context(), n.ID, problem, again); err != nil {
			t.Fatal(err)
		}
	}
	told(first, errors.New("nobody there"), time.Microsecond)
	told(second, nil, time.Hour)
	if again := take("it failed"); again.Attempts != 2 {
		t.Errorf("%+v", again)
	}
	told(first, errors.New("nobody there"), 0) // given up
	take("")
	told(second, errors.New("too late"), time.Microsecond) // it was told
	take("")
}
