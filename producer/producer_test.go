package producer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const run = "0198c0de-0000-7000-8000-000000000000"

// replay is a producer on a virtual host of its own, with a proxy in front of
// each of its two connections.
type replay struct {
	*Producer
	broker           *testenv.Broker
	publishing, eyes *testenv.Proxy
}

// replaying makes a producer on a broker with the cart's topology. It has the patience that
// a broker's own commands need on a busy machine; tests of impatience set their own.
func replaying(t *testing.T, change func(*Config)) *replay {
	t.Helper()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	return replayingOn(t, broker, change)
}

func replayingOn(t *testing.T, broker *testenv.Broker, change func(*Config)) *replay {
	t.Helper()
	r := &replay{broker: broker}
	connect := func(name string) (*rabbit.Connection, *testenv.Proxy) {
		proxy, url := testenv.ProxyTo(t, broker.URL)
		c := rabbit.NewConnection(rabbit.Config{URL: secret.URL(url)}, name)
		t.Cleanup(c.Close)
		return c, proxy
	}
	config := Config{MaxQueueDepth: 10_000, ConfirmTimeout: 30 * time.Second, Route: ByQueue}
	if change != nil {
		change(&config)
	}
	conn, publishing := connect("etl producer")
	monitor, eyes := connect("etl monitor")
	r.publishing, r.eyes = publishing, eyes
	r.Producer = New(conn, monitor, config, run, 2*time.Minute)
	return r
}

// consumer consumes a queue like the cart: one message at a time, acknowledged.
type consumer struct {
	broker *testenv.Broker
	queue  string
	conn   *amqp.Connection
	ch     *amqp.Channel
	mu     sync.Mutex
	got    []amqp.Delivery
}

// consume starts a consumer. With hold it never acknowledges, so that it keeps
// one message and the others wait.
func consume(t *testing.T, broker *testenv.Broker, queue string, hold bool) *consumer {
	t.Helper()
	return consumeWith(t, broker, queue, 1, hold)
}

// consumeWith starts one that takes prefetch messages at once, all of them with 0.
func consumeWith(t *testing.T, broker *testenv.Broker, queue string, prefetch int, hold bool) *consumer {
	t.Helper()
	c := &consumer{broker: broker, queue: queue}
	c.conn, c.ch = testenv.Dial(t, broker.URL)
	if err := c.ch.Qos(prefetch, 0, false); err != nil {
		t.Fatal(err)
	}
	deliveries, err := c.ch.Consume(queue, "cart", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for d := range deliveries {
			c.mu.Lock()
			c.got = append(c.got, d)
			c.mu.Unlock()
			if !hold {
				_ = d.Ack(false)
			}
		}
	}()
	return c
}

// leave ends the consumer; what it holds goes back to the queue. It waits until the queue
// has heard of it, which a quorum queue does a little later than the connection has gone.
func (c *consumer) leave(t *testing.T) {
	t.Helper()
	before := c.broker.QueueStats(c.queue).Consumers
	if err := c.conn.Close(); err != nil && !errors.Is(err, amqp.ErrClosed) {
		t.Errorf("the consumer leaves: %v", err)
	}
	testenv.Eventually(t, time.Minute, func() bool { return c.broker.QueueStats(c.queue).Consumers < before }, "the queue to lose its consumer")
}

func (c *consumer) deliveries() []amqp.Delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// idsOf are the products of events, in order.
func idsOf(t *testing.T, deliveries []amqp.Delivery) []string {
	t.Helper()
	ids := make([]string, len(deliveries))
	for i, d := range deliveries {
		var body struct{ ID string }
		if err := json.Unmarshal(d.Body, &body); err != nil || body.ID == "" {
			t.Fatalf("an event without an id: %s, %v", d.Body, err)
		}
		ids[i] = body.ID
	}
	return ids
}

// queued waits until n messages wait in a queue, and takes them out.
func queued(t *testing.T, broker *testenv.Broker, queue string, n int) []amqp.Delivery {
	t.Helper()
	testenv.Eventually(t, time.Minute, func() error {
		if ready := broker.QueueStats(queue).Ready; ready != n {
			return fmt.Errorf("there are %d", ready)
		}
		return nil
	}, fmt.Sprintf("%d messages in queue %s", n, queue))
	return broker.Drain(queue)
}

// missing is the lane of most tests.
func (r *replay) missing() *lane { return r.lanes[product.Missing] }

// repair reserves and publishes repairs of missing products, in batches of at most n.
func (r *replay) repair(t *testing.T, attempt int, repairs []product.Repair, n int) []product.Result {
	t.Helper()
	var all []product.Result
	for len(repairs) > 0 {
		granted, err := r.Reserve(t.Context(), product.Missing, min(len(repairs), n), nil)
		if err != nil {
			t.Fatal(err)
		}
		if granted < 1 || granted > n {
			t.Fatalf("%d of %d are granted", granted, n)
		}
		results, err := r.Repair(t.Context(), product.Missing, attempt, repairs[:granted])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, results...)
		repairs = repairs[granted:]
	}
	return all
}

// mustRepair publishes repairs of missing products without asking whether anybody consumes.
func mustRepair(t *testing.T, r *replay, repairs []product.Repair) []product.Result {
	t.Helper()
	results, err := r.publish(t.Context(), 1, repairs)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func (r *replay) publish(ctx context.Context, attempt int, repairs []product.Repair) ([]product.Result, error) {
	if err := r.missing().open(ctx); err != nil {
		return nil, err
	}
	return r.Repair(ctx, product.Missing, attempt, repairs)
}

// confirmed checks that the broker has taken every event, in order.
func confirmed(t *testing.T, repairs []product.Repair, results []product.Result) {
	t.Helper()
	allAre(t, product.Confirmed, repairs, results)
}

func allAre(t *testing.T, fate product.Fate, repairs []product.Repair, results []product.Result) {
	t.Helper()
	if len(results) != len(repairs) {
		t.Fatalf("%d results for %d repairs", len(results), len(repairs))
	}
	for i := range repairs {
		if want := (product.Result{ID: repairs[i].Row.ID, Fate: fate, Bytes: results[i].Bytes}); results[i] != want {
			t.Fatalf("result %d is %+v, want %+v", i, results[i], want)
		}
	}
}

// manage asks the broker's management API for a change.
func manage(t *testing.T, broker *testenv.Broker, method, path string, body any) {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, broker.Management+path, bytes.NewReader(encoded))
	if err != nil {
		t.Fatal("a request cannot be made")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal("the management API does not answer")
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= 300 {
		t.Fatalf("%s %s: %s", method, path, response.Status)
	}
}

// policy applies a policy to the virtual host's queues or exchanges of a name.
func policy(t *testing.T, broker *testenv.Broker, pattern, applyTo string, definition map[string]any) {
	t.Helper()
	manage(t, broker, http.MethodPut, "/api/policies/"+broker.Vhost+"/"+applyTo, map[string]any{"pattern": pattern, "apply-to": applyTo, "definition": definition})
}

// reader makes a user that may look and not write, and returns the virtual host's URL for it.
func reader(t *testing.T, broker *testenv.Broker) string {
	t.Helper()
	name := broker.Vhost + "_reader"
	manage(t, broker, http.MethodPut, "/api/users/"+name, map[string]string{"password": "only-for-this-test", "tags": ""})
	t.Cleanup(func() { manage(t, broker, http.MethodDelete, "/api/users/"+name, nil) })
	manage(t, broker, http.MethodPut, "/api/permissions/"+broker.Vhost+"/"+name, map[string]string{"configure": "^product-", "write": "^$", "read": ".*"})
	return testenv.ChangedURL(t, broker.URL, func(u *url.URL) { u.User = url.UserPassword(name, "only-for-this-test") })
}

func TestCheck(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	check := func(kinds ...product.Kind) error { return r.Check(t.Context(), kinds) }
	for range 2 {
		err := check(product.Missing, product.Orphaned)
		testenv.CheckMessage(t, err, "nobody consumes queue product-created, product-deleted", "start the Cart Service, or restart it if it runs but lost its connection")
		if !errors.Is(err, ErrNoConsumer) {
			t.Errorf("%v is no ErrNoConsumer", err)
		}
	}
	consume(t, r.broker, rabbit.CreatedQueue, true)
	if err := check(product.Missing); err != nil {
		t.Errorf("with a consumer: %v", err)
	}
	testenv.CheckMessage(t, check(product.Kinds()...), "nobody consumes queue product-updated, product-deleted")
	for _, queue := range rabbit.CartQueues() {
		if n := r.broker.QueueStats(queue).Ready; n != 0 {
			t.Errorf("the check left %d messages in queue %s", n, queue)
		}
	}
	r.eyes.Cut()
	testenv.CheckMessage(t, check(product.Missing), "no broker answers", "RABBITMQ_ENDPOINT")
}

func TestCheckOfTheTopology(t *testing.T) {
	t.Parallel()
	r := replayingOn(t, testenv.Vhost(t), nil)
	err := r.Check(t.Context(), []product.Kind{product.Missing})
	testenv.CheckMessage(t, err, "exchange product-service does not exist", "start the Product Service or the Cart Service once")
	if !errors.Is(err, rabbit.ErrNotFound) {
		t.Errorf("%v is no ErrNotFound", err)
	}
	r.broker.DeclareTopology()
	r.broker.Do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(rabbit.UpdatedQueue, false, false, false)
		return err
	})
	testenv.CheckMessage(t, r.Check(t.Context(), []product.Kind{product.Missing}), "queue product-updated does not exist", "the Cart Service, which declares it, has not started on this broker yet: start it")
}

func TestCheckOfTheRightToPublish(t *testing.T) {
	t.Parallel()
	for route, exchange := range map[Route]string{ByQueue: "the default exchange, amq.default", ByExchange: "exchange product-service"} {
		t.Run(string(route), func(t *testing.T) {
			t.Parallel()
			r := replaying(t, func(c *Config) { c.Route = route })
			consume(t, r.broker, rabbit.CreatedQueue, true)
			kinds := []product.Kind{product.Missing}
			if err := r.Check(t.Context(), kinds); err != nil {
				t.Error(err)
			}
			r.conn = rabbit.NewConnection(rabbit.Config{URL: secret.URL(reader(t, r.broker))}, "etl producer")
			t.Cleanup(r.conn.Close)
			testenv.CheckMessage(t, r.Check(t.Context(), kinds), "publish to "+exchange, "write permission", "ACCESS_REFUSED")
		})
	}
}

// A consumer that leaves after the check is only a pause.
func TestConsumerLeavesBeforeTheFirstEvent(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	cart := consume(t, r.broker, rabbit.CreatedQueue, true)
	if err := r.Check(t.Context(), []product.Kind{product.Missing}); err != nil {
		t.Fatal(err)
	}
	cart.leave(t)
	r.pauses(t, nil, "nobody consumes queue product-created (0 messages waiting)", func() { consume(t, r.broker, rabbit.CreatedQueue, true) })
}
