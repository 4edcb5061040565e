package ledger

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// After another process has claimed the run, nothing of the first has any effect.
func TestZombie(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	zombie := begun(t, l, gone)
	runID := zombie.Record().ID
	ranges := []product.Range{{Class: product.Strings}}
	if err := zombie.Plan(t.Context(), ranges); err != nil {
		t.Fatal(err)
	}
	settle(t, zombie, run.Settlement{Memory: json.RawMessage("1"), Outcomes: outcomesOf(run.Found, "a")})
	methods := map[string]func() error{
		"Resume": func() error { _, err := zombie.Resume(t.Context()); return err },
		"Plan":   func() error { return zombie.Plan(t.Context(), nil) },
		"Begin":  func() error { return zombie.Begin(t.Context(), run.Counting, []product.ID{"a"}) },
		"Settle": func() error {
			return zombie.Settle(t.Context(), run.Settlement{Restart: true, Outcomes: outcomesOf(run.Lost, "a", "b"),
				Finished: []run.FinishedRange{{Range: ranges[0]}}, Report: &run.Report{}, Memory: json.RawMessage("2")})
		},
		"Judged": func() error { _, err := zombie.Judged(t.Context(), []product.ID{"a"}); return err },
		"Beat": func() error {
			_, err := zombie.Beat(t.Context(), run.StatusRunning, run.Progress{})
			return err
		},
		"Finish":   func() error { return zombie.Finish(t.Context(), run.StatusFailed, nil, "no") },
		"HandBack": func() error { return zombie.HandBack(t.Context()) },
	}
	fenced := func(when string) {
		t.Helper()
		before, ranges, rows := found(t, l, runID), count(t, l, "etl.key_range"), count(t, l, "etl.outcome WHERE state = 'found'")
		for name, method := range methods {
			if err := method(); !errors.Is(err, run.ErrFenced) {
				t.Errorf("%s, %s: %v", when, name, err)
			}
		}
		if after := found(t, l, runID); !reflect.DeepEqual(before, after) {
			t.Errorf("%s: the run was %+v and is %+v", when, before, after)
		}
		if count(t, l, "etl.key_range") != ranges || count(t, l, "etl.outcome WHERE state = 'found'") != rows || count(t, l, "etl.in_hand") != 0 {
			t.Errorf("%s: rows have changed", when)
		}
	}
	next := claimed(t, l, "next", long)
	fenced("taken over")
	if at := resumed(t, next); string(at.Memory) != "1" || len(at.Ranges) != 1 || !slices.Equal(at.Missing, []product.ID{"a"}) {
		t.Errorf("the next process resumes at %+v", at)
	}
	if err := next.HandBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	fenced("handed back")
	next = claimed(t, l, "third", long)
	if err := next.Finish(t.Context(), run.StatusFailed, nil, "no"); err != nil {
		t.Fatal(err)
	}
	fenced("ended")
}

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
		if err == nil && (at == nil || len(at.Missing) != 1) || err != nil && (!errors.Is(err, run.ErrFenced) || at != nil) {
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
	if err := l.pool.QueryRow(t.Context(), "SELECT current_setting('idle_in_transaction_session_timeout')").Scan(&limit); err != nil || limit == "10s" {
		t.Errorf("behind the transaction the limit is %q, %v", limit, err)
	}
}
