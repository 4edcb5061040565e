package reconcile_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// What needs no waiting does not wait: a direct repair of any number of products waits
// for the watermark once, whether the management API is looked at or not.
func TestAllWaitsOfADirectRepair(t *testing.T) {
	t.Parallel()
	for managed, products := range map[bool]int{false: 100_000, true: 1_000_000} {
		t.Run(fmt.Sprintf("managed %v", managed), func(t *testing.T) {
			t.Parallel()
			if raced {
				products = min(products, 200_000) // all memory is shadowed, and each look at it takes its time
			}
			synctest.Test(t, func(t *testing.T) { checkAllWaits(t, products, managed) })
		})
	}
}

func checkAllWaits(t *testing.T, products int, managed bool) {
	s := newShop(products, all)
	s.page, s.quick = 2000, true
	for _, q := range s.queues {
		q.managed = managed
	}
	set := s.direct()
	set.options.MaxRepairs, set.options.BatchSize = products, 1000
	began := time.Now()
	report, err := s.do(t.Context(), t, set)
	if err != nil || report.Outcomes[run.Verified] != int64(products) {
		t.Fatalf("%+v, %v", report, err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("waited for %s", took)
	}
}

// A replay keeps the cart's consumer busy, and never has more events outstanding than
// it may.
func TestAReplayKeepsTheConsumerBusy(t *testing.T) {
	t.Parallel()
	const products, depth = 20_000, 200
	synctest.Test(t, func(t *testing.T) {
		s := newShop(products, all)
		s.page, s.quick = 2000, true
		created := s.queues[product.Missing]
		created.pace = pace
		set := s.replay()
		set.options.MaxRepairs = products
		began := time.Now()
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Outcomes[run.Verified] != products {
			t.Fatalf("%+v, %v", report, err)
		}
		if created.most > depth {
			t.Errorf("%d events were outstanding", created.most)
		}
		busy := products * pace
		if idle := created.idle; idle > busy/20 {
			t.Errorf("the consumer was idle for %s of %s", idle, time.Since(began))
		}
	})
}

// An empty queue without a consumer says nothing for a minute. Then all is judged, more
// than the engine has room for too, and nothing was given up meanwhile.
func TestADeadCartsQueueIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, dryRun := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const products = 300
			s := newShop(2*products, first(products))
			for _, q := range s.queues {
				q.dead = true
			}
			set := s.direct()
			set.options.MaxRepairs, set.options.DryRun, set.capacity = products, dryRun, 50
			report, err := s.do(t.Context(), t, set)
			want := run.Verified
			if dryRun {
				want = run.Found
			}
			if err != nil || report.Outcomes[want] != products {
				t.Errorf("dry run %v: %v, %v", dryRun, report.Outcomes, err)
			}
		})
	}
}
