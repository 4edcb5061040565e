package platform

import (
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// The Product Service's exchange and the routing keys of its events. Every listener of an event consumes from the
// queue that is named like the routing key, the Cart Service and the Order Service alike.
const (
	Exchange               = "product-service"
	ProductCreated         = "product-created"
	ProductUpdated         = "product-updated"
	ProductDeleted         = "product-deleted"
	ProductQuantityUpdated = "product-quantity-updated"
)

// The Order Service's exchange, and the event of it that the Cart Service listens to.
const (
	OrderExchange = "order-service"
	OrderCreated  = "order-created"
)

// ProductQueues are the queues of product events.
func ProductQueues() []string {
	return []string{ProductCreated, ProductUpdated, ProductDeleted, ProductQuantityUpdated}
}

// DeclareProductTopology declares what the listeners of product events declare when they start: the exchange, and
// each queue with its binding. All is durable and without arguments; the queues are classic.
func DeclareProductTopology(channel *amqp.Channel) error {
	for _, queue := range ProductQueues() {
		if err := declareListener(channel, Exchange, queue); err != nil {
			return err
		}
	}
	return nil
}

// DeclareOrderTopology declares what the Cart Service's listener of order events declares.
func DeclareOrderTopology(channel *amqp.Channel) error {
	return declareListener(channel, OrderExchange, OrderCreated)
}

func declareListener(channel *amqp.Channel, exchange, queue string) error {
	const (
		durable    = true
		autoDelete = false
		exclusive  = false
		internal   = false
		noWait     = false
	)
	if err := channel.ExchangeDeclare(exchange, amqp.ExchangeDirect, durable, autoDelete, internal, noWait, nil); err != nil {
		return fmt.Errorf("declare exchange %s: %w", exchange, err)
	}
	if _, err := channel.QueueDeclare(queue, durable, autoDelete, exclusive, noWait, nil); err != nil {
		return fmt.Errorf("declare queue %s: %w", queue, err)
	}
	if err := channel.QueueBind(queue, queue, exchange, noWait, nil); err != nil {
		return fmt.Errorf("bind queue %s to exchange %s: %w", queue, exchange, err)
	}
	return nil
}
