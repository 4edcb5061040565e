package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// What was opened last ends first, whatever the others say, and all that they say is told
// by name.
func TestCleanup(t *testing.T) {
	t.Parallel()
	var clean Cleanup
	var ended []string
	refused := errors.New("it refuses")
	for i, err := range []error{nil, refused, nil, refused} {
		what := fmt.Sprintf("the server %d", i)
		clean.Add(what, func(ctx context.Context) error {
			ended = append(ended, what)
			return errors.Join(err, ctx.Err())
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // what ends a service or a command ends no clean-up
	err := clean.End(ctx)
	if want := "end the server 3: it refuses\nend the server 1: it refuses"; err == nil || err.Error() != want || !errors.Is(err, refused) {
		t.Errorf("%v, want %s", err, want)
	}
	if want := []string{"the server 3", "the server 2", "the server 1", "the server 0"}; !slices.Equal(ended, want) {
		t.Errorf("%v", ended)
	}
	if err := clean.End(ctx); err != nil || len(ended) != 4 {
		t.Errorf("once more: %v, %v", err, ended)
	}
}

// What hangs is left to itself, and does not keep the others from ending.
func TestCleanupIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var clean Cleanup
		var other bool
		silent := make(chan struct{})
		clean.Add("the other server", func(context.Context) error { other = true; return nil })
		clean.Add("the silent server", Closing(func() { <-silent }))
		begun := time.Now()
		err := clean.End(t.Context())
		if took := time.Since(begun); took != cleanupTimeout || !other || err == nil || err.Error() != "end the silent server: not done within 10s" {
			t.Errorf("%v after %s, the other one has ended: %t", err, took, other)
		}
		close(silent)
	})
}
