// Package ledgertest is the suite that every ledger must pass, the one in memory that
// tests use included.
package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Ledger is all that is asked of a ledger; internal/ledger says what each method does.
type Ledger interface {
	Submit(ctx context.Context, request run.Request) (run.Record, error)
	Accept(ctx context.Context, request run.Request) (run.Record, error)
	Defer(ctx context.Context, request run.Request, document []byte, why string) (run.Record, error)
	Begin(ctx context.Context, request run.Request, owner string, length time.Duration) (run.Lease, error)
	Discard(ctx context.Context, id string) error
	Claim(ctx context.Context, owner string, length time.Duration) (run.Lease, error)
	Sweep(ctx context.Context) (claimable bool, err error)
	Forget(ctx context.Context, atMost time.Duration) (removed int64, err error)
	Ask(ctx context.Context, id string, wanted run.Wanted, by run.Actor) (run.Record, error)
	Actions(ctx context.Context, f run.ActionFilter) (run.ActionPage, error)

	Run(ctx context.Context, id string) (run.Record, error)
	Runs(ctx context.Context, filter run.Filter) (run.Page, error)
	Active(ctx context.Context, slot run.Slot) (*run.Record, error)
	Latest(ctx context.Context, slot run.Slot) (*run.Record, error)
	LatestLook(ctx context.Context, notOlderThan time.Time) (*run.Record, error)
	Outcomes(ctx context.Context, id string, filter run.OutcomeFilter) (run.OutcomePage, error)
	Findings(ctx context.Context, id string, kinds run.Kinds) (keys []run.Key, complete bool, err error)
	History(ctx context.Context, id product.ID, limit int) ([]run.PastOutcome, error)

	Switch(ctx context.Context) (run.Switch, error)
	SetSwitch(ctx context.Context, on bool, by run.Actor) (run.Switch, error)
	SaveHealth(ctx context.Context, h run.HealthRecord) error
	LastHealth(ctx context.Context) (*run.HealthRecord, error)

	Detect(ctx context.Context, findings []run.Finding) (fresh int, err error)
	Pending(ctx context.Context, kinds run.Kinds, limit int) (run.Pending, error)
	Asked(ctx context.Context, ids []product.ID, kinds run.Kinds) error
	Take(ctx context.Context, name run.Detector, owner string, length time.Duration) (run.DetectorState, bool, error)
	Looked(ctx context.Context, name run.Detector, mark time.Time, checked, differing int, problem error) error
	Detection(ctx context.Context) (run.Detection, error)
	Freshness(ctx context.Context, id string) ([]time.Duration, error)

	Drift(ctx context.Context) (run.Drift, error)
	Sampled(ctx context.Context, s run.Sample) error
	Samples(ctx context.Context, since time.Time) ([]run.Sample, error)
}

// Fixture is an empty ledger of the pipeline "products" that keeps what is finished
// for at most a month.
type Fixture struct {
	Ledger
	// Age makes everything in the ledger older. Leases hold for as much longer.
	Age func(by time.Duration)
	// Limit sets how many outcomes of a run are kept, and how many open differences.
	Limit func(outcomes, differences int)
	// Upgrade makes the program one that knows a later version of requests.
	Upgrade func()
}

// Test tests a ledger, which open makes anew for each part.
func Test(t *testing.T, open func(t *testing.T) Fixture) {
	for _, part := range []map[string]func(*testing.T, Fixture){entering, waiting, claiming, steering, listing, leasing, standing, telling, detecting} {
		for name, test := range part {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, open(t))
			})
		}
	}
}

const (
	long = time.Hour         // a lease that does not expire in a test
	gone = -time.Microsecond // one that has expired when anybody looks
)

type change = func(*run.Request)

// wanting is a valid request with some of it changed.
func wanting(t *testing.T, changes ...change) run.Request {
	t.Helper()
	r := run.Request{Version: run.RequestVersion, Trigger: run.ByHTTP, By: "somebody"}
	for _, c := range changes {
		c(&r)
	}
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	return r
}

func look(r *run.Request)       { r.DryRun = true }
func late(r *run.Request)       { r.Expires = time.Now().Add(-time.Minute) }
func recorded(r *run.Request)   { r.ID, r.Recorded = run.NewRunID(), true }
func from(t run.Trigger) change { return func(r *run.Request) { r.Trigger = t } }
func keyed(key string) change   { return func(r *run.Request) { r.Key = key } }
func at(t time.Time) change     { return func(r *run.Request) { r.At = t } }
func naming(ids ...product.ID) change {
	return func(r *run.Request) { r.IDs = ids }
}
func recent(r *run.Request) { r.Since.Time = time.Now().Add(-time.Hour) }

// submitted enters a run that must become queued.
func submitted(t *testing.T, l Fixture, changes ...change) run.Record {
	t.Helper()
	record, err := l.Submit(t.Context(), wanting(t, changes...))
	if err != nil || record.Status != run.StatusQueued {
		t.Fatalf("submitted a run: it is %q, %v", record.Status, err)
	}
	return record
}

// claimed claims a run that must be there.
func claimed(t *testing.T, l Fixture, owner string, length time.Duration) run.Lease {
	t.Helper()
	lease, err := l.Claim(t.Context(), owner, length)
	if err != nil || lease == nil {
		t.Fatalf("%s claimed a run: %v, %v", owner, lease, err)
	}
	return lease
}

// begun is a run that has begun under a lease.
func begun(t *testing.T, l Fixture, length time.Duration, changes ...change) run.Lease {
	t.Helper()
	lease, err := l.Begin(t.Context(), wanting(t, changes...), "begun", length)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

// ended ends a run.
func ended(t *testing.T, lease run.Lease, status run.Status) string {
	t.Helper()
	if err := lease.Finish(t.Context(), status, nil, ""); err != nil {
		t.Fatal(err)
	}
	return lease.Record().ID
}

// finished is a run that has ended.
func finished(t *testing.T, l Fixture, status run.Status, changes ...change) run.Record {
	t.Helper()
	return found(t, l, ended(t, begun(t, l, long, changes...), status))
}

// found is a run that must be there.
func found(t *testing.T, l Fixture, id string) run.Record {
	t.Helper()
	record, err := l.Run(t.Context(), id)
	if err != nil {
		t.Fatalf("run %s: %v", id, err)
	}
	return record
}

// settled settles in a run.
func settled(t *testing.T, lease run.Lease, s run.Settlement) {
	t.Helper()
	if s.Stage == "" {
		s.Stage = run.Repairing
	}
	if err := lease.Settle(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// outcomes are outcomes of products, in one state and of one kind.
func outcomes(state run.State, kind product.Kind, ids ...product.ID) []run.Outcome {
	all := make([]run.Outcome, len(ids))
	for i, id := range ids {
		all[i] = run.Outcome{Key: run.Key{ID: id, Kind: kind}, State: state}
	}
	return all
}

// keep settles such outcomes.
func keep(t *testing.T, lease run.Lease, state run.State, kind product.Kind, ids ...product.ID) {
	t.Helper()
	settled(t, lease, run.Settlement{Outcomes: outcomes(state, kind, ids...)})
}

// inHand takes products in hand for the first time.
func inHand(t *testing.T, lease run.Lease, kind product.Kind, ids ...product.ID) {
	t.Helper()
	hands := make([]run.Hand, len(ids))
	for i, id := range ids {
		hands[i] = run.Hand{Key: run.Key{ID: id, Kind: kind}, Attempt: 1}
	}
	if err := lease.Begin(t.Context(), hands); err != nil {
		t.Fatal(err)
	}
}

// resumed is where a run goes on.
func resumed(t *testing.T, lease run.Lease) *run.Checkpoint {
	t.Helper()
	at, err := lease.Resume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// told are all outcomes that a filter picks, page by page.
func told(t *testing.T, l Fixture, id string, filter run.OutcomeFilter) (all []run.Outcome) {
	t.Helper()
	for {
		page, err := l.Outcomes(t.Context(), id, filter)
		if err != nil {
			t.Fatal(err)
		}
		if page.Outcomes == nil || filter.Limit > 0 && len(page.Outcomes) > filter.Limit {
			t.Errorf("a page of %d outcomes", len(page.Outcomes))
		}
		all = append(all, page.Outcomes...)
		if page.Next == "" {
			return all
		}
		filter.After = page.Next
	}
}

// names are outcomes as texts.
func names(outcomes []run.Outcome) []string {
	all := make([]string, len(outcomes))
	for i, o := range outcomes {
		all[i] = fmt.Sprintf("%s %s %s", o.ID, o.Kind, o.State)
	}
	return all
}

// isActive checks that an error says that a run is in the way.
func isActive(t *testing.T, err error, id string) {
	t.Helper()
	var active *run.ActiveError
	if !errors.As(err, &active) || active.Active.ID != id {
		t.Errorf("the error is %v, want that run %s is active", err, id)
	}
}

// isRefused checks that an error says that a run's status does not allow something.
func isRefused(t *testing.T, err error, id string) {
	t.Helper()
	var refused *run.StatusError
	if !errors.As(err, &refused) || refused.Run.ID != id {
		t.Errorf("the error is %v, want that run %s cannot", err, id)
	}
}
