package run

import "time"

// Delivery says whether events of the Product Service can reach the cart now: through the
// exchange and the binding into the queue, and from there to a consumer that gets on.
type Delivery struct {
	State DeliveryState `json:"state"`
	// Link and Queue are where the chain is worst; empty while events flow.
	Link  DeliveryLink `json:"link,omitempty"`
	Queue string       `json:"queue,omitempty"`
	// Text is what was seen there, and what to do about it.
	Text string `json:"text,omitempty"`
	// Since is when that was seen first, zero where events flow.
	Since time.Time `json:"since,omitzero"`
	// Queues are the cart's, with what is known of the way to each.
	Queues []QueueDelivery `json:"queues"`
	At     time.Time       `json:"lookedAt"`
}

// QueueDelivery is the way to one of the cart's queues and out of it.
type QueueDelivery struct {
	Queue string        `json:"queue"`
	State DeliveryState `json:"state"`
	// Bound tells whether events reach the queue, nil where only the management API could.
	Bound *bool `json:"bound"`
	// Ready events wait, and none has been taken since Waiting; zero where none waits.
	Ready     int       `json:"ready"`
	Waiting   time.Time `json:"waitingSince,omitzero"`
	Consumers int       `json:"consumers"`
	// Idle is since when nobody consumes.
	Idle time.Time    `json:"idleSince,omitzero"`
	Link DeliveryLink `json:"link,omitempty"`
	Text string       `json:"text,omitempty"`
}

// DeliveryState is how well events get through.
type DeliveryState string

// The states, the best first. Stalled may mend itself: a cart that restarts.
const (
	Flowing DeliveryState = "flowing"
	Unknown DeliveryState = "unknown" // the broker does not say
	Stalled DeliveryState = "stalled"
	Severed DeliveryState = "broken"
)

// DeliveryStates lists all, the best first.
func DeliveryStates() []DeliveryState { return []DeliveryState{Flowing, Unknown, Stalled, Severed} }

// DeliveryLink is one part of the way of an event.
type DeliveryLink string

// The links, in the order in which an event passes them.
const (
	LinkBroker    DeliveryLink = "broker"
	LinkExchange  DeliveryLink = "exchange"
	LinkBinding   DeliveryLink = "binding"
	LinkQueue     DeliveryLink = "queue"
	LinkConsumers DeliveryLink = "consumers"
	LinkHead      DeliveryLink = "head" // the first event of the queue, which kills its consumers
)
