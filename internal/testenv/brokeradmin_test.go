package testenv_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

const created = platform.ProductCreated

// bodies are what deliveries carry.
func bodies(deliveries []amqp.Delivery) []string {
	var texts []string
	for _, d := range deliveries {
		texts = append(texts, string(d.Body))
	}
	return texts
}

// offer publishes to a queue and tells which messages the broker has accepted.
func offer(t *testing.T, broker *testenv.Broker, messages ...string) (accepted []string) {
	t.Helper()
	broker.Do(func(channel *amqp.Channel) error {
		if err := channel.Confirm(false); err != nil {
			return err
		}
		for _, message := range messages {
			confirm, err := channel.PublishWithDeferredConfirmWithContext(t.Context(), platform.Exchange, created, false, false,
				amqp.Publishing{Body: []byte(message)})
			if err != nil {
				return err
			}
			if taken, err := confirm.WaitContext(t.Context()); err != nil {
				return err
			} else if taken {
				accepted = append(accepted, message)
			}
		}
		return nil
	})
	return accepted
}

func TestQueuesMayBeQuorum(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t, testenv.QuorumQueues())
	broker.DeclareTopology()
	broker.DeclareTopology() // the platform's second service finds nothing to object to
	for _, queue := range platform.ProductQueues() {
		var found struct {
			Type string `json:"type"`
		}
		broker.Manage(http.MethodGet, "/api/queues/"+broker.Vhost+"/"+queue, nil, &found)
		if found.Type != "quorum" {
			t.Errorf("%s is of type %q", queue, found.Type)
		}
	}
}

func TestQueueOfLimitedLength(t *testing.T) {
	t.Parallel()
	for overflow, want := range map[string]struct{ accepted, kept []string }{
		testenv.DropHead:      {[]string{"1", "2", "3"}, []string{"2", "3"}},
		testenv.RejectPublish: {[]string{"1", "2"}, []string{"1", "2"}},
	} {
		t.Run(overflow, func(t *testing.T) {
			t.Parallel()
			broker := testenv.Vhost(t, testenv.ClassicQueues()) // a quorum queue takes some more before it refuses
			broker.DeclareTopology()
			broker.LimitLength(created, 2, overflow)
			accepted := offer(t, broker, "1", "2", "3")
			if kept := bodies(broker.Drain(created)); !slices.Equal(accepted, want.accepted) || !slices.Equal(kept, want.kept) {
				t.Errorf("accepted %q and kept %q, want %+v", accepted, kept, want)
			}
		})
	}
}

func TestUnboundQueueWithAnAlternateExchange(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	elsewhere := broker.DivertUnroutable()
	broker.Publish(created, []byte("bound"))
	broker.Unbind(created)
	broker.Publish(created, []byte("unbound"))
	broker.Bind(created)
	broker.Publish(created, []byte("bound again"))
	if got := bodies(broker.Drain(created)); !slices.Equal(got, []string{"bound", "bound again"}) {
		t.Errorf("the queue has got %q", got)
	}
	if got := bodies(broker.Drain(elsewhere)); !slices.Equal(got, []string{"unbound"}) {
		t.Errorf("elsewhere is %q", got)
	}
}

func TestUserHasOnlyItsPermissions(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	_, channel := testenv.Dial(t, broker.User("", map[string]string{"configure": "^$", "write": "^$", "read": ".*"}))
	if _, _, err := channel.Get(created, true); err != nil {
		t.Errorf("reading: %v", err)
	}
	if err := channel.QueueUnbind(created, created, platform.Exchange, nil); err == nil {
		t.Error("unbinding was allowed")
	}
}

// A suspended leader hides what is queued and who consumes it.
func TestSuspendedLeaderHidesItsQueue(t *testing.T) {
	t.Parallel()
	server, broker := testenv.PrivateBroker(t, testenv.QuorumQueues())
	broker.DeclareTopology()
	broker.Publish(created, []byte("1"), []byte("2"))
	full := testenv.QueueStats{Ready: 2}
	sees := func(want testenv.QueueStats) func() bool {
		return func() bool { return broker.QueueStats(created) == want }
	}
	testenv.Eventually(t, time.Minute, sees(full), "the messages to be counted")
	resume := broker.SuspendLeader(server, created)
	if got := broker.QueueStats(created); got != (testenv.QueueStats{}) {
		t.Errorf("while the leader is silent the queue shows %+v", got)
	}
	resume()
	resume()
	testenv.Eventually(t, time.Minute, sees(full), "the messages to be seen again")
	broker.SuspendLeader(server, created) // the end of the test resumes it, or its clean-up would hang
}
