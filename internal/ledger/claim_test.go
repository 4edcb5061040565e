package ledger

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

func nothingToClaim(t *testing.T, l *Ledger) {
	t.Helper()
	if lease, err := l.Claim(t.Context(), "worker", long); err != nil || lease != nil {
		t.Errorf("claimed %v, %v", lease, err)
	}
	if claimable, err := l.Sweep(t.Context()); err != nil || claimable {
		t.Errorf("something is claimable: %t, %v", claimable, err)
	}
}

func TestClaimTakesTheOldest(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	nothingToClaim(t, l)
	newer := submitted(t, l, look)
	older := submitted(t, l, func(r *run.Request) { r.At = time.Now().Add(-time.Hour) })
	if claimable, err := l.Sweep(t.Context()); err != nil || !claimable {
		t.Errorf("something is claimable: %t, %v", claimable, err)
	}
	for _, want := range []run.Record{older, newer} {
		record := claimed(t, l, "worker", long).Record()
		if record.ID != want.ID || record.Status != run.StatusRunning || record.Owner != "worker" || record.Started.IsZero() || record.Takeovers != 0 || record.Version != 2 {
			t.Errorf("claimed %+v, want run %s", record, want.ID)
		}
	}
	nothingToClaim(t, l)
}

func TestClaimLeavesAlone(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*testing.T, *Ledger){
		"a run of another pipeline": func(t *testing.T, l *Ledger) {
			submitted(t, open(t, l.pool.Config().ConnString(), "another"))
		},
		"a run that ended": func(t *testing.T, l *Ledger) { finished(t, l, run.StatusFailed) },
		"a queued run that is to pause": func(t *testing.T, l *Ledger) {
			if _, err := l.Ask(t.Context(), submitted(t, l).ID, run.WantPause); err != nil {
				t.Fatal(err)
			}
		},
		"a run whose lease holds": func(t *testing.T, l *Ledger) { begun(t, l, long) },
		"a paused run whose lease holds": func(t *testing.T, l *Ledger) {
			if _, err := begun(t, l, long).Beat(t.Context(), run.StatusPaused, run.Progress{}); err != nil {
				t.Fatal(err)
			}
		},
		"a queued run that expired": func(t *testing.T, l *Ledger) {
			execute(t, l, "UPDATE etl.run SET expires_at = now() WHERE id = $1", submitted(t, l).ID)
			if lease, err := l.Claim(t.Context(), "worker", long); err != nil || lease != nil {
				t.Errorf("claimed %v, %v", lease, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := fresh(t)
			prepare(t, l)
			nothingToClaim(t, l)
		})
	}
}

func TestOneOfManyClaims(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	replicas := []*Ledger{l, open(t, l.pool.Config().ConnString(), "products"), open(t, l.pool.Config().ConnString(), "products")}
	for round := range 10 {
		submitted(t, l)
		submitted(t, l, look)
		won := make(map[string]int)
		i := make(chan *Ledger, 12)
		for n := range cap(i) {
			i <- replicas[n%len(replicas)]
		}
		var leases []run.Lease
		concurrently(cap(i), func() func() {
			lease, err := (<-i).Claim(t.Context(), "worker", long)
			return func() {
				if err != nil {
					t.Error(err)
				}
				if lease != nil {
					won[lease.Record().ID]++
					leases = append(leases, lease)
				}
			}
		})
		if len(won) != 2 || len(leases) != 2 {
			t.Fatalf("round %d: claimed %v", round, won)
		}
		for _, lease := range leases {
			if err := lease.Finish(t.Context(), run.StatusSucceeded, nil, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	submitted(t, l)
	lease := claimed(t, l, "first", 200*time.Millisecond)
	started := lease.Record().Started
	for takeovers, owner := range []string{"second", "third"} {
		if _, err := lease.Beat(t.Context(), run.StatusRunning, run.Progress{Acted: 7}); err != nil {
			t.Fatal(err)
		}
		var next run.Lease
		testenv.Eventually(t, wait, func() bool {
			var err error
			next, err = l.Claim(t.Context(), owner, 200*time.Millisecond)
			if err != nil {
				t.Error(err)
			}
			return next != nil
		}, "the lease to expire")
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
func TestVanishedOwners(t *testing.T) {
	t.Parallel()
	l := fresh(t)
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
	if err := vanish(2).HandBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	vanish(2)
	if err := vanish(3).Settle(t.Context(), run.Settlement{Stage: run.Counting, Report: &run.Report{}}); err != nil {
		t.Fatal(err)
	}
	vanish(1)
}

// A run that nobody took over yet goes on when its process finds the server again.
func TestLateBeatRenewsTheLease(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	submitted(t, l)
	late := claimed(t, l, "worker", gone)
	other := newLease(l, late.Record(), long)
	if _, err := other.Beat(t.Context(), run.StatusRunning, run.Progress{}); err != nil {
		t.Fatal(err)
	}
	nothingToClaim(t, l)
}

func TestPausedRunIsTakenOverPaused(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	lease := begun(t, l, gone)
	if _, err := l.Ask(t.Context(), lease.Record().ID, run.WantPause); err != nil {
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

func TestHandedBackRunIsClaimedAtOnce(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	record := submitted(t, l, func(r *run.Request) { r.Expires = time.Now().Add(time.Hour) })
	lease := claimed(t, l, "first", long)
	for range 2 { // the answer to the first may be lost
		if err := lease.HandBack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if record = found(t, l, record.ID); record.Status != run.StatusQueued || record.Owner != "" || record.Started.IsZero() {
		t.Errorf("handed back: %+v", record)
	}
	// It has begun, so it does not expire any more.
	execute(t, l, "UPDATE etl.run SET expires_at = now() - interval '1 hour'")
	if claimable, err := l.Sweep(t.Context()); err != nil || !claimable {
		t.Errorf("claimable: %t, %v", claimable, err)
	}
	if next := claimed(t, l, "second", long).Record(); next.ID != record.ID || next.Takeovers != 1 {
		t.Errorf("claimed %+v", next)
	}
	if err := lease.HandBack(t.Context()); !errors.Is(err, run.ErrFenced) {
		t.Errorf("handed back by the first again: %v", err)
	}
}

func TestSweepSkipsWhatExpired(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	expired, fresh := submitted(t, l), submitted(t, l, look, func(r *run.Request) { r.Expires = time.Now().Add(time.Hour) })
	execute(t, l, "UPDATE etl.run SET expires_at = '2026-01-02 03:04:05Z' WHERE id = $1", expired.ID)
	for range 2 {
		if claimable, err := l.Sweep(t.Context()); err != nil || !claimable {
			t.Fatalf("claimable: %t, %v", claimable, err)
		}
	}
	record := found(t, l, expired.ID)
	if record.Status != run.StatusSkipped || record.Error != "expired: no worker began it by 2026-01-02T03:04:05Z" || record.Finished.IsZero() || record.Version != 2 {
		t.Errorf("the expired run is %+v", record)
	}
	if record := found(t, l, fresh.ID); record.Status != run.StatusQueued {
		t.Errorf("the other run is %s", record.Status)
	}
}

func TestSweepRemovesWhatIsOld(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	other := open(t, l.pool.Config().ConnString(), "another")
	const old = 2*removeBatch + 3
	for range old {
		finished(t, l, run.StatusSucceeded)
	}
	lease := begun(t, l, long)
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Found, "a", "b")})
	if err := lease.Finish(t.Context(), run.StatusPartial, nil, ""); err != nil {
		t.Fatal(err)
	}
	elsewhere := finished(t, other, run.StatusFailed)
	for _, at := range []time.Time{time.Now().Add(-2 * time.Hour), time.Now()} {
		if err := l.SaveHealth(t.Context(), run.HealthRecord{At: at}); err != nil {
			t.Fatal(err)
		}
	}
	execute(t, l, "UPDATE etl.run SET finished_at = now() - interval '61 minutes'")
	kept := finished(t, l, run.StatusCancelled)
	active := submitted(t, l, func(r *run.Request) { r.At = time.Now().Add(-24 * time.Hour) })
	if _, err := l.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := l.Runs(t.Context(), run.RunFilter{})
	if err != nil || len(page.Runs) != 2 {
		t.Fatalf("%d runs are left, %v", len(page.Runs), err)
	}
	found(t, l, kept.ID)
	found(t, l, active.ID)
	found(t, other, elsewhere.ID)
	if n := count(t, l, "etl.outcome"); n != 0 {
		t.Errorf("%d outcomes are left", n)
	}
	if n := count(t, l, "etl.health"); n != 1 {
		t.Errorf("%d health checks are left", n)
	}
}

func TestLongOwnersAreCut(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	owner := strings.Repeat("ö", maxText)
	first, err := l.Begin(t.Context(), wanting(t), owner, long)
	if err != nil {
		t.Fatal(err)
	}
	submitted(t, l, look)
	second := claimed(t, l, owner, long)
	for _, record := range []run.Record{first.Record(), second.Record()} {
		if len(record.Owner) > maxText || !strings.HasPrefix(record.Owner, "öö") {
			t.Errorf("the owner is %q", record.Owner)
		}
	}
}
