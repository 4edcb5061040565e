package rabbit

import (
	"context"
	"encoding/json"
	"fmt"
)

// QueueDetails are the management API's figures of one queue. What the API leaves out
// is nil: it knows nothing of a queue that was made just now, and little where the
// broker collects no statistics.
type QueueDetails struct {
	Messages       *int   // all that are in the queue, delivered ones included
	Unacknowledged *int   // delivered, not yet acknowledged
	Acknowledged   *int64 // since the queue exists, only ever growing
	// Delayed is the number of rejected messages that the queue itself keeps back for a
	// while, as a quorum queue can since RabbitMQ 4.3; nil too where it keeps none back.
	Delayed   *int
	Consumers []Consumer // nil where the API does not list them

	Type  string // classic, quorum or stream
	State string // running, idle, or what is wrong; empty while it is unknown
	// Transient is gone after the broker's restart, AutoDelete with its last consumer.
	Transient, AutoDelete bool
	// Members of a quorum queue or a stream are the nodes that hold a copy of it, and
	// Online those of them that answer; both are empty for other queues.
	Members, Online []string
	// DeliveryLimit is how often a message may come back unacknowledged until it is
	// dropped, or dead-lettered; nil: for ever, or not known.
	DeliveryLimit *int
	Rules         Rules
}

// Consumer is one consumer of a queue. A consumer that has just come is listed before
// its connection is known.
type Consumer struct {
	Connection string // the address of its connection, see Client; empty while it is unknown
	Host       string // of its end of the connection
	User       string
	Tag        string
	// Unlimited says that it takes all there is at once, and acknowledges later: it set
	// no prefetch.
	Unlimited bool
	Automatic bool // the broker takes what it has sent for acknowledged
	Exclusive bool // no other consumer is let in
	Standby   bool // it gets nothing while another one is the single active consumer
}

// Unlimited is the number of consumers without a prefetch, as far as they are listed.
func (d *QueueDetails) Unlimited() (n int) {
	for _, c := range d.Consumers {
		if c.Unlimited {
			n++
		}
	}
	return n
}

// queueAnswer is the API's own form of a queue.
type queueAnswer struct {
	Name           string `json:"name"`
	Messages       *int   `json:"messages"`
	Unacknowledged *int   `json:"messages_unacknowledged"`
	Delayed        *int   `json:"messages_delayed"`
	DelayedRetry   string `json:"delayed_retry"`
	Stats          object[struct {
		Ack *int64 `json:"ack"`
	}] `json:"message_stats"`
	Consumers      []consumerAnswer       `json:"consumer_details"`
	Type           string                 `json:"type"`
	State          string                 `json:"state"`
	Durable        *bool                  `json:"durable"`
	AutoDelete     bool                   `json:"auto_delete"`
	Members        []string               `json:"members"`
	Online         []string               `json:"online"`
	DeliveryLimit  any                    `json:"delivery_limit"` // a number, or a word for none
	Arguments      object[map[string]any] `json:"arguments"`
	Policy         object[map[string]any] `json:"effective_policy_definition"` // of both policies
	PolicyName     string                 `json:"policy"`
	OperatorPolicy string                 `json:"operator_policy"`
}

// consumerAnswer is the API's own form of a consumer.
type consumerAnswer struct {
	Tag         string `json:"consumer_tag"`
	Acknowledge bool   `json:"ack_required"`
	Prefetch    *int   `json:"prefetch_count"`
	Exclusive   bool   `json:"exclusive"`
	Activity    string `json:"activity_status"`
	Channel     object[struct {
		Connection string `json:"connection_name"`
		Host       string `json:"peer_host"`
		User       string `json:"user"`
	}] `json:"channel_details"`
}

func (a *consumerAnswer) consumer() Consumer {
	channel := a.Channel.is
	return Consumer{Connection: channel.Connection, Host: channel.Host, User: channel.User, Tag: a.Tag,
		Unlimited: a.Acknowledge && a.Prefetch != nil && *a.Prefetch == 0, Automatic: !a.Acknowledge,
		Exclusive: a.Exclusive, Standby: a.Activity == "waiting"}
}

// Queue reads the figures of one queue, its consumers among them.
func (m *Management) Queue(ctx context.Context, name string) (QueueDetails, error) {
	var answer queueAnswer
	if err := m.get(ctx, &answer, "api", "queues", m.vhost, name); err != nil {
		return QueueDetails{}, fmt.Errorf("ask the management API for queue %s: %w", name, err)
	}
	return answer.details(), nil
}

func (a *queueAnswer) details() QueueDetails {
	d := QueueDetails{Messages: a.Messages, Unacknowledged: a.Unacknowledged, Acknowledged: a.Stats.is.Ack,
		Type: a.Type, State: a.State, Transient: a.Durable != nil && !*a.Durable, AutoDelete: a.AutoDelete, Members: a.Members, Online: a.Online, Rules: a.rules()}
	if limit, is := a.DeliveryLimit.(float64); is && limit >= 0 {
		d.DeliveryLimit = new(int(limit))
	}
	if a.DelayedRetry != "" && a.DelayedRetry != "disabled" {
		d.Delayed = a.Delayed
	}
	if a.Consumers != nil {
		d.Consumers = make([]Consumer, len(a.Consumers))
	}
	for i := range a.Consumers {
		d.Consumers[i] = a.Consumers[i].consumer()
	}
	return d
}

// object is a JSON object. The API shows one that is empty, or of which it knows
// nothing yet, as an empty array, for Erlang does not tell them apart; as null it is
// empty too.
type object[T any] struct{ is T }

func (o *object[T]) UnmarshalJSON(data []byte) error {
	if len(data) == 0 || data[0] != '{' {
		return nil
	}
	return json.Unmarshal(data, &o.is)
}
