package ledger

import (
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/run"
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

func TestClaimLeavesAlone(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*testing.T, *Ledger){
		"a run of another pipeline": func(t *testing.T, l *Ledger) {
			submitted(t, open(t, l.pool.Config().ConnString(), "another"))
		},
		"a run that ended": func(t *testing.T, l *Ledger) { finished(t, l, run.StatusFailed) },
		"a queued run that is to pause": func(t *testing.T, l *Ledger) {
			if _, err := l.Ask(t.Context(), submitted(t, l).ID, run.WantPause, run.Actor{}); err != nil {
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
			execute(t, l, "UPDATE etl_ledger.run SET expires_at = now() WHERE id = $1", submitted(t, l).ID)
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

func TestOwnersAreCut(t *testing.T) {
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
