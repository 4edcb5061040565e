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
	finished  map[product.Range]int
	inFlight  int
	err       error // of the scan, else of the confirmation
}

// run scans and confirms window by window while the scan goes on, as a run does.
func run(ctx context.Context, t interface{ Errorf(string, ...any) }, s *stores, config diff.Config, scope diff.Scope) outcome {
	o := outcome{engine: diff.New(source{s}, target{s}, nil, config), suspected: make(findings), confirmed: make(findings), finished: make(map[product.Range]int)}
	windows := make(chan diff.Window)
	scanned := make(chan error, 1)
	go func() {
		defer close(windows)
		scanned <- o.engine.Scan(ctx, scope, windows)
	}()
	for w := range windows {
		if len(w.Suspects)+len(w.Finished) == 0 || len(w.Suspects) > config.Window {
			t.Errorf("a window of %d suspects and %d ranges, at most %d suspects are configured", len(w.Suspects), len(w.Finished), config.Window)
		}
		for _, r := range w.Finished {
			o.finished[r.Range]++
		}
		for _, s := range w.Suspects {
			o.suspected[finding{s.Kind, s.ID}]++
		}
		verdict, err := o.engine.Confirm(ctx, w.Suspects)
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

// A range is finished once, with or after the window that holds its last suspect,
// and what was seen in it comes with it; windows that nobody waits for are filled.
func TestWindowsFinishRanges(t *testing.T) {
	t.Parallel()
	s := newStores(orders()[0])
	for i := range 100 {
		s.products = append(s.products, newProduct(product.Strings, product.ID(fmt.Sprintf("p%03d", i))))
	}
	for _, prompt := range []bool{true, false} { // the receiver waits for each window, or is late
		scope := diff.Scope{Parallel: 1, Ranges: []product.Range{
			{Class: product.Strings, Through: "p009"}, {Class: product.Strings, After: "p009", Through: "p049"}, {Class: product.Strings, After: "p049"},
		}}
		engine := diff.New(source{s}, target{s}, nil, diff.Config{Compare: compared, Window: 30, Batch: 10})
		windows := make(chan diff.Window, map[bool]int{true: 100, false: 1}[prompt])
		if !prompt {
			windows <- diff.Window{} // it is busy with this one until the scan blocks
		}
		ended := make(chan error, 1)
		go func() {
			defer close(windows)
			ended <- engine.Scan(t.Context(), scope, windows)
		}()
		suspected := make(map[product.ID]bool)
		var sizes []int
		var finished []diff.FinishedRange
		for w := range windows {
			for _, suspect := range w.Suspects {
				suspected[suspect.ID] = true
			}
			for _, f := range w.Finished {
				for _, p := range s.products {
					if id := p.ID(); id > f.Range.After && (f.Range.Through == "" || id <= f.Range.Through) && !suspected[id] {
						t.Errorf("%s is finished before %s was handed on", f.Range, id)
					}
				}
			}
			finished = append(finished, w.Finished...)
			sizes = append(sizes, len(w.Suspects))
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		var want []diff.FinishedRange
		for i, r := range scope.Ranges {
			want = append(want, diff.FinishedRange{Range: r, Products: []int64{10, 40, 50}[i]})
		}
		if !slices.Equal(finished, want) {
			t.Errorf("finished %v, want %v", finished, want)
		}
		if len(suspected) != 100 {
			t.Errorf("%d of 100 suspects were handed on, in windows of %v", len(suspected), sizes)
		}
		if prompt && fmt.Sprint(sizes) != "[10 30 10 30 20]" {
			t.Errorf("a prompt receiver gets windows of %v", sizes)
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
