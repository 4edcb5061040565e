package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestSubmitEntersTheWholeRequest(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	request := wanting(t, keyed("k"), func(r *run.Request) {
		r.Mode, r.BatchSize, r.MaxRepairs, r.Reason = run.Direct, 7, 9, "weil's muß \\u0000"
		r.Since = run.Moment{Time: time.Now().Add(-time.Hour).UTC()}
		r.Expires = time.Now().Add(time.Hour).UTC()
	})
	record, err := l.Submit(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if record.ID != request.ID || record.Version != 1 || record.Status != run.StatusQueued || record.Wanted != run.WantRun || !record.Started.IsZero() || record.Takeovers != 0 {
		t.Errorf("the run is %+v", record)
	}
	same := record.Request
	if !same.At.Equal(request.At) || !same.Since.Equal(request.Since.Time) || !same.Expires.Equal(request.Expires) ||
		same.Reason != request.Reason || same.Mode != request.Mode || same.Key != "k" || same.BatchSize != 7 || same.MaxRepairs != 9 || same.By != "somebody" {
		t.Errorf("the request is %+v, want %+v", same, request)
	}
	if again := found(t, l, strings.ToUpper(record.ID)); again.ID != record.ID {
		t.Errorf("found run %s", again.ID)
	}
}

func TestSubmitTwiceIsOneRun(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	request := wanting(t, keyed("noon"))
	first, err := l.Submit(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	for name, again := range map[string]run.Request{
		"the same id":                        request,
		"the same id in capitals":            wanting(t, func(r *run.Request) { r.ID = strings.ToUpper(request.ID) }),
		"the same key":                       wanting(t, keyed("noon")),
		"the same key for the other slot":    wanting(t, keyed("noon"), look),
		"the same id for the other slot":     wanting(t, look, func(r *run.Request) { r.ID = request.ID }),
		"the same id, and expired meanwhile": wanting(t, late, func(r *run.Request) { r.ID = request.ID }),
	} {
		for enter, do := range map[string]func(context.Context, run.Request) (run.Record, error){"Submit": l.Submit, "Accept": l.Accept} {
			if record, err := do(t.Context(), again); err != nil || record.ID != first.ID {
				t.Errorf("%s, %s: run %s, %v, want %s", name, enter, record.ID, err, first.ID)
			}
		}
	}
	if n := count(t, l, "etl.run"); n != 1 {
		t.Errorf("%d runs", n)
	}
}

func TestAcceptRefusesARequestForAnotherPipeline(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	_, err := l.Accept(t.Context(), wanting(t, func(r *run.Request) { r.Pipeline = "elsewhere" }))
	if !errors.As(err, new(*run.InvalidError)) {
		t.Errorf("the error is %T", err)
	}
	testenv.CheckMessage(t, err, "pipeline is another one than that of the service here, products", "virtual host of its own")
	if n := count(t, l, "etl.run"); n != 0 {
		t.Errorf("%d runs are entered", n)
	}
	if record, err := l.Accept(t.Context(), wanting(t, func(r *run.Request) { r.Pipeline = "products" })); err != nil || record.Status != run.StatusQueued {
		t.Errorf("its own: %+v, %v", record, err)
	}
}

func TestSlots(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	repair, comparison := submitted(t, l), submitted(t, l, look)
	_, err := l.Submit(t.Context(), wanting(t))
	isActive(t, err, repair.ID)
	_, err = l.Submit(t.Context(), wanting(t, look))
	isActive(t, err, comparison.ID)
	_, err = l.Begin(t.Context(), wanting(t), "cli", long)
	isActive(t, err, repair.ID)
	for slot, want := range map[run.Slot]string{run.RepairSlot: repair.ID, run.LookSlot: comparison.ID} {
		if active, err := l.Active(t.Context(), slot); err != nil || active == nil || active.ID != want {
			t.Errorf("%s: active is %v, %v", slot, active, err)
		}
	}
	other := open(t, l.pool.Config().ConnString(), "another")
	if active, err := other.Active(t.Context(), run.RepairSlot); err != nil || active != nil {
		t.Errorf("another pipeline sees %v, %v", active, err)
	}
	if _, err := other.Run(t.Context(), repair.ID); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("another pipeline finds the run: %v", err)
	}
	submitted(t, other)
	_, err = other.Submit(t.Context(), repair.Request)
	isActive(t, err, found(t, other, mustActive(t, other).ID).ID)
	_, err = other.Submit(t.Context(), comparison.Request)
	testenv.CheckMessage(t, err, "id is that of a run of another pipeline")
}

func mustActive(t *testing.T, l *Ledger) *run.Record {
	t.Helper()
	active, err := l.Active(t.Context(), run.RepairSlot)
	if err != nil || active == nil {
		t.Fatalf("active: %v, %v", active, err)
	}
	return active
}

func TestTenSubmitAtOnce(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	for range 5 {
		var won, lost []string
		concurrently(10, func() func() {
			record, err := l.Submit(t.Context(), wanting(t))
			return func() {
				var active *run.ActiveError
				switch {
				case err == nil:
					won = append(won, record.ID)
				case errors.As(err, &active):
					lost = append(lost, active.Active.ID)
				default:
					t.Error(err)
				}
			}
		})
		if len(won) != 1 || len(lost) != 9 {
			t.Fatalf("%d won and %d lost", len(won), len(lost))
		}
		for _, winner := range lost {
			if winner != won[0] {
				t.Errorf("a loser was told of run %s, the winner is %s", winner, won[0])
			}
		}
		if _, err := l.Ask(t.Context(), won[0], run.WantCancel); err != nil {
			t.Fatal(err)
		}
	}
}

// concurrently does something n times at once, and what it returns one after the
// other.
func concurrently(n int, do func() func()) {
	var all sync.WaitGroup
	then := make(chan func(), n)
	for range n {
		all.Go(func() { then <- do() })
	}
	all.Wait()
	close(then)
	for f := range then {
		f()
	}
}

// While runs come and go, whoever is told of an active run is told of one that was.
func TestSubmitWhileRunsEnd(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	concurrently(8, func() func() {
		var problems []error
		for range 25 {
			record, err := l.Submit(t.Context(), wanting(t))
			if err == nil {
				_, err = l.Ask(t.Context(), record.ID, run.WantCancel)
			} else if errors.As(err, new(*run.ActiveError)) {
				err = nil
			}
			problems = append(problems, err)
		}
		return func() {
			if err := errors.Join(problems...); err != nil {
				t.Error(err)
			}
		}
	})
	if n := count(t, l, "etl.run WHERE status <> 'cancelled'"); n != 0 {
		t.Errorf("%d runs are not cancelled", n)
	}
}

// Three replicas have the same scheduler: each occasion becomes one run.
func TestManyAcceptAtOnce(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	const occasions, replicas = 200, 3
	requests := make(chan run.Request, occasions*replicas)
	for i := range occasions {
		for range replicas {
			requests <- wanting(t, from(run.BySchedule), keyed(fmt.Sprintf("products/%d", i)))
		}
	}
	close(requests)
	ids := make(map[string]string)
	concurrently(20, func() func() {
		var runs []run.Record
		for r := range requests {
			record, err := l.Accept(t.Context(), r)
			if err != nil {
				return func() { t.Error(err) }
			}
			runs = append(runs, record)
		}
		return func() {
			for _, record := range runs {
				if key := record.Request.Key; ids[key] != "" && ids[key] != record.ID {
					t.Errorf("%s is runs %s and %s", key, ids[key], record.ID)
				}
				ids[record.Request.Key] = record.ID
			}
		}
	})
	active := mustActive(t, l)
	if n := count(t, l, "etl.run"); n != occasions || len(ids) != occasions {
		t.Errorf("%d runs of %d keys", n, len(ids))
	}
	if n := count(t, l, "etl.run WHERE status = 'skipped' AND active_run = '"+active.ID+"' AND finished_at IS NOT NULL"); n != occasions-1 {
		t.Errorf("%d runs were skipped because of the active one", n)
	}
}

func TestAccept(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	for _, unknown := range []run.Request{wanting(t, recorded), wanting(t, recorded, late)} {
		if _, err := l.Accept(t.Context(), unknown); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("a recorded run that is not there: %v", err)
		}
	}
	expired, err := l.Accept(t.Context(), wanting(t, late))
	if err != nil || expired.Status != run.StatusSkipped || !strings.HasPrefix(expired.Error, "expired: no worker began it by 20") || expired.Finished.IsZero() {
		t.Errorf("an expired request became %+v, %v", expired, err)
	}
	record, err := l.Accept(t.Context(), wanting(t))
	if err != nil || record.Status != run.StatusQueued {
		t.Fatalf("a request became %+v, %v", record, err)
	}
	request := record.Request
	request.Recorded = true
	if again, err := l.Accept(t.Context(), request); err != nil || again.ID != record.ID {
		t.Errorf("a recorded run: %v, %v", again.ID, err)
	}
	skipped, err := l.Accept(t.Context(), wanting(t, keyed("noon")))
	if err != nil || skipped.Status != run.StatusSkipped || skipped.ActiveRun != record.ID || !strings.Contains(skipped.Error, record.ID) || skipped.Finished.IsZero() {
		t.Errorf("a request for a slot that is taken became %+v, %v", skipped, err)
	}
	if again, err := l.Accept(t.Context(), wanting(t, keyed("noon"))); err != nil || again.ID != skipped.ID {
		t.Errorf("the same occasion became run %s, %v", again.ID, err)
	}
}

func TestSubmitRefusesWhatIsNoUUID(t *testing.T) {
	t.Parallel()
	l := open(t, "postgres://nobody@127.0.0.1:1/none", "products") // it is not asked
	for _, id := range []string{"", "run", "65f2a1b2c3d4e5f6a7b8c9d065f2a1b2", "\x00"} {
		_, err := l.Submit(t.Context(), run.Request{ID: id})
		testenv.CheckMessage(t, err, "no UUID")
	}
}

func TestDiscard(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	record := submitted(t, l)
	for range 2 { // the answer to the first may be lost
		if err := l.Discard(t.Context(), record.ID); err != nil {
			t.Error(err)
		}
	}
	if _, err := l.Run(t.Context(), record.ID); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("the discarded run: %v", err)
	}
	if err := l.Discard(t.Context(), "no run"); err != nil {
		t.Error(err)
	}
	submitted(t, l)
	lease := claimed(t, l, "worker", long)
	isRefused(t, l.Discard(t.Context(), lease.Record().ID), lease.Record().ID)
	if err := lease.HandBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	isRefused(t, l.Discard(t.Context(), lease.Record().ID), lease.Record().ID) // queued, and it has begun
}
