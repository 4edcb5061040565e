package rabbit

import (
	"context"
	"fmt"
	"slices"
)

// deadLetters is where a queue's rejected and expired messages go.
type deadLetters struct {
	exchange string
	key      *string // nil: each message's own
}

// RetryQueues lists the queues in which messages that a consumer of queue rejects may
// wait until they come back to it, dead-lettered there and back. Keys of bindings are
// not compared, so that a queue too many may be listed.
func (m *Management) RetryQueues(ctx context.Context, queue string) ([]string, error) {
	details, err := m.Queue(ctx, queue)
	if err != nil || details.Rules.deadLetters() == nil {
		return nil, err
	}
	var queues []queueAnswer
	if err := m.get(ctx, &queues, "api", "queues", m.vhost); err != nil {
		return nil, fmt.Errorf("ask the management API for the queues: %w", err)
	}
	var bindings []Binding
	if err := m.get(ctx, &bindings, "api", "bindings", m.vhost); err != nil {
		return nil, fmt.Errorf("ask the management API for the bindings: %w", err)
	}
	away := details.Rules.deadLetters()
	var retries []string
	for _, q := range queues {
		back := q.rules().deadLetters()
		if q.Name != queue && back != nil && away.lead(queue, q.Name, bindings) && back.lead(away.keyOf(queue), queue, bindings) {
			retries = append(retries, q.Name)
		}
	}
	return retries, nil
}

// keyOf is the routing key of dead letters whose own was own.
func (d *deadLetters) keyOf(own string) string {
	if d.key != nil {
		return *d.key
	}
	return own
}

// lead tells whether dead letters whose key was own may come to a queue. An exchange
// that is bound to another one is not followed further.
func (d *deadLetters) lead(own, queue string, bindings []Binding) bool {
	if d.exchange == "" { // the default exchange, which knows queues by name
		return d.keyOf(own) == queue
	}
	return slices.ContainsFunc(bindings, func(b Binding) bool {
		return !b.ToExchange() && b.Exchange == d.exchange && b.Destination == queue
	})
}
