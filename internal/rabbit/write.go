package rabbit

import (
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// CheckWrite tells whether the user may publish to an exchange, "" being the default
// one. It publishes nothing: the broker looks at the user's rights first, and then
// refuses the message, whose expiration is no number.
func (c *Connection) CheckWrite(ctx context.Context, exchange string) error {
	ch, err := c.Channel(ctx)
	if err != nil {
		return err
	}
	// A broker that has fallen silent answers the end no more than anything else.
	defer func() { _, _ = Answered(ctx, func() (struct{}, error) { return struct{}{}, ch.Close() }) }()
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	_, err = Answered(ctx, func() (struct{}, error) {
		// Should a broker take it all the same, it is routed to nobody and comes back.
		err := ch.PublishWithContext(ctx, exchange, "etl.check", true, false, amqp.Publishing{Expiration: "never"})
		if err == nil {
			err = ch.Confirm(false) // whose answer comes behind the refusal
		}
		return struct{}{}, err
	})
	if err == nil {
		return nil
	}
	if ch.IsClosed() {
		if reason := <-closed; reason != nil {
			if reason.Code == amqp.PreconditionFailed {
				return nil
			}
			if refused := PublishError(exchange, reason); refused != nil {
				return refused
			}
			err = reason
		}
	}
	return fmt.Errorf("ask whether %s may be written to: %w", exchangeName(exchange), err)
}

// PublishError explains, with the remedy, why the broker closed a channel on which
// something was published to an exchange, "" being the default one. It is nil where
// the reason is not what was published, so that it may be tried again.
func PublishError(exchange string, reason *amqp.Error) error {
	name := exchangeName(exchange)
	switch {
	case reason == nil:
		return nil
	case reason.Code == amqp.NotFound:
		return fmt.Errorf("publish to %s: it does not exist any more: restart the Cart Service, which declares it: %w", name, reason)
	case reason.Code == amqp.AccessRefused:
		return fmt.Errorf("publish to %s: the broker's user needs the write permission on it: %w", name, reason)
	case reason.Code == amqp.PreconditionFailed:
		return fmt.Errorf("publish to %s: %w", name, reason)
	}
	return nil
}

// exchangeName is an exchange as permissions name it.
func exchangeName(exchange string) string {
	if exchange == "" {
		return "the default exchange, amq.default"
	}
	return "exchange " + exchange
}
