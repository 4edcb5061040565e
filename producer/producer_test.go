package producer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

func TestMain(m *testing.M) {
	// The tests wait for servers and timeouts rather than compute.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const run = "0198c0de-0000-7000-8000-000000000000"

// replay is a producer on a virtual host of its own, with a proxy in front of
// each of its two connections.
type replay struct {
	*Producer
	broker           *testenv.Broker
	publishing, eyes *testenv.Proxy
}

// replaying makes a producer with little patience on a broker with the cart's topology.
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
	config := Config{MaxQueueDepth: 10_000, ConfirmTimeout: 10 * time.Second}
	if change != nil {
		change(&config)
	}
	conn, publishing := connect("etl producer")
	monitor, eyes := connect("etl monitor")
	r.publishing, r.eyes = publishing, eyes
	r.Producer = New(conn, monitor, config, run, 20*time.Second)
	return r
}

// consumer consumes a queue like the cart: one message at a time, acknowledged.
type consumer struct {
	conn *amqp.Connection
	ch   *amqp.Channel
	mu   sync.Mutex
	got  []amqp.Delivery
}

// consume starts a consumer. With hold it never acknowledges, so that it keeps
// one message and the others wait.
func consume(t *testing.T, broker *testenv.Broker, queue string, hold bool) *consumer {
	t.Helper()
	conn, err := amqp.Dial(broker.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := &consumer{conn: conn}
	t.Cleanup(func() { c.leave(t) })
	if c.ch, err = conn.Channel(); err != nil {
		t.Fatal(err)
	}
	if err := c.ch.Qos(1, 0, false); err != nil {
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

// leave ends the consumer; what it holds goes back to the queue.
func (c *consumer) leave(t *testing.T) {
	t.Helper()
	if err := c.conn.Close(); err != nil && !errors.Is(err, amqp.ErrClosed) {
		t.Errorf("the consumer leaves: %v", err)
	}
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
	testenv.Eventually(t, 10*time.Second, func() error {
		if ready := broker.QueueStats(queue).Ready; ready != n {
			return fmt.Errorf("there are %d", ready)
		}
		return nil
	}, fmt.Sprintf("%d messages in queue %s", n, queue))
	return broker.Drain(queue)
}

// repair reserves and publishes all repairs, in batches of at most n.
func (r *replay) repair(t *testing.T, round int, repairs []product.Repair, n int) []product.Result {
	t.Helper()
	var all []product.Result
	for len(repairs) > 0 {
		granted, err := r.Reserve(t.Context(), min(len(repairs), n))
		if err != nil {
			t.Fatal(err)
		}
		if granted < 1 || granted > n {
			t.Fatalf("%d of %d are granted", granted, n)
		}
		results, err := r.Repair(t.Context(), round, repairs[:granted])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, results...)
		repairs = repairs[granted:]
	}
	return all
}

// published checks that every repair was acted on, in order.
func published(t *testing.T, repairs []product.Repair, results []product.Result) {
	t.Helper()
	if len(results) != len(repairs) {
		t.Fatalf("%d results for %d repairs", len(results), len(repairs))
	}
	for i := range repairs {
		if want := (product.Result{ID: repairs[i].Row.ID, Acted: true}); results[i] != want {
			t.Fatalf("result %d is %+v, want %+v", i, results[i], want)
		}
	}
}

func TestPublishedEvent(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	holder := consume(t, r.broker, rabbit.CreatedQueue, true)
	before := time.Now().Truncate(time.Second)
	repairs := repairsOf(t, 1, 3)
	published(t, repairs, r.repair(t, 4, repairs, 100))
	holder.leave(t)
	for i, d := range queued(t, r.broker, rabbit.CreatedQueue, 3) {
		p := platform.Assortment{Seed: 1, N: 3}.Product(i)
		if !bytes.Equal(d.Body, withoutEscapes(p.Event())) {
			t.Errorf("event %d is\n%s, the Product Service's is\n%s", i, d.Body, p.Event())
		}
		if d.Exchange != "product-service" || d.RoutingKey != "product-created" {
			t.Errorf("it came by exchange %s with routing key %s", d.Exchange, d.RoutingKey)
		}
		headers := amqp.Table{"x-etl-run": run, "x-etl-round": int32(4), "x-etl-product": p.ID.Hex(), "x-etl-reason": "missing"}
		delete(d.Headers, "x-redelivered-count") // of the broker
		if !maps.Equal(d.Headers, headers) {
			t.Errorf("headers %v, want %v", d.Headers, headers)
		}
		if d.DeliveryMode != amqp.Persistent || d.ContentType != "application/json" || d.MessageId != run+"/4/"+p.ID.Hex() || d.Type != "ProductCreated" || d.AppId != "etl" {
			t.Errorf("delivery mode %d, content type %q, message id %q, type %q, app id %q", d.DeliveryMode, d.ContentType, d.MessageId, d.Type, d.AppId)
		}
		if d.Timestamp.Before(before) || d.Timestamp.After(time.Now()) {
			t.Errorf("timestamp %s", d.Timestamp)
		}
		if d.ContentEncoding != "" || d.Priority != 0 || d.CorrelationId != "" || d.ReplyTo != "" || d.Expiration != "" || d.UserId != "" {
			t.Errorf("further properties: %+v", d)
		}
	}
}

func TestTwoThousandEventsInBatches(t *testing.T) {
	t.Parallel()
	r := replaying(t, func(c *Config) { c.MaxQueueDepth = 300 })
	cart := consume(t, r.broker, rabbit.CreatedQueue, false)
	repairs := repairsOf(t, 1, 2_000)
	published(t, repairs, r.repair(t, 1, repairs, 500))
	testenv.Eventually(t, 10*time.Second, func() error {
		if n := len(cart.deliveries()); n != len(repairs) {
			return fmt.Errorf("it has %d", n)
		}
		return nil
	}, "the cart to have all events")
	if got, want := idsOf(t, cart.deliveries()), (platform.Assortment{Seed: 1, N: 2_000}).Keys(); !slices.Equal(got, want) {
		t.Errorf("%d events, want each of %d once and in order", len(got), len(want))
	}
	if n := r.publishing.Accepted(); n != 1 {
		t.Errorf("%d connections for publishing", n)
	}
}

func TestMisfitsAreNotPublished(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	repairs := repairsOf(t, 1, 5)
	repairs[1].Row.Values[product.Price] = product.IntegerValue(9007199254740993)
	repairs[3].Row.ID = ""
	results, err := r.Repair(t.Context(), 1, repairs)
	if err != nil {
		t.Fatal(err)
	}
	var misfit *product.Misfit
	for i, result := range results {
		switch {
		case i == 1:
			if result.Acted || !errors.As(result.Err, &misfit) || misfit.Column != "price" {
				t.Errorf("the long number: %+v", result)
			}
		case i == 3:
			if result.Acted || !errors.Is(result.Err, errNoID) {
				t.Errorf("no id: %+v", result)
			}
		case !result.Acted || result.Err != nil || result.ID != repairs[i].Row.ID:
			t.Errorf("result %d is %+v", i, result)
		}
	}
	if got := idsOf(t, queued(t, r.broker, rabbit.CreatedQueue, 3)); !slices.Equal(got, []string{string(repairs[0].Row.ID), string(repairs[2].Row.ID), string(repairs[4].Row.ID)}) {
		t.Errorf("published: %q", got)
	}
	if results, err := r.Repair(t.Context(), 1, repairs[3:4]); err != nil || len(results) != 1 || results[0].Acted {
		t.Errorf("nothing to publish: %+v, %v", results, err)
	}
}

func TestUnroutable(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	consume(t, r.broker, rabbit.CreatedQueue, true)
	r.broker.Do(func(ch *amqp.Channel) error {
		return ch.QueueUnbind(rabbit.CreatedQueue, rabbit.CreatedQueue, rabbit.Exchange, nil)
	})
	repairs := repairsOf(t, 1, 50)
	n, err := r.Reserve(t.Context(), len(repairs))
	if err != nil || n != len(repairs) {
		t.Fatalf("%d are granted, %v", n, err)
	}
	results, err := r.Repair(t.Context(), 1, repairs)
	testenv.CheckMessage(t, err, "312 NO_ROUTE", "no queue is bound to exchange product-service with routing key product-created", "restart the Cart Service")
	for i, result := range results {
		var unroutable *UnroutableError
		if result.ID != repairs[i].Row.ID || result.Acted || !errors.As(result.Err, &unroutable) || unroutable.Exchange != "product-service" || unroutable.RoutingKey != "product-created" {
			t.Fatalf("result %d is %+v", i, result)
		}
	}
	r.broker.DeclareTopology()
	published(t, repairs, r.repair(t, 2, repairs, 50))
}

func TestNoConsumerAtFirst(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	for range 2 {
		_, err := r.Reserve(t.Context(), 10)
		testenv.CheckMessage(t, err, "nobody consumes queue product-created", "start the Cart Service, or restart it if it runs but lost its connection")
		if !errors.Is(err, ErrNoConsumer) {
			t.Errorf("%v is no ErrNoConsumer", err)
		}
	}
	consume(t, r.broker, rabbit.CreatedQueue, true)
	if n, err := r.Reserve(t.Context(), 10); err != nil || n != 10 {
		t.Errorf("%d are granted, %v", n, err)
	}
	if r.publishing.Accepted() != 0 {
		t.Error("it connected for publishing before there was anything to publish")
	}
}

func TestNoTopologyAtFirst(t *testing.T) {
	t.Parallel()
	r := replayingOn(t, testenv.Vhost(t), nil)
	_, err := r.Reserve(t.Context(), 10)
	testenv.CheckMessage(t, err, "exchange product-service does not exist", "start the Product Service or the Cart Service once")
	if !errors.Is(err, rabbit.ErrNotFound) {
		t.Errorf("%v is no ErrNotFound", err)
	}
}

func TestReserveSpendsWhatTheQueueLeaves(t *testing.T) {
	t.Parallel()
	r := replaying(t, func(c *Config) { c.MaxQueueDepth = 20 })
	consume(t, r.broker, rabbit.CreatedQueue, true)
	ready := 0
	fill := func(n int) { // the holder keeps one more
		t.Helper()
		more := n - ready
		if ready == 0 {
			more++
		}
		r.broker.Publish(rabbit.CreatedQueue, slices.Repeat([][]byte{[]byte("{}")}, more)...)
		ready = n
		testenv.Eventually(t, 5*time.Second, func() bool { return r.broker.QueueStats(rabbit.CreatedQueue).Ready == n }, "the queue to fill")
	}
	for _, tt := range []struct {
		ready, want, granted int
		waits                bool // for a small credit to grow
	}{
		{0, 100, 20, false}, {0, 20, 20, false}, {0, 7, 7, false}, {0, 1, 1, false},
		{10, 100, 10, false}, {10, 10, 10, false}, {10, 3, 3, false},
		{15, 100, 5, false}, {16, 100, 4, true}, {16, 4, 4, false}, {19, 100, 1, true}, {19, 1, 1, false},
	} {
		if tt.ready != ready {
			fill(tt.ready)
		}
		begun := time.Now()
		n, err := r.Reserve(t.Context(), tt.want)
		if err != nil || n != tt.granted {
			t.Errorf("%d waiting, %d wanted: %d are granted, %v; want %d", tt.ready, tt.want, n, err, tt.granted)
		}
		if waited := time.Since(begun) >= gather; waited != tt.waits && tt.waits {
			t.Errorf("%d waiting, %d wanted: it took %s", tt.ready, tt.want, time.Since(begun))
		}
		if reason := r.Throttle(); reason != "" {
			t.Errorf("it says that it pauses: %s", reason)
		}
	}
}

// pauses checks that Reserve pauses and says why, and goes on once the cause is gone.
func (r *replay) pauses(t *testing.T, reason string, end func()) {
	t.Helper()
	type grant struct {
		n   int
		err error
	}
	granted := make(chan grant, 1)
	go func() {
		n, err := r.Reserve(t.Context(), 5)
		granted <- grant{n, err}
	}()
	testenv.Eventually(t, 10*time.Second, func() error {
		if got := r.Throttle(); !strings.Contains(got, reason) {
			return fmt.Errorf("it says %q", got)
		}
		return nil
	}, "the reason "+reason)
	select {
	case g := <-granted:
		t.Fatalf("it grants %d, %v, although %s", g.n, g.err, reason)
	default:
	}
	end()
	select {
	case g := <-granted:
		if g.n < 1 || g.n > 5 || g.err != nil {
			t.Errorf("after it was over that %s: %d are granted, %v", reason, g.n, g.err)
		}
	case <-time.After(15 * time.Second):
		t.Fatalf("it still pauses after it was over that %s: %s", reason, r.Throttle())
	}
	if got := r.Throttle(); got != "" {
		t.Errorf("it still says that it pauses: %s", got)
	}
}

func TestReservePauses(t *testing.T) {
	t.Parallel()
	r := replaying(t, func(c *Config) { c.MaxQueueDepth = 20 })
	holder := consume(t, r.broker, rabbit.CreatedQueue, true)
	if _, err := r.Reserve(t.Context(), 5); err != nil {
		t.Fatal(err)
	}

	holder.leave(t)
	testenv.Eventually(t, 5*time.Second, func() bool { return r.broker.QueueStats(rabbit.CreatedQueue).Consumers == 0 }, "the consumer to leave")
	r.broker.Publish(rabbit.CreatedQueue, []byte("{}"))
	r.pauses(t, "nobody consumes queue product-created (1 messages waiting)", func() { holder = consume(t, r.broker, rabbit.CreatedQueue, true) })

	r.broker.Publish(rabbit.CreatedQueue, slices.Repeat([][]byte{[]byte("{}")}, 23)...)
	r.pauses(t, "holds 23 messages, the limit is 20 (REPLAY_MAX_QUEUE_DEPTH)", func() { r.broker.Drain(rabbit.CreatedQueue) })

	r.eyes.Cut()
	r.pauses(t, "the depth of queue product-created cannot be read: ", r.eyes.Restore)

	r.eyes.Freeze()
	r.pauses(t, "the broker does not answer", r.eyes.Thaw)
}

func TestReserveLosesPatience(t *testing.T) {
	t.Parallel()
	r := replaying(t, func(c *Config) { c.MaxQueueDepth = 3 })
	consume(t, r.broker, rabbit.CreatedQueue, true)
	if _, err := r.Reserve(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	r.patience = 600 * time.Millisecond
	r.broker.Publish(rabbit.CreatedQueue, slices.Repeat([][]byte{[]byte("{}")}, 9)...)
	begun := time.Now()
	n, err := r.Reserve(t.Context(), 5)
	var paused *product.PausedError
	if !errors.As(err, &paused) || n != 0 {
		t.Fatalf("%d are granted, %v", n, err)
	}
	if took := time.Since(begun); paused.Waited < r.patience || paused.Waited > took || took > 5*time.Second {
		t.Errorf("waited %s of %s", paused.Waited, took)
	}
	if !strings.Contains(paused.Reason, "holds 8 messages, the limit is 3") {
		t.Errorf("reason %q", paused.Reason)
	}
	r.eyes.Cut()
	if _, err = r.Reserve(t.Context(), 5); !errors.As(err, &paused) || !strings.Contains(paused.Reason, "cannot be read") {
		t.Errorf("while the depth cannot be read: %v", err)
	}

	because := errors.New("the run was stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	r.patience = time.Minute
	time.AfterFunc(100*time.Millisecond, func() { cancel(because) })
	begun = time.Now()
	if _, err := r.Reserve(ctx, 5); !errors.Is(err, because) || time.Since(begun) > 5*time.Second {
		t.Errorf("a pause that was stopped took %s and ended with %v", time.Since(begun), err)
	}
}

// What was published and not confirmed may be in the queue: it counts as acted on
// and is not sent again.
func TestConnectionCutBeforeTheConfirm(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	repairs := repairsOf(t, 1, 30)
	published(t, repairs[:10], mustRepair(t, r, repairs[:10]))
	r.publishing.Freeze()
	done := make(chan struct{})
	var results []product.Result
	var err error
	go func() {
		defer close(done)
		results, err = r.Repair(t.Context(), 1, repairs[10:20])
	}()
	select {
	case <-done:
		t.Fatalf("it does not wait for the confirms: %+v, %v", results, err)
	case <-time.After(300 * time.Millisecond): // as long as it waits, it has not given up
	}
	r.publishing.Cut()
	<-done
	if err != nil {
		t.Errorf("%v", err)
	}
	published(t, repairs[10:20], results)
	r.publishing.Thaw()
	r.publishing.Restore()
	published(t, repairs[20:], mustRepair(t, r, repairs[20:]))
	got := idsOf(t, r.broker.Drain(rabbit.CreatedQueue))
	want := slices.Concat((platform.Assortment{Seed: 1, N: 30}).Keys()[:10], (platform.Assortment{Seed: 1, N: 30}).Keys()[20:])
	if !slices.Equal(got, want) {
		t.Errorf("in the queue: %q, want %q", got, want)
	}
}

func mustRepair(t *testing.T, r *replay, repairs []product.Repair) []product.Result {
	t.Helper()
	results, err := r.Repair(t.Context(), 1, repairs)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// Wherever a connection breaks: nothing is in the queue twice, and what counts as
// not published is not in the queue.
func TestConnectionBreaksAnywhere(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	repairs := repairsOf(t, 1, 4_000)
	acted, notTried := map[string]bool{}, 0
	for batch := range slices.Chunk(repairs, 400) {
		begun := time.Now()
		delay := time.Duration(rand.IntN(30_000)) * time.Microsecond
		breaks := time.AfterFunc(delay, r.publishing.Reset)
		results := mustRepair(t, r, batch)
		breaks.Stop()
		if took := time.Since(begun); took > 8*time.Second {
			t.Errorf("a batch took %s", took)
		}
		for i, result := range results {
			if result.ID != batch[i].Row.ID || result.Err != nil {
				t.Fatalf("%+v", result)
			}
			if result.Acted {
				acted[string(result.ID)] = true
			} else {
				notTried++
			}
		}
	}
	seen := map[string]bool{}
	for _, id := range idsOf(t, r.broker.Drain(rabbit.CreatedQueue)) {
		if seen[id] {
			t.Errorf("%s is in the queue twice", id)
		}
		if !acted[id] {
			t.Errorf("%s is in the queue and counts as not published", id)
		}
		seen[id] = true
	}
	if len(acted)+notTried != len(repairs) || len(seen) == 0 {
		t.Errorf("%d acted on, %d not tried, %d in the queue", len(acted), notTried, len(seen))
	}
	t.Logf("%d connections; %d events acted on, %d not tried, %d in the queue", r.publishing.Accepted(), len(acted), notTried, len(seen))
}

func TestConnectionForceClosed(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	repairs := repairsOf(t, 1, 20)
	published(t, repairs[:10], mustRepair(t, r, repairs[:10]))
	if n := r.broker.ForceCloseConnections("^etl producer$"); n != 1 {
		t.Errorf("%d connections are named etl producer", n)
	}
	testenv.Eventually(t, 5*time.Second, r.ch.IsClosed, "the channel to end with its connection")
	published(t, repairs[10:], mustRepair(t, r, repairs[10:]))
	if got := idsOf(t, queued(t, r.broker, rabbit.CreatedQueue, 20)); !slices.Equal(got, (platform.Assortment{Seed: 1, N: 20}).Keys()) {
		t.Errorf("in the queue: %q", got)
	}
}

// A network that takes nothing more ends within the confirm timeout, also when
// the events do not fit into the buffers on the way.
func TestFrozenNetwork(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"few bytes": 1, "many bytes": 100_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := replaying(t, func(c *Config) { c.ConfirmTimeout = time.Second })
			repairs := repairsOf(t, 1, 400)
			for i := range repairs {
				repairs[i].Product.Tags = []string{strings.Repeat("x", size)}
			}
			published(t, repairs[:1], mustRepair(t, r, repairs[:1]))
			r.publishing.Freeze()
			begun := time.Now()
			results := mustRepair(t, r, repairs[1:])
			if took := time.Since(begun); took < time.Second || took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
			unknown := 0
			for _, result := range results {
				if result.Err != nil {
					t.Fatalf("%+v", result)
				}
				if result.Acted {
					unknown++
				}
			}
			if unknown == 0 || size == 1 && unknown != len(results) || size > 1 && unknown == len(results) {
				t.Errorf("%d of %d events may have been published", unknown, len(results))
			}
			if r.Throttle() != "" {
				t.Errorf("it says that it pauses: %s", r.Throttle())
			}
			r.publishing.Thaw()
			r.broker.Drain(rabbit.CreatedQueue)
			published(t, repairs[:1], mustRepair(t, r, repairs[:1]))
		})
	}
}

func TestStoppedRunPublishesNothingMore(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	repairs := repairsOf(t, 1, 10)
	published(t, repairs[:5], mustRepair(t, r, repairs[:5]))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	results, err := r.Repair(ctx, 1, repairs[5:])
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for i, result := range results {
		if result != (product.Result{ID: repairs[5+i].Row.ID}) {
			t.Errorf("%+v; it was not published", result)
		}
	}
	queued(t, r.broker, rabbit.CreatedQueue, 5)
	if n, err := r.Reserve(ctx, 5); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d are granted, %v", n, err)
	}
}

// A broker that stays away is waited for, and the reason can be seen.
func TestBrokerStaysAway(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	repairs := repairsOf(t, 1, 10)
	r.publishing.Cut()
	type answer struct {
		results []product.Result
		err     error
	}
	answered := make(chan answer, 1)
	repair := func(ctx context.Context) {
		results, err := r.Repair(ctx, 1, repairs)
		answered <- answer{results, err}
	}
	go repair(t.Context())
	testenv.Eventually(t, 5*time.Second, func() bool { return strings.Contains(r.Throttle(), "no broker answers") }, "the reason")
	r.publishing.Restore()
	a := <-answered
	if a.err != nil {
		t.Fatal(a.err)
	}
	published(t, repairs, a.results)

	r.publishing.Cut()
	testenv.Eventually(t, 5*time.Second, r.ch.IsClosed, "the channel to end with its connection")
	r.patience = time.Second
	results, err := r.Repair(t.Context(), 2, repairs)
	testenv.CheckMessage(t, err, "open the publishing channel", "no broker answers", "RABBITMQ_ENDPOINT")
	for i, result := range results {
		if result != (product.Result{ID: repairs[i].Row.ID}) {
			t.Errorf("%+v; it was not published", result)
		}
	}
	r.patience = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	go repair(ctx)
	testenv.Eventually(t, 5*time.Second, func() bool { return r.Throttle() != "" }, "the reason")
	cancel()
	if a := <-answered; !errors.Is(a.err, context.Canceled) {
		t.Errorf("a wait that was stopped ended with %v", a.err)
	}
	if r.Throttle() != "" {
		t.Errorf("it says that it pauses: %s", r.Throttle())
	}
}

func TestChannelOnAFrozenNetworkCanBeStopped(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	if _, err := r.conn.Channel(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.publishing.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := r.Repair(ctx, 1, repairsOf(t, 1, 1))
	if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || took > 3*time.Second {
		t.Errorf("it took %s and ended with %v", took, err)
	}
	r.publishing.Thaw()
	published(t, repairsOf(t, 1, 1), mustRepair(t, r, repairsOf(t, 1, 1)))
}

// Where the broker refuses what is published, once more would be refused once more.
func TestRefusedPublishing(t *testing.T) {
	t.Parallel()
	repairs := repairsOf(t, 1, 20)
	t.Run("the exchange is gone", func(t *testing.T) {
		t.Parallel()
		r := replaying(t, nil)
		published(t, repairs, mustRepair(t, r, repairs))
		r.broker.Do(func(ch *amqp.Channel) error { return ch.ExchangeDelete(rabbit.Exchange, false, false) })
		_, err := r.Repair(t.Context(), 2, repairs)
		testenv.CheckMessage(t, err, "publish to exchange product-service", "does not exist", "restart the Cart Service", "NOT_FOUND")
		r.broker.DeclareTopology()
		published(t, repairs, mustRepair(t, r, repairs))
	})
	t.Run("no right to write", func(t *testing.T) {
		t.Parallel()
		r := replaying(t, nil)
		conn := rabbit.NewConnection(rabbit.Config{URL: secret.URL(reader(t, r.broker))}, "etl producer")
		t.Cleanup(conn.Close)
		r.conn = conn
		_, err := r.Repair(t.Context(), 1, repairs)
		testenv.CheckMessage(t, err, "publish to exchange product-service", "write permission", "ACCESS_REFUSED")
		if n := r.broker.QueueStats(rabbit.CreatedQueue).Ready; n != 0 {
			t.Errorf("%d events are in the queue", n)
		}
	})
}

// reader makes a user that may read and not write, and returns the virtual host's URL for it.
func reader(t *testing.T, broker *testenv.Broker) string {
	t.Helper()
	name := broker.Vhost + "_reader"
	manage := func(method, path string, body any) {
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
	manage(http.MethodPut, "/api/users/"+name, map[string]string{"password": "only-for-this-test", "tags": ""})
	t.Cleanup(func() { manage(http.MethodDelete, "/api/users/"+name, nil) })
	manage(http.MethodPut, "/api/permissions/"+broker.Vhost+"/"+name, map[string]string{"configure": "^$", "write": "^$", "read": ".*"})
	u, err := url.Parse(broker.URL)
	if err != nil {
		t.Fatal("the broker's URL cannot be read")
	}
	u.User = url.UserPassword(name, "only-for-this-test")
	return u.String()
}

// What the broker nacks may or may not be in the queue, as far as a publisher knows.
func TestNackedEventsAreUnknown(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.Do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(rabbit.CreatedQueue, true, false, false, false, amqp.Table{"x-max-length": 3, "x-overflow": "reject-publish"})
		return errors.Join(err, ch.ExchangeDeclare(rabbit.Exchange, amqp.ExchangeDirect, true, false, false, false, nil),
			ch.QueueBind(rabbit.CreatedQueue, rabbit.CreatedQueue, rabbit.Exchange, false, nil))
	})
	r := replayingOn(t, broker, nil)
	repairs := repairsOf(t, 1, 10)
	published(t, repairs, mustRepair(t, r, repairs))
	if n := len(queued(t, broker, rabbit.CreatedQueue, 3)); n != 3 {
		t.Errorf("%d events are in the queue", n)
	}
	published(t, repairs[:2], mustRepair(t, r, repairs[:2]))
}

func TestRemove(t *testing.T) {
	t.Parallel()
	r := replaying(t, func(c *Config) { c.MaxQueueDepth = 4 })
	cart := consume(t, r.broker, rabbit.DeletedQueue, false)
	var ids []product.ID
	for _, key := range (platform.Assortment{Seed: 1, N: 10}).Keys() {
		ids = append(ids, product.ID(key))
	}
	results, err := r.Remove(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	for i, result := range results {
		if result != (product.Result{ID: ids[i], Acted: true}) {
			t.Errorf("%+v", result)
		}
	}
	testenv.Eventually(t, 10*time.Second, func() bool { return len(cart.deliveries()) == len(ids) }, "the cart to have all events")
	for i, d := range cart.deliveries() {
		id := string(ids[i])
		if string(d.Body) != `{"id":"`+id+`"}` || d.RoutingKey != "product-deleted" || d.Exchange != "product-service" {
			t.Errorf("%s with routing key %s", d.Body, d.RoutingKey)
		}
		headers := amqp.Table{"x-etl-run": run, "x-etl-round": int32(0), "x-etl-product": id, "x-etl-reason": "undone"}
		if !maps.Equal(d.Headers, headers) || d.Type != "ProductDeleted" || d.DeliveryMode != amqp.Persistent || d.MessageId != run+"/0/"+id || d.AppId != "etl" || d.ContentType != "application/json" {
			t.Errorf("headers %v, type %q, delivery mode %d, message id %q", d.Headers, d.Type, d.DeliveryMode, d.MessageId)
		}
	}
	if n := r.broker.QueueStats(rabbit.CreatedQueue).Ready; n != 0 {
		t.Errorf("%d ProductCreated events", n)
	}
	if results, err := r.Remove(t.Context(), nil); err != nil || len(results) != 0 {
		t.Errorf("nothing to remove: %+v, %v", results, err)
	}
}

func TestRemoveWithoutID(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	consume(t, r.broker, rabbit.DeletedQueue, true)
	results, err := r.Remove(t.Context(), []product.ID{"a", ""})
	if !errors.Is(err, errNoID) || len(results) != 2 || results[0].Acted || results[1].Acted {
		t.Errorf("%+v, %v", results, err)
	}
	if stats := r.broker.QueueStats(rabbit.DeletedQueue); stats.Ready != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestRemovePausesWithoutAConsumer(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	r.patience = 500 * time.Millisecond
	results, err := r.Remove(t.Context(), []product.ID{"a", "b"})
	var paused *product.PausedError
	if !errors.As(err, &paused) || !strings.Contains(paused.Reason, "nobody consumes queue product-deleted") {
		t.Errorf("%v", err)
	}
	if !slices.Equal(results, []product.Result{{ID: "a"}, {ID: "b"}}) {
		t.Errorf("%+v", results)
	}
	if n := r.broker.QueueStats(rabbit.DeletedQueue).Ready; n != 0 {
		t.Errorf("%d events wait for nobody", n)
	}
}

// An id has no bounds; a message's properties have.
func TestLongIDs(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	var repairs []product.Repair
	for _, n := range []int{1, 255, 256, 5_000, 1 << 20} {
		repair := repairsOf(t, 1, 1)[0]
		repair.Row.ID = product.ID(strings.Repeat("ü", n))
		repairs = append(repairs, repair)
	}
	published(t, repairs, mustRepair(t, r, repairs))
	if n := r.publishing.Accepted(); n != 1 {
		t.Errorf("%d connections", n)
	}
	for i, id := range idsOf(t, queued(t, r.broker, rabbit.CreatedQueue, len(repairs))) {
		if id != string(repairs[i].Row.ID) {
			t.Errorf("event %d has an id of %d bytes", i, len(id))
		}
	}
	r.broker.Do(func(ch *amqp.Channel) error {
		return ch.QueueUnbind(rabbit.CreatedQueue, rabbit.CreatedQueue, rabbit.Exchange, nil)
	})
	results, err := r.Repair(t.Context(), 2, repairs)
	testenv.CheckMessage(t, err, "NO_ROUTE")
	for _, result := range results {
		if result.Acted || !errors.As(result.Err, new(*UnroutableError)) {
			t.Errorf("an id of %d bytes, returned: acted %t, %v", len(result.ID), result.Acted, result.Err)
		}
	}
}

// While the broker is short of memory it reads nothing from publishers. That time
// does not count: the events are not lost, only late.
func TestBlockedBroker(t *testing.T) {
	t.Parallel()
	node, broker := testenv.PrivateBroker(t)
	broker.DeclareTopology()
	r := replayingOn(t, broker, func(c *Config) { c.ConfirmTimeout = 500 * time.Millisecond })
	consume(t, broker, rabbit.CreatedQueue, true)
	alarm := func(watermark string) {
		t.Helper()
		if _, err := node.Control(t.Context(), "set_vm_memory_high_watermark", "absolute", watermark); err != nil {
			t.Fatal(err)
		}
	}
	repairs := repairsOf(t, 1, 400)
	published(t, repairs[:5], mustRepair(t, r, repairs[:5]))
	type answer struct {
		results []product.Result
		err     error
	}
	answered := make(chan answer, 1)
	repair := func(ctx context.Context, repairs []product.Repair) {
		results, err := r.Repair(ctx, 1, repairs)
		answered <- answer{results, err}
	}
	blocked := func() bool { return strings.Contains(r.Throttle(), "the broker blocks publishers: ") }

	alarm("1")
	go repair(t.Context(), repairs[5:10])
	testenv.Eventually(t, 20*time.Second, blocked, "the reason")
	// Longer than the confirm timeout, it still waits.
	waited := time.Now()
	testenv.Eventually(t, 10*time.Second, func() bool { return time.Since(waited) > 3*r.config.ConfirmTimeout }, "some time to pass")
	select {
	case a := <-answered:
		t.Fatalf("it gave up: %+v, %v", a.results, a.err)
	default:
	}
	alarm("1GB")
	a := <-answered
	if a.err != nil {
		t.Fatal(a.err)
	}
	published(t, repairs[5:10], a.results)

	// A run that is being stopped waits no longer, also when the broker takes no
	// more bytes. What it wrote is unknown, the rest was not published.
	alarm("1")
	for i := range repairs {
		repairs[i].Product.Tags = []string{strings.Repeat("x", 100_000)}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go repair(ctx, repairs[10:])
	testenv.Eventually(t, 20*time.Second, blocked, "the reason")
	cancel()
	select {
	case a = <-answered:
	case <-time.After(10 * time.Second):
		t.Fatal("it waits on")
	}
	if a.err != nil || !a.results[0].Acted || a.results[len(a.results)-1] != (product.Result{ID: repairs[len(repairs)-1].Row.ID}) {
		t.Errorf("%+v …, %v", a.results[0], a.err)
	}

	// Reserve waits before it publishes anything into a broker that blocks.
	go repair(t.Context(), repairs[:1])
	testenv.Eventually(t, 20*time.Second, func() bool { return r.conn.Blocked() != "" }, "the connection to be blocked")
	_, reason := r.credit(t.Context(), rabbit.CreatedQueue)
	if n, _ := r.credit(t.Context(), rabbit.CreatedQueue); n != 0 || !strings.Contains(reason.Reason, "the broker blocks publishers: ") {
		t.Errorf("a credit of %d, %q", n, reason)
	}
	alarm("1GB")
	if a := <-answered; a.err != nil || !a.results[0].Acted {
		t.Errorf("%+v, %v", a.results, a.err)
	}
	if n, err := r.Reserve(t.Context(), 5); err != nil || n != 5 {
		t.Errorf("%d are granted, %v", n, err)
	}
}
