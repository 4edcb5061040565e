package testenv

import (
	"testing"
	"time"
)

// Between two looks at a condition pass pauses of these lengths.
const (
	shortestPause = 2 * time.Millisecond
	longestPause  = 100 * time.Millisecond
)

// Eventually waits until cond is true, or returns nil, and fails the test when that takes longer than timeout; the
// failure says what was waited for and what the last try came to. It is to be called from the test's goroutine.
func Eventually[C func() bool | func() error](tb testing.TB, timeout time.Duration, cond C, what string) {
	tb.Helper()
	deadline := time.Now().Add(timeout)
	for pause := shortestPause; ; pause = min(2*pause, longestPause) {
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

// Reaches waits until a count is at least want, and fails the test when the count does not change for longer than
// standstill: however busy the machine is, what moves is waited for. It is to be called from the test's goroutine.
func Reaches(tb testing.TB, standstill time.Duration, want int, count func() int, what string) {
	tb.Helper()
	last, moved := count(), time.Now()
	for pause := shortestPause; last < want; pause = min(2*pause, longestPause) {
		if time.Since(moved) > standstill {
			tb.Fatalf("waited for %d %s; %d for %s", want, what, last, standstill)
		}
		time.Sleep(pause)
		if now := count(); now != last {
			last, moved = now, time.Now()
		}
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
