package testenv

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/servers"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// Broker is a virtual host of RabbitMQ for one test, empty at first.
type Broker struct {
	URL        string // of the virtual host
	Management string // the base URL of the management API, with an administrator's credentials
	Vhost      string

	tb   testing.TB
	api  managementAPI
	conn *amqp.Connection // the test's own; opened when first needed, and again after it broke
}

// VhostOption changes the virtual host that Vhost makes.
type VhostOption func(*vhostOptions)

type vhostOptions struct{ queueType string }

// ClassicQueues gives the virtual host the default queue type classic, whatever the stack's profile.
func ClassicQueues() VhostOption {
	return func(o *vhostOptions) { o.queueType = "classic" }
}

// QuorumQueues gives the virtual host the default queue type quorum, as operators do: the platform's services, which
// ask for no type, then have quorum queues, and their declarations still agree with them.
func QuorumQueues() VhostOption {
	return func(o *vhostOptions) { o.queueType = "quorum" }
}

// Vhost makes a virtual host on the stack's broker, whose queues are of the type that the stack's profile says:
// classic, like the platform's of today, or quorum. It is deleted when the test ends.
func Vhost(tb testing.TB, opts ...VhostOption) *Broker {
	tb.Helper()
	services := Services(tb)
	return VhostOn(tb, services.RabbitMQ, services.Management, opts...)
}

// VhostOn makes a virtual host on another broker, given by the URLs of an administrator.
func VhostOn(tb testing.TB, brokerURL, managementURL string, opts ...VhostOption) *Broker {
	tb.Helper()
	options := vhostOptions{queueType: servers.QueueType()}
	for _, opt := range opts {
		opt(&options)
	}
	u, err := url.Parse(brokerURL)
	if err != nil {
		tb.Fatal("the broker's URL cannot be read") // the error would quote it, with its password
	}
	name := randomName("vhost")
	u.Path = "/" + name
	b := &Broker{URL: u.String(), Management: managementURL, Vhost: name, tb: tb}
	if b.api, err = newManagementAPI(managementURL); err != nil {
		tb.Fatal(err)
	}
	if err := b.api.createVhost(setupContext(tb), name, u.User.Username(), options.queueType); err != nil {
		tb.Fatalf("create virtual host: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := cleanupContext(tb)
		defer cancel()
		b.closeConnection()
		if err := b.api.deleteVhost(ctx, name); err != nil {
			tb.Errorf("delete virtual host: %v", err)
		}
	})
	return b
}

// DeclareTopology declares what the platform's listeners of product events declare.
func (b *Broker) DeclareTopology() {
	b.tb.Helper()
	b.Do(platform.DeclareProductTopology)
}

// Do does something on a channel of its own, which is closed afterwards.
func (b *Broker) Do(what func(*amqp.Channel) error) {
	b.tb.Helper()
	if err := b.try(what); err != nil {
		b.tb.Fatal(err)
	}
}

func (b *Broker) try(what func(*amqp.Channel) error) error {
	channel, err := b.channel()
	if err != nil {
		// The connection may have ended without our having noticed.
		b.closeConnection()
		if channel, err = b.channel(); err != nil {
			return err
		}
	}
	defer func() { _ = channel.Close() }() // an error of the broker has closed it already
	return what(channel)
}

func (b *Broker) channel() (*amqp.Channel, error) {
	if b.conn == nil || b.conn.IsClosed() {
		conn, err := dial(b.URL)
		if err != nil {
			return nil, fmt.Errorf("connect to virtual host %s: %w", b.Vhost, err)
		}
		b.conn = conn
	}
	channel, err := b.conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("open a channel: %w", err)
	}
	return channel, nil
}

const connectionName = "testenv"

func dial(rawURL string) (*amqp.Connection, error) {
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(connectionName)
	return amqp.DialConfig(rawURL, amqp.Config{Properties: properties, Locale: "en_US"})
}

// Dial connects a client of the test's own, with a channel. It leaves with the test.
func Dial(tb testing.TB, rawURL string) (*amqp.Connection, *amqp.Channel) {
	tb.Helper()
	conn, err := amqp.Dial(rawURL)
	if err != nil {
		tb.Fatal("no connection to RabbitMQ") // the error may show the URL
	}
	tb.Cleanup(func() { _ = conn.Close() }) // which a fault may have done
	channel, err := conn.Channel()
	if err != nil {
		tb.Fatal(err)
	}
	return conn, channel
}

func (b *Broker) closeConnection() {
	if b.conn != nil {
		// It may have been closed by the test's faults; with a broker that hangs this must not hang.
		_ = b.conn.CloseDeadline(time.Now().Add(patience))
	}
}

// QueueStats is what a passive look at a queue tells.
type QueueStats struct{ Ready, Consumers int }

// QueueStats looks at a queue, which must be there.
func (b *Broker) QueueStats(queue string) QueueStats {
	b.tb.Helper()
	var stats QueueStats
	b.Do(func(channel *amqp.Channel) error {
		found, err := channel.QueueDeclarePassive(queue, true, false, false, false, nil)
		stats = QueueStats{Ready: found.Messages, Consumers: found.Consumers}
		return err
	})
	return stats
}

// Publish publishes bodies to the Product Service's exchange as the Product Service does, persistent and nothing
// else, and waits until the broker has confirmed them all. Like the Product Service it does not ask whether a queue
// is bound.
func (b *Broker) Publish(routingKey string, bodies ...[]byte) {
	b.tb.Helper()
	messages := make([]amqp.Publishing, len(bodies))
	for i, body := range bodies {
		messages[i] = amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body}
	}
	b.PublishTo(platform.Exchange, routingKey, messages...)
}

// PublishTo publishes messages as they are, and waits until the broker has confirmed them all.
func (b *Broker) PublishTo(exchange, routingKey string, messages ...amqp.Publishing) {
	b.tb.Helper()
	b.Do(func(channel *amqp.Channel) error {
		return publish(b.tb.Context(), channel, exchange, routingKey, messages)
	})
}

func publish(ctx context.Context, channel *amqp.Channel, exchange, routingKey string, messages []amqp.Publishing) error {
	if err := channel.Confirm(false); err != nil {
		return fmt.Errorf("ask for confirms: %w", err)
	}
	confirms := make([]*amqp.DeferredConfirmation, len(messages))
	for i, message := range messages {
		confirm, err := channel.PublishWithDeferredConfirmWithContext(ctx, exchange, routingKey, false, false, message)
		if err != nil {
			return fmt.Errorf("publish message %d to %s: %w", i, routingKey, err)
		}
		confirms[i] = confirm
	}
	for i, confirm := range confirms {
		acked, err := confirm.WaitContext(ctx)
		if err != nil {
			return fmt.Errorf("wait for the confirm of message %d to %s: %w", i, routingKey, err)
		}
		if !acked {
			return fmt.Errorf("message %d to %s was refused, or the connection broke", i, routingKey)
		}
	}
	return nil
}

// Drain takes everything that waits in a queue out of it, in order. What a consumer holds without having acked it is
// not among it.
func (b *Broker) Drain(queue string) []amqp.Delivery {
	b.tb.Helper()
	var deliveries []amqp.Delivery
	b.Do(func(channel *amqp.Channel) error {
		for {
			delivery, ok, err := channel.Get(queue, true)
			if err != nil {
				return fmt.Errorf("drain queue %s: %w", queue, err)
			}
			if !ok {
				return nil
			}
			deliveries = append(deliveries, delivery)
		}
	})
	return deliveries
}

// ForceCloseConnections closes, as an operator would, all connections of the virtual host whose names match a
// regular expression, and returns how many those were. It waits for the first one: RabbitMQ's management knows a
// connection only some seconds after it was opened.
func (b *Broker) ForceCloseConnections(namePattern string) int {
	b.tb.Helper()
	closed := 0
	Eventually(b.tb, patience, func() error {
		n, err := b.api.closeConnections(b.tb.Context(), b.Vhost, namePattern)
		closed += n
		if err == nil && closed == 0 {
			err = fmt.Errorf("no connection has such a name")
		}
		return err
	}, "connections named "+namePattern)
	if matched, _ := regexp.MatchString(namePattern, connectionName); matched && b.conn != nil {
		Eventually(b.tb, patience, b.conn.IsClosed, "the test's own connection to end")
	}
	return closed
}
