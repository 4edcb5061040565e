package ledger

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

func changedURL(t *testing.T, raw string, change func(*url.URL)) secret.URL {
	t.Helper()
	return secret.URL(testenv.ChangedURL(t, raw, change))
}

func TestMessagesNameTheVariableAndTheRemedy(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	closed := testenv.ClosedAddress(t)
	mute := testenv.NewProxy(t, closed) // accepts, and nothing answers
	mute.Freeze()
	for _, tt := range []struct {
		name string
		url  secret.URL
		want []string
	}{
		{"wrong password", changedURL(t, db.URL, func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "hunter2") }),
			[]string{"authentication failed: check user and password of"}},
		{"unknown database", changedURL(t, db.URL, func(u *url.URL) { u.Path = "/nosuchshop" }),
			[]string{`database "nosuchshop" does not exist`, "check the database name of"}},
		{"nobody listens", changedURL(t, db.URL, func(u *url.URL) { u.Host = closed; u.User = url.UserPassword("cart", "hunter2") }),
			[]string{"no server answers: check the host of", "and the network", closed}},
		{"no answer", changedURL(t, db.URL, func(u *url.URL) {
			u.Host, u.RawQuery, u.User = mute.Addr, "connect_timeout=1&sslmode=disable", url.UserPassword("cart", "hunter2")
		}), []string{"no server answers: check the host of", mute.Addr}},
		{"a server that only reads", changedURL(t, db.URL, func(u *url.URL) {
			query := u.Query()
			query.Set("default_transaction_read_only", "on")
			u.RawQuery = query.Encode()
		}), nil},
	} {
		for variable, open := range map[string]func() (*Ledger, error){
			"ETL_STATE_DB_URL": func() (*Ledger, error) {
				return Open(t.Context(), Config{URL: tt.url, Pipeline: "products", Retention: long}, "postgres://db/cart")
			},
			"CART_DB_URL": func() (*Ledger, error) {
				return Open(t.Context(), Config{Pipeline: "products", Retention: long}, tt.url)
			},
		} {
			t.Run(tt.name+" of "+variable, func(t *testing.T) {
				t.Parallel()
				l, err := open()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(l.Close)
				if tt.want == nil {
					testenv.CheckMessage(t, l.Migrate(t.Context()), "read-only transaction", variable+" must name the primary server")
					return
				}
				_, err = l.Check(t.Context())
				testenv.CheckMessage(t, err, append(tt.want, "schema etl: ", variable)...)
				testenv.CheckMessage(t, l.Migrate(t.Context()), append(tt.want, "schema etl: ", variable)...)
				_, err = l.Claim(t.Context(), "worker", long)
				testenv.CheckMessage(t, err, append(tt.want, "claim a run: ", variable)...)
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
	run := submitted(t, l)
	steps := []func() error{
		func() error { _, err := l.Submit(t.Context(), run.Request); return err },
		func() error { _, err := l.Accept(t.Context(), wanting(t)); return err },
		func() error { _, err := l.Run(t.Context(), run.ID); return err },
		func() error { _, err := l.Runs(t.Context(), reconcile.RunFilter{}); return err },
		func() error { _, err := l.Ask(t.Context(), run.ID, reconcile.WantPause); return err },
		func() error { _, err := l.Sweep(t.Context()); return err },
		func() error { _, err := l.SetSwitch(t.Context(), true, ""); return err },
		func() error { return l.Discard(t.Context(), run.ID) },
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
			_, err := lease.Beat(t.Context(), reconcile.StatusRunning, reconcile.Progress{})
			return err
		},
		"Plan":   func() error { return lease.Plan(t.Context(), nil) },
		"Begin":  func() error { return lease.Begin(t.Context(), reconcile.Counting, nil) },
		"Settle": func() error { return lease.Settle(t.Context(), reconcile.Settlement{}) },
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
	go func() { done <- lease.Finish(ctx, reconcile.StatusSucceeded, nil, "") }()
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
		if _, err := lease.Beat(ctx, reconcile.StatusRunning, reconcile.Progress{}); err == nil || errors.Is(err, reconcile.ErrFenced) {
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
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := l.Run(ctx, reconcile.NewRunID())
	testenv.CheckMessage(t, err, "no server answers", "ETL_STATE_DB_URL", "read run")
}
