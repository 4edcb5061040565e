package diff_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv/memoryshop"
)

var compared = []product.Field{product.Title, product.Price, product.Image, product.SellerID}

func drawConfig(t *rapid.T) diff.Config {
	return diff.Config{Compare: compared, Batch: rapid.SampledFrom([]int{1, 3, 1000}).Draw(t, "batch")}
}

func (s *stores) finder(batch int) *diff.Finder {
	return diff.New(source{Stores: s.Stores}, target{Stores: s.Stores}, diff.Config{Compare: compared, Batch: batch})
}

// scanned are the batches of a scan that nobody interrupts.
func (s *stores) scanned(t *testing.T, batch int, scope diff.Scope) []diff.Batch {
	t.Helper()
	batches := make(chan diff.Batch, 10)
	if err := s.finder(batch).Scan(t.Context(), scope, batches); err != nil {
		t.Fatal(err)
	}
	close(batches) // it must be open still
	var all []diff.Batch
	for b := range batches {
		all = append(all, b)
	}
	return all
}

// outcome is what a scan and a second look at what it suspects gave.
type outcome struct {
	finder    *diff.Finder
	suspected findings
	confirmed findings
	of        map[int]findings // the suspects of each part
	ended     map[int]diff.FinishedRange
	err       error // of the scan, else of a second look
}

// run scans, and looks at each suspect again while the scan goes on.
func run(ctx context.Context, t interface{ Errorf(string, ...any) }, s *stores, config diff.Config, scope diff.Scope) outcome {
	o := outcome{
		finder:    diff.New(source{Stores: s.Stores}, target{Stores: s.Stores}, config),
		suspected: make(findings), confirmed: make(findings),
		of: make(map[int]findings), ended: make(map[int]diff.FinishedRange),
	}
	batches := make(chan diff.Batch)
	scanned := make(chan error, 1)
	go func() {
		defer close(batches)
		scanned <- o.finder.Scan(ctx, scope, batches)
	}()
	for b := range batches {
		if _, ended := o.ended[b.Part]; ended {
			t.Errorf("part %d has ended, and %d suspects come of it", b.Part, len(b.Suspects))
		}
		if len(b.Suspects) == 0 && !b.Ended {
			t.Errorf("a batch of part %d says nothing", b.Part)
		}
		if b.Ended {
			o.ended[b.Part] = b.Finished
		} else if b.Finished != (diff.FinishedRange{}) {
			t.Errorf("part %d has not ended, and finished %v", b.Part, b.Finished)
		}
		if o.of[b.Part] == nil {
			o.of[b.Part] = make(findings)
		}
		var ids []product.ID
		for _, s := range b.Suspects {
			o.suspected[finding{s.Kind, s.ID}]++
			o.of[b.Part][finding{s.Kind, s.ID}]++
			ids = append(ids, s.ID)
		}
		for len(ids) > 0 {
			pairs, err := o.finder.Look(ctx, ids)
			if err != nil {
				if o.err == nil {
					o.err = err
				}
				break
			}
			for _, pair := range pairs {
				if kind, _ := o.finder.Differs(pair); kind != "" {
					o.confirmed[finding{kind, pair.ID}]++
				}
			}
			ids = ids[len(pairs):]
		}
	}
	if err := <-scanned; err != nil {
		o.err = err
	}
	return o
}

func TestFindingsEqualThoseOfASetComparison(t *testing.T) {
	t.Parallel()
	eachOrder(t, func(t *rapid.T, s *stores) {
		scope := diff.Scope{Ranges: s.drawRanges(t), Parallel: rapid.IntRange(0, 4).Draw(t, "parallel")}
		found := run(t.Context(), t, s, drawConfig(t), scope)
		if found.err != nil {
			t.Fatal(found.err)
		}
		if different := found.confirmed.differs(s.oracle(scope)); different != "" {
			t.Fatal(different)
		}
	})
}

func TestFindingsOfARestrictedRun(t *testing.T) {
	t.Parallel()
	eachOrder(t, func(t *rapid.T, s *stores) {
		scope := diff.Scope{Ranges: s.drawRanges(t), Parallel: 2}
		if rapid.Bool().Draw(t, "by id") {
			all := []product.ID{"nobody", "64b7f0c2a1d3e4f5a6b7ffff"}
			products, rows := s.Look()
			for _, p := range products {
				all = append(all, p.ID())
			}
			for _, row := range rows {
				all = append(all, row.ID)
			}
			scope.IDs = rapid.SliceOfN(rapid.SampledFrom(all), 1, 12).Draw(t, "ids")
		} else {
			scope.Since = rapid.SampledFrom([]time.Time{longAgo.Add(-time.Hour), longAgo, longAgo.Add(time.Minute), longAgo.Add(2 * time.Hour)}).Draw(t, "since")
		}
		found := run(t.Context(), t, s, drawConfig(t), scope)
		if found.err != nil {
			t.Fatal(found.err)
		}
		if different := found.confirmed.differs(s.oracle(scope)); different != "" {
			t.Fatal(different)
		}
	})
}

// The products of the last hours are few among many rows: these are read by id.
func TestARestrictedRunReadsNoRangesOfRows(t *testing.T) {
	t.Parallel()
	s := newStores(orders()[0])
	s.put(newProduct(product.Strings, "a"), newProduct(product.Strings, "z"))
	s.onRead = func(_ context.Context, r read) error {
		if r == spanRead {
			return errBroken
		}
		return nil
	}
	scope := diff.Scope{Ranges: []product.Range{{Class: product.Strings}}, Since: longAgo}
	found := run(t.Context(), t, s, diff.Config{Compare: compared, Batch: 10}, scope)
	if found.err != nil || len(found.confirmed) != 2 {
		t.Errorf("found %v, %v", found.confirmed, found.err)
	}
}

// Where every page of the source is in order and no two documents share an id,
// nothing is found twice, nothing but the differences is suspected, and the
// counters are exact. (Rows of a page that is out of order are looked at again
// behind it, and may be suspected as orphans until they are looked at again.)
func TestEachFindingComesOnceAndTheCountersAreExact(t *testing.T) {
	t.Parallel()
	eachOrder(t, func(t *rapid.T, s *stores) {
		s.overlap = []int{0}
		s.dropOddIDs()
		scope := diff.Scope{Ranges: s.drawRanges(t), Parallel: 3}
		config := drawConfig(t)
		found := run(t.Context(), t, s, config, scope)
		if found.err != nil {
			t.Fatal(found.err)
		}
		for f, times := range found.suspected {
			if times != 1 {
				t.Fatalf("%q was suspected as %s %d times", f.id, f.kind, times)
			}
		}
		if different := found.suspected.differs(s.oracle(scope)); different != "" {
			t.Fatalf("suspects of stores at rest are not the differences: %s", different)
		}
		want := s.oracle(scope)
		matched := len(s.Products) - len(want.of(product.Missing))
		c := &found.finder.Counters
		if compared, rows := c.Compared.Load(), c.Rows.Load(); compared != int64(len(s.Products)) || rows != int64(len(s.Rows)) || c.Matched.Load() != int64(matched) {
			t.Fatalf("compared %d of %d products with %d of %d rows, %d of %d matched", compared, len(s.Products), rows, len(s.Rows), c.Matched.Load(), matched)
		}
		s.checkParts(t, found, scope)
	})
}

// checkParts wants each part of a complete scan to have ended, with the counts of what
// was seen in it and with what differs in it, and in no other.
func (s *stores) checkParts(t *rapid.T, found outcome, scope diff.Scope) {
	parts := len(scope.Ranges)
	if found.finder.Orphans(scope) == diff.OrphansApart {
		parts++
	}
	if len(found.ended) != parts {
		t.Fatalf("%d of %d parts ended: %v", len(found.ended), parts, found.ended)
	}
	var sum diff.FinishedRange
	for n, seen := range found.ended {
		sum.Products, sum.Rows, sum.Matched = sum.Products+seen.Products, sum.Rows+seen.Rows, sum.Matched+seen.Matched
		if n == len(scope.Ranges) {
			orphans := int64(len(found.suspected.of(product.Orphaned)))
			if want := (diff.FinishedRange{Rows: orphans}); seen != want || int64(len(found.of[n])) != orphans {
				t.Fatalf("the search for orphans saw %v and found %v, want %v", seen, found.of[n], want)
			}
			continue
		}
		inside := s.Within(scope.Ranges[n], time.Time{})
		missing := int64(len(found.of[n].of(product.Missing)))
		if seen.Range != scope.Ranges[n] || seen.Products != int64(len(inside)) || seen.Matched != seen.Products-missing {
			t.Fatalf("part %d of %d products ended with %v, %d of them missing", n, len(inside), seen, missing)
		}
		for f := range found.of[n] {
			if f.kind != product.Orphaned && !slices.ContainsFunc(inside, func(p product.Product) bool { return p.ID() == f.id }) {
				t.Fatalf("part %d is %s, and %q came of it as %s", n, scope.Ranges[n], f.id, f.kind)
			}
		}
	}
	if want := (diff.FinishedRange{Products: int64(len(s.Products)), Rows: int64(len(s.Rows)), Matched: found.finder.Counters.Matched.Load()}); sum != want {
		t.Fatalf("the parts saw %v, want %v", sum, want)
	}
}

func (s *stores) dropOddIDs() {
	seen := map[product.ID]bool{"": true}
	products, _ := s.Look()
	for _, p := range products {
		if seen[p.ID()] || !memoryshop.Storable(p.ID()) {
			delete(s.Products, p.Key)
		}
		seen[p.ID()] = true
	}
	delete(s.Rows, "")
}

// Integers sort by value, and their texts do not, in whatever collation.
func TestIntegersAreNotJoined(t *testing.T) {
	t.Parallel()
	for _, o := range orders() {
		s := newStores(o)
		for i := -30; i <= 30; i++ {
			id := product.ID(fmt.Sprint(i))
			s.put(newProduct(product.Integers, id))
			s.putRows(newRow(id))
		}
		scope := diff.Scope{Ranges: []product.Range{{Class: product.Integers, Through: "5"}, {Class: product.Integers, After: "5"}}, Parallel: 2}
		found := run(t.Context(), t, s, diff.Config{Compare: compared, Batch: 10}, scope)
		if found.err != nil || len(found.suspected) > 0 {
			t.Errorf("%s: nothing differs, and suspected are %v (%v)", o.name, found.suspected, found.err)
		}
	}
}

// The stand-ins for columns must be what their tables claim, else the tests above
// would prove nothing.
func TestOrdersAreWhatTheyClaim(t *testing.T) {
	t.Parallel()
	for _, o := range orders() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				hex := rapid.StringMatching(`[0-9a-f]{24}`)
				a, b := product.ID(hex.Draw(t, "a")), product.ID(hex.Draw(t, "b"))
				if o.hex && (o.compare(a, b) < 0) != (a < b) {
					t.Fatalf("%s and %s sort unlike bytes", a, b)
				}
			})
			if bytes := o.compare("Z", "a") < 0 && o.compare("a", "b") < 0 && o.compare("9", "a") < 0; bytes != o.bytewise {
				t.Errorf("sorts as bytes: %v, claimed %v", bytes, o.bytewise)
			}
		})
	}
}
