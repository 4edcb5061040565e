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
)

var compared = []product.Field{product.Title, product.Price, product.Image, product.SellerID}

func drawConfig(t *rapid.T) diff.Config {
	return diff.Config{
		Compare: compared,
		Window:  rapid.SampledFrom([]int{1, 2, 5, 1000}).Draw(t, "window"),
		Batch:   rapid.SampledFrom([]int{1, 3, 1000}).Draw(t, "batch"),
	}
}

// outcome is what a scan and the confirmation of its windows gave.
type outcome struct {
	engine    *diff.Engine
	suspected findings
	confirmed findings
	inFlight  int
	err       error // of the scan, else of the confirmation
}

// run scans and confirms window by window while the scan goes on, as a run does.
func run(ctx context.Context, t interface{ Errorf(string, ...any) }, s *stores, config diff.Config, scope diff.Scope) outcome {
	o := outcome{engine: diff.New(source{s}, target{s}, nil, config), suspected: make(findings), confirmed: make(findings)}
	windows := make(chan diff.Window)
	scanned := make(chan error, 1)
	go func() {
		defer close(windows)
		scanned <- o.engine.Scan(ctx, scope, windows)
	}()
	for w := range windows {
		if len(w) == 0 || len(w) > config.Window {
			t.Errorf("a window of %d suspects, configured are 1..%d", len(w), config.Window)
		}
		for _, s := range w {
			o.suspected[finding{s.Kind, s.ID}]++
		}
		verdict, err := o.engine.Confirm(ctx, w)
		if err != nil && o.err == nil {
			o.err = err
		}
		o.inFlight += len(verdict.InFlight)
		once := make(map[product.ID]bool)
		for _, d := range verdict.Confirmed {
			o.confirmed[finding{d.Kind, d.ID}]++
			if once[d.ID] {
				t.Errorf("%q is in one verdict twice", d.ID)
			}
			once[d.ID] = true
		}
	}
	if err := <-scanned; err != nil {
		o.err = err
	}
	return o
}

func TestFindingsEqualThoseOfASetComparison(t *testing.T) {
	t.Parallel()
	for _, o := range orders() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				s := drawStores(t, o)
				scope := diff.Scope{Ranges: s.drawRanges(t), Parallel: rapid.IntRange(0, 4).Draw(t, "parallel")}
				found := run(t.Context(), t, s, drawConfig(t), scope)
				if found.err != nil {
					t.Fatal(found.err)
				}
				if different := found.confirmed.differs(s.oracle(scope)); different != "" {
					t.Fatal(different)
				}
				if found.inFlight > 0 {
					t.Fatalf("%d suspects are in flight, and nothing moves", found.inFlight)
				}
			})
		})
	}
}

func TestFindingsOfARestrictedRun(t *testing.T) {
	t.Parallel()
	for _, o := range orders() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				s := drawStores(t, o)
				scope := diff.Scope{Ranges: s.drawRanges(t), Parallel: 2}
				if rapid.Bool().Draw(t, "by id") {
					all := []product.ID{"nobody", "64b7f0c2a1d3e4f5a6b7ffff"}
					for _, p := range s.products {
						all = append(all, p.ID())
					}
					for _, row := range s.rows {
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
		})
	}
}

// The products of the last hours are few among many rows: these are read by id.
func TestARestrictedRunReadsNoRangesOfRows(t *testing.T) {
	t.Parallel()
	s := newStores(orders()[0])
	s.products = []product.Product{newProduct(product.Strings, "a"), newProduct(product.Strings, "z")}
	s.onRead = func(_ context.Context, r read) error {
		if r == spanRead {
			return errBroken
		}
		return nil
	}
	scope := diff.Scope{Ranges: []product.Range{{Class: product.Strings}}, Since: longAgo}
	found := run(t.Context(), t, s, diff.Config{Compare: compared, Window: 10, Batch: 10}, scope)
	if found.err != nil || len(found.confirmed) != 2 {
		t.Errorf("found %v, %v", found.confirmed, found.err)
	}
}

// Where every page of the source is in order and no two documents share an id,
// nothing is found twice, nothing but the differences is suspected, and the
// counters are exact. (Rows of a page that is out of order are looked at again
// behind it, and may be suspected as orphans until they are confirmed.)
func TestEachFindingComesOnceAndTheCountersAreExact(t *testing.T) {
	t.Parallel()
	for _, o := range orders() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				s := drawStores(t, o)
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
				matched := len(s.products) - len(want.of(product.Missing))
				c := &found.engine.Counters
				if compared, rows := c.Compared.Load(), c.Rows.Load(); compared != int64(len(s.products)) || rows != int64(len(s.rows)) || c.Matched.Load() != int64(matched) {
					t.Fatalf("compared %d of %d products with %d of %d rows, %d of %d matched", compared, len(s.products), rows, len(s.rows), c.Matched.Load(), matched)
				}
				for _, kind := range product.Kinds() {
					if n := c.Suspects(kind); n != int64(len(want.of(kind))) {
						t.Fatalf("%d suspects are %s, want %d", n, kind, len(want.of(kind)))
					}
				}
			})
		})
	}
}

func (s *stores) dropOddIDs() {
	seen := map[product.ID]bool{"": true}
	s.products = slices.DeleteFunc(s.products, func(p product.Product) bool {
		odd := seen[p.ID()] || !storable(p.ID())
		seen[p.ID()] = true
		return odd
	})
	s.rows = slices.DeleteFunc(s.rows, func(row product.Row) bool { return row.ID == "" })
}

// Integers sort by value, and their texts do not, in whatever collation.
func TestIntegersAreNotJoined(t *testing.T) {
	t.Parallel()
	for _, o := range orders() {
		s := newStores(o)
		for i := -30; i <= 30; i++ {
			id := product.ID(fmt.Sprint(i))
			s.products = append(s.products, newProduct(product.Integers, id))
			s.rows = append(s.rows, newRow(id))
		}
		scope := diff.Scope{Ranges: []product.Range{{Class: product.Integers, Through: "5"}, {Class: product.Integers, After: "5"}}, Parallel: 2}
		found := run(t.Context(), t, s, diff.Config{Compare: compared, Window: 10, Batch: 10}, scope)
		if found.err != nil || len(found.suspected) > 0 {
			t.Errorf("%s: nothing differs, and suspected are %v (%v)", o.name, found.suspected, found.err)
		}
	}
}

// Every window but the last is full, whatever the ranges and their parallelism.
func TestWindowsAreFilled(t *testing.T) {
	t.Parallel()
	s := newStores(orders()[0])
	for i := range 100 {
		s.products = append(s.products, newProduct(product.Strings, product.ID(fmt.Sprintf("p%03d", i))))
	}
	scope := diff.Scope{Parallel: 4, Ranges: []product.Range{
		{Class: product.Strings, Through: "p020"}, {Class: product.Strings, After: "p020", Through: "p050"}, {Class: product.Strings, After: "p050"},
	}}
	engine := diff.New(source{s}, target{s}, nil, diff.Config{Compare: compared, Window: 30, Batch: 10})
	windows := make(chan diff.Window, 100)
	if err := engine.Scan(t.Context(), scope, windows); err != nil {
		t.Fatal(err)
	}
	close(windows)
	var sizes []int
	for w := range windows {
		sizes = append(sizes, len(w))
	}
	if fmt.Sprint(sizes) != "[30 30 30 10]" {
		t.Errorf("windows of %v suspects", sizes)
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
