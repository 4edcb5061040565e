package ledger

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestAcceptRefusesARequestForAnotherPipeline(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	_, err := l.Accept(t.Context(), wanting(t, func(r *run.Request) { r.Pipeline = "elsewhere" }))
	if !errors.As(err, new(*run.InvalidError)) {
		t.Errorf("the error is %T", err)
	}
	testenv.CheckMessage(t, err, "pipeline is another one than that of the service here, products", "virtual host of its own")
	if n := count(t, l, "etl_ledger.run"); n != 0 {
		t.Errorf("%d runs are entered", n)
	}
	if record, err := l.Accept(t.Context(), wanting(t, func(r *run.Request) { r.Pipeline = "products" })); err != nil || record.Status != run.StatusQueued {
		t.Errorf("its own: %+v, %v", record, err)
	}
}

// A pipeline has slots of its own.
func TestSlotsOfAnotherPipeline(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	repair, comparison := submitted(t, l), submitted(t, l, look)
	other := open(t, l.pool.Config().ConnString(), "another")
	if active, err := other.Active(t.Context(), run.RepairSlot); err != nil || active != nil {
		t.Errorf("another pipeline sees %v, %v", active, err)
	}
	if _, err := other.Run(t.Context(), repair.ID); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("another pipeline finds the run: %v", err)
	}
	submitted(t, other)
	_, err := other.Submit(t.Context(), repair.Request)
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
		if _, err := l.Ask(t.Context(), won[0], run.WantCancel, run.Actor{}); err != nil {
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
				_, err = l.Ask(t.Context(), record.ID, run.WantCancel, run.Actor{})
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
	if n := count(t, l, "etl_ledger.run WHERE status <> 'cancelled'"); n != 0 {
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
	if n := count(t, l, "etl_ledger.run"); n != occasions || len(ids) != occasions {
		t.Errorf("%d runs of %d keys", n, len(ids))
	}
	if n := count(t, l, "etl_ledger.run WHERE status = 'skipped' AND active_run = '"+active.ID+"' AND finished_at IS NOT NULL"); n != occasions-1 {
		t.Errorf("%d runs were skipped because of the active one", n)
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

func TestOneOfManyBeginsTheSlotOfAProcessThatDied(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	begun(t, l, gone)
	var won int
	concurrently(10, func() func() {
		_, err := l.Begin(t.Context(), wanting(t), "cli", long)
		return func() {
			if err == nil {
				won++
			} else if !errors.As(err, new(*run.ActiveError)) {
				t.Error(err)
			}
		}
	})
	if won != 1 {
		t.Errorf("%d have begun", won)
	}
}
