package diff_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
)

var errBroken = errors.New("the connection was reset")

// breakAt makes the nth read of either side fail. It tells afterwards whether
// there was one.
func (s *stores) breakAt(n int64, err error) (broken func() bool) {
	var reads atomic.Int64
	s.onRead = func(context.Context, read) error {
		if reads.Add(1) == n {
			return err
		}
		return nil
	}
	return func() bool { return reads.Load() >= n }
}

// checkNothingFalse wants every product suspected as missing or stale, and every
// difference seen in a second look, to be one; and of a part that ended, all there is.
func checkNothingFalse(t *rapid.T, found outcome, s *stores, scope diff.Scope) {
	want := s.oracle(scope)
	for f := range found.suspected {
		if f.kind != product.Orphaned && want[f] == 0 {
			t.Fatalf("%q was suspected as %s after a read failed", f.id, f.kind)
		}
	}
	for f := range found.confirmed {
		if want[f] == 0 {
			t.Fatalf("%q was found %s by a second look after a read failed", f.id, f.kind)
		}
	}
	for n := range found.ended {
		for f := range want {
			if s.belongs(f, n, scope) && found.of[n][f] == 0 {
				t.Fatalf("part %d ended, and %q was not suspected as %s", n, f.id, f.kind)
			}
		}
	}
}

// belongs tells whether a difference must come of a part.
func (s *stores) belongs(f finding, n int, scope diff.Scope) bool {
	if len(scope.IDs) > 0 || n == len(scope.Ranges) {
		return len(scope.IDs) > 0 || f.kind == product.Orphaned
	}
	return slices.ContainsFunc(s.Within(scope.Ranges[n], scope.Since), func(p product.Product) bool { return p.ID() == f.id })
}

func TestAFailedReadMakesNothingMissing(t *testing.T) {
	t.Parallel()
	eachOrder(t, func(t *rapid.T, s *stores) {
		scope := diff.Scope{Ranges: s.drawRanges(t), Parallel: rapid.IntRange(1, 4).Draw(t, "parallel")}
		if rapid.IntRange(0, 4).Draw(t, "by id") == 0 {
			products, _ := s.Look()
			for _, p := range products {
				scope.IDs = append(scope.IDs, p.ID())
			}
		}
		broken := s.breakAt(rapid.Int64Range(1, 25).Draw(t, "the read that fails"), errBroken)
		found := run(t.Context(), t, s, drawConfig(t), scope)
		checkNothingFalse(t, found, s, scope)
		if !broken() {
			if different := found.confirmed.differs(s.oracle(scope)); found.err != nil || different != "" {
				t.Fatalf("nothing failed: %v, %s", found.err, different)
			}
			return
		}
		if !errors.Is(found.err, errBroken) {
			t.Fatalf("a read failed, and the error is %v", found.err)
		}
	})
}

func TestAStoppedScanMakesNothingMissing(t *testing.T) {
	t.Parallel()
	eachOrder(t, func(t *rapid.T, s *stores) {
		scope := diff.Scope{Ranges: s.drawRanges(t), Parallel: rapid.IntRange(1, 4).Draw(t, "parallel")}
		ctx, stop := context.WithCancelCause(t.Context())
		defer stop(nil)
		stopped := errors.New("stopped by a person")
		var reads atomic.Int64
		last := rapid.Int64Range(1, 25).Draw(t, "the read before the stop")
		s.onRead = func(context.Context, read) error {
			if reads.Add(1) == last {
				stop(stopped)
			}
			return nil
		}
		found := run(ctx, t, s, drawConfig(t), scope)
		checkNothingFalse(t, found, s, scope)
		if reads.Load() >= last && !errors.Is(found.err, stopped) {
			t.Fatalf("the scan was stopped, and the error is %v", found.err)
		}
	})
}

// A part that fails never ends, and nothing is sent of the page that failed. What was
// sent before stays.
func TestAPartThatFailsDoesNotEnd(t *testing.T) {
	t.Parallel()
	tests := []struct {
		order order
		fails read
		nth   int // behind those of the first range, and one of the next
	}{{orders()[0], scanRead, 9}, {orders()[0], spanRead, 10}, {orders()[1], scanRead, 9}}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s, %s", test.order.name, test.fails), func(t *testing.T) {
			t.Parallel()
			s, scope := full(test.order)
			scope.Parallel = 1
			reads := 0
			s.onRead = func(_ context.Context, r read) error {
				if r != test.fails {
					return nil
				}
				if reads++; reads == test.nth {
					return errBroken
				}
				return nil
			}
			found := run(t.Context(), t, s, diff.Config{Compare: compared, Batch: 5}, scope)
			if _, ended := found.ended[0]; !errors.Is(found.err, errBroken) || !ended || len(found.ended) != 1 {
				t.Errorf("ended %v, %v; want the first part only", found.ended, found.err)
			}
			var want []product.ID
			products, _ := s.Look()
			for _, p := range products[:24] {
				want = append(want, p.ID())
			}
			if got := found.suspected.of(product.Missing); !slices.Equal(got, want) || len(found.suspected) != len(want) {
				t.Errorf("suspected %v, want the %d missing products of the pages before", found.suspected, len(want))
			}
		})
	}
}

func TestErrorsNameTheRange(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		fails read
		order order
		want  string
	}{
		{"the source", scanRead, orders()[0], "compare string (\"a\"..\"m\"]: the connection was reset"},
		{"the cart's rows", spanRead, orders()[0], "compare string (\"a\"..\"m\"]: the connection was reset"},
		{"the cart's rows by id", targetFindRead, orders()[1], "compare string (\"a\"..\"m\"]: the connection was reset"},
		{"the search for orphans", spanRead, orders()[1], "look for orphaned rows: the connection was reset"},
		{"the source by id", sourceFindRead, orders()[1], "look for orphaned rows: the connection was reset"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStores(test.order)
			s.put(newProduct(product.Strings, "b"))
			s.putRows(newRow("b"), newRow("c"))
			s.onRead = func(_ context.Context, r read) error {
				if r == test.fails {
					return errBroken
				}
				return nil
			}
			scope := diff.Scope{Ranges: []product.Range{{Class: product.Strings, After: "a", Through: "m"}}}
			err := s.finder(10).Scan(t.Context(), scope, make(chan diff.Batch, 10))
			if err == nil || err.Error() != test.want || !errors.Is(err, errBroken) {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}
