package reconcile_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// The Product Service answers first and publishes afterwards, 20 events a second. In a
// burst the gap grows to minutes, and nothing is lost: runs one after the other repair
// nothing, in either mode, although no ledger has measured a gap before.
func TestABurstIsMerelyOnItsWay(t *testing.T) {
	t.Parallel()
	const products, interval = 2000, 45 * time.Millisecond
	for _, mode := range []run.Mode{run.Replay, run.Direct} {
		for _, late := range []time.Duration{0, 35 * time.Second} { // of the first run
			t.Run(string(mode)+" "+late.String(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newShop(10, none)
					s.page = 500
					published := make(chan struct{})
					var fresh []product.Product
					for i := range products {
						p := newProduct(id(1000 + i))
						p.Created = time.Now()
						p.Updated = p.Created
						fresh = append(fresh, p)
						s.add(p, false)
						time.Sleep(time.Millisecond)
					}
					go func() {
						defer close(published)
						for _, p := range fresh {
							time.Sleep(interval)
							s.queues[product.Missing].put(event{row: s.rowOf(p)})
						}
					}()
					time.Sleep(late)
					for ended := false; !ended; {
						select {
						case <-published:
							ended = true
						default:
						}
						set := s.replay()
						if mode == run.Direct {
							set = s.direct()
						}
						set.options.MaxRepairs = products
						report, err := s.do(t.Context(), t, set)
						if err != nil || report.Acted != 0 {
							t.Fatalf("%d products were repaired that were on their way: %v", report.Acted, err)
						}
						time.Sleep(20 * time.Second)
					}
				})
			})
		}
	}
}
