package testenv_test

import (
	"errors"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

func TestVhostHasThePlatformsTopology(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t, testenv.ClassicQueues())
	broker.DeclareTopology()
	for _, queue := range platform.ProductQueues() {
		broker.Publish(queue, []byte("1"), []byte("2"))
		if stats := broker.QueueStats(queue); stats.Ready != 2 || stats.Consumers != 0 {
			t.Errorf("%s: got %+v, want 2 ready", queue, stats)
		}
		// Declaring a classic queue again, as such, is refused if it is not one.
		broker.Do(func(channel *amqp.Channel) error {
			_, err := channel.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "classic"})
			return err
		})
		deliveries := broker.Drain(queue)
		if len(deliveries) != 2 || string(deliveries[0].Body) != "1" || string(deliveries[1].Body) != "2" {
			t.Errorf("%s: drained %v", queue, deliveries)
		}
		if stats := broker.QueueStats(queue); stats.Ready != 0 {
			t.Errorf("%s: got %+v after draining", queue, stats)
		}
	}
}

func TestVhostConfirmsMessagesWithoutAQueue(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	broker.Publish("nobody-listens", []byte("lost"))
}

func TestForceCloseConnections(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	open := func(name string) chan *amqp.Error {
		properties := amqp.NewConnectionProperties()
		properties.SetClientConnectionName(name)
		conn, err := amqp.DialConfig(broker.URL, amqp.Config{Properties: properties})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn.NotifyClose(make(chan *amqp.Error, 1))
	}
	victim, bystander := open("victim 1"), open("bystander")
	if n := broker.ForceCloseConnections("^victim"); n != 1 {
		t.Errorf("closed %d connections, want 1", n)
	}
	select {
	case err := <-victim:
		if err == nil || err.Code != amqp.ConnectionForced {
			t.Errorf("the victim was closed with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the victim was not closed")
	}
	select {
	case err := <-bystander:
		t.Errorf("the bystander was closed with %v", err)
	default:
	}
}

func TestBrokerOutlivesItsOwnConnection(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	broker.ForceCloseConnections("^testenv$")
	testenv.Eventually(t, time.Minute, func() error {
		if stats := broker.QueueStats(platform.ProductCreated); stats.Ready != 0 {
			return errors.New("not empty")
		}
		return nil
	}, "the broker's own connection to be opened again")
}
