package testenv

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/servers"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// Manage asks the management API for something as an administrator. The path begins with /api/; its elements are
// escaped by the caller where they need to be. A body is sent, and the answer decoded, as JSON; either may be nil.
func (b *Broker) Manage(method, path string, body, answer any) {
	b.tb.Helper()
	if err := b.manage(method, path, body, answer); err != nil {
		b.tb.Fatal(err)
	}
}

func (b *Broker) manage(method, path string, body, answer any) error {
	ctx, cancel := cleanupContext(b.tb) // clean-ups manage, too
	defer cancel()
	return b.api.call(ctx, method, path, body, answer)
}

// User makes a user of the broker, whose password is Password, with tags such as "monitoring" and with permissions
// in the virtual host by their names, configure, write and read; nil are none at all. It returns the virtual host's
// URL for the user, who goes when the test ends.
func (b *Broker) User(tags string, permissions map[string]string) string {
	b.tb.Helper()
	name := randomName("user")
	b.Manage(http.MethodPut, "/api/users/"+name, map[string]string{"password": Password, "tags": tags}, nil)
	b.tb.Cleanup(func() {
		if err := b.manage(http.MethodDelete, "/api/users/"+name, nil, nil); err != nil {
			b.tb.Errorf("delete user %s: %v", name, err)
		}
	})
	if permissions != nil {
		b.Manage(http.MethodPut, "/api/permissions/"+b.Vhost+"/"+name, permissions, nil)
	}
	return ChangedURL(b.tb, b.URL, func(u *url.URL) { u.User = url.UserPassword(name, Password) })
}

// What a queue with a length limit does with messages beyond it.
const (
	DropHead      = "drop-head"      // the oldest is thrown away
	RejectPublish = "reject-publish" // the newest is refused: nacked where the publisher asked for confirms
)

// LimitLength sets, by a policy, how many messages a queue holds at most, and what becomes of others.
func (b *Broker) LimitLength(queue string, messages int, overflow string) {
	b.tb.Helper()
	b.Restrict(queue, map[string]any{"max-length": messages, "overflow": overflow})
}

// Restrict puts a policy of limits on a queue, which must be there, and waits until it holds. A queue has one policy:
// the latest.
func (b *Broker) Restrict(queue string, limits map[string]any) {
	b.tb.Helper()
	b.policy("queues", queue, limits)
	Eventually(b.tb, patience, func() error {
		var found struct {
			Limits map[string]json.RawMessage `json:"effective_policy_definition"`
		}
		if err := b.manage(http.MethodGet, "/api/queues/"+b.Vhost+"/"+queue, nil, &found); err != nil {
			return err
		}
		for limit, value := range limits {
			want, err := json.Marshal(value)
			if got := found.Limits[limit]; err != nil || !bytes.Equal(got, want) {
				return errors.Join(err, fmt.Errorf("%s is %s", limit, got))
			}
		}
		return nil
	}, "the policy of "+queue+" to hold")
}

func (b *Broker) policy(kind, name string, definition map[string]any) {
	b.tb.Helper()
	b.Manage(http.MethodPut, "/api/policies/"+b.Vhost+"/"+name, map[string]any{
		"pattern": "^" + name + "$", "apply-to": kind, "definition": definition,
	}, nil)
}

// Unbind takes a queue of product events off the exchange: what is published for it from then on is lost, or goes to
// the alternate exchange. Bind takes that back.
func (b *Broker) Unbind(queue string) {
	b.tb.Helper()
	b.Do(func(channel *amqp.Channel) error { return channel.QueueUnbind(queue, queue, platform.Exchange, nil) })
}

// Bind binds a queue of product events to the exchange.
func (b *Broker) Bind(queue string) {
	b.tb.Helper()
	b.Do(func(channel *amqp.Channel) error {
		return channel.QueueBind(queue, queue, platform.Exchange, false, nil)
	})
}

// DivertUnroutable gives the Product Service's exchange an alternate exchange, by a policy, so that messages which no
// queue is bound for are taken and confirmed all the same. They wait in the queue that it returns.
func (b *Broker) DivertUnroutable() (queue string) {
	b.tb.Helper()
	const name = "unroutable"
	b.Do(func(channel *amqp.Channel) error {
		_, err := channel.QueueDeclare(name, true, false, false, false, nil)
		return errors.Join(err,
			channel.ExchangeDeclare(name, amqp.ExchangeFanout, true, false, false, false, nil),
			channel.QueueBind(name, "", name, false, nil))
	})
	b.policy("exchanges", platform.Exchange, map[string]any{"alternate-exchange": name})
	Eventually(b.tb, patience, func() bool {
		b.Publish("nobody-listens", []byte("{}"))
		return len(b.Drain(name)) > 0
	}, "the alternate exchange to take what is unroutable")
	return name
}

// SuspendLeader keeps the leader of a quorum queue from answering, as a node does that is short of memory or disk:
// the broker then tells of a queue without messages and consumers. It lasts until resume is called, which may be done
// more than once, or the test ends.
func (b *Broker) SuspendLeader(server *servers.Broker, queue string) (resume func()) {
	b.tb.Helper()
	tell := func(what string) {
		b.tb.Helper()
		// The leader is registered under the names of virtual host and queue.
		order := fmt.Sprintf("sys:%s('%s_%s').", what, b.Vhost, queue)
		if output, err := server.Control("eval", order); err != nil {
			b.tb.Errorf("%s the leader of %s: %v\n%s", what, queue, err, output)
		}
	}
	tell("suspend")
	var once sync.Once
	resume = func() {
		b.tb.Helper()
		once.Do(func() { tell("resume") })
	}
	b.tb.Cleanup(resume)
	return resume
}
