package ledger

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestMessagesNameTheVariableAndTheRemedy(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	readOnly := testenv.ChangedURL(t, db.URL, func(u *url.URL) {
		query := u.Query()
		query.Set("default_transaction_read_only", "on")
		u.RawQuery = query.Encode()
	})
	for _, tt := range append(testenv.Mishaps(t, db.URL), testenv.Mishap{Name: "a server that only reads", URL: readOnly}) {
		address := secret.URL(tt.URL)
		for variable, open := range map[string]func() (*Ledger, error){
			"ETL_STATE_DB_URL": func() (*Ledger, error) {
				return Open(t.Context(), Config{URL: address, Pipeline: "products", Retention: long, MaxRows: most}, "postgres://db/cart")
			},
			"CART_DB_URL": func() (*Ledger, error) {
				return Open(t.Context(), Config{Pipeline: "products", Retention: long, MaxRows: most}, address)
			},
		} {
			t.Run(tt.Name+" of "+variable, func(t *testing.T) {
				t.Parallel()
				l, err := open()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(l.Close)
				if tt.Says == nil {
					testenv.CheckMessage(t, l.Migrate(t.Context()), "may be written", variable, "the address has default_transaction_read_only = on: remove it")
					return
				}
				_, err = l.Check(t.Context())
				testenv.CheckMessage(t, err, append(tt.Says, "schema etl_ledger: ", variable)...)
				testenv.CheckMessage(t, l.Migrate(t.Context()), append(tt.Says, "schema etl_ledger: ", variable)...)
				_, err = l.Claim(t.Context(), "worker", long)
				testenv.CheckMessage(t, err, append(tt.Says, "claim a run: ", variable)...)
			})
		}
	}
}

// Connections that break while nobody uses them, or in the middle of something, are
// no failure: it is done again on another one.
func TestBrokenConnectionsAreNoFailure(t *testing.T) {
	t.Parallel()
	direct := fresh(t)
	proxy, address := testenv.ProxyTo(t, direct.pool.Config().ConnString())
	l := open(t, address, "products")
	record := submitted(t, l)
	steps := []func() error{
		func() error { _, err := l.Submit(t.Context(), record.Request); return err },
		func() error { _, err := l.Accept(t.Context(), wanting(t)); return err },
		func() error { _, err := l.Run(t.Context(), record.ID); return err },
		func() error { _, err := l.Runs(t.Context(), run.Filter{}); return err },
		func() error { _, err := l.Ask(t.Context(), record.ID, run.WantPause, run.Actor{}); return err },
		func() error { _, err := l.Sweep(t.Context()); return err },
		func() error { _, err := l.SetSwitch(t.Context(), true, run.Actor{Name: ""}); return err },
		func() error { return l.Discard(t.Context(), record.ID) },
	}
	for i, step := range steps {
		proxy.Reset()
		if err := step(); err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
	lease := begun(t, l, long)
	for name, step := range map[string]func() error{
		"Beat": func() error {
			_, err := lease.Beat(t.Context(), run.StatusRunning, run.Progress{})
			return err
		},
		"Plan":   func() error { return lease.Plan(t.Context(), nil) },
		"Begin":  func() error { return lease.Begin(t.Context(), nil) },
		"Settle": func() error { return lease.Settle(t.Context(), run.Settlement{}) },
		"Resume": func() error { _, err := lease.Resume(t.Context()); return err },
	} {
		proxy.Reset()
		if err := step(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	proxy.Cut()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- lease.Finish(ctx, run.StatusSucceeded, nil, "") }()
	proxy.Restore()
	if err := <-done; err != nil {
		t.Error(err)
	}
	cancel()
}

// A server that does not answer holds nobody longer than their context allows.
func TestBeatHonoursItsContext(t *testing.T) {
	t.Parallel()
	direct := fresh(t)
	proxy, address := testenv.ProxyTo(t, direct.pool.Config().ConnString())
	lease := begun(t, open(t, address, "products"), long)
	for _, breakIt := range []func(){proxy.Freeze, proxy.Cut} {
		breakIt()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if _, err := lease.Beat(ctx, run.StatusRunning, run.Progress{}); err == nil || errors.Is(err, run.ErrFenced) {
			t.Error(err)
		}
		cancel()
	}
}

// Who waited in vain for a server learns why.
func TestTheReasonForWaitingIsTold(t *testing.T) {
	t.Parallel()
	proxy, address := testenv.ProxyTo(t, testenv.Services(t).PostgreSQL)
	proxy.Cut()
	l := open(t, address, "products")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := l.Run(ctx, run.NewRunID())
	testenv.CheckMessage(t, err, "no server answers", "ETL_STATE_DB_URL", "read run")
}
