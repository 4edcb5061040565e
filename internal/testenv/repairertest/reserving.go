package repairertest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// reserving is when how much may be repaired.
var reserving = map[string]func(*testing.T, Fixture){
	"some of what is wanted is granted": testReserve,
}

// waiting is what holds where repairs queue behind live events.
var waiting = map[string]func(*testing.T, Fixture){
	"it waits for what is not seen yet": testReserveWaits,
	"a wait ends with its context":      testReserveStops,
	"a wait in vain ends":               testReserveLosesPatience,
}

// many are more than any queue may have outstanding.
const many = 1_000_000

// seen is that of a cart in which all repairs were seen.
func seen(context.Context) (int, error) { return 0, nil }

// hidden is that of a cart in which none of many was.
func hidden(context.Context) (int, error) { return many, nil }

func testReserve(t *testing.T, f Fixture) {
	for _, kind := range product.Kinds() {
		for _, want := range []int{1, 2, 100, many} {
			if n, err := f.Reserve(t.Context(), kind, want, seen); err != nil || n < 1 || n > want {
				t.Errorf("%d of %d %s repairs are granted, %v", n, want, kind, err)
			}
		}
	}
}

// What cannot be seen is not there: a reading that fails grants nothing.
func testReserveWaits(t *testing.T, f Fixture) {
	for name, first := range map[string]func(context.Context) (int, error){
		"none is seen": hidden,
		"nobody knows": func(context.Context) (int, error) { return 0, errors.New("the cart does not answer") },
	} {
		var looks atomic.Int64
		n, err := f.Reserve(t.Context(), product.Stale, 3, func(ctx context.Context) (int, error) {
			if looks.Add(1) < 4 {
				return first(ctx)
			}
			return 0, nil
		})
		if err != nil || n < 1 || n > 3 {
			t.Errorf("%s: %d of 3 are granted, %v", name, n, err)
		}
		if looks.Load() < 4 {
			t.Errorf("%s: it granted after %d looks", name, looks.Load())
		}
	}
}

// Nor does one kind wait for another.
func testReserveStops(t *testing.T, f Fixture) {
	because := errors.New("the run was stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	ended := make(chan error, 1)
	waiting := make(chan struct{}, 1)
	go func() {
		n, err := f.Reserve(ctx, product.Missing, 5, func(context.Context) (int, error) {
			select {
			case waiting <- struct{}{}:
			default:
			}
			return many, nil
		})
		if n != 0 {
			t.Errorf("%d are granted", n)
		}
		ended <- err
	}()
	<-waiting
	if n, err := f.Reserve(t.Context(), product.Orphaned, 1, seen); n != 1 || err != nil {
		t.Errorf("of another kind %d are granted meanwhile, %v", n, err)
	}
	cancel(because)
	select {
	case err := <-ended:
		if !errors.Is(err, because) {
			t.Errorf("it ends with %v, want %v", err, because)
		}
	case <-time.After(10 * time.Second):
		t.Error("it does not end")
	}
}

func testReserveLosesPatience(t *testing.T, f Fixture) {
	const patience = 700 * time.Millisecond
	f.Patience(patience)
	begun := time.Now()
	n, err := f.Reserve(t.Context(), product.Missing, 5, hidden)
	var paused *product.PausedError
	if !errors.As(err, &paused) || n != 0 {
		t.Fatalf("%d are granted, %v", n, err)
	}
	if took := time.Since(begun); paused.Reason == "" || paused.Waited < patience || paused.Waited > took {
		t.Errorf("after %s: %+v", took, paused)
	}
}
