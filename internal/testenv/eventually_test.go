package testenv_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/testenv"
)

// failing records a test's failure instead of failing.
type failing struct {
	testing.TB
	text string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	panic(f) // ends what it ends in a test; failure recovers from it
}

func failure(t *testing.T, do func(testing.TB)) (text string) {
	f := &failing{TB: t}
	defer func() {
		if recovered := recover(); recovered != nil && recovered != any(f) {
			panic(recovered)
		}
		text = f.text
	}()
	do(f)
	return f.text
}

func TestEventually(t *testing.T) {
	t.Parallel()
	tries := 0
	testenv.Eventually(t, time.Minute, func() bool { tries++; return tries == 3 }, "the third try")
	testenv.Eventually(t, time.Minute, func() error {
		if tries++; tries < 6 {
			return errors.New("not yet")
		}
		return nil
	}, "the sixth try")
	if tries != 6 {
		t.Errorf("it took %d tries, want 6", tries)
	}
}

func TestEventuallySaysWhatWasLast(t *testing.T) {
	t.Parallel()
	tries := 0
	got := failure(t, func(tb testing.TB) {
		testenv.Eventually(tb, 20*time.Millisecond, func() error { tries++; return fmt.Errorf("%d tries", tries) }, "godot")
	})
	if want := fmt.Sprintf("waited 20ms for godot; at last: %d tries", tries); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got = failure(t, func(tb testing.TB) {
		testenv.Eventually(tb, 0, func() bool { return false }, "never")
	})
	if want := "waited 0s for never; at last: not so"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReachesWaitsForWhatMoves(t *testing.T) {
	t.Parallel()
	const standstill = 500 * time.Millisecond
	n := 0
	began := time.Now()
	testenv.Reaches(t, standstill, 20, func() int { n++; return n }, "looks")
	if took := time.Since(began); n != 20 || took < standstill {
		t.Errorf("%d looks took %s, want 20 that take longer than a standstill may", n, took)
	}
	got := failure(t, func(tb testing.TB) {
		testenv.Reaches(tb, 20*time.Millisecond, 9, func() int { return 7 }, "looks")
	})
	if want := "waited for 9 looks; 7 for 20ms"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
