package rabbit

import (
	"context"
	"encoding/json"
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
	var answer struct {
		Arguments lengths `json:"arguments"`
		Policy    lengths `json:"effective_policy_definition"` // of policy and operator policy together
	}
	if err := m.get(ctx, &answer, "api", "queues", m.vhost, queue); err != nil {
		return QueueLimits{}, fmt.Errorf("ask the management API for the limits of queue %s: %w", queue, err)
	}
	a, p := answer.Arguments, answer.Policy
	return QueueLimits{Messages: lesser(a.Messages, p.Messages), Bytes: lesser(a.Bytes, p.Bytes)}, nil
}

// lengths are those of a queue's arguments or of a policy, whose names differ.
type lengths struct {
	Messages int
	Bytes    int64
}

// UnmarshalJSON takes a list for nothing at all: the API writes an empty object so.
func (l *lengths) UnmarshalJSON(data []byte) error {
	if len(data) == 0 || data[0] != '{' {
		return nil
	}
	var definition struct {
		ArgumentMessages int   `json:"x-max-length"`
		ArgumentBytes    int64 `json:"x-max-length-bytes"`
		PolicyMessages   int   `json:"max-length"`
		PolicyBytes      int64 `json:"max-length-bytes"`
	}
	if err := json.Unmarshal(data, &definition); err != nil {
		return err
	}
	l.Messages = lesser(definition.ArgumentMessages, definition.PolicyMessages)
	l.Bytes = lesser(definition.ArgumentBytes, definition.PolicyBytes)
	return nil
}

// lesser is the tighter of two bounds, 0 being none.
func lesser[T int | int64](a, b T) T {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
