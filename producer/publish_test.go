package producer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// Every kind's event, by either route.
func TestPublishedEvent(t *testing.T) {
	t.Parallel()
	for _, route := range []Route{ByQueue, ByExchange} {
		for _, rule := range product.Rules() {
			t.Run(fmt.Sprintf("%s by %s", rule.Kind, route), func(t *testing.T) {
				t.Parallel()
				r := replaying(t, func(c *Config) { c.Route = route })
				holder := consume(t, r.broker, rule.Queue, true)
				before := time.Now().Truncate(time.Second)
				repairs := repairsOf(t, 1, 3)
				if rule.Kind == product.Orphaned {
					for i := range repairs {
						repairs[i] = product.Repair{Row: product.Row{ID: repairs[i].Row.ID}, Undo: i == 1}
					}
				}
				n, err := r.Reserve(t.Context(), rule.Kind, 3, nil)
				if n != 3 || err != nil {
					t.Fatalf("%d are granted, %v", n, err)
				}
				results, err := r.Repair(t.Context(), rule.Kind, 4, repairs)
				if err != nil {
					t.Fatal(err)
				}
				confirmed(t, repairs, results)
				holder.leave(t)
				for i, d := range queued(t, r.broker, rule.Queue, 3) {
					checkEvent(t, &d, &rule, route, platform.Assortment{Seed: 1, N: 3}.Product(i), repairs[i].Undo)
					if d.Timestamp.Before(before) || d.Timestamp.After(time.Now()) {
						t.Errorf("timestamp %s", d.Timestamp)
					}
				}
				for _, other := range rabbit.CartQueues() {
					if n := r.broker.QueueStats(other).Ready; n != 0 {
						t.Errorf("%d messages in queue %s", n, other)
					}
				}
			})
		}
	}
}

func checkEvent(t *testing.T, d *amqp.Delivery, rule *product.Rule, route Route, p platform.Product, undo bool) {
	t.Helper()
	body, exchange, reason := withoutEscapes(p.Event()), "", string(rule.Kind)
	if rule.Kind == product.Orphaned {
		body = p.DeletedEvent()
	}
	if route == ByExchange {
		exchange = "product-service"
	}
	if undo {
		reason = "undone"
	}
	if !bytes.Equal(d.Body, body) {
		t.Errorf("the event is\n%s, the Product Service's is\n%s", d.Body, body)
	}
	if d.Exchange != exchange || d.RoutingKey != rule.Queue {
		t.Errorf("it came by exchange %q with routing key %s", d.Exchange, d.RoutingKey)
	}
	headers := amqp.Table{"x-etl-run": run, "x-etl-attempt": int32(4), "x-etl-product": p.ID.Hex(), "x-etl-reason": reason}
	for _, counter := range []string{"x-redelivered-count", "x-delivery-count", "x-acquired-count"} { // the broker's
		delete(d.Headers, counter)
	}
	if !maps.Equal(d.Headers, headers) {
		t.Errorf("headers %v, want %v", d.Headers, headers)
	}
	if d.DeliveryMode != amqp.Persistent || d.ContentType != "application/json" || d.MessageId != run+"/4/"+p.ID.Hex() || d.Type != rule.Event || d.AppId != "etl" {
		t.Errorf("delivery mode %d, content type %q, message id %q, type %q, app id %q", d.DeliveryMode, d.ContentType, d.MessageId, d.Type, d.AppId)
	}
	if d.ContentEncoding != "" || d.Priority != 0 || d.CorrelationId != "" || d.ReplyTo != "" || d.Expiration != "" || d.UserId != "" {
		t.Errorf("further properties: %+v", d)
	}
}

func TestTwoThousandEventsInBatches(t *testing.T) {
	t.Parallel()
	r := replaying(t, func(c *Config) { c.MaxQueueDepth = 300 })
	cart := consume(t, r.broker, rabbit.CreatedQueue, false)
	repairs := repairsOf(t, 1, 2_000)
	confirmed(t, repairs, r.repair(t, 1, repairs, 500))
	testenv.Eventually(t, time.Minute, func() error {
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
	repairs[1].Row.ID = "a\xff"
	repairs[3].Row.ID = ""
	results, err := r.publish(t.Context(), 1, repairs)
	if err != nil {
		t.Fatal(err)
	}
	var misfit *product.Misfit
	for i, result := range results {
		switch {
		case i == 1, i == 3:
			if result.Fate != product.Untried || !errors.As(result.Err, &misfit) || misfit.Column != "id" {
				t.Errorf("no id that an event could have: %+v", result)
			}
		case result.Fate != product.Confirmed || result.Err != nil || result.ID != repairs[i].Row.ID:
			t.Errorf("result %d is %+v", i, result)
		}
	}
	if got := idsOf(t, queued(t, r.broker, rabbit.CreatedQueue, 3)); !slices.Equal(got, []string{string(repairs[0].Row.ID), string(repairs[2].Row.ID), string(repairs[4].Row.ID)}) {
		t.Errorf("published: %q", got)
	}
	if results, err := r.publish(t.Context(), 1, repairs[3:4]); err != nil || len(results) != 1 || results[0].Fate != product.Untried {
		t.Errorf("nothing to publish: %+v, %v", results, err)
	}
}

// What the broker has no queue for comes back and ends the run, also where an
// alternate exchange makes everything on the cart's exchange routable.
func TestUnroutable(t *testing.T) {
	t.Parallel()
	for route, want := range map[Route][]string{
		ByQueue:    {"312 NO_ROUTE", "queue product-created does not exist", "start the Cart Service"},
		ByExchange: {"312 NO_ROUTE", "no queue is bound to exchange product-service with routing key product-created", "restart the Cart Service"},
	} {
		t.Run(string(route), func(t *testing.T) {
			t.Parallel()
			r := replaying(t, func(c *Config) { c.Route = route })
			var returned int
			r.Count = func(_, n, _, _ int) { returned += n }
			repairs := repairsOf(t, 1, 50)
			confirmed(t, repairs, mustRepair(t, r, repairs))
			r.broker.Do(func(ch *amqp.Channel) error {
				_, err := ch.QueueDelete(rabbit.CreatedQueue, false, false, false)
				return err
			})
			if route == ByQueue {
				alternate(t, r.broker)
			}
			results, err := r.publish(t.Context(), 1, repairs)
			testenv.CheckMessage(t, err, want...)
			for i, result := range results {
				var unroutable *UnroutableError
				if result.ID != repairs[i].Row.ID || result.Fate != product.Untried || !errors.As(result.Err, &unroutable) || unroutable.Exchange != route.exchange() || unroutable.RoutingKey != "product-created" {
					t.Fatalf("result %d is %+v", i, result)
				}
			}
			if returned != len(repairs) {
				t.Errorf("%d returned events were counted", returned)
			}
			r.broker.DeclareTopology()
			confirmed(t, repairs, mustRepair(t, r, repairs))
			queued(t, r.broker, rabbit.CreatedQueue, len(repairs))
		})
	}
}

// alternate gives all exchanges an alternate one, to which a queue is bound, and checks that it works.
func alternate(t *testing.T, broker *testenv.Broker) {
	t.Helper()
	broker.Do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare("tap", true, false, false, false, nil)
		return errors.Join(err, ch.ExchangeDeclare("tap", amqp.ExchangeFanout, true, false, false, false, nil), ch.QueueBind("tap", "", "tap", false, nil))
	})
	policy(t, broker, ".*", "exchanges", map[string]any{"alternate-exchange": "tap"})
	testenv.Eventually(t, time.Minute, func() bool {
		broker.Publish(rabbit.CreatedQueue, []byte("{}"))
		return broker.QueueStats("tap").Ready > 0
	}, "the alternate exchange to work")
}

// What was published and not confirmed may be in the queue. That is said only once the
// broker is back, so that what is seen afterwards is seen after all that may still come.
func TestConnectionCutBeforeTheConfirm(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	counts := [4]int{}
	r.Count = func(confirmed, returned, nacked, unknown int) {
		counts[0], counts[1], counts[2], counts[3] = counts[0]+confirmed, counts[1]+returned, counts[2]+nacked, counts[3]+unknown
	}
	repairs := repairsOf(t, 1, 30)
	confirmed(t, repairs[:10], mustRepair(t, r, repairs[:10]))
	r.publishing.Freeze()
	a := r.repairing(t.Context(), repairs[10:20])
	select {
	case got := <-a:
		t.Fatalf("it does not wait for the confirms: %+v", got)
	case <-time.After(300 * time.Millisecond): // as long as it waits, it has not given up
	}
	r.publishing.Cut()
	testenv.Eventually(t, time.Minute, func() bool { return r.Paused().Cause == Away }, "the pause")
	select {
	case got := <-a:
		t.Fatalf("it does not wait for the broker: %+v", got)
	default:
	}
	r.publishing.Thaw()
	r.publishing.Restore()
	got := <-a
	if got.err != nil {
		t.Errorf("%v", got.err)
	}
	allAre(t, product.Unknown, repairs[10:20], got.results)
	if r.missing().current().IsClosed() || r.publishing.Accepted() != 2 || r.Throttle() != "" {
		t.Errorf("when it returns, the channel is not open: %d connections, %q", r.publishing.Accepted(), r.Throttle())
	}
	confirmed(t, repairs[20:], mustRepair(t, r, repairs[20:]))
	if want := [4]int{20, 0, 0, 10}; counts != want {
		t.Errorf("counted: %v, want %v", counts, want)
	}
	ids := idsOf(t, r.broker.Drain(rabbit.CreatedQueue))
	want := slices.Concat((platform.Assortment{Seed: 1, N: 30}).Keys()[:10], (platform.Assortment{Seed: 1, N: 30}).Keys()[20:])
	if !slices.Equal(ids, want) {
		t.Errorf("in the queue: %q, want %q", ids, want)
	}
}

type answer struct {
	results []product.Result
	err     error
}

// repairing is Repair in the background.
func (r *replay) repairing(ctx context.Context, repairs []product.Repair) <-chan answer {
	answered := make(chan answer, 1)
	go func() {
		results, err := r.Repair(ctx, product.Missing, 1, repairs)
		answered <- answer{results, err}
	}()
	return answered
}

// A broker that does not come back is not waited for longer than patience, and not at
// all by a run that is being stopped.
func TestConnectionCutForGood(t *testing.T) {
	t.Parallel()
	for name, stopped := range map[string]bool{"patience": false, "stopped": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := replaying(t, nil)
			repairs := repairsOf(t, 1, 10)
			confirmed(t, repairs, mustRepair(t, r, repairs))
			if !stopped {
				r.patience = time.Second
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r.publishing.Freeze()
			a := r.repairing(ctx, repairs)
			select {
			case got := <-a:
				t.Fatalf("it does not wait for the confirms: %+v", got)
			case <-time.After(300 * time.Millisecond): // as long as it waits, it has not given up
			}
			r.publishing.Cut()
			if stopped {
				testenv.Eventually(t, time.Minute, func() bool { return r.Paused().Cause == Away }, "the pause")
				cancel()
			}
			got := <-a
			allAre(t, product.Unknown, repairs, got.results)
			var paused *product.PausedError
			switch {
			case stopped && got.err != nil:
				t.Error(got.err)
			case !stopped && (!errors.As(got.err, &paused) || !strings.Contains(paused.Reason, "no broker answers")):
				t.Errorf("%v", got.err)
			}
		})
	}
}

// Wherever a connection breaks: nothing is in the queue twice, and what counts as
// not published is not in the queue.
func TestConnectionBreaksAnywhere(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	repairs := repairsOf(t, 1, 4_000)
	mayArrive, notTried := map[string]bool{}, 0
	for batch := range slices.Chunk(repairs, 400) {
		begun := time.Now()
		delay := time.Duration(rand.IntN(30_000)) * time.Microsecond
		breaks := time.AfterFunc(delay, r.publishing.Reset)
		results := mustRepair(t, r, batch)
		breaks.Stop()
		if took := time.Since(begun); took > 30*time.Second {
			t.Errorf("a batch took %s", took)
		}
		for i, result := range results {
			if result.ID != batch[i].Row.ID || result.Err != nil {
				t.Fatalf("%+v", result)
			}
			if result.Fate.MayArrive() {
				mayArrive[string(result.ID)] = true
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
		if !mayArrive[id] {
			t.Errorf("%s is in the queue and counts as not published", id)
		}
		seen[id] = true
	}
	if len(mayArrive)+notTried != len(repairs) || len(seen) == 0 {
		t.Errorf("%d sent, %d not tried, %d in the queue", len(mayArrive), notTried, len(seen))
	}
	t.Logf("%d connections; %d events sent, %d not tried, %d in the queue", r.publishing.Accepted(), len(mayArrive), notTried, len(seen))
}

func TestConnectionForceClosed(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	repairs := repairsOf(t, 1, 20)
	confirmed(t, repairs[:10], mustRepair(t, r, repairs[:10]))
	if n := r.broker.ForceCloseConnections("^etl producer$"); n != 1 {
		t.Errorf("%d connections are named etl producer", n)
	}
	testenv.Eventually(t, time.Minute, r.missing().current().IsClosed, "the channel to end with its connection")
	confirmed(t, repairs[10:], mustRepair(t, r, repairs[10:]))
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
			confirmed(t, repairs[:1], mustRepair(t, r, repairs[:1]))
			r.publishing.Freeze()
			begun := time.Now()
			a := r.repairing(t.Context(), repairs[1:])
			testenv.Eventually(t, time.Minute, func() bool { return r.publishing.Accepted() >= 2 }, "another connection")
			if took := time.Since(begun); took < time.Second {
				t.Errorf("it took %s", took)
			}
			r.publishing.Thaw()
			got := <-a
			if got.err != nil {
				t.Fatal(got.err)
			}
			results := got.results
			unknown := 0
			for _, result := range results {
				if result.Err != nil {
					t.Fatalf("%+v", result)
				}
				if result.Fate == product.Unknown {
					unknown++
				}
			}
			if unknown == 0 || size == 1 && unknown != len(results) || size > 1 && unknown == len(results) {
				t.Errorf("%d of %d events may have been published", unknown, len(results))
			}
			if r.Throttle() != "" {
				t.Errorf("it says that it pauses: %s", r.Throttle())
			}
			r.broker.Drain(rabbit.CreatedQueue)
			confirmed(t, repairs[:1], mustRepair(t, r, repairs[:1]))
		})
	}
}

func TestStoppedRunPublishesNothingMore(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	repairs := repairsOf(t, 1, 10)
	confirmed(t, repairs[:5], mustRepair(t, r, repairs[:5]))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	results, err := r.Repair(ctx, product.Missing, 1, repairs[5:])
	if err != nil {
		t.Error(err)
	}
	allAre(t, product.Untried, repairs[5:], results)
	queued(t, r.broker, rabbit.CreatedQueue, 5)
	if n, err := r.Reserve(ctx, product.Missing, 5, nil); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d are granted, %v", n, err)
	}
}

// A broker that is away is waited for by Reserve, before products are read, and not
// by Repair, which would publish them as they were before the wait.
func TestBrokerStaysAway(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	consume(t, r.broker, rabbit.CreatedQueue, true)
	repairs := repairsOf(t, 1, 10)
	r.publishing.Cut()
	r.pauses(t, nil, "no broker answers", r.publishing.Restore)
	confirmed(t, repairs, r.repair(t, 1, repairs, 10))

	r.publishing.Cut()
	testenv.Eventually(t, time.Minute, r.missing().current().IsClosed, "the channel to end with its connection")
	results, err := r.Repair(t.Context(), product.Missing, 2, repairs)
	if err != nil {
		t.Error(err)
	}
	allAre(t, product.Untried, repairs, results)
	r.patience = time.Second
	_, err = r.Reserve(t.Context(), product.Missing, 5, nil)
	testenv.CheckMessage(t, err, "open the publishing channel", "no broker answers", "RABBITMQ_ENDPOINT")
	if !errors.As(err, new(*product.PausedError)) {
		t.Errorf("%v is no PausedError", err)
	}

	r.patience = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() {
		_, err := r.Reserve(ctx, product.Missing, 5, nil)
		stopped <- err
	}()
	testenv.Eventually(t, time.Minute, func() bool { return r.Paused().Cause == Away }, "the pause")
	cancel()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that was stopped ended with %v", err)
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
	_, err := r.Reserve(ctx, product.Missing, 1, nil)
	if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || took > 20*time.Second {
		t.Errorf("it took %s and ended with %v", took, err)
	}
	r.publishing.Thaw()
	confirmed(t, repairsOf(t, 1, 1), mustRepair(t, r, repairsOf(t, 1, 1)))
}

// Where the broker refuses what is published, once more would be refused once more.
func TestRefusedPublishing(t *testing.T) {
	t.Parallel()
	repairs := repairsOf(t, 1, 20)
	t.Run("the exchange is gone", func(t *testing.T) {
		t.Parallel()
		r := replaying(t, func(c *Config) { c.Route = ByExchange })
		confirmed(t, repairs, mustRepair(t, r, repairs))
		r.broker.Do(func(ch *amqp.Channel) error { return ch.ExchangeDelete(rabbit.Exchange, false, false) })
		_, err := r.publish(t.Context(), 2, repairs)
		testenv.CheckMessage(t, err, "publish to exchange product-service", "does not exist", "restart the Cart Service", "NOT_FOUND")
		r.broker.DeclareTopology()
		confirmed(t, repairs, mustRepair(t, r, repairs))
	})
	for route, exchange := range map[Route]string{ByQueue: "the default exchange, amq.default", ByExchange: "exchange product-service"} {
		t.Run("no right to write by "+string(route), func(t *testing.T) {
			t.Parallel()
			r := replaying(t, func(c *Config) { c.Route = route })
			r.conn = rabbit.NewConnection(rabbit.Config{URL: secret.URL(reader(t, r.broker))}, "etl producer")
			t.Cleanup(r.conn.Close)
			_, err := r.publish(t.Context(), 1, repairs)
			testenv.CheckMessage(t, err, "publish to "+exchange, "write permission", "ACCESS_REFUSED")
			if n := r.broker.QueueStats(rabbit.CreatedQueue).Ready; n != 0 {
				t.Errorf("%d events are in the queue", n)
			}
		})
	}
}

// What the broker nacks is not there: it is sent again, fewer at a time, and arrives once.
func TestQueueThatRefusesEvents(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t, testenv.ClassicQueues()) // a quorum queue takes some more than its limit before it refuses
	broker.Do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(rabbit.CreatedQueue, true, false, false, false, amqp.Table{"x-max-length": 20, "x-overflow": "reject-publish"})
		return err
	})
	r := replayingOn(t, broker, func(c *Config) { c.MaxQueueDepth = 200 })
	counts := [4]int{}
	r.Count = func(confirmed, returned, nacked, unknown int) {
		counts[0], counts[1], counts[2], counts[3] = counts[0]+confirmed, counts[1]+returned, counts[2]+nacked, counts[3]+unknown
	}
	repairs := repairsOf(t, 1, 300)
	results := mustRepair(t, r, repairs[:200])
	fates := map[product.Fate]int{}
	for i, result := range results {
		fates[result.Fate]++
		if result.ID != repairs[i].Row.ID || result.Err != nil {
			t.Fatalf("%+v", result)
		}
	}
	if fates[product.Confirmed] < 20 || fates[product.Confirmed]+fates[product.Nacked] != 200 || counts != [4]int{fates[product.Confirmed], 0, fates[product.Nacked], 0} {
		t.Errorf("the fates are %v, counted %v", fates, counts)
	}
	if n, _ := r.missing().limit.now(); n != 100 {
		t.Errorf("after nacks the limit is %d", n)
	}
	pending := repairs[200:]
	for i, result := range results {
		if result.Fate == product.Nacked {
			pending = append(pending, repairs[i])
		}
	}
	cart := consume(t, broker, rabbit.CreatedQueue, false)
	batches := 0
	for ; len(pending) > 0; batches++ {
		n, err := r.Reserve(t.Context(), product.Missing, len(pending), nil)
		if err != nil {
			t.Fatal(err)
		}
		batch := pending[:n]
		pending = slices.Clone(pending[n:])
		for i, result := range mustRepair(t, r, batch) {
			if result.Fate == product.Nacked {
				pending = append(pending, batch[i])
			}
		}
	}
	testenv.Eventually(t, time.Minute, func() error {
		if n := len(cart.deliveries()); n < len(repairs) {
			return fmt.Errorf("it has %d", n)
		}
		return nil
	}, "the cart to have all events")
	got, want := idsOf(t, cart.deliveries()), (platform.Assortment{Seed: 1, N: 300}).Keys()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d events in %d batches, want each of %d once", len(got), batches, len(want))
	}
}

// One event above the broker's limit costs nothing but itself.
func TestEventAboveTheBrokersLimit(t *testing.T) {
	t.Parallel()
	r := replaying(t, nil)
	repairs := repairsOf(t, 1, 60)
	repairs[20].Product.Tags = []string{strings.Repeat("x", 17<<20)}
	repairs[40].Product.Tags = repairs[20].Product.Tags
	pending, blocked, sent := repairs, map[product.ID]string{}, map[string]bool{}
	for attempts := 0; len(pending) > 0 && attempts < 5; attempts++ {
		var untried []product.Repair
		for i, result := range mustRepair(t, r, pending) {
			var misfit *product.Misfit
			switch {
			case result.Fate.MayArrive():
				sent[string(result.ID)] = true
			case errors.As(result.Err, &misfit):
				blocked[result.ID] = misfit.Error()
			default:
				untried = append(untried, pending[i])
			}
		}
		pending = untried
	}
	if len(pending) > 0 || len(sent) != 58 || len(blocked) != 2 {
		t.Fatalf("%d are sent, %d blocked, %d untried", len(sent), len(blocked), len(pending))
	}
	for _, i := range []int{20, 40} {
		if reason := blocked[repairs[i].Row.ID]; !strings.Contains(reason, "bytes or more, and etl sends at most 16777216") {
			t.Errorf("blocked: %q", reason)
		}
	}
	if n := r.publishing.Accepted(); n != 1 {
		t.Errorf("%d connections", n)
	}
	ids := idsOf(t, r.broker.Drain(rabbit.CreatedQueue))
	for _, id := range ids {
		if !sent[id] {
			t.Errorf("%s is in the queue, once too often or not as sent", id)
		}
		delete(sent, id)
	}
	for id := range sent {
		t.Errorf("%s is not in the queue", id)
	}
}

func TestSizeLimit(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]int64{
		"PRECONDITION_FAILED - message size 19000123 is larger than configured max size 16777216": 16777216,
		"PRECONDITION_FAILED - message size 600000000 is larger than max size 536870912":          536870912,
		"PRECONDITION_FAILED - invalid expiration 'never': no_integer":                            0,
	} {
		if got := sizeLimit(&amqp.Error{Code: amqp.PreconditionFailed, Reason: reason}); got != want {
			t.Errorf("%s: %d", reason, got)
		}
	}
	if got := sizeLimit(nil); got != 0 {
		t.Errorf("no reason: %d", got)
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
	confirmed(t, repairs, mustRepair(t, r, repairs))
	if n := r.publishing.Accepted(); n != 1 {
		t.Errorf("%d connections", n)
	}
	for i, id := range idsOf(t, queued(t, r.broker, rabbit.CreatedQueue, len(repairs))) {
		if id != string(repairs[i].Row.ID) {
			t.Errorf("event %d has an id of %d bytes", i, len(id))
		}
	}
	r.broker.Do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(rabbit.CreatedQueue, false, false, false)
		return err
	})
	results, err := r.publish(t.Context(), 2, repairs)
	testenv.CheckMessage(t, err, "NO_ROUTE")
	for _, result := range results {
		if result.Fate != product.Untried || !errors.As(result.Err, new(*UnroutableError)) {
			t.Errorf("an id of %d bytes, returned: fate %d, %v", len(result.ID), result.Fate, result.Err)
		}
	}
}

// While the broker is short of memory it reads nothing from publishers. That time
// does not count: the events are not lost, only late.
func TestBlockedBroker(t *testing.T) {
	t.Parallel()
	node, broker := testenv.PrivateBroker(t)
	broker.DeclareTopology()
	r := replayingOn(t, broker, func(c *Config) { c.ConfirmTimeout = 5 * time.Second })
	consume(t, broker, rabbit.CreatedQueue, true)
	alarm := func(watermark string) {
		t.Helper()
		if _, err := node.Control("set_vm_memory_high_watermark", "absolute", watermark); err != nil {
			t.Fatal(err)
		}
	}
	repairs := repairsOf(t, 1, 400)
	confirmed(t, repairs[:5], mustRepair(t, r, repairs[:5]))
	blocked := func() bool { return strings.Contains(r.Throttle(), "the broker blocks publishers: ") }

	alarm("1")
	answered := r.repairing(t.Context(), repairs[5:10])
	testenv.Eventually(t, time.Minute, blocked, "the reason")
	// Longer than the confirm timeout, it still waits.
	waited := time.Now()
	testenv.Eventually(t, time.Minute, func() bool { return time.Since(waited) > r.config.ConfirmTimeout+time.Second }, "some time to pass")
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
	confirmed(t, repairs[5:10], a.results)

	// A run that is being stopped waits no longer, also when the broker takes no
	// more bytes. What it wrote is unknown, the rest was not published.
	alarm("1")
	for i := range repairs {
		repairs[i].Product.Tags = []string{strings.Repeat("x", 100_000)}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answered = r.repairing(ctx, repairs[10:])
	testenv.Eventually(t, time.Minute, blocked, "the reason")
	cancel()
	select {
	case a = <-answered:
	case <-time.After(time.Minute):
		t.Fatal("it waits on")
	}
	if a.err != nil || a.results[0].Fate != product.Unknown || a.results[len(a.results)-1].Fate != product.Untried {
		t.Errorf("%+v …, %v", a.results[0], a.err)
	}

	// Reserve waits before it publishes anything into a broker that blocks.
	if err := r.missing().open(t.Context()); err != nil {
		t.Fatal(err)
	}
	answered = r.repairing(t.Context(), repairs[:1])
	testenv.Eventually(t, time.Minute, func() bool { return r.conn.Blocked() != "" }, "the connection to be blocked")
	testenv.Eventually(t, r.config.ConfirmTimeout/2, blocked, "the reason, before a confirm is late")
	fresh := replayingOn(t, broker, nil) // whose connection has not published yet, so that it does not know
	for _, r := range []*replay{r, fresh} {
		if err := r.Check(t.Context(), []product.Kind{product.Missing}); err != nil {
			t.Errorf("the check: %v", err)
		}
	}
	if n, _, pause := r.missing().credit(t.Context(), nil); n != 0 || pause.Cause != Blocked {
		t.Errorf("a credit of %d, %+v", n, pause)
	}
	// Nor does it wait for a channel that would never be opened, without a word: the check
	// was what this connection has published.
	reserved := make(chan error, 1)
	go func() {
		_, err := fresh.Reserve(t.Context(), product.Missing, 5, nil)
		reserved <- err
	}()
	testenv.Eventually(t, time.Minute, func() bool { return strings.Contains(fresh.Throttle(), "the broker blocks publishers: ") }, "the reason of the other")
	alarm("1GB")
	if a := <-answered; a.err != nil || a.results[0].Fate != product.Confirmed {
		t.Errorf("%+v, %v", a.results, a.err)
	}
	if err := <-reserved; err != nil {
		t.Errorf("the other: %v", err)
	}
	if n, err := r.Reserve(t.Context(), product.Missing, 5, nil); err != nil || n != 5 {
		t.Errorf("%d are granted, %v", n, err)
	}
}

// Batches may be under way at once: each has the answers to its own events, whichever way they
// end.
func TestBatchesAtOnce(t *testing.T) {
	t.Parallel()
	const batches, each = 6, 150
	var made atomic.Int64
	r := replaying(t, nil)
	r.Count = func(confirmed, returned, _, _ int) { made.Add(int64(confirmed + returned)) }
	repairs := repairsOf(t, 1, batches*each)
	all := func(check func([]product.Result, error)) {
		t.Helper()
		var under sync.WaitGroup
		var mu sync.Mutex
		for batch := range slices.Chunk(repairs, each) {
			under.Go(func() {
				results, err := r.Repair(t.Context(), product.Missing, 1, batch)
				mu.Lock()
				defer mu.Unlock()
				for i := range results {
					if results[i].ID != batch[i].Row.ID {
						t.Errorf("the result of %s is that of %s", batch[i].Row.ID, results[i].ID)
					}
				}
				check(results, err)
			})
		}
		under.Wait()
	}
	holder := consume(t, r.broker, rabbit.CreatedQueue, true)
	if _, err := r.Reserve(t.Context(), product.Missing, 1, nil); err != nil {
		t.Fatal(err)
	}
	all(func(results []product.Result, err error) {
		if err != nil {
			t.Error(err)
		}
		for _, result := range results {
			if result.Fate != product.Confirmed {
				t.Errorf("%s: fate %d, %v", result.ID, result.Fate, result.Err)
			}
		}
	})
	holder.leave(t)
	ids := idsOf(t, r.broker.Drain(rabbit.CreatedQueue))
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != batches*each || len(ids) != n || made.Load() != int64(n) {
		t.Errorf("%d events of %d products, %d were counted, for %d repairs", len(ids), n, made.Load(), batches*each)
	}
	// Returned ones come to the batch that they belong to. One that had to wait too long for its
	// turn is not sent.
	r.broker.Do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(rabbit.CreatedQueue, false, false, false)
		return err
	})
	returned := 0
	all(func(results []product.Result, err error) {
		for _, result := range results {
			if result.Fate != product.Untried {
				t.Errorf("%s: fate %d, %v", result.ID, result.Fate, result.Err)
			}
			if errors.As(result.Err, new(*UnroutableError)) {
				returned++
			} else if result.Err != nil || err != nil {
				t.Errorf("%v, and %v", result.Err, err)
			}
		}
	})
	if returned == 0 {
		t.Error("nothing was returned")
	}
}
