package testenv

import (
	"fmt"
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
// standstill. It is to be called from the test's goroutine.
func Reaches(tb testing.TB, standstill time.Duration, want int, count func() int, what string) {
	tb.Helper()
	Follow(tb, standstill, func() (int, bool) {
		n := count()
		return n, n >= want
	}, fmt.Sprintf("%d %s", want, what))
}

// Follow waits until look tells that it is done, and fails the test when what it sees does not change for longer than
// standstill: however busy the machine is, what moves is waited for. It is to be called from the test's goroutine.
func Follow[S comparable](tb testing.TB, standstill time.Duration, look func() (seen S, done bool), what string) {
	tb.Helper()
	last, done := look()
	moved := time.Now()
	for pause := shortestPause; !done; pause = min(2*pause, longestPause) {
		if time.Since(moved) > standstill {
			tb.Fatalf("waited for %s; %v for %s", what, last, standstill)
		}
		time.Sleep(pause)
		var now S
		if now, done = look(); now != last {
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
