package cart

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// ThiefName is how the thief's connection is listed by RabbitMQ.
const ThiefName = "order service (stand-in)"

// ThiefConfig says what a thief takes.
type ThiefConfig struct {
	BrokerURL     string
	Queue         string        // empty: product-created
	DelayPerEvent time.Duration // spent with each event; with that of the consumer it decides who gets how many
}

// Thief consumes a queue of the cart's and throws away what it gets. This is what the Order Service does as far as
// the cart is concerned: both consume the same queues, so that each event reaches one of them only.
type Thief struct {
	session *session
	taken   atomic.Int64
	stop    chan struct{}
	once    sync.Once // closes stop
	done    chan struct{}
}

// StartThief returns when RabbitMQ lists the thief as a consumer. The thief ends when it is stopped, ctx ends or its
// connection is lost.
func StartThief(ctx context.Context, config ThiefConfig) (*Thief, error) {
	if config.Queue == "" {
		config.Queue = platform.ProductCreated
	}
	session, err := openSession(config.BrokerURL, ThiefName, []string{config.Queue}, 1, platform.DeclareProductTopology)
	if err != nil {
		return nil, fmt.Errorf("start a thief: %w", err)
	}
	t := &Thief{session: session, stop: make(chan struct{}), done: make(chan struct{})}
	go t.run(ctx, config.DelayPerEvent)
	return t, nil
}

// Taken is how many events the thief has acked and thrown away.
func (t *Thief) Taken() int { return int(t.taken.Load()) }

// Stop ends the thief and returns when it has ended. It may be called more than once.
func (t *Thief) Stop() {
	t.once.Do(func() { close(t.stop) })
	<-t.done
}

func (t *Thief) run(ctx context.Context, delay time.Duration) {
	defer close(t.done)
	defer t.session.close()
	for {
		select {
		case e := <-t.session.events:
			if !t.take(ctx, e.Delivery, delay) {
				return
			}
		case <-t.session.ended: //nolint:errcheck // whatever ended it, the thief is gone
			return
		case <-t.stop:
			return
		case <-ctx.Done():
			return
		}
	}
}

// take acks an event after a while; it is false if the thief is to end instead.
func (t *Thief) take(ctx context.Context, delivery amqp.Delivery, delay time.Duration) bool {
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-t.stop:
			return false
		case <-ctx.Done():
			return false
		}
	}
	if delivery.Ack(false) != nil {
		return false
	}
	t.taken.Add(1)
	return true
}
