package rabbit

import (
	"context"
	"fmt"
)

// QueueLimits are the bounds of a queue's length: its arguments' and its policies',
// whichever is less, as the broker itself takes them. 0 is no bound.
type QueueLimits struct {
	Messages int   // that wait
	Bytes    int64 // of their bodies
}

// Limits reads how long one queue may get.
func (m *Management) Limits(ctx context.Context, queue string) (QueueLimits, error) {
	details, err := m.Queue(ctx, queue)
	if err != nil {
		return QueueLimits{}, fmt.Errorf("read the limits of queue %s: %w", queue, err)
	}
	return details.Rules.Length(), nil
}
