package stack

import (
	"context"
	"sync"
)

// inParallel runs the tasks at the same time, cancels the others when one fails, and returns the first error after
// all have ended.
func inParallel(ctx context.Context, tasks ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	var once sync.Once
	var first error
	for _, task := range tasks {
		group.Go(func() {
			if err := task(ctx); err != nil {
				once.Do(func() { first = err; cancel(err) })
			}
		})
	}
	group.Wait()
	return first
}
