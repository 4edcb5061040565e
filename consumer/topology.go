// Package consumer is the RabbitMQ-driven worker. A message only rings: the
// listener writes the sync request to the ledger and acknowledges it at once, and
// the worker executes the runs that the ledger leases to it.
package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/rabbit"
)

// Our own names on the broker.
const (
	Exchange     = "etl"
	RequestQueue = "etl.sync" // sync requests
	RequestKey   = "sync"
	DeadQueue    = "etl.dead" // what was no request, or was never acknowledged
	DeadKey      = "dead"
)

const (
	// maxMessages and the bytes beside it bound each queue. A full one refuses what
	// comes (reject-publish): the publisher learns it, and nothing that was confirmed
	// is dropped. This holds for dead letters too: the listener keeps an invalid
	// request, and with it the queue, until somebody looks after the dead letters.
	maxMessages     = 10_000
	maxRequestBytes = 128 << 20
	maxDeadBytes    = 256 << 20

	// requestDeliveries is how often a request may come back unacknowledged. The
	// listener never gives one back because of the ledger; a crash or a lost
	// connection counts, hence a limit above the 20 that RabbitMQ 4 presumes.
	requestDeliveries = 100
	// deadDeliveries is no limit in effect. Looking at dead letters takes them and
	// gives them back, which counts as a delivery, even if nacked before RabbitMQ 4.3
	// (https://www.rabbitmq.com/docs/4.3/nack). 4.x presumes 20 where no limit is
	// given (https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling), and
	// 3.13 refuses -1, which means none since 4.0.
	deadDeliveries = 1_000_000_000

	// holdTime is how long a message may be held unacknowledged, as by a listener
	// that has lost its ledger. After it the broker gives the message to another one:
	// until 4.2 it closes the channel, since 4.3 it cancels the consumer.
	holdTime = 5 * time.Minute
)

func queueArguments(deliveries, bytes int) amqp.Table {
	return amqp.Table{
		"x-queue-type":       "quorum",
		"x-delivery-limit":   deliveries,
		"x-max-length":       maxMessages,
		"x-max-length-bytes": bytes,
		"x-overflow":         "reject-publish",
		"x-consumer-timeout": holdTime.Milliseconds(),
	}
}

// Declare declares the exchange and the queues, which is harmless where they are
// there already. Where they were declared otherwise it is an error with the remedy.
func Declare(ctx context.Context, conn *rabbit.Connection) error {
	ch, err := declared(ctx, conn)
	if err != nil {
		return err
	}
	return release(ch)
}

// declared opens a channel and declares everything on it.
func declared(ctx context.Context, conn *rabbit.Connection) (*amqp.Channel, error) {
	ch, err := conn.Channel(ctx)
	if err != nil {
		return nil, err
	}
	if err := declare(ctx, ch); err != nil {
		_ = release(ch)
		return nil, err
	}
	return ch, nil
}

func declare(ctx context.Context, ch *amqp.Channel) error {
	err := answered(ctx, func() error {
		return ch.ExchangeDeclare(Exchange, amqp.ExchangeDirect, true, false, false, false, nil)
	})
	if err != nil {
		return refused(err, "exchange "+Exchange)
	}
	requests := queueArguments(requestDeliveries, maxRequestBytes)
	requests["x-dead-letter-exchange"] = Exchange
	requests["x-dead-letter-routing-key"] = DeadKey
	requests["x-dead-letter-strategy"] = "at-least-once" // kept until etl.dead has it
	dead := queueArguments(deadDeliveries, maxDeadBytes)
	// The dead letters first: no request may come before there is a place for it to go to.
	for _, q := range []struct {
		name, key string
		arguments amqp.Table
	}{{DeadQueue, DeadKey, dead}, {RequestQueue, RequestKey, requests}} {
		err := answered(ctx, func() error {
			if _, err := ch.QueueDeclare(q.name, true, false, false, false, q.arguments); err != nil {
				return err
			}
			return ch.QueueBind(q.name, q.key, Exchange, false, nil)
		})
		if err != nil {
			return refused(err, "queue "+q.name)
		}
	}
	return nil
}

func refused(err error, what string) error {
	var reason *amqp.Error
	switch {
	case !errors.As(err, &reason):
	case rabbit.Limited(reason) != nil:
		return fmt.Errorf("declare %s: %w", what, rabbit.Limited(reason))
	case reason.Code == amqp.PreconditionFailed:
		return fmt.Errorf("declare %s: it was declared otherwise before, or the broker is older than RabbitMQ 3.13: when it is empty delete it (management UI, or rabbitmqctl delete_queue), then it is declared anew: %w", what, err)
	case reason.Code == amqp.AccessRefused:
		return fmt.Errorf(`declare %s: the broker's user needs the configure, write and read permissions on "^etl(\..*)?$": %w`, what, err)
	}
	return fmt.Errorf("declare %s: %w", what, err)
}

// answered waits for a call of the library, which takes no context.
func answered(ctx context.Context, call func() error) error {
	_, err := rabbit.Answered(ctx, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

const releaseTimeout = 2 * time.Second

// release closes a channel, which gives back what is not acknowledged. It does not
// wait for a broker that hangs; then the channel ends with its connection.
func release(ch *amqp.Channel) error {
	done := make(chan error, 1)
	go func() { done <- ch.Close() }()
	select {
	case err := <-done:
		return err
	case <-time.After(releaseTimeout):
		return errSilent
	}
}
