package diff_test

import (
	"context"
	"errors"
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

// checkNothingFalse wants every confirmed difference, and every product suspected
// as missing or stale, to be one.
func checkNothingFalse(t *rapid.T, found outcome, want findings) {
	for f := range found.suspected {
		if f.kind != product.Orphaned && want[f] == 0 {
			t.Fatalf("%q was suspected as %s after a read failed", f.id, f.kind)
		}
	}
	for f := range found.confirmed {
		if want[f] == 0 {
			t.Fatalf("%q was confirmed as %s after a read failed", f.id, f.kind)
		}
	}
}

func TestAFailedReadMakesNothingMissing(t *testing.T) {
	t.Parallel()
	for _, o := range orders() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				s := drawStores(t, o)
				scope := diff.Scope{Ranges: s.drawRanges(t), Parallel: rapid.IntRange(1, 4).Draw(t, "parallel")}
				if rapid.IntRange(0, 4).Draw(t, "by id") == 0 {
					for _, p := range s.products {
						scope.IDs = append(scope.IDs, p.ID())
					}
				}
				broken := s.breakAt(rapid.Int64Range(1, 25).Draw(t, "the read that fails"), errBroken)
				found := run(t.Context(), t, s, drawConfig(t), scope)
				want := s.oracle(scope)
				checkNothingFalse(t, found, want)
				if !broken() {
					if different := found.confirmed.differs(want); found.err != nil || different != "" {
						t.Fatalf("nothing failed: %v, %s", found.err, different)
					}
					return
				}
				if !errors.Is(found.err, errBroken) {
					t.Fatalf("a read failed, and the error is %v", found.err)
				}
			})
		})
	}
}

func TestAStoppedScanMakesNothingMissing(t *testing.T) {
	t.Parallel()
	for _, o := range orders() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				s := drawStores(t, o)
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
				checkNothingFalse(t, found, s.oracle(scope))
				if reads.Load() >= last && !errors.Is(found.err, stopped) {
					t.Fatalf("the scan was stopped, and the error is %v", found.err)
				}
			})
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
		{"the source", scanRead, orders()[0], "compare string (a..m]: the connection was reset"},
		{"the cart's rows", spanRead, orders()[0], "compare string (a..m]: the connection was reset"},
		{"the cart's rows by id", targetFindRead, orders()[1], "compare string (a..m]: the connection was reset"},
		{"the search for orphans", spanRead, orders()[1], "look for orphaned rows: the connection was reset"},
		{"the source by id", sourceFindRead, orders()[1], "look for orphaned rows: the connection was reset"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStores(test.order)
			s.products = []product.Product{newProduct(product.Strings, "b")}
			s.rows = []product.Row{newRow("b"), newRow("c")}
			s.onRead = func(_ context.Context, r read) error {
				if r == test.fails {
					return errBroken
				}
				return nil
			}
			scope := diff.Scope{Ranges: []product.Range{{Class: product.Strings, After: "a", Through: "m"}}}
			err := diff.New(source{s}, target{s}, nil, diff.Config{Compare: compared, Window: 10, Batch: 10}).Scan(t.Context(), scope, make(chan diff.Window, 1))
			if err == nil || err.Error() != test.want || !errors.Is(err, errBroken) {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}
