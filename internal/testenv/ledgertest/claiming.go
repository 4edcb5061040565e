package ledgertest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// claiming is how workers come to runs.
var claiming = map[string]func(*testing.T, Fixture){
	"the oldest run is claimed first":    testClaim,
	"what is not to be claimed is left":  testClaimLeaves,
	"a run is taken over":                testTakeover,
	"owners that vanish are counted":     testVanished,
	"a late beat renews the lease":       testLateBeat,
	"a paused run is taken over paused":  testPausedTakeover,
	"a run is handed back":               testHandBack,
	"a run that is handed back rests":    testRest,
	"a paused run stays so without one":  testPausedHandBack,
	"a run that is left ends":            testLeft,
	"what expired is skipped":            testExpired,
	"what finished long ago is not kept": testRetention,
}

func nothingToClaim(t *testing.T, l Fixture) {
	t.Helper()
	if lease, err := l.Claim(t.Context(), "worker", long); err != nil || lease != nil {
		t.Errorf("claimed %v, %v", lease, err)
	}
	isClaimable(t, l, false)
}

func isClaimable(t *testing.T, l Fixture, want bool) {
	t.Helper()
	if claimable, err := l.Sweep(t.Context()); err != nil || claimable != want {
		t.Errorf("something is claimable: %t, %v", claimable, err)
	}
}

func testClaim(t *testing.T, l Fixture) {
	nothingToClaim(t, l)
	newer := submitted(t, l, look)
	older := submitted(t, l, at(time.Now().Add(-time.Hour)))
	isClaimable(t, l, true)
	for _, want := range []run.Record{older, newer} {
		record := claimed(t, l, "worker", long).Record()
		if record.ID != want.ID || record.Status != run.StatusRunning || record.Owner != "worker" || record.Started.IsZero() || record.Takeovers != 0 || record.Version != 2 {
			t.Errorf("claimed %+v, want run %s", record, want.ID)
		}
	}
	nothingToClaim(t, l)
}

func testClaimLeaves(t *testing.T, l Fixture) {
	finished(t, l, run.StatusFailed)
	if _, err := l.Ask(t.Context(), submitted(t, l, look).ID, run.WantPause, ann); err != nil {
		t.Fatal(err)
	}
	lease := begun(t, l, long)
	nothingToClaim(t, l)
	if _, err := lease.Beat(t.Context(), run.StatusPaused, run.Progress{}); err != nil {
		t.Fatal(err)
	}
	nothingToClaim(t, l)
}

func testTakeover(t *testing.T, l Fixture) {
	submitted(t, l)
	lease := claimed(t, l, "first", gone)
	started := lease.Record().Started
	for takeovers, owner := range []string{"second", "third"} {
		if _, err := lease.Beat(t.Context(), run.StatusRunning, run.Progress{Acted: 7}); err != nil {
			t.Fatal(err)
		}
		next := claimed(t, l, owner, gone)
		record := next.Record()
		if record.ID != lease.Record().ID || record.Owner != owner || record.Takeovers != takeovers+1 || record.Vanished != takeovers+1 || !record.Started.Equal(started) || record.Progress.Acted != 7 {
			t.Errorf("%s took over %+v", owner, record)
		}
		if _, err := lease.Beat(t.Context(), run.StatusRunning, run.Progress{}); !errors.Is(err, run.ErrFenced) {
			t.Errorf("the lease before: %v", err)
		}
		lease = next
	}
}

// Owners that vanish are counted while nothing is settled in between; one that hands
// the run back has not vanished.
func testVanished(t *testing.T, l Fixture) {
	submitted(t, l)
	vanish := func(want int) run.Lease {
		t.Helper()
		lease := claimed(t, l, "worker", gone)
		if got := lease.Record().Vanished; got != want {
			t.Errorf("%d owners have vanished, want %d", got, want)
		}
		return lease
	}
	vanish(0)
	vanish(1)
	if err := vanish(2).HandBack(t.Context(), "", 0); err != nil {
		t.Fatal(err)
	}
	vanish(2)
	settled(t, vanish(3), run.Settlement{Stage: run.Counting, Report: &run.Report{}})
	vanish(1)
}

// A run that nobody took over yet goes on when its process finds the ledger again.
func testLateBeat(t *testing.T, l Fixture) {
	request := wanting(t)
	if _, err := l.Begin(t.Context(), request, "worker", gone); err != nil {
		t.Fatal(err)
	}
	same, err := l.Begin(t.Context(), request, "worker", long)
	if err != nil {
		t.Fatal(err)
	}
	isClaimable(t, l, true)
	if _, err := same.Beat(t.Context(), run.StatusRunning, run.Progress{}); err != nil {
		t.Fatal(err)
	}
	nothingToClaim(t, l)
}

func testPausedTakeover(t *testing.T, l Fixture) {
	lease := begun(t, l, gone)
	if _, err := l.Ask(t.Context(), lease.Record().ID, run.WantPause, ann); err != nil {
		t.Fatal(err)
	}
	if _, err := lease.Beat(t.Context(), run.StatusPaused, run.Progress{}); err != nil {
		t.Fatal(err)
	}
	record := claimed(t, l, "next", long).Record()
	if record.Status != run.StatusPaused || record.Wanted != run.WantPause || record.Takeovers != 1 {
		t.Errorf("took over %+v", record)
	}
}

func testHandBack(t *testing.T, l Fixture) {
	record := submitted(t, l, func(r *run.Request) { r.Expires = time.Now().Add(time.Hour) })
	lease := claimed(t, l, "first", long)
	for range 2 { // the answer to the first may be lost
		if err := lease.HandBack(t.Context(), "", 0); err != nil {
			t.Fatal(err)
		}
	}
	if record = found(t, l, record.ID); record.Status != run.StatusQueued || record.Owner != "" || record.Started.IsZero() {
		t.Errorf("handed back: %+v", record)
	}
	l.Age(2 * time.Hour) // it has begun, so it does not expire any more
	isClaimable(t, l, true)
	if next := claimed(t, l, "second", long).Record(); next.ID != record.ID || next.Takeovers != 1 {
		t.Errorf("claimed %+v", next)
	}
	if err := lease.HandBack(t.Context(), "", 0); !errors.Is(err, run.ErrFenced) {
		t.Errorf("handed back by the first again: %v", err)
	}
}

// A paused run that is handed back stays paused, and is claimed when it is resumed; it may
// be cancelled like one that waits.
func testPausedHandBack(t *testing.T, l Fixture) {
	for _, end := range []run.Wanted{run.WantRun, run.WantCancel} {
		record := submitted(t, l)
		lease := claimed(t, l, "first", long)
		asked(t, l, record.ID, run.WantPause)
		for range 2 { // the answer to the first may be lost
			if err := lease.HandBack(t.Context(), "", 0); err != nil {
				t.Fatal(err)
			}
		}
		if record = found(t, l, record.ID); record.Status != run.StatusPaused || record.Owner != "" {
			t.Errorf("handed back: %+v", record)
		}
		l.Age(time.Hour)
		nothingToClaim(t, l)
		if record = asked(t, l, record.ID, end); end == run.WantCancel {
			if record.Status != run.StatusCancelled || record.Finished.IsZero() {
				t.Errorf("cancelled: %+v", record)
			}
			continue
		}
		isClaimable(t, l, true)
		next := claimed(t, l, "second", long)
		if record := found(t, l, record.ID); record.Status != run.StatusRunning || record.Takeovers != 1 || record.Vanished != 0 {
			t.Errorf("taken up again: %+v", record)
		}
		ended(t, next, run.StatusSucceeded)
	}
}

func asked(t *testing.T, l Fixture, id string, wanted run.Wanted) run.Record {
	t.Helper()
	record, err := l.Ask(t.Context(), id, wanted, ann)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// A run that is handed back is not taken up again before its pause is over, and says
// why until then.
func testRest(t *testing.T, l Fixture) {
	submitted(t, l)
	lease := claimed(t, l, "first", long)
	if err := lease.HandBack(t.Context(), "the words", time.Hour); err != nil {
		t.Fatal(err)
	}
	nothingToClaim(t, l)
	if record := found(t, l, lease.Record().ID); record.Status != run.StatusQueued || record.Error != "the words" {
		t.Errorf("handed back: %+v", record)
	}
	l.Age(time.Hour)
	isClaimable(t, l, true)
	next := claimed(t, l, "next", long)
	if record := found(t, l, lease.Record().ID); record.Status != run.StatusRunning || record.Error != "" {
		t.Errorf("taken up again: %+v", record)
	}
	if err := next.HandBack(t.Context(), "the words", time.Hour); err != nil {
		t.Fatal(err)
	}
	if record, err := l.Ask(t.Context(), lease.Record().ID, run.WantCancel, ann); err != nil || record.Status != run.StatusCancelled || record.Error != "" {
		t.Errorf("cancelled: %+v, %v", record, err)
	}
}

// Where no worker takes up a run that was handed back, whoever begins another one ends
// it; one that a person has paused waits for that person.
func testLeft(t *testing.T, l Fixture) {
	begins := func(want bool) {
		t.Helper()
		lease, err := l.Begin(t.Context(), wanting(t), "begun", long)
		if want != (err == nil) || !want && !errors.As(err, new(*run.ActiveError)) {
			t.Fatalf("begun %v, %v", lease, err)
		}
	}
	submitted(t, l)
	lease := claimed(t, l, "first", long)
	id := lease.Record().ID
	inHand(t, lease, product.Missing, "a")
	if err := lease.HandBack(t.Context(), "", time.Hour); err != nil {
		t.Fatal(err)
	}
	begins(false)
	l.Age(time.Hour + time.Second)
	begins(false)
	for _, wanted := range []run.Wanted{run.WantPause, run.WantRun} {
		if _, err := l.Ask(t.Context(), id, wanted, ann); err != nil {
			t.Fatal(err)
		}
		l.Age(time.Hour)
		begins(wanted == run.WantRun)
	}
	if record := found(t, l, id); record.Status != run.StatusFailed || !strings.HasPrefix(record.Error, "it was handed back, and no worker took it up again") {
		t.Errorf("the run that was left is %+v", record)
	}
}

func testExpired(t *testing.T, l Fixture) {
	soon := func(after time.Duration) change {
		return func(r *run.Request) { r.Expires = time.Now().Add(after) }
	}
	expired, fresh := submitted(t, l, soon(time.Hour)), submitted(t, l, look, soon(3*time.Hour))
	l.Age(2 * time.Hour)
	for range 2 {
		isClaimable(t, l, true)
	}
	record := found(t, l, expired.ID)
	if record.Status != run.StatusSkipped || !strings.HasPrefix(record.Error, "expired: no worker began it by 20") || record.Finished.IsZero() || record.Version != 2 {
		t.Errorf("the expired run is %+v", record)
	}
	if record := found(t, l, fresh.ID); record.Status != run.StatusQueued {
		t.Errorf("the other run is %s", record.Status)
	}
}

func testRetention(t *testing.T, l Fixture) {
	for range 50 {
		finished(t, l, run.StatusSucceeded)
	}
	lease := begun(t, l, long)
	keep(t, lease, run.Lost, "missing", "a", "b")
	ended(t, lease, run.StatusPartial)
	l.Age(100 * 24 * time.Hour)
	kept := finished(t, l, run.StatusCancelled)
	active := submitted(t, l)
	forgets(t, l, true)
	forgets(t, l, false)
	page, err := l.Runs(t.Context(), run.Filter{})
	if err != nil || len(page.Runs) != 2 {
		t.Fatalf("%d runs are left, %v", len(page.Runs), err)
	}
	found(t, l, kept.ID)
	found(t, l, active.ID)
}

// forgets lets the ledger remove what is old, of which there must be some or none.
func forgets(t *testing.T, l Fixture, some bool) {
	t.Helper()
	if removed, err := l.Forget(t.Context(), time.Minute); err != nil || removed > 0 != some {
		t.Errorf("%d rows are removed, %v", removed, err)
	}
}
