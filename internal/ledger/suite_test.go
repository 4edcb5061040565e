package ledger

import (
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv/ledgertest"
)

// What the schema has of times, but for those until which something holds, the last
// health checks, and when a comparison began, which callers say.
var times = []string{
	runTable + ".requested_at", runTable + ".expires_at", runTable + ".started_at", runTable + ".finished_at", runTable + ".not_before", handTable + ".acted_at",
	outcomeTable + ".at", differenceTable + ".opened_at", differenceTable + ".changed_at", differenceTable + ".closed_at", differenceTable + ".acted_at",
	lookTable + ".began", gapTable + ".minute", actionTable + ".at", differenceTable + ".asked_at", sampleTable + ".at",
}

func TestLedger(t *testing.T) {
	t.Parallel()
	ledgertest.Test(t, func(t *testing.T) ledgertest.Fixture {
		l := fresh(t)
		return ledgertest.Fixture{
			Ledger: l,
			Age: func(by time.Duration) {
				t.Helper()
				for _, column := range times {
					table, name := column[:strings.LastIndex(column, ".")], column[strings.LastIndex(column, ".")+1:]
					execute(t, l, "UPDATE "+table+" SET "+name+" = "+name+" - $1::interval", by)
				}
			},
			Limit: func(outcomes, differences int) {
				l.maxOutcomes, l.maxDifferences = int64(outcomes), int64(differences)
			},
			Upgrade: func() { l.reads++ },
		}
	})
}

// Two pipelines in one schema do not see each other.
func TestPipelines(t *testing.T) {
	t.Parallel()
	one := fresh(t)
	two := open(t, one.pool.Config().ConnString(), "another")
	leases := []run.Lease{begun(t, one, long), begun(t, two, gone)}
	for _, lease := range leases {
		inHand(t, lease, "in hand")
		settle(t, lease, run.Settlement{Outcomes: append(outcomesOf(run.Found, "a"), outcomesOf(run.Lost, "b")...), Look: &run.Look{At: time.Now(), Products: 7}})
	}
	settle(t, leases[0], run.Settlement{Resolved: []run.Key{{ID: "a", Kind: "missing"}}, Outcomes: outcomesOf(run.Verified, "b")})
	if past, err := two.History(t.Context(), "a", 9); err != nil || len(past) != 1 {
		t.Errorf("the other's history is %+v, %v", past, err)
	}
	if known, err := leases[0].Known(t.Context(), []product.ID{"a", "b", "in hand"}); err != nil || len(known) > 0 {
		t.Errorf("one knows %+v, %v", known, err)
	}
	if known, err := leases[1].Known(t.Context(), []product.ID{"a", "b", "in hand"}); err != nil || len(known) != 2 {
		t.Errorf("the other knows %+v, %v", known, err)
	}
	for i, want := range []int{0, 2} {
		if open, err := leases[i].Open(t.Context(), run.Key{}, 9); err != nil || len(open) != want {
			t.Errorf("open are %+v, %v", open, err)
		}
	}
	if err := leases[0].Measured(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if gap, err := leases[1].Gap(t.Context()); err != nil || gap != 0 {
		t.Errorf("the other's gap is %s, %v", gap, err)
	}
	if err := leases[0].Finish(t.Context(), run.StatusSucceeded, nil, ""); err != nil {
		t.Fatal(err)
	}
	next := begun(t, one, long)
	if last, err := next.LastLook(t.Context()); err != nil || last.Products != 7 {
		t.Errorf("the last look is %+v, %v", last, err)
	}
	if _, err := two.Run(t.Context(), next.Record().ID); err == nil {
		t.Error("one has the run of the other")
	}
	if on, err := one.SetSwitch(t.Context(), false, run.Actor{Name: "ada"}); err != nil || on.On {
		t.Error(on, err)
	}
	if on, err := two.Switch(t.Context()); err != nil || !on.On {
		t.Error("the switch of the other is off", err)
	}
	if lease, err := one.Claim(t.Context(), "worker", long); err != nil || lease != nil {
		t.Errorf("one claimed %v, %v", lease, err)
	}
}
