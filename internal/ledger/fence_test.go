package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

// The check of the lease and what follows it are one: a claim waits for the write
// of the holder before, or the write sees the claim.
func TestSettleRacesWithATakeover(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	for range 20 {
		lease := begun(t, l, gone)
		settled := make(chan error, 1)
		go func() {
			settled <- lease.Settle(t.Context(), run.Settlement{Stage: run.Counting, Memory: json.RawMessage("1"), Outcomes: outcomesOf(run.Found, "a")})
		}()
		var next run.Lease
		for next == nil { // a row that is locked is skipped
			var err error
			if next, err = l.Claim(t.Context(), "next", long); err != nil {
				t.Fatal(err)
			}
		}
		err := <-settled
		at := resumed(t, next)
		if err == nil && (at == nil || string(at.Memory) != "1") || err != nil && (!errors.Is(err, run.ErrFenced) || at != nil) {
			t.Errorf("settled with %v, and the next process resumes at %+v", err, at)
		}
		if err := next.Finish(t.Context(), run.StatusSucceeded, nil, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// A process that was cut off in the middle of a transaction does not keep its run
// from being taken over.
func TestIdleTransactionsEnd(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	var limit string
	err := l.inTx(t.Context(), func(tx pgx.Tx) error {
		return tx.QueryRow(t.Context(), "SELECT current_setting('idle_in_transaction_session_timeout')").Scan(&limit)
	})
	if err != nil || limit != "10s" {
		t.Errorf("the limit is %q, %v", limit, err)
	}
}

// A settlement may last longer than the lease: the run beats meanwhile, hears what is
// wanted, and goes to nobody else, even where it does not beat.
func TestABeatDoesNotWaitForASettlement(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	owned := begun(t, l, gone)
	held := owned.(*lease)
	lasting, over, settled := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		settled <- held.write(t.Context(), "settle for long", func(context.Context, pgx.Tx) error {
			close(lasting)
			<-over
			return nil
		})
	}()
	<-lasting
	if next, err := l.Claim(t.Context(), "next", long); err != nil || next != nil {
		t.Errorf("claimed %v in the middle of a settlement, %v", next, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := l.Ask(ctx, owned.Record().ID, run.WantPause, run.Actor{}); err != nil {
		t.Errorf("asked in the middle of a settlement: %v", err)
	}
	if wanted, err := owned.Beat(ctx, run.StatusRunning, run.Progress{}); err != nil || wanted != run.WantPause {
		t.Errorf("a beat in the middle of a settlement: %q, %v", wanted, err)
	}
	// Whoever ends the run waits for what it writes.
	ended := make(chan error, 1)
	go func() { ended <- held.Finish(t.Context(), run.StatusSucceeded, nil, "") }()
	testenv.Eventually(t, time.Minute, func() bool {
		return count(t, l, "pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%finished_at%' AND datname = current_database()") > 0
	}, "whoever ends the run to wait for the settlement")
	close(over)
	if err := errors.Join(<-settled, <-ended); err != nil {
		t.Error(err)
	}
	if err := held.write(t.Context(), "settle late", func(context.Context, pgx.Tx) error { return nil }); !errors.Is(err, run.ErrFenced) {
		t.Errorf("settled behind the end: %v", err)
	}
}
