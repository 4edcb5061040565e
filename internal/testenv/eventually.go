package testenv

import (
	"testing"
	"time"
)

// Eventually waits until cond is true, or returns nil, and fails the test when that takes longer than timeout; the
// failure says what was waited for and what the last try came to. It is to be called from the test's goroutine.
func Eventually[C func() bool | func() error](tb testing.TB, timeout time.Duration, cond C, what string) {
	tb.Helper()
	const (
		shortest = 2 * time.Millisecond
		longest  = 100 * time.Millisecond
	)
	deadline := time.Now().Add(timeout)
	for pause := shortest; ; pause = min(2*pause, longest) {
		done, last := try(cond)
		if done {
			return
		}
		left := time.Until(deadline)
		if left <= 0 {
			tb.Fatalf("waited %s for %s; at last: %s", timeout, what, last)
		}
		time.Sleep(min(pause, left)) // the pause between two looks, not a way to synchronise
	}
}

func try[C func() bool | func() error](cond C) (done bool, last string) {
	switch cond := any(cond).(type) {
	case func() bool:
		return cond(), "not so"
	case func() error:
		if err := cond(); err != nil {
			return false, err.Error()
		}
	}
	return true, ""
}
