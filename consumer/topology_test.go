package consumer

import (
	"net/http"
	"reflect"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/testenv"
)

func TestDeclare(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	conn := connect(t, broker.URL)
	for range 2 { // the second time it is there already
		if err := Declare(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
	}
	for queue, want := range map[string]map[string]any{
		RequestQueue: {
			"x-queue-type": "quorum", "x-delivery-limit": 100.0, "x-max-length": 10000.0, "x-max-length-bytes": 134217728.0,
			"x-overflow": "reject-publish", "x-consumer-timeout": 300000.0, "x-dead-letter-exchange": "etl",
			"x-dead-letter-routing-key": "dead", "x-dead-letter-strategy": "at-least-once",
		},
		DeadQueue: {
			"x-queue-type": "quorum", "x-delivery-limit": 1e9, "x-max-length": 10000.0, "x-max-length-bytes": 268435456.0,
			"x-overflow": "reject-publish", "x-consumer-timeout": 300000.0,
		},
	} {
		var found struct {
			Durable   bool           `json:"durable"`
			Arguments map[string]any `json:"arguments"`
		}
		broker.Manage(http.MethodGet, "/api/queues/"+broker.Vhost+"/"+queue, nil, &found)
		if !found.Durable || !reflect.DeepEqual(found.Arguments, want) {
			t.Errorf("%s: durable %t, arguments %v", queue, found.Durable, found.Arguments)
		}
	}
	broker.PublishTo(Exchange, RequestKey, amqp.Publishing{Body: []byte("1")})
	broker.PublishTo(Exchange, DeadKey, amqp.Publishing{Body: []byte("2")})
	for queue, want := range map[string]string{RequestQueue: "1", DeadQueue: "2"} {
		if got := broker.Drain(queue); len(got) != 1 || string(got[0].Body) != want {
			t.Errorf("%s holds %v", queue, got)
		}
	}
}

func TestDeclaredOtherwise(t *testing.T) {
	t.Parallel()
	t.Run("a queue", func(t *testing.T) {
		t.Parallel()
		broker := testenv.Vhost(t)
		broker.Do(func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(RequestQueue, true, false, false, false, nil)
			return err
		})
		testenv.CheckMessage(t, Declare(t.Context(), connect(t, broker.URL)), "declare queue etl.sync: it was declared otherwise before", "rabbitmqctl delete_queue", "inequivalent arg")
	})
	t.Run("the exchange", func(t *testing.T) {
		t.Parallel()
		broker := testenv.Vhost(t)
		broker.Do(func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare(Exchange, amqp.ExchangeFanout, true, false, false, false, nil)
		})
		testenv.CheckMessage(t, Declare(t.Context(), connect(t, broker.URL)), "declare exchange etl: it was declared otherwise before", "delete it")
	})
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	t.Run("those that the message names suffice", func(t *testing.T) {
		t.Parallel()
		broker := testenv.Vhost(t)
		const all = `^etl(\..*)?$`
		conn := connect(t, broker.User("", map[string]string{"configure": all, "write": all, "read": all}))
		bell := NewDoorbell(conn)
		defer bell.Close()
		if err := bell.Ring(t.Context(), wanted(t)); err != nil {
			t.Error(err)
		}
	})
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		broker := testenv.Vhost(t)
		conn := connect(t, broker.User("", map[string]string{"configure": "^$", "write": ".*", "read": ".*"}))
		testenv.CheckMessage(t, Declare(t.Context(), conn), `declare exchange etl: the broker's user needs the configure, write and read permissions on "^etl(\..*)?$"`)
	})
	t.Run("none to write", func(t *testing.T) {
		t.Parallel()
		broker := testenv.Vhost(t)
		if err := Declare(t.Context(), connect(t, broker.URL)); err != nil {
			t.Fatal(err)
		}
		conn := connect(t, broker.User("", map[string]string{"configure": ".*", "write": `^etl\..*$`, "read": ".*"}))
		bell := NewDoorbell(conn)
		defer bell.Close()
		testenv.CheckMessage(t, bell.Ring(t.Context(), wanted(t)), "publish to exchange etl: the broker's user needs the write permission on it")
	})
}
