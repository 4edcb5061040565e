package ledgertest

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// telling is what is told of single products afterwards.
var telling = map[string]func(*testing.T, Fixture){
	"outcomes come in pages":                    testOutcomePages,
	"outcomes are kept whole":                   testOutcomesWhole,
	"titles stay known":                         testTitles,
	"a run tells of what was open":              testWhole,
	"a run tells of itself what others changed": testChangedSince,
	"a run over some products tells of those":   testPart,
	"a run that did not begin tells nothing":    testNotBegun,
	"outcomes beyond the bound are left out":    testOutcomeBound,
	"findings are what can be repaired":         testFindings,
	"the history of a product":                  testHistory,
	"the history of an open difference":         testStandingHistory,
}

func testOutcomePages(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	states := []run.State{run.Verified, run.Lost, run.Blocked}
	var all []run.Outcome
	for i := range 20 {
		for _, kind := range []product.Kind{product.Missing, product.Orphaned, product.Stale} { // in the order of their names
			all = append(all, outcomes(states[i%3], kind, product.ID(fmt.Sprintf("product %02d", i)))...)
		}
	}
	mixed := slices.Clone(all)
	slices.Reverse(mixed)
	settled(t, lease, run.Settlement{Outcomes: mixed})
	picked := func(pick func(run.Outcome) bool) []string {
		return names(slices.DeleteFunc(slices.Clone(all), func(o run.Outcome) bool { return !pick(o) }))
	}
	for name, tt := range map[string]struct {
		filter run.OutcomeFilter
		want   []string
	}{
		"all":   {run.OutcomeFilter{}, names(all)},
		"state": {run.OutcomeFilter{State: []run.State{run.Lost, run.Gone}}, picked(func(o run.Outcome) bool { return o.State == run.Lost })},
		"kind":  {run.OutcomeFilter{Kind: []product.Kind{product.Stale, product.Missing}}, picked(func(o run.Outcome) bool { return o.Kind != product.Orphaned })},
		"both": {run.OutcomeFilter{Kind: []product.Kind{product.Stale}, State: []run.State{run.Verified, run.Blocked}},
			picked(func(o run.Outcome) bool { return o.Kind == product.Stale && o.State != run.Lost })},
	} {
		for _, limit := range []int{0, 1, 7, 60} {
			tt.filter.Limit = limit
			if got := names(told(t, l, lease.Record().ID, tt.filter)); !slices.Equal(got, tt.want) {
				t.Errorf("%s in pages of %d: %q, want %q", name, limit, got, tt.want)
			}
		}
	}
	for limit, want := range map[int]int{0: run.DefaultPage, run.MaxPage + 1: len(all)} {
		if page, err := l.Outcomes(t.Context(), lease.Record().ID, run.OutcomeFilter{Limit: limit}); err != nil || len(page.Outcomes) != want {
			t.Errorf("a page of %d has %d outcomes, %v", limit, len(page.Outcomes), err)
		}
	}
	if got := told(t, l, lease.Record().ID, run.OutcomeFilter{State: []run.State{"no state"}}); len(got) > 0 {
		t.Errorf("of no state: %+v", got)
	}
}

func testOutcomesWhole(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	at := time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC)
	want := []run.Outcome{
		{Key: run.Key{ID: "a", Kind: product.Missing}, Title: "Blue mug", State: run.Blocked, Column: "price", Reason: run.Reason{Code: run.ReasonMisfit, Detail: "9.99 does not fit <integer>"}},
		{Key: run.Key{ID: "a", Kind: product.Stale}, State: run.Found,
			Fields: []run.FieldChange{{Field: "title", Source: "\x00 new", Cart: "old"}, {Field: "price", Source: "1", Cart: "2"}}},
		{Key: run.Key{ID: "b", Kind: product.Orphaned}, State: run.InFlight,
			Reason: run.Reason{Code: run.ReasonQueue, Queue: "product-deleted", Ready: 3, Held: 2, Consumers: 1, Number: 1 << 60, Since: at, Until: at.Add(time.Hour)}},
		{Key: run.Key{ID: "c", Kind: product.Missing}, Title: "Red mug", State: run.Lost, Attempts: 20, Reason: run.Reason{Code: run.ReasonConsumed, Number: 20}},
		{Key: run.Key{ID: "d", Kind: product.Stale}, State: run.Verified, Attempts: 1, Fields: []run.FieldChange{{Field: "title", Source: "x", Cart: "y"}}},
	}
	settled(t, lease, run.Settlement{Outcomes: want})
	if got := told(t, l, lease.Record().ID, run.OutcomeFilter{}); !reflect.DeepEqual(got, want) {
		t.Errorf("the outcomes are\n%+v, want\n%+v", got, want)
	}
}

// What a product is called stays known where nobody has seen it since.
func testTitles(t *testing.T, l Fixture) {
	missing := func(title string, state run.State, attempts int) run.Settlement {
		return run.Settlement{Outcomes: []run.Outcome{{Key: run.Key{ID: "a", Kind: product.Missing}, Title: title, State: state, Attempts: attempts}}}
	}
	first := begun(t, l, long)
	for _, step := range []struct {
		settle run.Settlement
		title  string
	}{
		{missing("", run.Found, 0), ""}, {missing("Blue mug", run.Found, 0), "Blue mug"}, {missing("", run.Found, 0), "Blue mug"},
		{missing("Red mug", run.Lost, 1), "Red mug"},
	} {
		settled(t, first, step.settle)
		if got := told(t, l, first.Record().ID, run.OutcomeFilter{}); len(got) != 1 || got[0].Title != step.title {
			t.Errorf("after %+v the run tells of %+v, want title %q", step.settle.Outcomes, got, step.title)
		}
	}
	ended(t, first, run.StatusPartial)
	second := begun(t, l, long)
	settled(t, second, missing("", run.InFlight, 1))
	past, err := l.History(t.Context(), "a", 10)
	if err != nil || len(past) != 2 {
		t.Fatalf("the history is %+v, %v", past, err)
	}
	for _, p := range past {
		if p.Title != "Red mug" {
			t.Errorf("in the history it is called %q", p.Title)
		}
	}
}

// A run over the whole catalogue tells of all that was open when it ended.
func testWhole(t *testing.T, l Fixture) {
	check := func(id string, want ...string) {
		t.Helper()
		for _, limit := range []int{0, 1, 2} {
			if got := names(told(t, l, id, run.OutcomeFilter{Limit: limit})); !slices.Equal(got, want) {
				t.Errorf("in pages of %d the run tells of %q, want %q", limit, got, want)
			}
		}
	}
	first := begun(t, l, long, look)
	keep(t, first, run.Found, product.Missing, "a", "b", "c")
	keep(t, first, run.Found, product.Stale, "d", "e")
	keep(t, first, run.Gone, product.Stale, "e")
	one := ended(t, first, run.StatusPartial)
	check(one, "a missing found", "b missing found", "c missing found", "d stale found")

	second := begun(t, l, long)
	two := second.Record().ID
	check(two, "a missing found", "b missing found", "c missing found", "d stale found") // it has opened none of them
	keep(t, second, run.Verified, product.Missing, "a")
	settled(t, second, run.Settlement{Resolved: []run.Key{{ID: "b", Kind: product.Missing}}})
	keep(t, second, run.Lost, product.Missing, "c")
	keep(t, second, run.Found, product.Stale, "d") // as it was
	keep(t, second, run.Found, product.Orphaned, "f")
	check(two, "a missing verified", "c missing lost", "d stale found", "f orphaned found")
	ended(t, second, run.StatusPartial)
	check(two, "a missing verified", "c missing lost", "d stale found", "f orphaned found")
	check(one, "a missing found", "b missing found", "c missing lost", "d stale found") // what was closed since was open then
	if got := names(told(t, l, two, run.OutcomeFilter{State: []run.State{run.Found}, Kind: []product.Kind{product.Stale}})); !slices.Equal(got, []string{"d stale found"}) {
		t.Errorf("found stale are %q", got)
	}

	third := begun(t, l, long)
	keep(t, third, run.Gone, product.Missing, "c")
	keep(t, third, run.Gone, product.Stale, "d")
	keep(t, third, run.Gone, product.Orphaned, "f")
	keep(t, third, run.Found, product.Missing, "g")
	check(two, "a missing verified", "c missing lost", "d stale found", "f orphaned found")
	check(ended(t, third, run.StatusPartial), "g missing found")
}

// What a run did stays what it did, whatever became of the difference.
func testChangedSince(t *testing.T, l Fixture) {
	first := begun(t, l, long)
	keep(t, first, run.Lost, product.Missing, "a", "b")
	keep(t, first, run.Failed, product.Missing, "c")
	keep(t, first, run.Found, product.Missing, "d")
	one := ended(t, first, run.StatusPartial)
	second := begun(t, l, long)
	keep(t, second, run.Failed, product.Missing, "a")
	keep(t, second, run.Blocked, product.Missing, "c", "d")
	for filter, want := range map[run.State][]string{
		run.Lost: {"a missing lost", "b missing lost"}, run.Failed: {"c missing failed"}, run.Blocked: {"d missing blocked"},
	} {
		if got := names(told(t, l, one, run.OutcomeFilter{State: []run.State{filter}, Limit: 1})); !slices.Equal(got, want) {
			t.Errorf("%s are %q, want %q", filter, got, want)
		}
	}
	want := []string{"a missing lost", "b missing lost", "c missing failed", "d missing blocked"}
	if got := names(told(t, l, one, run.OutcomeFilter{})); !slices.Equal(got, want) {
		t.Errorf("the run tells of %q, want %q", got, want)
	}
}

func testPart(t *testing.T, l Fixture) {
	check := func(id string, want ...string) {
		t.Helper()
		for _, limit := range []int{0, 1} {
			if got := names(told(t, l, id, run.OutcomeFilter{Limit: limit})); !slices.Equal(got, want) {
				t.Errorf("in pages of %d the run tells of %q, want %q", limit, got, want)
			}
		}
	}
	first := begun(t, l, long)
	keep(t, first, run.Found, product.Stale, "a", "b", "c", "d")
	ended(t, first, run.StatusPartial)

	second := begun(t, l, long, naming("b", "c", "x"))
	keep(t, second, run.Found, product.Stale, "b") // as it was
	keep(t, second, run.Skipped, product.Stale, "c")
	keep(t, second, run.Verified, product.Missing, "x")
	two := ended(t, second, run.StatusPartial)
	check(two, "b stale found", "c stale skipped", "x missing verified")

	third := begun(t, l, long, recent)
	keep(t, third, run.Found, product.Missing, "y", "z")
	keep(t, third, run.Skipped, product.Stale, "d")
	three := ended(t, third, run.StatusPartial)
	check(three, "d stale skipped", "y missing found", "z missing found")

	fourth := begun(t, l, long, func(r *run.Request) { r.Apply = three })
	keep(t, fourth, run.Skipped, product.Missing, "y") // opened by the third, changed by this one
	four := ended(t, fourth, run.StatusPartial)
	check(four, "y missing skipped")
	check(three, "d stale skipped", "y missing skipped", "z missing found")

	fifth := begun(t, l, long)
	keep(t, fifth, run.Gone, product.Stale, "b")
	check(two, "b stale found", "c stale skipped", "x missing verified")
	ended(t, fifth, run.StatusPartial)
	sixth := begun(t, l, long)
	keep(t, sixth, run.Found, product.Stale, "b") // another one, of later
	check(two, "c stale skipped", "x missing verified")
	for id, want := range map[string]int{two: 1, three: 3, four: 1} {
		keys, complete, err := l.Findings(t.Context(), id, product.Kinds())
		if err != nil || !complete || len(keys) != want {
			t.Errorf("findings %v, %t, %v, want %d", keys, complete, err, want)
		}
	}
}

func testNotBegun(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	keep(t, lease, run.Found, product.Missing, "a")
	skipped, err := l.Accept(t.Context(), wanting(t))
	if err != nil || skipped.Status != run.StatusSkipped {
		t.Fatalf("%+v, %v", skipped, err)
	}
	for _, id := range []string{skipped.ID, submitted(t, l, look).ID} {
		if got := told(t, l, id, run.OutcomeFilter{}); len(got) > 0 {
			t.Errorf("it tells of %+v", got)
		}
	}
}

func testOutcomeBound(t *testing.T, l Fixture) {
	l.Limit(4, 100)
	lease := begun(t, l, long)
	check := func(state run.State, want ...string) {
		t.Helper()
		if got := names(told(t, l, lease.Record().ID, run.OutcomeFilter{State: []run.State{state}})); !slices.Equal(got, want) {
			t.Errorf("%s are %q, want %q", state, got, want)
		}
	}
	keep(t, lease, run.Verified, product.Missing, "a", "b", "c") // half the room is for what needs an eye
	check(run.Verified, "a missing verified", "b missing verified")
	keep(t, lease, run.Undone, product.Missing, "d", "e", "f")
	check(run.Undone, "d missing undone", "e missing undone")
	keep(t, lease, run.Undone, product.Missing, "a") // in its place
	check(run.Undone, "a missing undone", "d missing undone", "e missing undone")
	keep(t, lease, run.Gone, product.Missing, "a") // makes room
	keep(t, lease, run.Undone, product.Missing, "g", "h")
	check(run.Undone, "d missing undone", "e missing undone", "g missing undone")
	// An open difference is kept all the same.
	keep(t, lease, run.Lost, product.Missing, "i", "j")
	check(run.Lost, "i missing lost", "j missing lost")
	settled(t, lease, run.Settlement{Restart: true, Outcomes: outcomes(run.Undone, product.Missing, "k")})
	check(run.Undone, "k missing undone")
}

func testFindings(t *testing.T, l Fixture) {
	lease := begun(t, l, long, look)
	for _, rule := range run.States() {
		keep(t, lease, rule.State, product.Missing, product.ID(rule.State))
		keep(t, lease, rule.State, product.Stale, product.ID(rule.State))
	}
	keep(t, lease, run.Found, product.Orphaned, "x")
	id := ended(t, lease, run.StatusPartial)
	repairable := []product.ID{"failed", "found", "in flight", "lost", "skipped"}
	for _, tt := range []struct {
		kinds run.Kinds
		want  func(k run.Key) bool
	}{
		{run.Kinds{product.Missing}, func(k run.Key) bool { return k.Kind == product.Missing }},
		{run.Kinds{product.Missing, product.Orphaned}, func(k run.Key) bool { return k.Kind != product.Stale }},
		{product.Kinds(), func(run.Key) bool { return true }},
		{nil, func(run.Key) bool { return false }},
	} {
		var want []run.Key
		for _, id := range append(slices.Clone(repairable), "x") {
			for _, kind := range []product.Kind{product.Missing, product.Orphaned, product.Stale} {
				if key := (run.Key{ID: id, Kind: kind}); tt.want(key) && (id == "x") == (kind == product.Orphaned) {
					want = append(want, key)
				}
			}
		}
		keys, complete, err := l.Findings(t.Context(), id, tt.kinds)
		if err != nil || !complete || !slices.Equal(keys, want) {
			t.Errorf("of %v: %v, %t, %v, want %v", tt.kinds, keys, complete, err, want)
		}
	}
	// What is closed or opened since changes nothing of what was found.
	next := begun(t, l, long)
	keep(t, next, run.Gone, product.Missing, "found")
	keep(t, next, run.Found, product.Missing, "new")
	if keys, _, err := l.Findings(t.Context(), id, run.Kinds{product.Missing}); err != nil || len(keys) != len(repairable) {
		t.Errorf("found are %v, %v", keys, err)
	}
}

// past are entries of a product's history as texts, the runs by their number.
func past(t *testing.T, l Fixture, id product.ID, limit int, runs ...string) (texts []string) {
	t.Helper()
	all, err := l.History(t.Context(), id, limit)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range all {
		if p.ID != id || p.At.IsZero() || i > 0 && p.At.After(all[i-1].At) {
			t.Errorf("entry %d is %+v", i, p)
		}
		texts = append(texts, fmt.Sprintf("%d %s %s", slices.Index(runs, p.Run)+1, p.Kind, p.State))
	}
	return texts
}

func testHistory(t *testing.T, l Fixture) {
	var runs []string
	for _, state := range []run.State{run.Failed, run.Lost, run.Verified} {
		lease := begun(t, l, long)
		done := outcomes(state, product.Missing, "a", "b")
		done[0].Attempts, done[1].Attempts = 2, 2
		settled(t, lease, run.Settlement{Outcomes: done})
		runs = append(runs, ended(t, lease, run.StatusPartial))
	}
	all := []string{"3 missing verified", "2 missing lost", "1 missing failed"}
	for limit, want := range map[int][]string{0: all, 1: all[:1], 2: all[:2], 9: all} {
		if got := past(t, l, "a", limit, runs...); !slices.Equal(got, want) {
			t.Errorf("the history is %q, want %q", got, want)
		}
	}
	if got := past(t, l, "c", 9, runs...); len(got) > 0 {
		t.Errorf("the history of another product is %q", got)
	}
}

func testStandingHistory(t *testing.T, l Fixture) {
	var runs []string
	in := func(s run.Settlement) {
		t.Helper()
		lease := begun(t, l, long)
		settled(t, lease, s)
		runs = append(runs, ended(t, lease, run.StatusPartial))
	}
	check := func(want ...string) {
		t.Helper()
		if got := past(t, l, "a", 9, runs...); !slices.Equal(got, want) {
			t.Errorf("the history is %q, want %q", got, want)
		}
	}
	found := run.Settlement{Outcomes: outcomes(run.Found, product.Stale, "a")}
	in(found)
	check("1 stale found")
	in(found) // nothing is new
	check("1 stale found")
	in(run.Settlement{Outcomes: outcomes(run.Blocked, product.Stale, "a")})
	check("3 stale blocked", "1 stale found")
	in(run.Settlement{Outcomes: outcomes(run.Lost, product.Stale, "a")})
	check("4 stale lost", "1 stale found")
	in(run.Settlement{Resolved: []run.Key{{ID: "a", Kind: product.Stale}}})
	check("5 stale gone", "4 stale lost", "1 stale found")
	in(run.Settlement{Outcomes: outcomes(run.Found, product.Missing, "a")})
	check("6 missing found", "5 stale gone", "4 stale lost", "1 stale found")
	in(run.Settlement{Outcomes: outcomes(run.Verified, product.Missing, "a")})
	check("7 missing verified", "6 missing found", "5 stale gone", "4 stale lost", "1 stale found")
}
