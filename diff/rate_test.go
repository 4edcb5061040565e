package diff_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/diff"
)

// A scan keeps to its rate, all parts together, and ends when it is told to.
func TestScanKeepsToItsRate(t *testing.T) {
	t.Parallel()
	for name, parallel := range map[string]int{"one part": 1, "several": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // in which time passes only when all wait
				s, scope := full(orders()[0])
				scope.Parallel = parallel
				products, _ := s.Look()
				const perSecond = 10
				f := diff.New(source{Stores: s.Stores}, target{Stores: s.Stores}, diff.Config{Compare: compared, Batch: 5, Rate: perSecond})
				began := time.Now()
				if err := f.Scan(t.Context(), scope, make(chan diff.Batch, 1000)); err != nil {
					t.Fatal(err)
				}
				seen := f.Counters.Compared.Load()
				if seen < int64(len(products)) {
					t.Fatalf("%d products were compared, of %d", seen, len(products))
				}
				took, want := time.Since(began), time.Duration(seen)*time.Second/perSecond
				if took < want-time.Second || took > 3*want {
					t.Errorf("%d products took %s, want about %s", seen, took, want)
				}
				ctx, stop := context.WithTimeoutCause(t.Context(), time.Second, errBroken)
				defer stop()
				if err := f.Scan(ctx, scope, make(chan diff.Batch, 1000)); !errors.Is(err, errBroken) {
					t.Errorf("stopped: %v", err)
				}
			})
		})
	}
}
