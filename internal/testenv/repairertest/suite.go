// Package repairertest is the suite that every repairer must pass: the replay, the direct
// one, and those that the engine's tests simulate.
package repairertest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
)

// Fixture is a repairer of an empty cart.
type Fixture struct {
	reconcile.Repairer
	Cart
	// Patience sets how long Reserve waits in vain, of one that waits.
	Patience func(time.Duration)
	// Break breaks the connection of what is being repaired; it can be made anew at once.
	Break func()
	// Freeze lets nothing through, in either direction, until thaw.
	Freeze func() (thaw func())

	direct bool
}

// Cart is the table that is repaired, as others see and change it.
type Cart interface {
	// Put sets rows, be they there or not.
	Put(rows ...product.Row)
	Remove(id product.ID)
	// Hold has a row of another table refer to one that is there.
	Hold(id product.ID)
	// Rows are all there are once the consumer has nothing left to do.
	Rows() map[product.ID]product.Row
}

// Suite is how a repairer is tested.
type Suite struct {
	// Direct: it writes rows itself, at once, and leaves alone what was changed meanwhile.
	// Else the cart's consumer does, which sets what an event says, but for the seller.
	Direct bool
	// Open makes a fixture anew for each part.
	Open func(t *testing.T) Fixture
	// In, if set, runs a part, such as in virtual time.
	In func(t *testing.T, part func(t *testing.T))
}

// Test tests the repairer.
func (s Suite) Test(t *testing.T) {
	parts := []map[string]func(*testing.T, Fixture){repairing, reserving, breaking, waiting}
	if s.Direct {
		parts[3] = writing
	}
	for _, part := range parts {
		for name, test := range part {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				run := func(t *testing.T) {
					f := s.Open(t)
					f.direct = s.Direct
					test(t, f)
				}
				if s.In != nil {
					s.In(t, run)
				} else {
					run(t)
				}
			})
		}
	}
}

// row is a row of the cart. Rows of another price have another title too.
func row(id product.ID, price int64) product.Row {
	r := product.Row{ID: id}
	r.Values[product.Title] = product.TextValue(fmt.Sprintf("Lamp for %d", price))
	r.Values[product.Price] = product.IntegerValue(price)
	r.Values[product.Image] = product.TextValue("lamp.png")
	r.Values[product.SellerID] = product.TextValue("seller")
	r.Values[product.Quantity] = product.IntegerValue(5)
	return r
}

const (
	oldPrice  = 1 // of a stale row, and of one that has no product
	newPrice  = 2 // of the source
	livePrice = 3 // of what somebody else has written meanwhile
)

// differing are repairs of a kind, whose differences the cart has from now on.
func differing(f Fixture, kind product.Kind, ids ...product.ID) []product.Repair {
	repairs := make([]product.Repair, len(ids))
	for i, id := range ids {
		r, rule := &repairs[i], kind.Rule()
		if r.Row.ID = id; rule.InSource {
			r.Row = row(id, newPrice)
			r.Product = product.Product{Key: product.Key{Class: product.Strings, ID: id}, Values: r.Row.Values}
		}
		if rule.InCart {
			r.Was = row(id, oldPrice)
			f.Put(r.Was)
		}
		if rule.InCart && rule.InSource {
			r.Fields = []product.Field{product.Title, product.Price}
		}
	}
	return repairs
}

// ids are n ids, with a name in common.
func ids(name string, n int) []product.ID {
	all := make([]product.ID, n)
	for i := range all {
		all[i] = product.ID(fmt.Sprintf("%s%03d", name, i))
	}
	return all
}

// done tells whether the cart is as a repair is to leave it.
func done(kind product.Kind, rows map[product.ID]product.Row, r *product.Repair) bool {
	is, there := rows[r.Row.ID]
	if !kind.Rule().InSource {
		return !there
	}
	return there && is == r.Row
}

// repaired reserves and makes repairs as the engine does, until each was tried.
func repaired(t *testing.T, f Fixture, kind product.Kind, attempt int, repairs []product.Repair) []product.Result {
	t.Helper()
	var all []product.Result
	for len(repairs) > 0 {
		n, err := f.Reserve(t.Context(), kind, len(repairs), seen)
		if err != nil || n < 1 || n > len(repairs) {
			t.Errorf("%d of %d %s repairs are granted, %v", n, len(repairs), kind, err)
			return all
		}
		results, err := f.Repair(t.Context(), kind, attempt, repairs[:n])
		if err != nil || len(results) != n {
			t.Errorf("%d results of %d %s repairs, %v", len(results), n, kind, err)
			return all
		}
		all, repairs = append(all, results...), repairs[n:]
	}
	return all
}

// confirmed checks that all repairs are, in their order.
func confirmed(t *testing.T, kind product.Kind, repairs []product.Repair, results []product.Result) {
	t.Helper()
	want := make([]product.Result, len(repairs))
	for i := range repairs {
		want[i] = product.Result{ID: repairs[i].Row.ID, Fate: product.Confirmed, Bytes: results[i].Bytes}
	}
	if !slices.Equal(results, want) {
		t.Errorf("%s: the results are\n%+v, want\n%+v", kind, results, want)
	}
}

// effective checks that the cart is as all repairs are to leave it.
func effective(t *testing.T, f Fixture, kind product.Kind, repairs []product.Repair) {
	t.Helper()
	rows := f.Rows()
	for i := range repairs {
		if r := &repairs[i]; !done(kind, rows, r) {
			t.Errorf("the %s product %s is %v in the cart, want %v", kind, r.Row.ID, rows[r.Row.ID], r.Row)
		}
	}
}
