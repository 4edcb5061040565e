package api

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// cached shares one answer among all who ask within ttl, so that however many ask, the
// services behind it are asked rarely, and by one caller at a time. An answer that took long
// stays for longer: rest times as long, where that is more than ttl.
type cached[T any] struct {
	ttl   time.Duration
	rest  int
	fetch func(context.Context) (T, error)

	mu     sync.Mutex
	latest *fetched[T]
	last   *fetched[T] // that has come, and is no error
}

type fetched[T any] struct {
	done  chan struct{} // closed when the rest is set
	at    time.Time
	took  time.Duration
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

// newest is the last answer that has come, nil before the first. It waits for none, but one
// that is due is asked for.
func (c *cached[T]) newest(ctx context.Context) *T {
	c.current(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		return nil
	}
	return &c.last.value
}

// within is newest where that is no older than most, and else get: whoever asks all the time
// never waits.
func (c *cached[T]) within(ctx context.Context, most time.Duration) (T, error) {
	c.current(ctx)
	c.mu.Lock()
	last := c.last
	c.mu.Unlock()
	if last != nil && time.Since(last.at) < most {
		return last.value, nil
	}
	return c.get(ctx)
}

// current is the answer that counts now, which may still be under way.
func (c *cached[T]) current(ctx context.Context) *fetched[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.latest; f != nil {
		select {
		case <-f.done:
			if time.Since(f.at) < max(c.ttl, time.Duration(c.rest)*f.took) {
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
		began := time.Now()
		defer func() {
			f.at = time.Now()
			f.took = f.at.Sub(began)
			if p := recover(); p != nil {
				f.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
			if f.err == nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.last = f
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
	c.latest, c.last = nil, nil
}
