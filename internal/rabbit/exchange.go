package rabbit

import (
	"context"
	"fmt"
	"slices"
)

// Binding brings what is published to Exchange with Key to Destination.
type Binding struct {
	Exchange    string `json:"source"` // "" is the default exchange, which is bound to every queue by its name
	Destination string `json:"destination"`
	Kind        string `json:"destination_type"`
	Key         string `json:"routing_key"`
}

// ToExchange says that the destination is an exchange, and no queue.
func (b Binding) ToExchange() bool { return b.Kind == "exchange" }

// From lists the bindings that lead away from an exchange.
func (m *Management) From(ctx context.Context, exchange string) ([]Binding, error) {
	var bindings []Binding
	if err := m.get(ctx, &bindings, "api", "exchanges", m.vhost, exchange, "bindings", "source"); err != nil {
		return nil, fmt.Errorf("ask the management API for bindings of exchange %s: %w", exchange, err)
	}
	return bindings, nil
}

// To lists the bindings that lead to a queue, but for that of the default exchange.
func (m *Management) To(ctx context.Context, queue string) ([]Binding, error) {
	var bindings []Binding
	if err := m.get(ctx, &bindings, "api", "queues", m.vhost, queue, "bindings"); err != nil {
		return nil, fmt.Errorf("ask the management API for bindings of queue %s: %w", queue, err)
	}
	return slices.DeleteFunc(bindings, func(b Binding) bool { return b.Exchange == "" }), nil
}

// ExchangeDetails is what the management API tells of an exchange.
type ExchangeDetails struct {
	Type string // direct, fanout, topic …
	// Alternate is the exchange that takes what has no queue here, empty where none does
	// and such messages are returned or dropped.
	Alternate string
}

// Exchange reads what the management API tells of an exchange; ErrNotFound where there
// is none of this name.
func (m *Management) Exchange(ctx context.Context, name string) (ExchangeDetails, error) {
	var answer struct {
		Type      string                 `json:"type"`
		Policy    string                 `json:"policy"`
		Arguments object[map[string]any] `json:"arguments"`
	}
	if err := m.get(ctx, &answer, "api", "exchanges", m.vhost, name); err != nil {
		return ExchangeDetails{}, fmt.Errorf("ask the management API for exchange %s: %w", name, err)
	}
	d := ExchangeDetails{Type: answer.Type}
	var argued bool
	if d.Alternate, argued = answer.Arguments.is["alternate-exchange"].(string); argued || answer.Policy == "" {
		return d, nil
	}
	var policy struct {
		Definition object[map[string]any] `json:"definition"`
	}
	if err := m.get(ctx, &policy, "api", "policies", m.vhost, answer.Policy); err != nil {
		return ExchangeDetails{}, fmt.Errorf("ask the management API for policy %s: %w", answer.Policy, err)
	}
	d.Alternate, _ = policy.Definition.is["alternate-exchange"].(string)
	return d, nil
}
