package cart

import (
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// process is one life of the consumer, from its connections to its death.
type process struct {
	consumer *Consumer
	handler  handler
	session  *session
}

// startProcess connects to database and broker and begins to consume.
func (c *Consumer) startProcess(ctx context.Context) (*process, error) {
	store, err := openStore(ctx, c.config.DatabaseURL)
	if err != nil {
		return nil, err
	}
	session, err := openSession(c.config.BrokerURL, ConnectionName, queues(), c.config.prefetch(), declare)
	if err != nil {
		store.close(ctx)
		return nil, err
	}
	return &process{c, handler{store, c.config.DelayPerEvent, c.config.Forgetful}, session}, nil
}

func declare(channel *amqp.Channel) error {
	if err := platform.DeclareProductTopology(channel); err != nil {
		return err
	}
	return platform.DeclareOrderTopology(channel)
}

// run consumes, strictly one event at a time, until the process is stopped or killed, which is no error, or dies of
// the error that it returns. What it has not acked then goes back to its queue.
func (p *process) run(ctx context.Context, stop <-chan struct{}) error {
	defer p.handler.store.close(ctx)
	defer p.session.close()
	for {
		next, reason := p.next(ctx, stop)
		switch {
		case orderly(reason):
			p.consumer.becameDeaf(reason)
			select {
			case <-stop:
			case <-ctx.Done():
			}
			return nil
		case reason != nil:
			return reason
		case next == nil:
			return nil
		}
		if err := p.handle(ctx, next); err != nil {
			if ctx.Err() != nil {
				return nil // killed: what was cut short is not the event's fault
			}
			return err
		}
	}
}

// next waits for an event. It returns the reason if the session has ended, and neither if the process is to end.
func (p *process) next(ctx context.Context, stop <-chan struct{}) (*event, error) {
	select { // whoever is to end takes no further event, even if one is there
	case <-stop:
		return nil, nil
	case <-ctx.Done():
		return nil, nil
	case reason := <-p.session.ended:
		return nil, reason
	default:
	}
	select {
	case <-stop:
		return nil, nil
	case <-ctx.Done():
		return nil, nil
	case reason := <-p.session.ended:
		return nil, reason
	case event := <-p.session.events:
		return &event, nil
	}
}

func (p *process) handle(ctx context.Context, e *event) error {
	product, what, err := p.handler.handle(ctx, e.queue, e.Body)
	if err != nil {
		return fmt.Errorf("%s: %w", e.queue, err)
	}
	// The real cart's library throws when it acks on a closed channel, so this ends the process as well.
	if err := e.Ack(false); err != nil {
		return fmt.Errorf("%s: ack: %w", e.queue, err)
	}
	p.consumer.acked(subject{e.queue, product}, what)
	return nil
}
