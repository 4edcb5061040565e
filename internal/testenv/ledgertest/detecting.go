package ledgertest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

var detecting = map[string]func(*testing.T, Fixture){
	"what a detector finds":  testDetect,
	"when it is due again":   testDetectAgain,
	"what was announced":     testAnnounced,
	"the limit of an hour":   testDetectLimit,
	"one process works":      testTake,
	"how far they have come": testLooked,
	"how fresh the cart is":  testFreshness,
	"how far it has drifted": testDrift,
	"how it stood":           testSamples,
}

// finding is a difference that is due at a moment.
func finding(due time.Time, kind product.Kind, id product.ID) run.Finding {
	return run.Finding{Key: run.Key{ID: id, Kind: kind}, Title: "title of " + string(id), Due: due}
}

// detected finds differences, of which so many must be new.
func detected(t *testing.T, l Fixture, fresh int, findings ...run.Finding) {
	t.Helper()
	if n, err := l.Detect(t.Context(), findings); err != nil || n != fresh {
		t.Fatalf("%d are new, want %d, %v", n, fresh, err)
	}
}

// wantPending insists on what is due.
func wantPending(t *testing.T, l Fixture, kinds run.Kinds, ids ...product.ID) {
	t.Helper()
	p, err := l.Pending(t.Context(), kinds, 100)
	if err != nil || !slices.Equal(p.IDs, ids) {
		t.Errorf("due are %q, want %q, %v", p.IDs, ids, err)
	}
}

var allKinds = run.Kinds(product.Kinds())

func testDetect(t *testing.T, l Fixture) {
	before, later := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	detected(t, l, 0)
	detected(t, l, 4, finding(before.Add(time.Second), product.Missing, "b"), finding(before, product.Missing, "c"), finding(later, product.Missing, "d"),
		finding(before, product.Stale, "e"), finding(before, product.Stale, "e"))
	detected(t, l, 0, finding(later, product.Missing, "b"))
	wantPending(t, l, run.Kinds{product.Missing}, "c", "b")
	wantPending(t, l, run.Kinds{product.Orphaned})
	if p, err := l.Pending(t.Context(), allKinds, 1); err != nil || len(p.IDs) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if d, err := l.Detection(t.Context()); err != nil || d.Pending != 4 {
		t.Errorf("%+v, %v", d, err)
	}
	// A run knows it as what is open, and its repair ends it.
	lease := begun(t, l, long)
	known, err := lease.Known(t.Context(), []product.ID{"b"})
	if err != nil || len(known) != 1 || known[0].State != run.Found || known[0].Attempts != 0 {
		t.Errorf("known is %+v, %v", known, err)
	}
	if err := l.Asked(t.Context(), []product.ID{"b", "c"}, run.Kinds{product.Missing}); err != nil {
		t.Fatal(err)
	}
	wantPending(t, l, allKinds, "e")
	keep(t, lease, run.Verified, product.Missing, "b")
	settled(t, lease, run.Settlement{Resolved: []run.Key{{ID: "c", Kind: product.Missing}, {ID: "e", Kind: product.Stale}}})
	wantPending(t, l, allKinds)
	ended(t, lease, run.StatusSucceeded)
	// What was closed and is found again is new again.
	detected(t, l, 2, finding(before, product.Missing, "b"), finding(before, product.Stale, "e"))
	wantPending(t, l, allKinds, "b", "e")
	if past, err := l.History(t.Context(), "b", 9); err != nil || len(past) != 2 || past[0].State != run.Found || past[0].Run != "" || past[1].State != run.Verified {
		t.Errorf("the past is %+v, %v", past, err)
	}
}

// A difference for which a run was asked is due again after a while, if it is found again.
func testDetectAgain(t *testing.T, l Fixture) {
	due := time.Now().Add(-time.Hour)
	detected(t, l, 1, finding(due, product.Missing, "a"))
	if err := l.Asked(t.Context(), []product.ID{"a"}, allKinds); err != nil {
		t.Fatal(err)
	}
	detected(t, l, 0, finding(due, product.Missing, "a"))
	wantPending(t, l, allKinds)
	l.Age(11 * time.Minute)
	wantPending(t, l, allKinds)
	detected(t, l, 0, finding(due, product.Missing, "a"))
	wantPending(t, l, allKinds, "a")
	// What a run has left open counts likewise, though no detector has found it before.
	lease := begun(t, l, long)
	keep(t, lease, run.Found, product.Stale, "left")
	detected(t, l, 0, finding(due, product.Stale, "left"))
	wantPending(t, l, run.Kinds{product.Stale}, "left")
	// No more is kept than may be.
	l.Limit(100, 2)
	detected(t, l, 0, finding(due, product.Missing, "z"))
}

// What is known of a product's own event stays known, however the difference was found.
func testAnnounced(t *testing.T, l Fixture) {
	now := time.Now()
	announced := func(due time.Time, id product.ID) run.Finding {
		f := finding(due, product.Missing, id)
		f.Announced = true
		return f
	}
	detected(t, l, 2, finding(now.Add(time.Hour), product.Missing, "by a look"), announced(now, "by its event"))
	detected(t, l, 0, announced(now.Add(-time.Second), "by a look"), finding(now.Add(time.Hour), product.Missing, "by its event"))
	wantPending(t, l, allKinds, "by a look", "by its event") // both by their earlier moments
	lease := begun(t, l, long)
	keep(t, lease, run.Found, product.Missing, "by a run")
	want := map[product.ID]bool{"by a look": true, "by its event": true, "by a run": false}
	for _, s := range known(t, lease, "by a look", "by its event", "by a run") {
		if s.Announced != want[s.ID] {
			t.Errorf("%s: announced %v", s.ID, s.Announced)
		}
	}
	// It has come, and is gone again: nothing of it is on its way.
	keep(t, lease, run.Verified, product.Missing, "by its event")
	keep(t, lease, run.Found, product.Missing, "by its event")
	for _, s := range known(t, lease, "by its event") {
		if !s.Announced {
			t.Error("its event is forgotten")
		}
	}
}

func testDetectLimit(t *testing.T, l Fixture) {
	detected(t, l, 1, finding(time.Now().Add(-time.Minute), product.Missing, "a"))
	asked := func() int {
		t.Helper()
		p, err := l.Pending(t.Context(), allKinds, 9)
		if err != nil || len(p.IDs) == 0 {
			t.Fatalf("%+v, %v", p, err)
		}
		return p.Asked
	}
	if n := asked(); n != 0 {
		t.Errorf("%d were asked for at first", n)
	}
	due := time.Now().Add(-time.Hour)
	detected(t, l, 4, finding(due, product.Missing, "x"), finding(due, product.Missing, "y"), finding(due, product.Missing, "z"), finding(due, product.Stale, "s"))
	if err := l.Asked(t.Context(), []product.ID{"x", "y", "s"}, run.Kinds{product.Missing}); err != nil {
		t.Fatal(err)
	}
	lease := begun(t, l, long)
	for _, want := range [][]product.ID{{"z"}, nil} { // the limit is reached then, and "a" waits
		if ids, err := lease.TakeDue(t.Context(), run.Kinds{product.Missing}, 3); err != nil || !slices.Equal(ids, want) {
			t.Errorf("%q are taken, want %q, %v", ids, want, err)
		}
	}
	wantPending(t, l, allKinds, "s", "a")
	if n := asked(); n != 3 {
		t.Errorf("%d were asked for, want 3", n)
	}
	l.Age(61 * time.Minute)
	if ids, err := lease.TakeDue(t.Context(), run.Kinds{product.Stale}, 3); err != nil || !slices.Equal(ids, []product.ID{"s"}) {
		t.Errorf("%q are taken, %v", ids, err)
	}
	detected(t, l, 1, finding(time.Now().Add(time.Hour), product.Missing, "not yet"))
	if ids, err := lease.TakeDue(t.Context(), allKinds, 1); err != nil || len(ids) > 0 {
		t.Errorf("%q are taken above the limit, %v", ids, err)
	}
	if n := asked(); n != 1 {
		t.Errorf("%d were asked for within the last hour", n)
	}
}

func testTake(t *testing.T, l Fixture) {
	take := func(owner string, length time.Duration) bool {
		t.Helper()
		state, mine, err := l.Take(t.Context(), run.Recent, owner, length)
		if err != nil || mine && (state.Name != run.Recent || state.Owner != owner) {
			t.Errorf("%+v, %v", state, err)
		}
		return mine
	}
	for range 2 {
		if !take("one", long) || take("another", long) {
			t.Error("two have the work, or nobody")
		}
	}
	if _, mine, err := l.Take(t.Context(), run.Tap, "another", long); err != nil || !mine {
		t.Errorf("the other detector's: %v, %v", mine, err)
	}
	if !take("one", gone) || !take("another", long) || take("one", long) {
		t.Error("what nobody holds was not taken")
	}
}

func testLooked(t *testing.T, l Fixture) {
	if d, err := l.Detection(t.Context()); err != nil || len(d.Detectors) != 0 || d.Pending != 0 {
		t.Errorf("at first %+v, %v", d, err)
	}
	mark := time.Now().UTC().Truncate(time.Second)
	looked := func(mark time.Time, checked, differing int, problem error) run.DetectorState {
		t.Helper()
		if err := l.Looked(t.Context(), run.Recent, mark, checked, differing, problem); err != nil {
			t.Fatal(err)
		}
		d, err := l.Detection(t.Context())
		if err != nil || len(d.Detectors) != 1 {
			t.Fatalf("%+v, %v", d, err)
		}
		return d.Detectors[0]
	}
	if s := looked(mark, 10, 2, nil); !s.Mark.Equal(mark) || s.Checked != 10 || s.Differing != 2 || s.Problem != "" || s.LookedAt.IsZero() || s.Owner != "" {
		t.Errorf("%+v", s)
	}
	first := looked(time.Time{}, 0, 0, nil).LookedAt
	// One that fails has not looked, and comes no further, but for what it did.
	if s := looked(time.Time{}, 5, 0, errors.New("MongoDB is away")); !s.Mark.Equal(mark) || s.Checked != 15 || s.Problem != "MongoDB is away" || !s.LookedAt.Equal(first) {
		t.Errorf("%+v", s)
	}
	if s := looked(mark.Add(-time.Hour), 0, 0, nil); !s.Mark.Equal(mark) || s.Problem != "" {
		t.Errorf("%+v", s)
	}
}

// How long an event was lost is told from its product's creation, where the id says when that
// was, else from when it was found.
func testFreshness(t *testing.T, l Fixture) {
	created := product.ID(fmt.Sprintf("%08x0123456789abcdef", time.Now().Add(-time.Hour).Unix()))
	due := time.Now()
	detected(t, l, 4, finding(due, product.Missing, created), finding(due, product.Missing, "text"), finding(due, product.Stale, created), finding(due, product.Missing, "kept"))
	l.Age(time.Minute)
	lease := begun(t, l, long)
	keep(t, lease, run.Verified, product.Missing, created, "text")
	keep(t, lease, run.Verified, product.Stale, created)
	keep(t, lease, run.Blocked, product.Missing, "kept")
	took, err := l.Freshness(t.Context(), lease.Record().ID)
	if err != nil || len(took) != 3 {
		t.Fatalf("%s, %v", took, err)
	}
	slices.Sort(took)
	for i, least := range []time.Duration{time.Minute, time.Minute, time.Hour} {
		if took[i] < least || took[i] > least+10*time.Minute {
			t.Errorf("%s, want about %s", took[i], least)
		}
	}
	if took, err := l.Freshness(t.Context(), run.NewRunID()); err != nil || len(took) != 0 {
		t.Errorf("of no run: %s, %v", took, err)
	}
}

func testDrift(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	keep(t, lease, run.Found, product.Missing, "a")
	keep(t, lease, run.Blocked, product.Missing, "b")
	keep(t, lease, run.Found, product.Stale, "c")
	keep(t, lease, run.InFlight, product.Stale, "d")
	keep(t, lease, run.Verified, product.Missing, "e")
	keep(t, lease, run.Verified, product.Stale, "c")
	drift, err := l.Drift(t.Context())
	if err != nil || drift.Differing(product.Missing) != 2 || drift.Differing(product.Stale) != 0 || drift.Differing(product.Orphaned) != 0 ||
		drift.In(run.Blocked) != 1 || drift.In(run.InFlight) != 1 {
		t.Errorf("%v, %v", drift, err)
	}
}

// A sample keeps the worst of its hour.
func testSamples(t *testing.T, l Fixture) {
	if none, err := l.Samples(t.Context(), time.Time{}); err != nil || len(none) > 0 {
		t.Errorf("%+v, %v", none, err)
	}
	sampled := func(s run.Sample) {
		t.Helper()
		if err := l.Sampled(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	sampled(run.Sample{Differing: map[product.Kind]int64{product.Missing: 7, product.Stale: 1}, Delivery: run.Severed})
	l.Age(time.Hour)
	sampled(run.Sample{Differing: map[product.Kind]int64{product.Missing: 3}, Blocked: 2, Delivery: run.Flowing, Lag: time.Minute})
	sampled(run.Sample{Differing: map[product.Kind]int64{product.Missing: 2, product.Orphaned: 5}, Delivery: run.Stalled, Lag: time.Second})
	sampled(run.Sample{})
	all, err := l.Samples(t.Context(), time.Now().Add(-24*time.Hour))
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	last := all[1]
	if all[0].Differing[product.Missing] != 7 || all[0].Delivery != run.Severed || last.Differing[product.Missing] != 3 || last.Differing[product.Orphaned] != 5 ||
		last.Blocked != 2 || last.Delivery != run.Stalled || last.Lag != time.Minute || last.At.Sub(all[0].At) != time.Hour {
		t.Errorf("%+v", all)
	}
	if late, err := l.Samples(t.Context(), last.At); err != nil || len(late) != 1 {
		t.Errorf("%+v, %v", late, err)
	}
}
