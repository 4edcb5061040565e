package api

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// cached shares one answer among all who ask within ttl, so that however many ask, the
// services behind it are asked rarely, and by one caller at a time.
type cached[T any] struct {
	ttl   time.Duration
	fetch func(context.Context) (T, error)

	mu     sync.Mutex
	latest *fetched[T]
}

type fetched[T any] struct {
	done  chan struct{} // closed when the rest is set
	at    time.Time
	value T
	err   error
}

func (c *cached[T]) get(ctx context.Context) (T, error) {
	f := c.current(ctx)
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

// current is the answer that counts now, which may still be under way.
func (c *cached[T]) current(ctx context.Context) *fetched[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.latest; f != nil {
		select {
		case <-f.done:
			if time.Since(f.at) < c.ttl {
				return f
			}
		default:
			return f
		}
	}
	f := &fetched[T]{done: make(chan struct{})}
	c.latest = f
	// The one who asks first may leave while others wait.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	go func() { // ends with fetch, which answerTimeout bounds
		defer cancel()
		defer close(f.done)
		defer func() {
			f.at = time.Now()
			if p := recover(); p != nil {
				f.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		f.value, f.err = c.fetch(ctx)
	}()
	return f
}

// forget lets the next one who asks see what was just changed.
func (c *cached[T]) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest = nil
}
