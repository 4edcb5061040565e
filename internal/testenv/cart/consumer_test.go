package cart_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// created are the ProductCreated events of n products.
func created(n int) (platform.Assortment, [][]byte) {
	products := platform.Assortment{Seed: 1, N: n}
	events := make([][]byte, 0, n)
	for product := range products.All() {
		events = append(events, product.Event())
	}
	return products, events
}

func TestConsumerStoresWhatTheProductServicePublishes(t *testing.T) {
	t.Parallel()
	s := setup(t)
	products, events := created(2_000)
	s.broker.DeclareTopology()
	s.broker.Publish(platform.ProductCreated, events...)

	began := time.Now()
	consumer := s.start(cart.Config{})
	s.wantAcked(consumer, products.N)
	t.Logf("%.0f events/s", float64(products.N)/time.Since(began).Seconds())
	if counts := consumer.Counts(); counts != (cart.Counts{Inserted: products.N}) {
		t.Errorf("got %+v, want %d inserted", counts, products.N)
	}
	if n := s.db.Count(); n != products.N {
		t.Errorf("the cart holds %d products, want %d", n, products.N)
	}
	for _, i := range []int{0, 999, 1_999} {
		if row, ok := s.db.Row(products.Key(i)); !ok || row != testenv.RowOf(products.Product(i)) {
			t.Errorf("product %d is %+v, %t", i, row, ok)
		}
	}
}

func TestConsumerHoldsOneEventOfEachQueue(t *testing.T) {
	t.Parallel()
	s := setup(t)
	consumer := s.start(cart.Config{DelayPerEvent: time.Hour})
	_, events := created(3)
	s.broker.Publish(platform.ProductCreated, events...)
	s.broker.Publish(platform.ProductUpdated, events...)
	for _, queue := range []string{platform.ProductCreated, platform.ProductUpdated} {
		testenv.Eventually(t, timeout, func() error {
			if stats := s.broker.QueueStats(queue); stats != (testenv.QueueStats{Ready: 2, Consumers: 1}) {
				return fmt.Errorf("%s: %+v", queue, stats)
			}
			return nil
		}, "one event to be held")
	}
	for _, queue := range []string{platform.ProductDeleted, platform.ProductQuantityUpdated, platform.OrderCreated} {
		if stats := s.broker.QueueStats(queue); stats != (testenv.QueueStats{Consumers: 1}) {
			t.Errorf("%s: %+v, want one consumer", queue, stats)
		}
	}
	consumer.Kill()
	if counts, err := consumer.Counts(), consumer.Err(); counts.Acked() != 0 || err != nil {
		t.Errorf("killed at work: acked %+v, error %v", counts, err)
	}
	testenv.Eventually(t, timeout, func() bool {
		return s.broker.QueueStats(platform.ProductCreated).Ready == 3
	}, "the event in hand to be back")
}

func TestStopFinishesTheEventInHand(t *testing.T) {
	t.Parallel()
	s := setup(t)
	consumer := s.start(cart.Config{DelayPerEvent: 300 * time.Millisecond})
	_, events := created(2)
	s.broker.Publish(platform.ProductCreated, events...)
	testenv.Eventually(t, timeout, func() bool { return finding(s) }, "the product to be looked up")
	consumer.Stop()
	consumer.Stop()
	consumer.Kill()
	s.wantAcked(consumer, 1)
	// A quorum queue hears a little later than its consumer's connection that the consumer has gone.
	testenv.Eventually(t, timeout, func() bool {
		return s.broker.QueueStats(platform.ProductCreated) == testenv.QueueStats{Ready: 1}
	}, "the event that was not in hand to be back")
}

// finding tells whether the consumer has looked up a product: its last statement was that.
func finding(s fixture) bool {
	s.t.Helper()
	var found bool
	err := s.db.Pool.QueryRow(s.t.Context(),
		`SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1 AND datname = $2 AND state = 'idle' AND query LIKE 'SELECT id%')`,
		cart.ConnectionName, s.db.Name).Scan(&found)
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

func TestConsumerEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	consumer, err := cart.Start(ctx, cart.Config{BrokerURL: s.broker.URL, DatabaseURL: s.db.URL, Restart: true})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-consumer.Done()
	if err := consumer.Err(); err != nil {
		t.Errorf("it died: %v", err)
	}
}

func TestARowWrittenBetweenFindAndInsertKills(t *testing.T) {
	t.Parallel()
	s := setup(t)
	// The other's row is written, but not committed: the consumer does not find it, and waits for it to insert its own.
	other, err := s.db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(t.Context(), `INSERT INTO product VALUES ('new', 'other', 1, 'i', 's', 1)`); err != nil {
		t.Fatal(err)
	}
	consumer := s.start(cart.Config{})
	s.broker.Publish(platform.ProductCreated, []byte(newEvent))
	testenv.Eventually(t, timeout, func() bool {
		var waits bool
		err := s.db.Pool.QueryRow(t.Context(),
			`SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock')`, s.db.Name).Scan(&waits)
		return err == nil && waits
	}, "the consumer to wait for the other's row")
	if err := other.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.wantDead(consumer, "23505")
	s.wantQueue(platform.ProductCreated, newEvent)
}

func TestPoisonKillsEachRestartAndHoldsUpTheQueue(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.broker.DeclareTopology()
	poison := with("777", "9.99")
	s.broker.Publish(platform.ProductCreated, []byte(poison), []byte(newEvent))
	consumer := s.start(cart.Config{Restart: true, RestartDelay: time.Millisecond})
	testenv.Eventually(t, timeout, func() bool { return consumer.Restarts() >= 3 }, "three restarts")
	if counts := consumer.Counts(); counts.Acked() != 0 {
		t.Errorf("acked %+v behind the poison", counts)
	}
	consumer.Stop()
	if err := consumer.Err(); err == nil || !strings.Contains(err.Error(), "22P02") {
		t.Errorf("died of %v, want 22P02", err)
	}
	testenv.Eventually(t, timeout, func() bool { return s.broker.QueueStats(platform.ProductCreated).Ready == 2 }, "both events to be back")
	back := s.broker.Drain(platform.ProductCreated)
	if string(back[0].Body) != poison || !back[0].Redelivered || string(back[1].Body) != newEvent {
		t.Errorf("the queue holds %s, %s", back[0].Body, back[1].Body)
	}
}

func TestRestartedConsumerGoesOn(t *testing.T) {
	t.Parallel()
	s := setup(t)
	proxy, through := testenv.ProxyTo(t, s.broker.URL)
	consumer := s.start(cart.Config{BrokerURL: through, Restart: true, RestartDelay: time.Millisecond})
	proxy.Cut()
	testenv.Eventually(t, timeout, func() bool { return consumer.Restarts() >= 3 }, "vain restarts")
	s.broker.Publish(platform.ProductCreated, []byte(newEvent))
	proxy.Restore()
	testenv.Eventually(t, timeout, func() bool { return consumer.Counts().Inserted == 1 }, "the event to be handled")
}

func TestConsumerDiesWhenItsConnectionIsReset(t *testing.T) {
	t.Parallel()
	s := setup(t)
	proxy, through := testenv.ProxyTo(t, s.broker.URL)
	consumer := s.start(cart.Config{BrokerURL: through})
	proxy.Reset()
	s.wantDead(consumer, "connection to the broker was lost")
}

func TestConsumerIsDeafAfterTheBrokerClosedItsConnection(t *testing.T) {
	t.Parallel()
	s := setup(t)
	consumer := s.start(cart.Config{Restart: true})
	s.broker.ForceCloseConnections("^cart service")
	testenv.Eventually(t, timeout, consumer.Deaf, "the consumer to be deaf")
	select {
	case <-consumer.Done():
		t.Error("the consumer has ended")
	default:
	}
	testenv.Eventually(t, timeout, func() bool {
		return s.broker.QueueStats(platform.ProductCreated).Consumers == 0
	}, "its queue to hear that it has gone")
	consumer.Stop()
	if consumer.Restarts() != 0 || consumer.Err() != nil {
		t.Errorf("it restarted %d times, having died of %v", consumer.Restarts(), consumer.Err())
	}
}

func TestConsumerDiesWhenItsQueueIsDeleted(t *testing.T) {
	t.Parallel()
	s := setup(t)
	consumer := s.start(cart.Config{})
	s.broker.Do(func(channel *amqp.Channel) error {
		_, err := channel.QueueDelete(platform.ProductCreated, false, false, false)
		return err
	})
	s.wantDead(consumer, "queue was deleted")
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := fixture{t, testenv.Vhost(t, testenv.ClassicQueues()), testenv.Cart(t)}
	nowhere, broker := testenv.ProxyTo(t, s.broker.URL)
	database := nowhere.URL(s.db.URL)
	nowhere.Cut()
	for want, config := range map[string]cart.Config{
		"connect to the broker":          {BrokerURL: broker, DatabaseURL: s.db.URL},
		"connect to the cart's database": {BrokerURL: s.broker.URL, DatabaseURL: database},
	} {
		if _, err := cart.Start(t.Context(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	// A queue that is there with other arguments keeps the cart from starting.
	s.broker.Do(func(channel *amqp.Channel) error {
		_, err := channel.QueueDeclare(platform.ProductCreated, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
		return err
	})
	if _, err := cart.Start(t.Context(), cart.Config{BrokerURL: s.broker.URL, DatabaseURL: s.db.URL}); err == nil || !strings.Contains(err.Error(), "406") {
		t.Errorf("got %v, want 406", err)
	}
}

func TestThiefTakesEventsAway(t *testing.T) {
	t.Parallel()
	s := setup(t)
	thief, err := cart.StartThief(t.Context(), cart.ThiefConfig{BrokerURL: s.broker.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(thief.Stop)
	consumer := s.start(cart.Config{})
	if stats := s.broker.QueueStats(platform.ProductCreated); stats.Consumers != 2 {
		t.Fatalf("got %+v, want two consumers", stats)
	}
	products, events := created(500)
	s.broker.Publish(platform.ProductCreated, events...)
	testenv.Reaches(t, timeout, products.N, func() int { return consumer.Counts().Acked() + thief.Taken() }, "events to be gone")
	thief.Stop()
	if n := s.db.Count(); n == 0 || n == products.N || n != products.N-thief.Taken() {
		t.Errorf("the cart has got %d of %d, the thief %d", n, products.N, thief.Taken())
	}
}
