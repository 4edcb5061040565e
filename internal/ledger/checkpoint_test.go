package ledger

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
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
		all[i] = run.Outcome{ID: id, Kind: product.Missing, State: state}
	}
	return all
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

func names(outcomes []run.Outcome) (all []string) {
	for _, o := range outcomes {
		all = append(all, fmt.Sprintf("%s %s %s", o.ID, o.Kind, o.State))
	}
	return all
}

func TestResumeOfAFreshRunIsNil(t *testing.T) {
	t.Parallel()
	lease := begun(t, fresh(t), long)
	if at := resumed(t, lease); at != nil {
		t.Errorf("it resumes at %+v", at)
	}
}

func TestCheckpoint(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	lease := begun(t, l, long)
	ranges := []product.Range{
		{Class: product.Strings, Through: "m\x00\xff"}, // bounds come back exactly
		{Class: product.Strings, After: "m\x00\xff"},
		{Class: product.ObjectIDs, Through: "65f2a1b2c3d4e5f6a7b8c9d0"},
		{Class: product.ObjectIDs, After: "65f2a1b2c3d4e5f6a7b8c9d0"},
	}
	check := func(step string, want run.Checkpoint) {
		t.Helper()
		want.Planned = true
		at := resumed(t, lease)
		if at == nil {
			t.Fatalf("%s: it resumes nowhere", step)
		}
		if !slices.Equal(at.Ranges, want.Ranges) || !slices.Equal(at.InHand, want.InHand) || !slices.Equal(at.Missing, want.Missing) ||
			at.Stage != want.Stage || string(at.Memory) != string(want.Memory) || at.Products != want.Products || at.Rows != want.Rows || at.Matched != want.Matched || !at.Planned {
			t.Errorf("%s: it resumes at\n%+v, want\n%+v", step, *at, want)
		}
	}
	for range 2 { // the second in place of the first
		if err := lease.Plan(t.Context(), ranges); err != nil {
			t.Fatal(err)
		}
	}
	check("planned", run.Checkpoint{Ranges: ranges})

	memory := json.RawMessage("{ \"b\": 1e2, \"a\": \"\\u0000<\" }") // as it was written
	settle(t, lease, run.Settlement{Stage: run.Counting, Memory: memory, Outcomes: outcomesOf(run.Found, "c", "a", "b"),
		Finished: []run.FinishedRange{{Range: ranges[0], Products: 10, Rows: 8, Matched: 7}, {Range: ranges[3], Products: 1}}})
	check("counted", run.Checkpoint{Stage: run.Counting, Memory: memory, Ranges: ranges[1:3], Products: 11, Rows: 8, Matched: 7,
		Missing: []product.ID{"a", "b", "c"}})

	if err := lease.Begin(t.Context(), run.Repairing, []product.ID{"z", "a", "b", "a"}); err != nil {
		t.Fatal(err)
	}
	check("begun", run.Checkpoint{Stage: run.Repairing, Memory: memory, Ranges: ranges[1:3], Products: 11, Rows: 8, Matched: 7,
		InHand: []product.ID{"a", "b", "z"}, Missing: []product.ID{"c"}})

	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Lost, "b"), Finished: []run.FinishedRange{{Range: ranges[1], Products: 5, Rows: 5, Matched: 5}}})
	check("settled", run.Checkpoint{Stage: run.Repairing, Memory: memory, Ranges: ranges[2:3], Products: 16, Rows: 13, Matched: 12,
		Missing: []product.ID{"c"}})
	if got := names(outcomes(t, l, lease.Record().ID, run.OutcomeFilter{})); !slices.Equal(got, []string{"b missing lost", "c missing found"}) {
		t.Errorf("the outcomes are %q", got)
	}
	judged, err := lease.Judged(t.Context(), []product.ID{"a", "b", "c", "d", "z"})
	if err != nil || !reflect.DeepEqual(judged, map[product.ID]bool{"b": true, "c": true}) {
		t.Errorf("judged are %v, %v", judged, err)
	}

	settle(t, lease, run.Settlement{Restart: true, Memory: json.RawMessage("2"), Outcomes: outcomesOf(run.Found, "y"),
		Finished: []run.FinishedRange{{Range: ranges[2], Products: 3, Rows: 2, Matched: 1}}})
	check("restarted", run.Checkpoint{Stage: run.Repairing, Memory: json.RawMessage("2"), Products: 3, Rows: 2, Matched: 1,
		Ranges: []product.Range{ranges[0], ranges[1], ranges[3]}, Missing: []product.ID{"y"}})
}

func TestNextProcessResumes(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	lease := begun(t, l, gone)
	report := &run.Report{Notes: []string{"so far"}}
	settle(t, lease, run.Settlement{Stage: run.Counting, Memory: json.RawMessage("1"), Report: report})
	settle(t, lease, run.Settlement{Stage: run.Repairing}) // leaves what it does not say
	if err := lease.Begin(t.Context(), run.Repairing, []product.ID{"a"}); err != nil {
		t.Fatal(err)
	}
	next := claimed(t, l, "next", long)
	at := resumed(t, next)
	if at == nil || at.Planned || at.Stage != run.Repairing || string(at.Memory) != "1" || !slices.Equal(at.InHand, []product.ID{"a"}) {
		t.Errorf("it resumes at %+v", at)
	}
	if record := next.Record(); record.Report == nil || !slices.Equal(record.Report.Notes, report.Notes) {
		t.Errorf("the report so far is %+v", record.Report)
	}
}

func TestFinishRemovesWhatNobodyNeeds(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	lease := begun(t, l, long)
	if err := lease.Plan(t.Context(), []product.Range{{Class: product.Strings}}); err != nil {
		t.Fatal(err)
	}
	settle(t, lease, run.Settlement{Memory: json.RawMessage("1"), Outcomes: outcomesOf(run.Failed, "a")})
	if err := lease.Begin(t.Context(), run.Repairing, []product.ID{"a"}); err != nil {
		t.Fatal(err)
	}
	if err := lease.Finish(t.Context(), run.StatusFailed, nil, "no"); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"etl.key_range", "etl.in_hand", "etl.run WHERE memory IS NOT NULL"} {
		if n := count(t, l, table); n != 0 {
			t.Errorf("%d rows of %s are left", n, table)
		}
	}
	if n := count(t, l, "etl.outcome"); n != 1 {
		t.Errorf("%d outcomes", n)
	}
}

func TestOutcomesBeyondTheBoundAreCounted(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	l.cap = 5
	lease := begun(t, l, long, look)
	id := lease.Record().ID
	ask := func(wantComplete bool, want ...product.ID) {
		t.Helper()
		ids, complete, err := l.Findings(t.Context(), id)
		if err != nil || complete != wantComplete || !slices.Equal(ids, want) {
			t.Errorf("found %v, %t, %v, want %v, %t", ids, complete, err, want, wantComplete)
		}
	}
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Found, "a", "b", "c", "c")})
	ask(true, "a", "b", "c")
	settle(t, lease, run.Settlement{Outcomes: append(outcomesOf(run.Blocked, "d", "e", "f", "g"), outcomesOf(run.Found, "b")...)})
	settle(t, lease, run.Settlement{Outcomes: []run.Outcome{{ID: "s", Kind: product.Stale, State: run.Found}}})
	ask(true, "a", "b", "c") // what is dropped was not found missing
	settle(t, lease, run.Settlement{Outcomes: append(outcomesOf(run.Found, "h"), outcomesOf(run.Gone, "a")...)})
	ask(false, "b", "c")
	if at := resumed(t, lease); at.Missing != nil {
		t.Errorf("%v are missing, and there were more", at.Missing)
	}
	if n := count(t, l, "etl.run WHERE kept = 5 AND dropped = 4 AND dropped_missing = 1"); n != 1 {
		t.Error("what is dropped is not counted")
	}
	if got := names(outcomes(t, l, id, run.OutcomeFilter{})); !slices.Equal(got, []string{
		"a missing gone", "b missing found", "c missing found", "d missing blocked", "e missing blocked"}) {
		t.Errorf("the outcomes are %q", got)
	}
	if err := lease.Begin(t.Context(), run.Repairing, []product.ID{"b"}); err != nil { // makes room for one
		t.Fatal(err)
	}
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Failed, "x", "y")})
	if n := count(t, l, "etl.outcome"); n != 5 {
		t.Errorf("%d outcomes", n)
	}
	settle(t, lease, run.Settlement{Restart: true})
	ask(true)
}

func TestMoreMissingThanAWindowAreLeftOut(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	lease := begun(t, l, long)
	ids := make([]product.ID, run.MaxWindow)
	for i := range ids {
		ids[i] = product.ID(fmt.Sprintf("65f2a1b2c3d4e5f6%08x", i))
	}
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Found, ids...)})
	if at := resumed(t, lease); !slices.Equal(at.Missing, ids) {
		t.Errorf("%d are missing", len(at.Missing))
	}
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Found, "one more")})
	if at := resumed(t, lease); len(at.Missing) != 0 {
		t.Errorf("%d are missing", len(at.Missing))
	}
	if all, complete, err := l.Findings(t.Context(), lease.Record().ID); err != nil || !complete || len(all) != len(ids)+1 {
		t.Errorf("found %d, %t, %v", len(all), complete, err)
	}
	judged, err := lease.Judged(t.Context(), ids)
	if err != nil || len(judged) != len(ids) {
		t.Errorf("%d are judged, %v", len(judged), err)
	}
	if err := lease.Begin(t.Context(), run.Repairing, ids); err != nil {
		t.Fatal(err)
	}
	if at := resumed(t, lease); len(at.InHand) != len(ids) || !slices.Equal(at.Missing, []product.ID{"one more"}) {
		t.Errorf("%d are in hand, %v are missing", len(at.InHand), at.Missing)
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
	if err := lease.Begin(t.Context(), run.Repairing, ids); err != nil {
		t.Fatal(err)
	}
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Blocked, ids...)})
	judged, err := lease.Judged(t.Context(), ids)
	if err != nil || len(judged) != len(ids) {
		t.Errorf("%d are judged, %v", len(judged), err)
	}
	for _, id := range ids {
		past, err := l.History(t.Context(), id, 10)
		if err != nil || len(past) != 1 || past[0].State != run.Blocked {
			t.Errorf("the history of %.20q is %+v, %v", id, past, err)
		}
	}
	if got := outcomes(t, l, lease.Record().ID, run.OutcomeFilter{Limit: 2}); len(got) != len(ids)-1 { // a NUL and a byte that is no UTF-8 look alike
		t.Errorf("%d outcomes of %d ids", len(got), len(ids))
	}
}
