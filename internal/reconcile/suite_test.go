package reconcile_test

import (
	"maps"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv/repairertest"
)

// What the engine is tested with is what real repairers are.
func TestSimulatedRepairers(t *testing.T) {
	t.Parallel()
	for name, direct := range map[string]bool{"replay": false, "direct": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repairertest.Suite{Direct: direct, In: synctest.Test, Open: func(t *testing.T) repairertest.Fixture {
				s := newShop(0, none)
				_, stop := s.open(t.Context())
				t.Cleanup(stop)
				var broken atomic.Bool
				return repairertest.Fixture{
					Repairer: &repairer{shop: s, direct: direct, depth: 100, fate: whole, breaks: func(product.ID) error {
						if broken.CompareAndSwap(true, false) {
							return errReset
						}
						return nil
					}},
					Cart:     cart{s},
					Patience: func(time.Duration) {}, // ten minutes, which take no time here
					Break:    func() { broken.Store(true) },
					Freeze: func() (thaw func()) {
						s.hangs = func(c call) bool { return c.operation == repairing }
						return func() { s.hangs = nil }
					},
				}
			}}.Test(t)
		})
	}
}

// whole is a cart that holds what is UTF-8.
func whole(_ int, id product.ID) fate {
	if !utf8.ValidString(string(id)) {
		return misfits
	}
	return arrives
}

// cart is the shop's, as others see it.
type cart struct{ *shop }

func (c cart) Put(rows ...product.Row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range rows {
		c.shop.Rows[r.ID] = r
	}
}

func (c cart) Remove(id product.ID) { c.removeRow(id) }

func (c cart) Hold(id product.ID) { c.references[id] = "public.cart" }

func (c cart) Rows() map[product.ID]product.Row {
	for c.busy() {
		time.Sleep(pace)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.shop.Rows)
}

// busy tells whether there is an event that is not consumed yet.
func (c cart) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, q := range c.queues {
		if q.held != nil || len(q.waiting) > 0 {
			return true
		}
	}
	return false
}
