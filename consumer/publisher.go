package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/rabbit"
)

// confirmTimeout is how long the broker may take for one message, the time to
// connect included.
const confirmTimeout = 5 * time.Second

var errSilent = errors.New("the broker does not answer in time: check that it runs and the network to it")

// publisher publishes to our exchange, one message at a time, so that a return or
// a refusal belongs to it. It may be used by several goroutines.
type publisher struct {
	conn *rabbit.Connection
	turn chan struct{} // holds one value while somebody publishes

	ch      *amqp.Channel
	returns chan amqp.Return
	closed  chan *amqp.Error
}

func newPublisher(conn *rabbit.Connection) *publisher {
	return &publisher{conn: conn, turn: make(chan struct{}, 1)}
}

// publish returns nil once the broker has the message in a queue. After an error
// it may have it nevertheless.
func (p *publisher) publish(ctx context.Context, key string, message amqp.Publishing) error {
	ctx, cancel := context.WithTimeoutCause(ctx, confirmTimeout, errSilent)
	defer cancel()
	if err := p.blocked(); err != nil {
		return err // without waiting for one who is stuck
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return p.unconfirmed(ctx)
	}
	if err := p.open(ctx); err != nil {
		return err
	}
	if err := p.blocked(); err != nil {
		return err
	}
	ch := p.ch
	acked, err := rabbit.Answered(ctx, func() (bool, error) {
		confirm, err := ch.PublishWithDeferredConfirm(Exchange, key, true, false, message)
		if err != nil {
			return false, err
		}
		return confirm.WaitContext(ctx)
	})
	switch {
	case err == nil && acked:
		return p.returned()
	case ch.IsClosed():
		return p.lost(err)
	case err == nil:
		return fmt.Errorf("the broker refused the message: the queue is full (%d messages or its limit of bytes): see why nobody takes messages from it", maxMessages)
	}
	// The channel goes too: a late return must not be taken for a later message's.
	p.abandon()
	if ctx.Err() != nil {
		return p.unconfirmed(ctx)
	}
	return fmt.Errorf("publish to exchange %s: %w", Exchange, err)
}

func (p *publisher) open(ctx context.Context) error {
	if p.ch != nil && !p.ch.IsClosed() {
		return nil
	}
	ch, err := declared(ctx, p.conn)
	if err != nil {
		return err
	}
	if err := answered(ctx, func() error { return ch.Confirm(false) }); err != nil {
		_ = release(ch)
		return fmt.Errorf("ask for confirms: %w", err)
	}
	p.ch = ch
	p.returns = ch.NotifyReturn(make(chan amqp.Return, 1))
	p.closed = ch.NotifyClose(make(chan *amqp.Error, 1))
	return nil
}

// returned reports a message that came back, which it does before its confirm.
func (p *publisher) returned() error {
	select {
	case r, open := <-p.returns:
		if open {
			p.abandon() // the next one declares the queues anew
			return fmt.Errorf("the broker has no queue for routing key %s of exchange %s (%d %s), somebody deleted it: try again, it is declared anew", r.RoutingKey, r.Exchange, r.ReplyCode, r.ReplyText)
		}
	default:
	}
	return nil
}

// lost is why the channel is gone. The library says it, or closes closed.
func (p *publisher) lost(err error) error {
	p.ch = nil
	reason := <-p.closed
	switch {
	case reason == nil && err == nil:
		err = amqp.ErrClosed
	case reason == nil:
	case reason.Code == amqp.NotFound:
		return fmt.Errorf("exchange %s does not exist any more: try again, it is declared anew: %w", Exchange, reason)
	case reason.Code == amqp.AccessRefused:
		return fmt.Errorf("publish to exchange %s: the broker's user needs the write permission on it: %w", Exchange, reason)
	default:
		err = reason
	}
	return fmt.Errorf("the connection to the broker was lost before it confirmed the message: try again: %w", err)
}

func (p *publisher) blocked() error {
	if reason := p.conn.Blocked(); reason != "" {
		return fmt.Errorf("the broker takes no messages at present (%s): free memory or disk space on it", reason)
	}
	return nil
}

func (p *publisher) unconfirmed(ctx context.Context) error {
	if err := p.blocked(); err != nil {
		return err
	}
	return fmt.Errorf("the message was not confirmed: %w", context.Cause(ctx))
}

// abandon gives up the channel without waiting for a broker that hangs.
func (p *publisher) abandon() {
	ch := p.ch
	p.ch = nil
	go func() { _ = release(ch) }()
}

// close ends the channel; the connection stays.
func (p *publisher) close() {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	if p.ch != nil {
		_ = release(p.ch)
		p.ch = nil
	}
}
