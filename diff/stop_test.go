package diff_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
)

// These tests run in bubbles: a goroutine that is still there at the end, or one
// that waits for what never comes, fails them.

// full has many pages of differences, in two ranges.
func full(o order) (*stores, diff.Scope) {
	s := newStores(o)
	for i := range 40 {
		s.put(newProduct(product.Strings, product.ID(fmt.Sprintf("p%02d", i))))
		s.putRows(newRow(product.ID(fmt.Sprintf("q%02d", i))))
	}
	return s, diff.Scope{Parallel: 2, Ranges: []product.Range{
		{Class: product.Strings, Through: "p20"}, {Class: product.Strings, After: "p20"},
	}}
}

func TestAScanEndsWhenNobodyTakesItsBatches(t *testing.T) {
	t.Parallel()
	for _, o := range orders()[:2] {
		for taken := range 4 {
			t.Run(fmt.Sprintf("%s, after %d batches", o.name, taken), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s, scope := full(o)
					ctx, cancel := context.WithCancelCause(t.Context())
					batches := make(chan diff.Batch)
					ended := make(chan error)
					go func() { ended <- s.finder(5).Scan(ctx, scope, batches) }()
					for range taken {
						<-batches
					}
					synctest.Wait() // now it blocks
					stopped := errors.New("stopped")
					cancel(stopped)
					if err := <-ended; !errors.Is(err, stopped) {
						t.Errorf("error %v, want the cause of the stop", err)
					}
				})
			})
		}
	}
}

// A store that does not answer must not hide that the other one failed.
func TestAnErrorOnOneSideEndsAReadThatHangsOnTheOther(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name         string
		order        order
		hangs, fails read
	}{
		{"the source hangs, the cart's rows fail", orders()[0], scanRead, spanRead},
		{"the source hangs, the cart's rows by id fail", orders()[1], scanRead, targetFindRead},
		{"the cart hangs, the source by id fails", orders()[1], spanRead, sourceFindRead},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, scope := full(test.order)
				scope.Parallel = 1
				var answered, ended atomic.Bool
				s.onRead = func(ctx context.Context, r read) error {
					switch {
					case r == test.fails:
						time.Sleep(time.Second) // by now the other one hangs
						return errBroken
					case r == test.hangs && answered.Swap(true):
						<-ctx.Done()
						time.Sleep(time.Second) // a driver has to give its connection back
						ended.Store(true)
					}
					return nil
				}
				err := s.finder(5).Scan(t.Context(), scope, make(chan diff.Batch, 100))
				if !errors.Is(err, errBroken) {
					t.Errorf("error %v, want that of the side that failed", err)
				}
				if !ended.Load() {
					t.Error("the scan has ended, and a read of it goes on")
				}
			})
		})
	}
}

// failing is a source that cannot read one class of keys.
type failing struct {
	source
	class product.Class
}

func (f failing) Scan(ctx context.Context, r product.Range, fields []product.Field, since time.Time) iter.Seq2[[]product.Product, error] {
	if r.Class != f.class {
		return f.source.Scan(ctx, r, fields, since)
	}
	return func(yield func([]product.Product, error) bool) {
		time.Sleep(time.Second)
		yield(nil, errBroken)
	}
}

func TestAnErrorInOneRangeEndsTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, scope := full(orders()[0])
		scope.Parallel = 3
		scope.Ranges = append(scope.Ranges, product.Range{Class: product.Integers})
		s.onRead = func(ctx context.Context, r read) error {
			if r == spanRead {
				<-ctx.Done()
			}
			return nil
		}
		err := diff.New(failing{source{Stores: s.Stores}, product.Integers}, target{Stores: s.Stores}, diff.Config{Compare: compared, Batch: 5}).Scan(t.Context(), scope, make(chan diff.Batch, 100))
		if !errors.Is(err, errBroken) {
			t.Errorf("error %v, want that of the range that failed", err)
		}
	})
}
