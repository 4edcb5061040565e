package repairertest

import (
	"errors"
	"sync"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
)

// repairing is what becomes of repairs.
var repairing = map[string]func(*testing.T, Fixture){
	"what is confirmed is done":              testDone,
	"nothing to repair":                      testNothing,
	"one that does not fit keeps no other":   testMisfit,
	"a repeat is harmless":                   testRepeat,
	"what came, changed or went in the cart": testMeanwhile,
	"kinds are repaired at once":             testAtOnce,
}

// writing is what only a direct repair meets: the engine publishes no event that would
// kill the cart's consumer.
var writing = map[string]func(*testing.T, Fixture){
	"a row that another table refers to stays": testReferenced,
}

func testDone(t *testing.T, f Fixture) {
	f.Put(row("bystander", oldPrice))
	for _, kind := range product.Kinds() {
		repairs := differing(f, kind, ids(string(kind), 30)...)
		confirmed(t, kind, repairs, repaired(t, f, kind, 1, repairs))
		effective(t, f, kind, repairs)
	}
	if rows := f.Rows(); rows["bystander"] != row("bystander", oldPrice) || len(rows) != 61 {
		t.Errorf("there are %d rows, and another one is %v", len(rows), rows["bystander"])
	}
}

func testNothing(t *testing.T, f Fixture) {
	for _, kind := range product.Kinds() {
		if results, err := f.Repair(t.Context(), kind, 1, nil); err != nil || len(results) != 0 {
			t.Errorf("%s: %+v, %v", kind, results, err)
		}
	}
}

// An id that is not UTF-8 is in no cart, and in no event.
func testMisfit(t *testing.T, f Fixture) {
	const odd = "\xff"
	for _, kind := range product.Kinds() {
		repairs := differing(f, kind, ids(string(kind), 7)...)
		repairs[3].Row.ID, repairs[3].Was.ID, repairs[3].Product.Key.ID = odd, odd, odd
		results := repaired(t, f, kind, 1, repairs)
		if len(results) != len(repairs) {
			continue
		}
		var misfit *product.Misfit
		if r := results[3]; r.ID != odd || r.Fate != product.Untried || !errors.As(r.Err, &misfit) {
			t.Errorf("%s: what does not fit is %+v", kind, r)
		}
		for _, others := range [][2]int{{0, 3}, {4, 7}} {
			from, to := others[0], others[1]
			confirmed(t, kind, repairs[from:to], results[from:to])
			effective(t, f, kind, repairs[from:to])
		}
	}
}

func testRepeat(t *testing.T, f Fixture) {
	for _, kind := range product.Kinds() {
		repairs := differing(f, kind, ids(string(kind), 5)...)
		for attempt := range 3 {
			confirmed(t, kind, repairs, repaired(t, f, kind, attempt+1, repairs))
			effective(t, f, kind, repairs)
		}
	}
}

// A repair meets a cart that is not as it was read: nothing is overwritten that its kind
// does not speak of, and nothing comes back.
func testMeanwhile(t *testing.T, f Fixture) {
	live := row("", livePrice)
	live.Values[product.SellerID] = product.TextValue("live seller")
	live.Values[product.Quantity] = product.IntegerValue(4)
	as := func(id product.ID, r product.Row) product.Row { r.ID = id; return r }
	announced := row("", newPrice) // the consumer sets all of it, but for the seller
	announced.Values[product.SellerID] = live.Values[product.SellerID]
	touched := row("", oldPrice) // in what does not differ
	touched.Values[product.Quantity] = product.IntegerValue(4)
	behind := row("", newPrice)
	if f.direct {
		announced = live
		behind.Values[product.Quantity] = touched.Values[product.Quantity]
	}
	for _, tt := range []struct {
		name      string
		kind      product.Kind
		meanwhile func(id product.ID)
		want      *product.Row // nil: no row
	}{
		{"missing came", product.Missing, func(id product.ID) { f.Put(as(id, live)) }, &live},
		{"stale changed", product.Stale, func(id product.ID) { f.Put(as(id, live)) }, &announced},
		{"stale was touched", product.Stale, func(id product.ID) { f.Put(as(id, touched)) }, &behind},
		{"stale went", product.Stale, f.Remove, nil},
		{"orphaned went", product.Orphaned, f.Remove, nil},
		{"orphaned changed", product.Orphaned, func(id product.ID) { f.Put(as(id, live)) }, nil},
	} {
		id := product.ID(tt.name)
		repairs := differing(f, tt.kind, id, id+" not")
		tt.meanwhile(id)
		confirmed(t, tt.kind, repairs, repaired(t, f, tt.kind, 1, repairs))
		rows := f.Rows()
		if is, there := rows[id]; there != (tt.want != nil) || there && is != as(id, *tt.want) {
			t.Errorf("%s: it is %v (%t), want %v", tt.name, is, there, tt.want)
		}
		if !done(tt.kind, rows, &repairs[1]) {
			t.Errorf("%s: the one beside it is %v", tt.name, rows[repairs[1].Row.ID])
		}
	}
}

func testReferenced(t *testing.T, f Fixture) {
	repairs := differing(f, product.Orphaned, ids("orphan", 5)...)
	f.Hold(repairs[2].Row.ID)
	results := repaired(t, f, product.Orphaned, 1, repairs)
	rows := f.Rows()
	var misfit *product.Misfit
	for i, r := range results {
		if i == 2 && (r.Fate != product.Untried || !errors.As(r.Err, &misfit) || done(product.Orphaned, rows, &repairs[i])) {
			t.Errorf("the one that is referenced: %+v, %v", r, rows[r.ID])
		} else if i != 2 && (r.Fate != product.Confirmed || !done(product.Orphaned, rows, &repairs[i])) {
			t.Errorf("%+v, %v", r, rows[r.ID])
		}
	}
}

func testAtOnce(t *testing.T, f Fixture) {
	repairs := make(map[product.Kind][]product.Repair)
	for _, kind := range product.Kinds() {
		repairs[kind] = differing(f, kind, ids(string(kind), 60)...)
	}
	var all sync.WaitGroup
	for kind, repairs := range repairs {
		all.Go(func() {
			for n := 0; n < len(repairs); n += 20 {
				confirmed(t, kind, repairs[n:n+20], repaired(t, f, kind, 1, repairs[n:n+20]))
			}
		})
	}
	all.Wait()
	for kind, repairs := range repairs {
		effective(t, f, kind, repairs)
	}
}
