package diff_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
)

// looks are the two ways to read products by id, by what they read last.
var looks = map[read]func(*diff.Finder, context.Context, []product.ID) ([]diff.Pair, error){
	targetFindRead: (*diff.Finder).Look,
	sourceFindRead: (*diff.Finder).LookBack,
}

// beforeTheLast calls change before the last of the two reads of a look.
func (s *stores) beforeTheLast(last read, change func(*stores)) {
	s.onRead = func(_ context.Context, r read) error {
		if r == last {
			s.change(change)
		}
		return nil
	}
}

// What happens between the two reads of a look is seen by the last one only.
func TestWhatHappensBetweenTheReadsOfALook(t *testing.T) {
	t.Parallel()
	p, row := newProduct(product.Strings, "p"), newRow("p")
	tests := []struct {
		name     string
		inSource bool
		inCart   bool
		change   func(*stores)
		want     map[read]product.Kind
	}{
		{"a row arrives", true, false, func(s *stores) { s.putRows(row) },
			map[read]product.Kind{targetFindRead: "", sourceFindRead: product.Missing}},
		{"a product without a row is deleted", true, false, func(s *stores) { clear(s.Products) },
			map[read]product.Kind{targetFindRead: product.Missing, sourceFindRead: ""}},
		{"a product with a row is deleted", true, true, func(s *stores) { clear(s.Products) },
			map[read]product.Kind{targetFindRead: "", sourceFindRead: product.Orphaned}},
		{"a row is deleted", true, true, func(s *stores) { clear(s.Rows) },
			map[read]product.Kind{targetFindRead: product.Missing, sourceFindRead: ""}},
		{"the product of an orphan comes back", false, true, func(s *stores) { s.put(p) },
			map[read]product.Kind{targetFindRead: product.Orphaned, sourceFindRead: ""}},
		{"a product comes with its row", false, false, func(s *stores) { s.put(p); s.putRows(row) },
			map[read]product.Kind{targetFindRead: product.Orphaned, sourceFindRead: product.Missing}},
	}
	for _, test := range tests {
		for last, look := range looks {
			t.Run(test.name+" before the "+string(last), func(t *testing.T) {
				t.Parallel()
				s := newStores(orders()[0])
				if test.inSource {
					s.put(p)
				}
				if test.inCart {
					s.putRows(row)
				}
				s.beforeTheLast(last, test.change)
				finder := s.finder(10)
				pairs, err := look(finder, t.Context(), []product.ID{"p"})
				if err != nil || len(pairs) != 1 {
					t.Fatalf("%v, %v", pairs, err)
				}
				if kind, _ := finder.Differs(pairs[0]); kind != test.want[last] {
					t.Errorf("the product is %q, want %q", kind, test.want[last])
				}
			})
		}
	}
}

func TestALookKeepsTheOrderOfItsIDs(t *testing.T) {
	t.Parallel()
	for last, look := range looks {
		s := newStores(orders()[0])
		s.put(newProduct(product.Strings, "a"), newProduct(product.Strings, "b"))
		s.putRows(newRow("b"), newRow("c"))
		finder := s.finder(10)
		ids := []product.ID{"c", "nobody", "b", "a", "b"}
		pairs, err := look(finder, t.Context(), ids)
		if err != nil || len(pairs) != len(ids) {
			t.Fatalf("%s: %v, %v", last, pairs, err)
		}
		for i, pair := range pairs {
			inSource, inCart := ids[i] == "a" || ids[i] == "b", ids[i] == "b" || ids[i] == "c"
			if pair.ID != ids[i] || (pair.Product != nil) != inSource || (pair.Row != nil) != inCart {
				t.Errorf("%s: pair %d is %+v, want that of %s", last, i, pair, ids[i])
			}
			if inSource && pair.Product.ID() != pair.ID || inCart && pair.Row.ID != pair.ID {
				t.Errorf("%s: %s comes as %+v and %+v", last, pair.ID, pair.Product, pair.Row)
			}
		}
		if c := &finder.Counters; c.Compared.Load()+c.Rows.Load()+c.Matched.Load() != 0 {
			t.Errorf("%s: a look counts", last)
		}
		if pairs, err := look(finder, t.Context(), nil); err != nil || len(pairs) != 0 {
			t.Errorf("%s: no ids give %v, %v", last, pairs, err)
		}
	}
}

// What is too large to be held at once is looked at in parts, and after some looks without
// asking for too much.
func TestALookOfLargeProducts(t *testing.T) {
	t.Parallel()
	for last, look := range looks {
		const products, held = 40, 3
		s := newStores(orders()[0])
		s.Held = held
		var ids []product.ID
		large := strings.Repeat("x", 1_000_000)
		for i := range products {
			id := product.ID(fmt.Sprintf("%024x", i))
			p := newProduct(product.ObjectIDs, id)
			p.Values[product.Image] = product.TextValue(large)
			s.put(p)
			s.putRows(newRow(id))
			ids = append(ids, id)
		}
		reads := 0
		s.onRead = func(context.Context, read) error { reads++; return nil }
		finder := s.finder(products)
		for seen := 0; seen < products; {
			pairs, err := look(finder, t.Context(), ids[seen:])
			if err != nil || len(pairs) == 0 || len(pairs) > held {
				t.Fatalf("%s: %d pairs, %v", last, len(pairs), err)
			}
			for i, pair := range pairs {
				if pair.ID != ids[seen+i] || pair.Product == nil || pair.Row == nil {
					t.Fatalf("%s: pair %d is %+v", last, seen+i, pair)
				}
			}
			seen += len(pairs)
		}
		if most := 2*(products/held+1) + 4; reads > most {
			t.Errorf("%s: %d reads, want at most %d", last, reads, most)
		}
	}
}

func TestALookThatFailsKnowsNothing(t *testing.T) {
	t.Parallel()
	for last, look := range looks {
		for _, fails := range []read{sourceFindRead, targetFindRead} {
			s := newStores(orders()[0])
			s.put(newProduct(product.Strings, "p"))
			var reads []read
			s.onRead = func(_ context.Context, r read) error {
				reads = append(reads, r)
				if r == fails {
					return errBroken
				}
				return nil
			}
			pairs, err := look(s.finder(10), t.Context(), []product.ID{"p"})
			if !errors.Is(err, errBroken) || pairs != nil {
				t.Errorf("%s fails, %s comes last: %v, %v", fails, last, pairs, err)
			}
			if fails != last && len(reads) != 1 {
				t.Errorf("%s has failed, and yet the reads are %v", fails, reads)
			}
		}
	}
}

// A row that arrives while a page is compared counts, and so does the product of a row.
func TestWhatArrivesDuringAScanIsNoSuspect(t *testing.T) {
	t.Parallel()
	p, row := newProduct(product.Strings, "p"), newRow("p")
	whole := diff.Scope{Ranges: []product.Range{{Class: product.Strings}}}
	tests := []struct {
		name   string
		order  order
		scope  diff.Scope
		before read
		stores func(s *stores)
	}{
		{"a row, joined", orders()[0], whole, spanRead, func(s *stores) { s.put(p) }},
		{"a row, by id", orders()[1], whole, targetFindRead, func(s *stores) { s.put(p) }},
		{"the row of a named product", orders()[0], diff.Scope{IDs: []product.ID{"p"}}, targetFindRead, func(s *stores) { s.put(p) }},
		{"the product of a row", orders()[1], whole, sourceFindRead, func(s *stores) { s.putRows(row) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStores(test.order)
			test.stores(s)
			s.beforeTheLast(test.before, func(s *stores) { s.put(p); s.putRows(row) })
			found := run(t.Context(), t, s, diff.Config{Compare: compared, Batch: 10}, test.scope)
			if found.err != nil || len(found.suspected) > 0 {
				t.Errorf("suspected %v, %v", found.suspected, found.err)
			}
		})
	}
}

func TestDiffers(t *testing.T) {
	t.Parallel()
	with := func(f product.Field, v product.Value) product.Product {
		p := newProduct(product.Strings, "p")
		p.Values[f] = v
		return p
	}
	p, row := newProduct(product.Strings, "p"), newRow("p")
	renamed, restocked := with(product.Title, product.TextValue("New lamp")), with(product.Quantity, product.IntegerValue(6))
	cheaper, dearer := with(product.Price, product.TextValue(" 777 ")), with(product.Price, product.FloatValue(777.5))
	both := renamed
	both.Values[product.SellerID] = product.NullValue()
	tests := []struct {
		name   string
		pair   diff.Pair
		kind   product.Kind
		fields []product.Field
	}{
		{"on neither side", diff.Pair{ID: "p"}, "", nil},
		{"in the source", diff.Pair{ID: "p", Product: &p}, product.Missing, nil},
		{"in the cart", diff.Pair{ID: "p", Row: &row}, product.Orphaned, nil},
		{"the same", diff.Pair{ID: "p", Product: &p, Row: &row}, "", nil},
		{"another title", diff.Pair{ID: "p", Product: &renamed, Row: &row}, product.Stale, []product.Field{product.Title}},
		{"two fields", diff.Pair{ID: "p", Product: &both, Row: &row}, product.Stale, []product.Field{product.Title, product.SellerID}},
		{"a field that is not compared", diff.Pair{ID: "p", Product: &restocked, Row: &row}, "", nil},
		{"the same number in another form", diff.Pair{ID: "p", Product: &cheaper, Row: &row}, "", nil},
		{"what the column cannot hold", diff.Pair{ID: "p", Product: &dearer, Row: &row}, product.Stale, []product.Field{product.Price}},
	}
	for _, test := range tests {
		kind, fields := newStores(orders()[0]).finder(10).Differs(test.pair)
		if kind != test.kind || !slices.Equal(fields, test.fields) {
			t.Errorf("%s: %q in %v, want %q in %v", test.name, kind, fields, test.kind, test.fields)
		}
	}
}

func TestAPairsStamp(t *testing.T) {
	t.Parallel()
	created, updated := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), time.Date(2026, 2, 3, 4, 5, 6, 7e6, time.UTC)
	const hex = "507f191e810c19729de860ea" // MongoDB's own example
	inKey := time.Date(2012, 10, 17, 20, 46, 22, 0, time.UTC)
	row := newRow(hex)
	tests := []struct {
		name             string
		class            product.Class // of the product; "" where there is none
		created, updated time.Time
		want             map[product.Kind]time.Time
	}{
		{"all times", product.ObjectIDs, created, updated, map[product.Kind]time.Time{product.Missing: created, product.Stale: updated}},
		{"no creation time", product.ObjectIDs, time.Time{}, updated, map[product.Kind]time.Time{product.Missing: inKey, product.Stale: updated}},
		{"no creation time, another class", product.Strings, time.Time{}, updated, map[product.Kind]time.Time{product.Stale: updated}},
		{"no update time", product.ObjectIDs, created, time.Time{}, map[product.Kind]time.Time{product.Missing: created}},
		{"no product", "", time.Time{}, time.Time{}, nil},
	}
	for _, test := range tests {
		pair := diff.Pair{ID: hex, Row: &row}
		if test.class != "" {
			p := newProduct(test.class, hex)
			p.Created, p.Updated = test.created, test.updated
			pair.Product = &p
		}
		for _, kind := range append(product.Kinds(), "") { // none: it agrees by now
			if kind == product.Orphaned && pair.Product != nil {
				continue
			}
			if got := pair.Stamp(kind); !got.Equal(test.want[kind]) {
				t.Errorf("%s: the stamp of %q is %s, want %s", test.name, kind, got, test.want[kind])
			}
		}
	}
}

// A scan gives each suspect the stamp of its kind and the present as first sight.
func TestAScanStampsItsSuspects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		created, updated := time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
		const fromKey = product.ID("3a5c0000a1d3e4f5a6b7c8d9")
		s := newStores(orders()[0])
		missing, stale, bare := newProduct(product.ObjectIDs, "64b7f0c2a1d3e4f5a6b7c8d9"), newProduct(product.ObjectIDs, "64b7f0c2a1d3e4f5a6b7c8da"), newProduct(product.ObjectIDs, fromKey)
		missing.Created, missing.Updated, stale.Created, stale.Updated, bare.Created = created, updated, created, updated, time.Time{}
		old := newRow(stale.ID())
		old.Values[product.Title] = product.TextValue("Old lamp")
		s.put(bare, missing, stale)
		orphan := newRow("64b7f0c2a1d3e4f5a6b7c8db")
		s.putRows(old, orphan)
		want := map[product.ID]time.Time{missing.ID(): created, stale.ID(): updated, fromKey: time.Unix(0x3a5c0000, 0), orphan.ID: {}}
		s.onRead = func(_ context.Context, r read) error {
			if r == spanRead || r == targetFindRead {
				time.Sleep(time.Second) // first sight is when it was read
			}
			return nil
		}
		for name, scope := range map[string]diff.Scope{
			"of ranges": {Ranges: []product.Range{{Class: product.ObjectIDs}}},
			"by id":     {IDs: []product.ID{fromKey, missing.ID(), stale.ID(), orphan.ID}},
		} {
			begun := time.Now()
			found := 0
			for _, b := range s.scanned(t, 10, scope) {
				for _, suspect := range b.Suspects {
					found++
					if stamp, known := want[suspect.ID]; !known || !suspect.Stamp.Equal(stamp) {
						t.Errorf("a scan %s finds %+v, want the stamp %s", name, suspect, stamp)
					}
					if suspect.FirstSeen.Before(begun.Add(time.Second)) || suspect.FirstSeen.After(time.Now()) {
						t.Errorf("a scan %s from %s to %s first saw %s at %s", name, begun, time.Now(), suspect.ID, suspect.FirstSeen)
					}
				}
			}
			if found != len(want) {
				t.Errorf("a scan %s finds %d suspects, want %d", name, found, len(want))
			}
		}
	})
}
