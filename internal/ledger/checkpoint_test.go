package ledger

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

func settle(tb testing.TB, lease run.Lease, s run.Settlement) {
	tb.Helper()
	if s.Stage == "" {
		s.Stage = run.Repairing
	}
	if err := lease.Settle(tb.Context(), s); err != nil {
		tb.Fatal(err)
	}
}

func outcomesOf(state run.State, ids ...product.ID) []run.Outcome {
	all := make([]run.Outcome, len(ids))
	for i, id := range ids {
		all[i] = run.Outcome{Key: run.Key{ID: id, Kind: product.Missing}, State: state}
	}
	return all
}

// inHand takes products in hand that are missing.
func inHand(tb testing.TB, lease run.Lease, ids ...product.ID) {
	tb.Helper()
	hands := make([]run.Hand, len(ids))
	for i, id := range ids {
		hands[i] = run.Hand{Key: run.Key{ID: id, Kind: product.Missing}, Attempt: 1}
	}
	if err := lease.Begin(tb.Context(), hands); err != nil {
		tb.Fatal(err)
	}
}

func resumed(tb testing.TB, lease run.Lease) *run.Checkpoint {
	tb.Helper()
	at, err := lease.Resume(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return at
}

// outcomes reads all outcomes of a run, page by page.
func outcomes(tb testing.TB, l *Ledger, id string, filter run.OutcomeFilter) (all []run.Outcome) {
	tb.Helper()
	for {
		page, err := l.Outcomes(tb.Context(), id, filter)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, page.Outcomes...)
		if page.Next == "" {
			return all
		}
		filter.After = page.Next
	}
}

func TestFinishRemovesWhatNobodyNeeds(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	lease := begun(t, l, long)
	if err := lease.Plan(t.Context(), []product.Range{{Class: product.Strings}}); err != nil {
		t.Fatal(err)
	}
	settle(t, lease, run.Settlement{Memory: json.RawMessage("1"), Outcomes: append(outcomesOf(run.Failed, "a"), outcomesOf(run.Found, "b")...)})
	inHand(t, lease, "a")
	if err := lease.Finish(t.Context(), run.StatusFailed, nil, "no"); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"etl_ledger.key_range", "etl_ledger.in_hand", "etl_ledger.run WHERE memory IS NOT NULL"} {
		if n := count(t, l, table); n != 0 {
			t.Errorf("%d rows of %s are left", n, table)
		}
	}
	if n := count(t, l, "etl_ledger.outcome"); n != 1 {
		t.Errorf("%d outcomes", n)
	}
}

// Whatever the id of a product, its outcome is kept and found again.
func TestIDsThatPostgreSQLCannotHold(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	lease := begun(t, l, long)
	random := make([]byte, 4000) // what no compression makes shorter
	for i, seed := 0, uint32(1); i < len(random); i++ {
		seed = seed*1664525 + 1013904223
		random[i] = 'a' + byte(seed>>24)%26
	}
	ids := []product.ID{"", "a\x00b", "a\xffb", "ö", product.ID(random), product.ID(string(random) + "x"), product.ID(random[:maxID]),
		product.ID(strings.Repeat("ä", maxID)), product.ID(strings.Repeat("\xff", maxID))}
	inHand(t, lease, ids...)
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Lost, ids...)})
	judged, err := lease.Judged(t.Context(), ids)
	if err != nil || len(judged) != len(ids) {
		t.Errorf("%d are judged, %v", len(judged), err)
	}
	for _, id := range ids {
		if known, err := lease.Known(t.Context(), []product.ID{id}); err != nil || len(known) != 1 || known[0].ID != id {
			t.Errorf("of %.20q is known %+v, %v", id, known, err)
		}
		past, err := l.History(t.Context(), id, 10)
		if err != nil || len(past) != 1 || past[0].State != run.Lost {
			t.Errorf("the history of %.20q is %+v, %v", id, past, err)
		}
	}
	if got := outcomes(t, l, lease.Record().ID, run.OutcomeFilter{Limit: 2}); len(got) != len(ids)-1 { // a NUL and a byte that is no UTF-8 look alike
		t.Errorf("%d outcomes of %d ids", len(got), len(ids))
	}
}
