package ledger

import (
	"errors"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const (
	most = 1_000_000        // rows that a ledger keeps
	long = time.Hour        // a lease that does not expire in a test
	gone = time.Microsecond // one that has expired when anybody looks
)

// open opens the ledger of a pipeline.
func open(tb testing.TB, url, pipeline string) *Ledger {
	tb.Helper()
	l, err := Open(tb.Context(), Config{URL: secret.URL(url), Pipeline: pipeline, Retention: long, MaxRows: most}, "")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(l.Close)
	return l
}

// fresh is an empty ledger in a database of its own.
func fresh(tb testing.TB) *Ledger {
	tb.Helper()
	l := open(tb, testenv.Cart(tb).URL, "products")
	if err := l.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return l
}

// wanting is a valid request with some of it changed.
func wanting(tb testing.TB, changes ...func(*run.Request)) run.Request {
	tb.Helper()
	r := run.Request{Version: run.RequestVersion, Trigger: run.ByHTTP, By: "somebody"}
	for _, change := range changes {
		change(&r)
	}
	if err := r.Check(); err != nil {
		tb.Fatal(err)
	}
	return r
}

func look(r *run.Request)       { r.DryRun = true }
func from(t run.Trigger) change { return func(r *run.Request) { r.Trigger = t } }
func keyed(key string) change   { return func(r *run.Request) { r.Key = key } }

type change = func(*run.Request)

// submitted enters a run that must become queued.
func submitted(tb testing.TB, l *Ledger, changes ...change) run.Record {
	tb.Helper()
	record, err := l.Submit(tb.Context(), wanting(tb, changes...))
	if err != nil || record.Status != run.StatusQueued {
		tb.Fatalf("submitted a run: it is %q, %v", record.Status, err)
	}
	return record
}

// claimed claims a run that must be there.
func claimed(tb testing.TB, l *Ledger, owner string, length time.Duration) run.Lease {
	tb.Helper()
	lease, err := l.Claim(tb.Context(), owner, length)
	if err != nil || lease == nil {
		tb.Fatalf("%s claimed a run: %v, %v", owner, lease, err)
	}
	return lease
}

// begun is a run that has begun under a lease.
func begun(tb testing.TB, l *Ledger, length time.Duration, changes ...change) run.Lease {
	tb.Helper()
	lease, err := l.Begin(tb.Context(), wanting(tb, changes...), "begun", length)
	if err != nil {
		tb.Fatal(err)
	}
	return lease
}

// finished is a run that has ended.
func finished(tb testing.TB, l *Ledger, status run.Status, changes ...change) run.Record {
	tb.Helper()
	lease := begun(tb, l, long, changes...)
	if err := lease.Finish(tb.Context(), status, nil, ""); err != nil {
		tb.Fatal(err)
	}
	return found(tb, l, lease.Record().ID)
}

// found is a run that must be there.
func found(tb testing.TB, l *Ledger, id string) run.Record {
	tb.Helper()
	record, err := l.Run(tb.Context(), id)
	if err != nil {
		tb.Fatalf("run %s: %v", id, err)
	}
	return record
}

func count(tb testing.TB, l *Ledger, from string) (n int) {
	tb.Helper()
	if err := l.pool.QueryRow(tb.Context(), "SELECT count(*) FROM "+from).Scan(&n); err != nil {
		tb.Fatal(err)
	}
	return n
}

func execute(tb testing.TB, l *Ledger, sql string, args ...any) {
	tb.Helper()
	if _, err := l.pool.Exec(tb.Context(), sql, args...); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

// isActive checks that an error says that a run is in the way.
func isActive(tb testing.TB, err error, id string) {
	tb.Helper()
	var active *run.ActiveError
	if !errors.As(err, &active) || active.Active.ID != id {
		tb.Errorf("the error is %v, want that run %s is active", err, id)
	}
}
