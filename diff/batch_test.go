package diff_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"unsafe"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
)

// pass is one of the ways in which a scan goes over the stores.
type pass struct {
	name   string
	order  order
	kind   product.Kind
	part   int
	byName bool
	read   read // the one whose pages or batches it goes by
}

func passes() []pass {
	return []pass{
		{"joined with the cart's rows", orders()[0], product.Missing, 0, false, scanRead},
		{"looked up by id", orders()[1], product.Missing, 0, false, scanRead},
		{"orphans apart", orders()[1], product.Orphaned, 1, false, spanRead},
		{"named", orders()[0], product.Missing, 1, true, sourceFindRead},
	}
}

// differing are stores in which n products differ by what the pass looks for.
func (p pass) differing(n int) (*stores, diff.Scope) {
	s := newStores(p.order)
	scope := diff.Scope{Parallel: 1, Ranges: []product.Range{{Class: product.Strings}}}
	for i := range n {
		id := product.ID(fmt.Sprintf("p%04d", i))
		if p.kind == product.Missing {
			s.put(newProduct(product.Strings, id))
		} else {
			s.putRows(newRow(id))
		}
		if p.byName {
			scope.IDs = append(scope.IDs, id)
		}
	}
	return s, scope
}

// However large a page is, it comes in batches of a thousand suspects, each once and in
// the order of its store; behind them the part ends.
func TestABatchHasAtMostAThousandSuspects(t *testing.T) {
	t.Parallel()
	for _, p := range passes() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			const n = 2500
			s, scope := p.differing(n)
			s.pages = []int{5000}
			var sizes []int
			var ids []product.ID
			for _, b := range s.scanned(t, 5000, scope) {
				if b.Part != p.part {
					continue
				}
				sizes = append(sizes, len(b.Suspects))
				for _, suspect := range b.Suspects {
					ids = append(ids, suspect.ID)
					if suspect.Kind != p.kind {
						t.Errorf("%s is %s", suspect.ID, suspect.Kind)
					}
				}
				if b.Ended != (len(ids) == n && len(b.Suspects) == 0) {
					t.Errorf("ended %t behind %d suspects", b.Ended, len(ids))
				}
			}
			if want := []int{1000, 1000, 500, 0}; !slices.Equal(sizes, want) {
				t.Errorf("batches of %v, want %v", sizes, want)
			}
			if !slices.IsSorted(ids) || len(slices.Compact(ids)) != n {
				t.Errorf("%d suspects, in order %t", len(ids), slices.IsSorted(ids))
			}
		})
	}
}

// The suspects of a page are sent with it, however long the next one takes.
func TestAPagesSuspectsDoNotWaitForTheNext(t *testing.T) {
	t.Parallel()
	for _, p := range passes() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, scope := p.differing(9)
				answer := make(chan struct{}, 3)
				reads := 0
				s.onRead = func(_ context.Context, r read) error {
					if r == p.read {
						if reads++; reads > 1 {
							<-answer
						}
					}
					return nil
				}
				batches, ended := make(chan diff.Batch), make(chan error, 1)
				go func() {
					defer close(batches)
					ended <- s.finder(3).Scan(t.Context(), scope, batches)
				}()
				for page := range 3 {
					b := <-batches // a bubble in which nothing moves fails here
					for b.Part != p.part {
						b = <-batches
					}
					if len(b.Suspects) != 3 || b.Suspects[0].ID != product.ID(fmt.Sprintf("p%04d", 3*page)) || b.Ended {
						t.Errorf("page %d comes as %+v", page, b)
					}
					answer <- struct{}{}
				}
				if b := <-batches; !b.Ended || len(b.Suspects) > 0 {
					t.Errorf("the part ends with %+v", b)
				}
				for b := range batches { // of the part behind it
					if !b.Ended || len(b.Suspects) > 0 {
						t.Errorf("and then comes %+v", b)
					}
				}
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A batch carries the number of its range in the scope, in whatever order ranges end.
func TestPartsAreNumberedAsTheirRanges(t *testing.T) {
	t.Parallel()
	for _, o := range orders()[:2] {
		s := newStores(o)
		ids := []product.ID{"a", "c", "b", "d"} // each in a range of its own, that of "d" is empty
		scope := diff.Scope{Parallel: 2, Ranges: []product.Range{
			{Class: product.Strings, Through: "a"}, {Class: product.Strings, After: "b", Through: "c"}, {Class: product.Strings, After: "a", Through: "b"},
			{Class: product.Strings, After: "c"},
		}}
		for _, id := range ids[:3] {
			s.put(newProduct(product.Strings, id))
		}
		s.putRows(newRow("e"))
		found := run(t.Context(), t, s, diff.Config{Compare: compared, Batch: 10}, scope)
		if found.err != nil {
			t.Fatal(found.err)
		}
		for n, id := range ids[:3] {
			if f := (finding{product.Missing, id}); found.of[n][f] != 1 || len(found.of[n]) != 1 {
				t.Errorf("%s: part %d found %v, want %v", o.name, n, found.of[n], f)
			}
			if want := (diff.FinishedRange{Range: scope.Ranges[n], Products: 1}); found.ended[n] != want {
				t.Errorf("%s: part %d ended with %v, want %v", o.name, n, found.ended[n], want)
			}
		}
		orphans := map[bool]int{true: 3, false: 4}[o.bytewise]
		if f := (finding{product.Orphaned, "e"}); found.of[orphans][f] != 1 || found.ended[orphans].Rows != 1 {
			t.Errorf("%s: part %d found %v and saw %v, want %v", o.name, orphans, found.of[orphans], found.ended[orphans], f)
		}
	}
}

// Of named products the counts tell on which sides they are.
func TestNamedProductsAreCounted(t *testing.T) {
	t.Parallel()
	s := newStores(orders()[0])
	s.put(newProduct(product.Strings, "a"), newProduct(product.Strings, "b"))
	s.putRows(newRow("b"), newRow("c"))
	scope := diff.Scope{IDs: []product.ID{"a", "b", "c", "nobody"}, Ranges: []product.Range{{Class: product.Strings}}}
	found := run(t.Context(), t, s, diff.Config{Compare: compared, Batch: 3}, scope)
	want := diff.FinishedRange{Products: 2, Rows: 2, Matched: 1}
	if found.err != nil || len(found.ended) != 1 || found.ended[1] != want {
		t.Errorf("ended %v, %v; want part 1 with %v", found.ended, found.err, want)
	}
	c := &found.finder.Counters
	if got := (diff.FinishedRange{Products: c.Compared.Load(), Rows: c.Rows.Load(), Matched: c.Matched.Load()}); got != want {
		t.Errorf("counted %v, want %v", got, want)
	}
	if c.Reset(); c.Compared.Load()+c.Rows.Load()+c.Matched.Load() != 0 {
		t.Error("the counters do not start anew")
	}
}

// A suspect outlives its page, whose memory its id must not hold.
func TestSuspectsHoldNoMemoryOfPages(t *testing.T) {
	t.Parallel()
	for _, p := range passes() {
		s, scope := p.differing(5)
		memory := make(map[*byte]bool)
		for _, p := range s.Products {
			memory[unsafe.StringData(string(p.ID()))] = true
		}
		for _, row := range s.Rows {
			memory[unsafe.StringData(string(row.ID))] = true
		}
		suspects := 0
		for _, b := range s.scanned(t, 10, scope) {
			for _, suspect := range b.Suspects {
				suspects++
				if memory[unsafe.StringData(string(suspect.ID))] {
					t.Errorf("%s: %s shares memory with its page", p.name, suspect.ID)
				}
			}
		}
		if suspects != 5 {
			t.Errorf("%s: %d suspects", p.name, suspects)
		}
	}
}

// A stop while a large page is sent ends the scan in the middle of it.
func TestAStopInTheMiddleOfAPage(t *testing.T) {
	t.Parallel()
	for _, p := range passes() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, scope := p.differing(2500)
				s.pages = []int{5000}
				ctx, stop := context.WithCancelCause(t.Context())
				batches, ended := make(chan diff.Batch), make(chan error, 1)
				go func() { ended <- s.finder(5000).Scan(ctx, scope, batches) }()
				b := <-batches
				for b.Part != p.part {
					b = <-batches
				}
				synctest.Wait() // the next batch waits for its receiver
				stopped := errors.New("stopped")
				stop(stopped)
				if err := <-ended; !errors.Is(err, stopped) || len(b.Suspects) != 1000 {
					t.Errorf("%d suspects, then %v", len(b.Suspects), err)
				}
			})
		})
	}
}
