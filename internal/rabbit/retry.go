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

// deadLetters reads a queue's arguments, which go before its policy.
func (a *queueAnswer) deadLetters() *deadLetters {
	setting := func(name string) *string {
		for _, value := range []any{a.Arguments.is["x-"+name], a.Policy.is[name]} {
			if text, is := value.(string); is {
				return &text
			}
		}
		return nil
	}
	exchange := setting("dead-letter-exchange")
	if exchange == nil {
		return nil
	}
	return &deadLetters{*exchange, setting("dead-letter-routing-key")}
}

// RetryQueues lists the queues in which messages that a consumer of queue rejects may
// wait until they come back to it, dead-lettered there and back. Keys of bindings are
// not compared, so that a queue too many may be listed.
func (m *Management) RetryQueues(ctx context.Context, queue string) ([]string, error) {
	details, err := m.Queue(ctx, queue)
	if err != nil || details.deadLetters == nil {
		return nil, err
	}
	var queues []queueAnswer
	if err := m.get(ctx, &queues, "api", "queues", m.vhost); err != nil {
		return nil, fmt.Errorf("ask the management API for the queues: %w", err)
	}
	var bindings []binding
	if err := m.get(ctx, &bindings, "api", "bindings", m.vhost); err != nil {
		return nil, fmt.Errorf("ask the management API for the bindings: %w", err)
	}
	away := details.deadLetters
	var retries []string
	for _, q := range queues {
		back := q.deadLetters()
		if q.Name != queue && back != nil && away.lead(queue, q.Name, bindings) && back.lead(away.keyOf(queue), queue, bindings) {
			retries = append(retries, q.Name)
		}
	}
	return retries, nil
}

// binding is one in the API's own form.
type binding struct {
	Exchange    string `json:"source"`
	Destination string `json:"destination"`
	Kind        string `json:"destination_type"`
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
func (d *deadLetters) lead(own, queue string, bindings []binding) bool {
	if d.exchange == "" { // the default exchange, which knows queues by name
		return d.keyOf(own) == queue
	}
	return slices.ContainsFunc(bindings, func(b binding) bool {
		return b.Kind == "queue" && b.Exchange == d.exchange && b.Destination == queue
	})
}
