package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

func TestSweepRemovesWhatIsOld(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	other := open(t, l.pool.Config().ConnString(), "another")
	for range 2*outdated[0].batch + 3 {
		finished(t, l, run.StatusSucceeded)
	}
	lease := begun(t, l, long)
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Lost, "a", "b"), Look: &run.Look{At: time.Now().Add(-2 * time.Hour)}})
	if err := lease.Finish(t.Context(), run.StatusPartial, nil, ""); err != nil {
		t.Fatal(err)
	}
	elsewhere := finished(t, other, run.StatusFailed)
	for _, at := range []time.Time{time.Now().Add(-2 * time.Hour), time.Now()} {
		if err := l.SaveHealth(t.Context(), run.HealthRecord{At: at}); err != nil {
			t.Fatal(err)
		}
	}
	execute(t, l, "UPDATE "+runTable+" SET finished_at = now() - interval '61 minutes'")
	kept := finished(t, l, run.StatusCancelled)
	active := begun(t, l, long, func(r *run.Request) { r.At = time.Now().Add(-24 * time.Hour) })
	settle(t, active, run.Settlement{Look: &run.Look{At: time.Now()}})
	if _, err := l.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := l.Runs(t.Context(), run.Filter{})
	if err != nil || len(page.Runs) != 2 {
		t.Fatalf("%d runs are left, %v", len(page.Runs), err)
	}
	found(t, l, kept.ID)
	found(t, l, active.Record().ID)
	found(t, other, elsewhere.ID)
	for from, want := range map[string]int{outcomeTable: 0, healthTable: 1, lookTable: 1, differenceTable: 2} {
		if n := count(t, l, from); n != want {
			t.Errorf("%d rows of %s are left, want %d", n, from, want)
		}
	}
}

// Closed differences go in batches, and what is open, or was closed lately, stays.
func TestSweepRemovesClosedDifferences(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	other := open(t, l.pool.Config().ConnString(), "another")
	settle(t, begun(t, other, long), run.Settlement{Outcomes: outcomesOf(run.Found, "elsewhere")})
	lease := begun(t, l, long)
	ids := make([]product.ID, 2*outdated[1].batch+3)
	for i := range ids {
		ids[i] = product.ID(fmt.Sprintf("product %d", i))
	}
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Found, append(ids, "open", "late")...)})
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Gone, ids...)})
	execute(t, l, "UPDATE "+differenceTable+" SET opened_at = opened_at - interval '1 day', closed_at = closed_at - interval '61 minutes'")
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Gone, "late")})
	if _, err := l.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, l, differenceTable+" WHERE product IN ('open', 'late', 'elsewhere')"); n != 3 || count(t, l, differenceTable) != 3 {
		t.Errorf("%d differences are left, %d of them are to stay", count(t, l, differenceTable), n)
	}
	if n := count(t, l, pipelineTable+" WHERE open = 1"); n != 2 {
		t.Error("the open ones are not counted right")
	}
}
