package ledger

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/run"
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
