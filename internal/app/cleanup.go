package app

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// cleanupTimeout bounds the end of all that was opened, together.
const cleanupTimeout = 10 * time.Second

// Cleanup ends what was opened. Whoever opens something adds at once how it ends. The
// zero value has nothing to end.
type Cleanup struct{ steps []step }

type step struct {
	what string
	end  func(context.Context) error
}

// Add says how something ends, and by which name people know it.
func (c *Cleanup) Add(what string, end func(context.Context) error) {
	c.steps = append(c.steps, step{what, end})
}

// End ends everything, the last first, also where ctx has ended. Its error joins those
// of all steps. Ending once more ends what was added since.
func (c *Cleanup) End(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), cleanupTimeout, fmt.Errorf("not done within %s", cleanupTimeout))
	defer cancel()
	var problems []error
	for len(c.steps) > 0 {
		last := len(c.steps) - 1
		s := c.steps[last]
		c.steps = c.steps[:last]
		if err := s.end(ctx); err != nil {
			problems = append(problems, fmt.Errorf("end %s: %w", s.what, err))
		}
	}
	return errors.Join(problems...)
}

// Closing is an end for what takes no context, such as a pool of connections to a server
// that has fallen silent: it is left to itself when the time is up.
func Closing(end func()) func(context.Context) error {
	return func(ctx context.Context) error {
		ended := make(chan struct{})
		go func() { defer close(ended); end() }()
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
