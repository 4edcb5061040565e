package rabbit

import (
	"bytes"
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

	deadLetters *deadLetters // where rejected messages go, nil where nowhere
}

// Consumer is one consumer of a queue. A consumer that has just come is listed before
// its connection is known.
type Consumer struct {
	Connection string // the address of its connection, see ConnectionName; empty while it is unknown
	User       string
	Tag        string
	// Unlimited says that it takes all there is at once, and acknowledges later: it set
	// no prefetch.
	Unlimited bool
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
	Consumers []struct {
		Tag         string `json:"consumer_tag"`
		Acknowledge bool   `json:"ack_required"`
		Prefetch    *int   `json:"prefetch_count"`
		Channel     object[struct {
			Connection string `json:"connection_name"`
			User       string `json:"user"`
		}] `json:"channel_details"`
	} `json:"consumer_details"`
	Arguments object[map[string]any] `json:"arguments"`
	Policy    object[map[string]any] `json:"effective_policy_definition"`
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
	d := QueueDetails{Messages: a.Messages, Unacknowledged: a.Unacknowledged, Acknowledged: a.Stats.is.Ack, deadLetters: a.deadLetters()}
	if a.DelayedRetry != "" && a.DelayedRetry != "disabled" {
		d.Delayed = a.Delayed
	}
	if a.Consumers != nil {
		d.Consumers = make([]Consumer, len(a.Consumers))
	}
	for i, c := range a.Consumers {
		d.Consumers[i] = Consumer{Connection: c.Channel.is.Connection, User: c.Channel.is.User, Tag: c.Tag,
			Unlimited: c.Acknowledge && c.Prefetch != nil && *c.Prefetch == 0}
	}
	return d
}

// object is a JSON object. The API shows one that is empty, or of which it knows
// nothing yet, as an empty array, for Erlang does not tell them apart.
type object[T any] struct{ is T }

func (o *object[T]) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("[]")) {
		return nil
	}
	return json.Unmarshal(data, &o.is)
}
