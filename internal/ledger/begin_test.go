package ledger

import (
	"errors"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

func TestBegin(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	request := wanting(t, from(run.ByCLI), func(r *run.Request) { r.IDs = []product.ID{"a"} })
	lease, err := l.Begin(t.Context(), request, "cli", long)
	if err != nil {
		t.Fatal(err)
	}
	record := lease.Record()
	if record.Status != run.StatusRunning || record.Owner != "cli" || record.Started.IsZero() || record.Takeovers != 0 || len(record.Request.IDs) != 1 {
		t.Errorf("the run is %+v", record)
	}
	again, err := l.Begin(t.Context(), request, "cli", long) // the answer was lost
	if err != nil || again.Record().ID != record.ID {
		t.Errorf("begun again: %v, %v", again, err)
	}
	_, err = l.Begin(t.Context(), request, "another", long)
	isRefused(t, err, record.ID)
	_, err = l.Begin(t.Context(), wanting(t), "another", long)
	isActive(t, err, record.ID)
	if err := lease.Finish(t.Context(), run.StatusSucceeded, nil, ""); err != nil {
		t.Fatal(err)
	}
	_, err = l.Begin(t.Context(), request, "cli", long)
	isRefused(t, err, record.ID)
}

func TestBeginTakesTheSlotOfAProcessThatDied(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	for _, status := range []run.Status{run.StatusRunning, run.StatusPaused} {
		stale := begun(t, l, gone, from(run.ByCLI))
		leaveBehind(t, stale)
		if _, err := stale.Beat(t.Context(), status, run.Progress{}); err != nil {
			t.Fatal(err)
		}
		lease := begun(t, l, long, from(run.ByCLI))
		record := found(t, l, stale.Record().ID)
		if record.Status != run.StatusFailed || !strings.HasPrefix(record.Error, "its process gave no sign of life any more") ||
			!strings.Contains(record.Error, lease.Record().ID) || record.Finished.IsZero() {
			t.Errorf("the stale run is %+v", record)
		}
		isAbandoned(t, l, record.ID)
		if _, err := stale.Beat(t.Context(), status, run.Progress{}); !errors.Is(err, run.ErrFenced) {
			t.Errorf("the stale run's lease: %v", err)
		}
		if err := lease.Finish(t.Context(), run.StatusSucceeded, nil, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// A stale run is not ended by a process that then cannot begin.
func TestBeginLeavesAStaleRunToWhoeverCanTakeIt(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	done := finished(t, l, run.StatusSucceeded, keyed("noon"))
	stale := begun(t, l, gone)
	_, err := l.Begin(t.Context(), wanting(t, keyed("noon")), "cli", long)
	isRefused(t, err, done.ID)
	if record := found(t, l, stale.Record().ID); record.Status != run.StatusRunning {
		t.Errorf("the stale run is %s", record.Status)
	}
}

func TestOneOfManyBeginsTheSlotOfAProcessThatDied(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	begun(t, l, gone)
	var won int
	concurrently(10, func() func() {
		_, err := l.Begin(t.Context(), wanting(t), "cli", long)
		return func() {
			if err == nil {
				won++
			} else if !errors.As(err, new(*run.ActiveError)) {
				t.Error(err)
			}
		}
	})
	if won != 1 {
		t.Errorf("%d have begun", won)
	}
}

// leaveBehind plans a range and has two products in hand.
func leaveBehind(t *testing.T, lease run.Lease) {
	t.Helper()
	if err := lease.Plan(t.Context(), []product.Range{{Class: product.Strings}}); err != nil {
		t.Fatal(err)
	}
	if err := lease.Begin(t.Context(), run.Repairing, []product.ID{"a", "b"}); err != nil {
		t.Fatal(err)
	}
}

// isAbandoned checks that a run keeps nothing for a process that goes on with it, and
// that what was in hand is told as what nobody has looked at since.
func isAbandoned(t *testing.T, l *Ledger, id string) {
	t.Helper()
	if hands, ranges := count(t, l, "etl.in_hand"), count(t, l, "etl.key_range"); hands+ranges > 0 {
		t.Errorf("%d products in hand and %d ranges are left", hands, ranges)
	}
	page, err := l.Outcomes(t.Context(), id, run.OutcomeFilter{})
	if err != nil || len(page.Outcomes) != 2 || page.Outcomes[0].State != run.InFlight || page.Outcomes[0].Kind != product.Missing {
		t.Errorf("outcomes %+v, %v", page.Outcomes, err)
	}
}
