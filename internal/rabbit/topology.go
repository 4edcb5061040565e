package rabbit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// The cart's names on the broker. They are its own: only ever looked at.
const (
	Exchange     = "product-service"
	CreatedQueue = "product-created" // also the routing key
	UpdatedQueue = "product-updated"
	DeletedQueue = "product-deleted"
)

// App is the app id of every message that we publish.
const App = "etl"

// CartQueues lists the cart's queues that products travel through.
func CartQueues() []string { return []string{CreatedQueue, UpdatedQueue, DeletedQueue} }

// ErrNotFound says that the broker does not know an exchange or a queue.
var ErrNotFound = errors.New("does not exist")

// QueueState is one look at a queue.
type QueueState struct {
	Ready     int // messages waiting; those delivered and unacknowledged are not among them
	Consumers int
}

// CheckTopology looks, passively and on a throw-away channel, whether the cart's
// exchange and queues are there. A wrong set-up is an error that names the remedy.
func (c *Connection) CheckTopology(ctx context.Context) error {
	_, err := c.Look(ctx)
	return err
}

// Look is CheckTopology that returns what it saw of the cart's queues, by name, and
// of others.
func (c *Connection) Look(ctx context.Context, others ...string) (map[string]QueueState, error) {
	ch, err := c.Channel(ctx)
	if err != nil {
		return nil, err
	}
	// A broker that has fallen silent answers the end no more than anything else.
	defer func() { _, _ = Answered(ctx, func() (struct{}, error) { return struct{}{}, ch.Close() }) }()
	_, err = Answered(ctx, func() (struct{}, error) {
		return struct{}{}, ch.ExchangeDeclarePassive(Exchange, amqp.ExchangeDirect, true, false, false, false, nil)
	})
	if err != nil {
		return nil, missing(err, "exchange "+Exchange, "start the Product Service or the Cart Service once, which declare it, or check the vhost of RABBITMQ_ENDPOINT")
	}
	states := make(map[string]QueueState)
	for _, queue := range append(CartQueues(), others...) {
		if states[queue], err = inspect(ctx, ch, queue); err != nil {
			return nil, err
		}
	}
	return states, nil
}

func inspect(ctx context.Context, ch *amqp.Channel, queue string) (QueueState, error) {
	q, err := Answered(ctx, func() (amqp.Queue, error) {
		return ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	})
	if err != nil {
		return QueueState{}, missing(err, "queue "+queue, "the Cart Service, which declares it, has not started on this broker yet: start it, or check the vhost of RABBITMQ_ENDPOINT")
	}
	return QueueState{Ready: q.Messages, Consumers: q.Consumers}, nil
}

func missing(err error, what, remedy string) error {
	var refused *amqp.Error
	switch {
	case !errors.As(err, &refused):
	case refused.Code == amqp.NotFound && !strings.Contains(refused.Reason, " no "): // which it says too where a node is down, a queue has crashed, or after a timeout
		return fmt.Errorf("look at %s: %w", what, away("it does not answer: see to the node of the broker that has it", err))
	case refused.Code == amqp.NotFound:
		return fmt.Errorf("%s %w: %s", what, ErrNotFound, remedy)
	case refused.Code == amqp.ResourceLocked:
		return fmt.Errorf("look at %s: another connection has declared it as exclusive, which the Cart Service does not: end that connection, then restart the Cart Service", what)
	case refused.Code == amqp.AccessRefused:
		return fmt.Errorf("look at %s: the broker's user needs the configure permission on it, even to look: %w", what, err)
	}
	return fmt.Errorf("look at %s: %w", what, err)
}

// Queue is one of the cart's queues, looked at over and over on one channel.
// It is for one goroutine at a time.
type Queue struct {
	conn *Connection
	name string
	ch   *amqp.Channel
}

// Queue gives a view of a queue.
func (c *Connection) Queue(name string) *Queue { return &Queue{conn: c, name: name} }

// Name is the queue's name.
func (q *Queue) Name() string { return q.name }

// State asks the broker for the queue's present state.
func (q *Queue) State(ctx context.Context) (QueueState, error) {
	if q.ch == nil || q.ch.IsClosed() {
		ch, err := q.conn.Channel(ctx)
		if err != nil {
			return QueueState{}, err
		}
		q.ch = ch
	}
	state, err := inspect(ctx, q.ch, q.name)
	if err != nil {
		q.ch = nil // whatever it was, the next look starts afresh
	}
	return state, err
}
