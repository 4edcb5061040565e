package rabbit

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

// managed is a virtual host with the cart's topology, and a client of its management API.
func managed(t *testing.T) (*testenv.Broker, *Management) {
	t.Helper()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	return broker, management(t, Config{URL: secret.URL(broker.URL), ManagementURL: secret.URL(broker.Management)})
}

// A consumer without prefetch holds any number of messages, unless it has them
// acknowledged as they are sent.
func TestConsumersWithoutPrefetch(t *testing.T) {
	t.Parallel()
	broker, m := managed(t)
	c := connect(t, broker.URL)
	for tag, set := range map[string]struct {
		prefetch int
		auto     bool
	}{"bounded": {prefetch: 1}, "unlimited": {}, "automatic": {auto: true}} {
		ch, err := c.Channel(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := ch.Qos(set.prefetch, 0, false); err != nil {
			t.Fatal(err)
		}
		if _, err := ch.Consume(CreatedQueue, tag, set.auto, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, time.Minute, func() error {
		details, err := m.Queue(t.Context(), CreatedQueue)
		if err == nil && len(details.Consumers) != 3 {
			err = errors.New("it is " + shown(details))
		}
		if err != nil {
			return err
		}
		for _, c := range details.Consumers {
			if c.Unlimited != (c.Tag == "unlimited") {
				t.Errorf("%+v", c)
			}
		}
		if n := details.Unlimited(); n != 1 {
			t.Errorf("%d consumers without prefetch", n)
		}
		return nil
	}, "the consumers")
}

// A quorum queue may keep rejected messages back: they are neither waiting nor held.
func TestRejectedMessagesThatAreKeptBack(t *testing.T) {
	t.Parallel()
	broker, m := managed(t)
	const queue = "patient"
	broker.Do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{
			"x-queue-type": "quorum", "x-delayed-retry-type": "all", "x-delayed-retry-min": 600_000, "x-delayed-retry-max": 600_000,
		})
		return err
	})
	broker.PublishTo("", queue, amqp.Publishing{Body: []byte("{}")})
	ch, err := connect(t, broker.URL).Channel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	deliveries, err := ch.Consume(queue, "cart", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := (<-deliveries).Nack(false, true); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Minute, func() error {
		details, err := m.Queue(t.Context(), queue)
		if err == nil && (amount(details.Delayed) != 1 || amount(details.Unacknowledged) != 0 || amount(details.Messages) != 1) {
			err = errors.New("it is " + shown(details))
		}
		return err
	}, "the message that is kept back")
}

func TestRetryQueues(t *testing.T) {
	t.Parallel()
	broker, m := managed(t)
	broker.Do(func(ch *amqp.Channel) error {
		queue := func(name string, arguments amqp.Table) error {
			_, err := ch.QueueDeclare(name, true, false, false, false, arguments)
			return err
		}
		back := func(key string) amqp.Table {
			return amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": key, "x-message-ttl": 60_000}
		}
		return errors.Join(
			// There and back by name.
			queue("named", amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "named.retry"}),
			queue("named.retry", back("named")),
			queue("named.other", back("elsewhere")),
			// There by an exchange, back by each message's own key, which is the queue's name.
			ch.ExchangeDeclare("fan", amqp.ExchangeFanout, true, false, false, false, nil),
			queue("routed", amqp.Table{"x-dead-letter-exchange": "fan"}),
			queue("routed.retry", amqp.Table{"x-dead-letter-exchange": "", "x-message-ttl": 60_000}),
			queue("routed.dead", nil),
			ch.QueueBind("routed.retry", "", "fan", false, nil),
			ch.QueueBind("routed.dead", "", "fan", false, nil),
			// Back by an exchange.
			ch.ExchangeDeclare("home", amqp.ExchangeDirect, true, false, false, false, nil),
			queue("homing", amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "homing.retry"}),
			queue("homing.retry", amqp.Table{"x-dead-letter-exchange": "home", "x-dead-letter-routing-key": "homing", "x-message-ttl": 60_000}),
			ch.QueueBind("homing", "homing", "home", false, nil),
			// Kept for a person.
			queue("dead", nil),
			queue("lettered", amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}),
			// Its own tail.
			queue("circular", amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "circular"}),
			queue("governed", nil),
			queue("governed.retry", back("governed")),
		)
	})
	broker.Manage(http.MethodPut, "/api/policies/"+broker.Vhost+"/retry", map[string]any{
		"pattern": "^governed$", "definition": map[string]string{"dead-letter-exchange": "", "dead-letter-routing-key": "governed.retry"},
	}, nil)
	for queue, want := range map[string][]string{
		CreatedQueue: nil, "lettered": nil, "circular": nil, "dead": nil,
		"named": {"named.retry"}, "routed": {"routed.retry"}, "homing": {"homing.retry"}, "governed": {"governed.retry"},
	} {
		testenv.Eventually(t, time.Minute, func() error { // a policy shows after a while
			got, err := m.RetryQueues(t.Context(), queue)
			if err == nil && !slices.Equal(got, want) {
				err = fmt.Errorf("they are %q", got)
			}
			return err
		}, fmt.Sprintf("the retry queues of %s to be %q", queue, want))
	}
	if _, err := m.RetryQueues(t.Context(), "absent"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a queue that is not there: %v", err)
	}
}

// What a broker cannot show: figures without its statistics collector, and anything of
// a quorum queue whose leader does not answer.
func TestCaseC3WhatIsNotShown(t *testing.T) {
	t.Parallel()
	node, broker := testenv.PrivateBroker(t)
	const queue = "quorum"
	broker.Do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
		return err
	})
	broker.PublishTo("", queue, slices.Repeat([]amqp.Publishing{{Body: []byte("{}")}}, 5)...)
	eval := func(expression string) {
		t.Helper()
		if _, err := node.Control("eval", expression); err != nil {
			t.Fatal(err)
		}
	}
	m := management(t, Config{URL: secret.URL(broker.URL), ManagementURL: secret.URL(broker.Management)})
	testenv.Eventually(t, time.Minute, func() error {
		details, err := m.Queue(t.Context(), queue)
		if err == nil && (amount(details.Messages) != 5 || details.Unacknowledged == nil || details.Consumers == nil) {
			err = errors.New("it is " + shown(details))
		}
		return err
	}, "the figures")
	eval("application:set_env(rabbitmq_management_agent, disable_metrics_collector, true).")
	details, err := m.Queue(t.Context(), queue)
	if err != nil || details.Messages != nil || details.Unacknowledged != nil || details.Acknowledged != nil || details.Consumers != nil || details.Unlimited() != 0 {
		t.Errorf("without statistics: %s, %v", shown(details), err)
	}

	state := connect(t, broker.URL).Queue(queue)
	expect := func(want QueueState) {
		t.Helper()
		testenv.Eventually(t, time.Minute, func() error {
			got, err := state.State(t.Context())
			if err == nil && got != want {
				err = fmt.Errorf("it is %+v", got)
			}
			return err
		}, fmt.Sprintf("the state to be %+v", want))
	}
	leader := fmt.Sprintf("'%s_%s'", broker.Vhost, queue)
	expect(QueueState{Ready: 5})
	eval("sys:suspend(" + leader + ").")
	expect(QueueState{}) // and no error
	eval("sys:resume(" + leader + ").")
	expect(QueueState{Ready: 5})
}

// Answers recorded from RabbitMQ 4.3.6, cut down to what is read. It writes an object of
// which it knows nothing as {}, or, as others do, as an empty array.
func TestRecordedAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, answer, want string }{
		{"a new queue", `{"consumer_details":[],"arguments":{"x-queue-type":"classic"},"deliveries":[],"incoming":[],"name":"product-created","state":"running"}`,
			"messages -1, unacknowledged -1, acknowledged -1, delayed -1, consumers []"},
		{"no statistics collector", `{"arguments":{"x-queue-type":"classic"},"effective_policy_definition":{},"name":"product-created","policy":null,"state":"running"}`,
			"messages -1, unacknowledged -1, acknowledged -1, delayed -1, consumers []"},
		{"a consumer that has just come", `{"consumer_details":[{"arguments":{},"channel_details":{},"ack_required":true,"active":true,"activity_status":"up","consumer_tag":"a0","prefetch_count":0}],"arguments":{"x-queue-type":"classic"},"consumers":0,"effective_policy_definition":{},"messages":0,"messages_unacknowledged":0,"name":"product-created"}`,
			"messages 0, unacknowledged 0, acknowledged -1, delayed -1, consumers [{Connection: Host: User: Tag:a0 Unlimited:true Automatic:false Exclusive:false Standby:false}]"},
		{"empty arrays for objects", `{"consumer_details":[{"arguments":[],"channel_details":[],"ack_required":true,"consumer_tag":"a0","prefetch_count":1}],"arguments":[],"effective_policy_definition":[],"message_stats":[],"messages":2,"messages_unacknowledged":2,"name":"product-created"}`,
			"messages 2, unacknowledged 2, acknowledged -1, delayed -1, consumers [{Connection: Host: User: Tag:a0 Unlimited:false Automatic:false Exclusive:false Standby:false}]"},
		{"published to, and never consumed", `{"consumer_details":[],"message_stats":{"publish":2,"publish_details":{"rate":0.0}},"messages":2,"messages_unacknowledged":0,"name":"product-created"}`,
			"messages 2, unacknowledged 0, acknowledged -1, delayed -1, consumers []"},
		{"a quorum queue that keeps nothing back", `{"consumer_details":[],"delayed_retry":"disabled","messages":0,"messages_delayed":0,"messages_unacknowledged":0,"message_stats":{"ack":7}}`,
			"messages 0, unacknowledged 0, acknowledged 7, delayed -1, consumers []"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(tt.answer)) }))
			defer server.Close()
			m := management(t, Config{URL: "amqp://rabbitmq", ManagementURL: secret.URL(server.URL)})
			details, err := m.Queue(t.Context(), CreatedQueue)
			if got := shown(details); err != nil || got != tt.want {
				t.Errorf("%s, %v; want %s", got, err, tt.want)
			}
		})
	}
}
