package ledgertest

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// standing is what a ledger keeps of differences while they are open.
var standing = map[string]func(*testing.T, Fixture){
	"differences open, change and close":             testDifferences,
	"a difference that opens again is new":           testReopened,
	"a run knows its own attempts":                   testAttempts,
	"resolved differences are closed":                testResolved,
	"open differences come in pages":                 testOpenPages,
	"differences outlive their run":                  testOutlive,
	"too many differences are counted":               testTooMany,
	"an act is known":                                testActed,
	"what another run has in hand is known":          testInHandElsewhere,
	"what was in hand at the end stays open":         testUnproved,
	"hands of all kinds are taken over":              testHandsTakenOver,
	"a slot that is taken leaves its hands as open":  testStaleHands,
	"a cancelled run leaves its hands as open":       testCancelledHands,
	"two runs settle at once":                        testSettleAtOnce,
	"the last look":                                  testLastLook,
	"the longest gap of the last hour":               testGap,
	"a restart forgets outcomes and not differences": testRestart,
}

// known is what is open of products, by id and kind.
func known(t *testing.T, lease run.Lease, ids ...product.ID) []run.Standing {
	t.Helper()
	all, err := lease.Known(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b run.Standing) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Kind, b.Kind)) })
	return all
}

// stands checks what is open of products.
func stands(t *testing.T, step string, got []run.Standing, want ...string) {
	t.Helper()
	var texts []string
	for _, s := range got {
		texts = append(texts, fmt.Sprintf("%s %s %s", s.ID, s.Kind, s.State))
		if s.Opened.IsZero() {
			t.Errorf("%s: nobody knows when %s was seen first", step, s.ID)
		}
	}
	if !slices.Equal(texts, want) {
		t.Errorf("%s: open are %q, want %q", step, texts, want)
	}
}

func testDifferences(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	stands(t, "at first", known(t, lease, "a", "b"))
	keep(t, lease, run.Found, product.Missing, "a")
	keep(t, lease, run.Found, product.Stale, "a", "b")
	first := known(t, lease, "b", "a", "c", "b")
	stands(t, "found", first, "a missing found", "a stale found", "b stale found")
	keep(t, lease, run.Skipped, product.Stale, "a")
	changed := known(t, lease, "a", "b")
	stands(t, "changed", changed, "a missing found", "a stale skipped", "b stale found")
	for i := range changed {
		if !changed[i].Opened.Equal(first[i].Opened) || !changed[i].Acted.IsZero() {
			t.Errorf("it was opened at %s and acted on at %s, before at %s", changed[i].Opened, changed[i].Acted, first[i].Opened)
		}
	}
	for _, state := range []run.State{run.Verified, run.Gone, run.Undone} {
		keep(t, lease, run.Found, product.Orphaned, "x")
		stands(t, "opened again", known(t, lease, "x"), "x orphaned found")
		keep(t, lease, state, product.Orphaned, "x")
		stands(t, string(state), known(t, lease, "x"))
	}
	for _, state := range []run.State{run.Lost, run.Blocked, run.InFlight, run.Failed, run.Skipped, run.Found} {
		keep(t, lease, state, product.Orphaned, "x")
		stands(t, string(state), known(t, lease, "x"), "x orphaned "+string(state))
	}
	// Of several outcomes of one product and kind the last one counts.
	settled(t, lease, run.Settlement{Outcomes: append(outcomes(run.Found, product.Missing, "y", "z"),
		append(outcomes(run.Gone, product.Missing, "y"), outcomes(run.Blocked, product.Missing, "z")...)...)})
	stands(t, "several", known(t, lease, "y", "z"), "z missing blocked")
}

// A run knows how often it has repaired what is open, whatever other runs did.
func testAttempts(t *testing.T, l Fixture) {
	check := func(lease run.Lease, want int) {
		t.Helper()
		open, err := lease.Open(t.Context(), run.Key{}, 9)
		if err != nil || len(open) != 1 || open[0].Attempts != want {
			t.Errorf("open is %+v, %v, want %d attempts", open, err, want)
		}
		if got := known(t, lease, "a"); len(got) != 1 || got[0].Attempts != want {
			t.Errorf("known is %+v, want %d attempts", got, want)
		}
	}
	key := run.Key{ID: "a", Kind: product.Missing}
	lost := func(attempts int) run.Settlement {
		return run.Settlement{Outcomes: []run.Outcome{{Key: key, State: run.Lost, Attempts: attempts}}}
	}
	lease := begun(t, l, gone)
	keep(t, lease, run.Found, product.Missing, "a")
	check(lease, 0)
	settled(t, lease, lost(2))
	settled(t, lease, run.Settlement{Restart: true})
	check(lease, 2)
	next := claimed(t, l, "next", long) // of the same run
	if err := next.Begin(t.Context(), []run.Hand{{Key: key, Attempt: 3}}); err != nil {
		t.Fatal(err)
	}
	check(next, 3)
	settled(t, next, lost(3))
	ended(t, next, run.StatusPartial)
	another := begun(t, l, long)
	check(another, 0)
	keep(t, another, run.Found, product.Missing, "a")
	check(another, 0)
}

func testReopened(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	keep(t, lease, run.Found, product.Missing, "a")
	before := known(t, lease, "a")[0]
	keep(t, lease, run.Gone, product.Missing, "a")
	l.Age(time.Minute)
	keep(t, lease, run.Found, product.Missing, "a")
	if after := known(t, lease, "a")[0]; !after.Opened.After(before.Opened) {
		t.Errorf("it was opened at %s, and again at %s", before.Opened, after.Opened)
	}
	// Nothing of the first time is told of the second.
	later := ended(t, lease, run.StatusPartial)
	l.Age(time.Minute)
	next := begun(t, l, long)
	keep(t, next, run.Gone, product.Missing, "a")
	keep(t, next, run.Found, product.Missing, "a")
	if got := told(t, l, later, run.OutcomeFilter{}); len(got) > 0 {
		t.Errorf("what was opened later is told of an earlier run: %+v", got)
	}
}

func testResolved(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	keep(t, lease, run.Found, product.Missing, "a", "b", "c")
	keep(t, lease, run.Found, product.Stale, "b")
	settled(t, lease, run.Settlement{
		Resolved: []run.Key{{ID: "b", Kind: product.Missing}, {ID: "nothing", Kind: product.Missing}, {ID: "c", Kind: product.Missing}},
		Outcomes: outcomes(run.Skipped, product.Missing, "c"), // an outcome says more
	})
	stands(t, "resolved", known(t, lease, "a", "b", "c", "nothing"), "a missing found", "b stale found", "c missing skipped")
}

func testOpenPages(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	var want []string
	for i := range 10 {
		id := product.ID(fmt.Sprintf("product %02d", 9-i))
		for _, kind := range product.Kinds() {
			keep(t, lease, run.Found, kind, id)
			want = append(want, fmt.Sprintf("%s %s found", id, kind))
		}
	}
	slices.Sort(want)
	keep(t, lease, run.Gone, product.Stale, "product 05")
	want = slices.DeleteFunc(want, func(s string) bool { return s == "product 05 stale found" })
	for _, limit := range []int{1, 7, 29, 1000} {
		var all []run.Standing
		for after := (run.Key{}); ; after = all[len(all)-1].Key {
			page, err := lease.Open(t.Context(), after, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("a page of %d, %v", len(page), err)
			}
			if len(page) == 0 {
				break
			}
			all = append(all, page...)
		}
		stands(t, fmt.Sprintf("in pages of %d", limit), all, want...)
	}
}

func testOutlive(t *testing.T, l Fixture) {
	first := begun(t, l, long, look)
	keep(t, first, run.Found, product.Stale, "a", "b", "c")
	opened := known(t, first, "a")[0].Opened
	ended(t, first, run.StatusPartial)
	next := begun(t, l, long)
	all := known(t, next, "a", "b", "c")
	stands(t, "in the next run", all, "a stale found", "b stale found", "c stale found")
	if !all[0].Opened.Equal(opened) {
		t.Errorf("it was opened at %s, and is since %s", opened, all[0].Opened)
	}
	keep(t, next, run.Found, product.Stale, "a")
	keep(t, next, run.Gone, product.Stale, "b")
	if all := known(t, next, "a", "b", "c"); len(all) != 2 || !all[0].Opened.Equal(opened) {
		t.Errorf("open are %+v", all)
	}
	// Retention takes what was closed, and nothing that is open.
	ended(t, next, run.StatusPartial)
	l.Age(100 * 24 * time.Hour)
	forgets(t, l, true)
	last := begun(t, l, long)
	stands(t, "much later", known(t, last, "a", "b", "c"), "a stale found", "c stale found")
	if past, err := l.History(t.Context(), "b", 10); err != nil || len(past) > 0 {
		t.Errorf("of what was closed long ago %+v is left, %v", past, err)
	}
}

func testTooMany(t *testing.T, l Fixture) {
	l.Limit(100, 3)
	lease := begun(t, l, long)
	id := lease.Record().ID
	ask := func(step string, wantComplete bool, want ...product.ID) {
		t.Helper()
		keys, complete, err := l.Findings(t.Context(), id, run.Kinds{product.Missing})
		var ids []product.ID
		for _, k := range keys {
			ids = append(ids, k.ID)
		}
		if err != nil || complete != wantComplete || !slices.Equal(ids, want) {
			t.Errorf("%s: found %v, %t, %v, want %v, %t", step, ids, complete, err, want, wantComplete)
		}
	}
	keep(t, lease, run.Found, product.Missing, "a", "b")
	ask("two", true, "a", "b")
	keep(t, lease, run.Skipped, product.Missing, "b", "c")
	ask("three", true, "a", "b", "c")
	keep(t, lease, run.Gone, product.Missing, "a", "x")
	settled(t, lease, run.Settlement{Resolved: []run.Key{{ID: "y", Kind: product.Missing}}})
	keep(t, lease, run.Found, product.Missing, "b", "d") // there is room for one again
	ask("still three", true, "b", "c", "d")
	keep(t, lease, run.Found, product.Missing, "e", "b", "f")
	ask("five", false, "b", "c", "d")
	// What may be on its way is never too much.
	inHand(t, lease, product.Missing, "g", "h")
	ended(t, lease, run.StatusPartial)
	next := begun(t, l, long)
	stands(t, "unproved", known(t, next, "g", "h"), "g missing in flight", "h missing in flight")
	keep(t, next, run.Found, product.Missing, "z")
	stands(t, "no room", known(t, next, "z"))
	settled(t, next, run.Settlement{Restart: true, Outcomes: outcomes(run.Gone, product.Missing, "b", "c", "d", "g", "h")})
	keep(t, next, run.Found, product.Missing, "z")
	id = next.Record().ID
	ask("restarted", true, "z")
}

func testActed(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	keep(t, lease, run.Found, product.Stale, "a", "b")
	inHand(t, lease, product.Stale, "a", "new")
	acted := known(t, lease, "a", "b", "new")
	stands(t, "begun", acted, "a stale found", "b stale found") // its own hands are resumed, not known
	if acted[0].Acted.IsZero() || !acted[1].Acted.IsZero() || acted[0].Acted.Before(acted[0].Opened) {
		t.Errorf("acted on are %+v", acted)
	}
	lost := outcomes(run.Lost, product.Stale, "a", "new")
	lost[0].Attempts, lost[1].Attempts = 2, 3
	settled(t, lease, run.Settlement{Outcomes: lost})
	after := known(t, lease, "a", "new")
	stands(t, "lost", after, "a stale lost", "new stale lost")
	if after[0].Acted.Before(acted[0].Acted) || after[1].Acted.IsZero() {
		t.Errorf("acted on are %+v", after)
	}
	ended(t, lease, run.StatusPartial)
	next := begun(t, l, long)
	keep(t, next, run.Found, product.Stale, "a") // what was done stays known
	if again := known(t, next, "a")[0]; again.State != run.Found || !again.Acted.Equal(after[0].Acted) {
		t.Errorf("it is %+v, was %+v", again, after[0])
	}
}

func testInHandElsewhere(t *testing.T, l Fixture) {
	repair, comparison := begun(t, l, long), begun(t, l, long, look)
	keep(t, repair, run.Found, product.Stale, "b")
	inHand(t, repair, product.Missing, "a")
	inHand(t, repair, product.Stale, "b")
	got := known(t, comparison, "a", "b", "c")
	stands(t, "in hand", got, "a missing in flight", "b stale found")
	for _, s := range got {
		if s.Acted.IsZero() {
			t.Errorf("%s was acted on", s.ID)
		}
	}
	if err := repair.HandBack(t.Context(), "", 0); err != nil {
		t.Fatal(err)
	}
	stands(t, "handed back", known(t, comparison, "a"), "a missing in flight")
	next := claimed(t, l, "next", long)
	stands(t, "the run itself", known(t, next, "a", "b"), "b stale found")
	settled(t, next, run.Settlement{Outcomes: append(outcomes(run.Verified, product.Missing, "a"), outcomes(run.Verified, product.Stale, "b")...)})
	stands(t, "verified", known(t, comparison, "a", "b"))
}

// hands takes a product of each kind in hand.
func hands(t *testing.T, lease run.Lease) (all []run.Hand) {
	t.Helper()
	for i, kind := range []product.Kind{product.Missing, product.Orphaned, product.Stale} {
		all = append(all, run.Hand{Key: run.Key{ID: "a", Kind: kind}, Attempt: i + 1})
	}
	all = append(all, run.Hand{Key: run.Key{ID: "b", Kind: product.Stale}, Attempt: 1})
	if err := lease.Begin(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	return all
}

// areUnproved checks that what hands took is open, as nobody knows what became of it.
func areUnproved(t *testing.T, l Fixture, id string, next run.Lease) {
	t.Helper()
	got := known(t, next, "a", "b")
	stands(t, "unproved", got, "a missing in flight", "a orphaned in flight", "a stale in flight", "b stale in flight")
	for _, s := range got {
		if s.Acted.IsZero() {
			t.Errorf("nobody knows that %s was acted on", s.ID)
		}
	}
	all := told(t, l, id, run.OutcomeFilter{})
	if len(all) != 4 {
		t.Errorf("the run tells of %+v", all)
	}
	for i, o := range all {
		if o.State != run.InFlight || o.Reason.Code != run.ReasonUnproved || o.Attempts != []int{1, 2, 3, 1}[i] {
			t.Errorf("the run tells of %+v", o)
		}
	}
}

func testUnproved(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	keep(t, lease, run.Lost, product.Stale, "b")
	opened := known(t, lease, "b")[0].Opened
	settled(t, lease, run.Settlement{Restart: true})
	hands(t, lease)
	keep(t, lease, run.Verified, product.Missing, "done")
	inHand(t, lease, product.Missing, "done")
	keep(t, lease, run.Verified, product.Missing, "done")
	settled(t, lease, run.Settlement{Restart: true})
	id := ended(t, lease, run.StatusCancelled)
	next := begun(t, l, long)
	areUnproved(t, l, id, next)
	stands(t, "proved", known(t, next, "done"))
	if b := known(t, next, "b")[0]; !b.Opened.Equal(opened) {
		t.Errorf("it was opened at %s, and is since %s", opened, b.Opened)
	}
}

func testHandsTakenOver(t *testing.T, l Fixture) {
	lease := begun(t, l, gone)
	want := hands(t, lease)
	next := claimed(t, l, "next", gone)
	if at := resumed(t, next); at == nil || !slices.Equal(at.InHand, want) || at.Planned || at.Stage != "" {
		t.Errorf("it resumes at %+v, want %+v in hand", at, want)
	}
	// Hands change their attempt, are put down by an outcome, and pass on as they are.
	again := want[2]
	again.Attempt++
	if err := next.Begin(t.Context(), []run.Hand{again, again}); err != nil {
		t.Fatal(err)
	}
	keep(t, next, run.Verified, product.Orphaned, "a")
	last := claimed(t, l, "last", long)
	if at := resumed(t, last); at == nil || !slices.Equal(at.InHand, []run.Hand{want[0], again, want[3]}) {
		t.Errorf("it resumes at %+v", at)
	}
	settled(t, last, run.Settlement{Outcomes: append(outcomes(run.Lost, product.Stale, "a", "b"), outcomes(run.Verified, product.Missing, "a")...)})
	if at := resumed(t, last); len(at.InHand) > 0 {
		t.Errorf("in hand are %+v", at.InHand)
	}
	stands(t, "settled", known(t, last, "a", "b"), "a stale lost", "b stale lost")
}

func testStaleHands(t *testing.T, l Fixture) {
	stale := begun(t, l, gone)
	hands(t, stale)
	next := begun(t, l, long)
	areUnproved(t, l, stale.Record().ID, next)
}

func testCancelledHands(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	hands(t, lease)
	if err := lease.HandBack(t.Context(), "", 0); err != nil {
		t.Fatal(err)
	}
	record, err := l.Ask(t.Context(), lease.Record().ID, run.WantCancel, ann)
	if err != nil || record.Status != run.StatusCancelled {
		t.Fatalf("%+v, %v", record, err)
	}
	areUnproved(t, l, record.ID, begun(t, l, long))
}

// A run that repairs and one that looks write of the same products, each in an order
// of its own, and neither waits for ever.
func testSettleAtOnce(t *testing.T, l Fixture) {
	leases := []run.Lease{begun(t, l, long), begun(t, l, long, look)}
	const products, rounds = 200, 15
	problems := make(chan error, len(leases))
	for n, lease := range leases {
		go func() {
			var err error
			for round := 0; round < rounds && err == nil; round++ {
				states := []run.State{run.Found, run.Skipped, run.Lost, run.Gone}
				var all []run.Outcome
				var hands []run.Hand
				for i := range products {
					id := product.ID(fmt.Sprintf("product %03d", (i*(7+6*n)+round)%products))
					all = append(all, outcomes(states[(round+n)%len(states)], product.Stale, id)...)
					hands = append(hands, run.Hand{Key: run.Key{ID: id, Kind: product.Stale}, Attempt: round + 1})
				}
				if err = lease.Begin(t.Context(), hands); err == nil {
					err = lease.Settle(t.Context(), run.Settlement{Stage: run.Repairing, Outcomes: all})
				}
			}
			problems <- err
		}()
	}
	for range leases {
		if err := <-problems; err != nil {
			t.Error(err)
		}
	}
	settled(t, leases[0], run.Settlement{Outcomes: outcomes(run.Gone, product.Stale, ids("product %03d", products)...)})
	l.Limit(100, 5) // the count is right: there is room for five
	keep(t, leases[0], run.Found, product.Missing, ids("%d", 9)...)
	if open, err := leases[0].Open(t.Context(), run.Key{}, 100); err != nil || len(open) != 5 {
		t.Errorf("open are %+v, %v", open, err)
	}
}

func ids(format string, n int) []product.ID {
	all := make([]product.ID, n)
	for i := range all {
		all[i] = product.ID(fmt.Sprintf(format, i))
	}
	return all
}

func testLastLook(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	check := func(lease run.Lease, want run.Look) {
		t.Helper()
		last, err := lease.LastLook(t.Context())
		if err != nil || !last.At.Equal(want.At) || last.Products != want.Products || last.Rows != want.Rows {
			t.Errorf("the last look is %+v, %v, want %+v", last, err, want)
		}
	}
	check(lease, run.Look{})
	settled(t, lease, run.Settlement{})
	check(lease, run.Look{})
	begin := time.Now().UTC().Truncate(time.Microsecond)
	first := run.Look{At: begin, Products: 10, Rows: 9}
	for range 2 { // the answer to the first may be lost
		settled(t, lease, run.Settlement{Look: &first})
	}
	check(lease, first)
	ended(t, lease, run.StatusPartial)
	next := begun(t, l, long)
	check(next, first)
	settled(t, next, run.Settlement{Look: &run.Look{At: begin.Add(-time.Hour), Products: 3}})
	check(next, first) // the one that began last counts
	ended(t, next, run.StatusPartial)
	last := begun(t, l, long)
	second := run.Look{At: begin.Add(time.Second), Products: 12, Rows: 12}
	settled(t, last, run.Settlement{Look: &second})
	ended(t, last, run.StatusPartial)
	l.Age(100 * 24 * time.Hour)
	if _, err := l.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := begun(t, l, long).LastLook(t.Context())
	if err != nil || after.Products != second.Products { // however old
		t.Errorf("the last look is %+v, %v", after, err)
	}
}

func testGap(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	check := func(step string, want time.Duration) {
		t.Helper()
		if gap, err := lease.Gap(t.Context()); err != nil || gap != want {
			t.Errorf("%s: the longest gap is %s, %v, want %s", step, gap, err, want)
		}
	}
	measure := func(gap time.Duration) {
		t.Helper()
		if err := lease.Measured(t.Context(), gap); err != nil {
			t.Fatal(err)
		}
	}
	check("at first", 0)
	measure(2500 * time.Microsecond)
	measure(73 * time.Second)
	measure(4 * time.Second)
	check("measured", 73*time.Second)
	l.Age(40 * time.Minute)
	measure(5 * time.Second)
	check("later", 73*time.Second)
	l.Age(40 * time.Minute)
	check("after an hour", 5*time.Second)
	measure(time.Second)
	check("and another one", 5*time.Second)
	ended(t, lease, run.StatusSucceeded)
	lease = begun(t, l, long)
	check("in the next run", 5*time.Second)
	l.Age(24 * time.Hour)
	check("a day later", 0)
}

func testRestart(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	keep(t, lease, run.Found, product.Missing, "a")
	keep(t, lease, run.Lost, product.Missing, "b")
	keep(t, lease, run.Verified, product.Missing, "c")
	inHand(t, lease, product.Missing, "d")
	areJudged(t, lease, []product.ID{"a", "b", "c", "d"}, run.Key{ID: "b", Kind: product.Missing}, run.Key{ID: "c", Kind: product.Missing})
	settled(t, lease, run.Settlement{Restart: true, Outcomes: outcomes(run.Failed, product.Stale, "e")})
	areJudged(t, lease, []product.ID{"a", "b", "c", "d", "e"}, run.Key{ID: "e", Kind: product.Stale})
	stands(t, "restarted", known(t, lease, "a", "b", "c", "e"), "a missing found", "b missing lost", "e stale failed")
	if at := resumed(t, lease); len(at.InHand) != 1 {
		t.Errorf("in hand are %+v", at.InHand)
	}
}
