package cart_test

import (
	"maps"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

func TestConsumerCountsEachProduct(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.db.Insert(known)
	consumer := s.start(cart.Config{})
	s.broker.Publish(platform.ProductCreated, []byte(newEvent), []byte(newEvent), []byte(with(`"new"`, `"known"`)), []byte(newEvent))
	s.broker.Publish(platform.ProductUpdated, []byte(`{"id":"known","price":5}`), []byte(`{"id":"known","price":6}`))
	s.broker.Publish(platform.ProductDeleted, []byte(`{"id":"known"}`))
	// The queues are consumed side by side, so that the known product may be gone before it is updated.
	s.wantAcked(consumer, 7)
	if got := consumer.CountsOf("new"); got != (cart.Counts{Inserted: 1, Ignored: 2}) {
		t.Errorf("of the new product: %+v", got)
	}
	if got := consumer.CountsOf("known"); got.Deleted+got.Updated == 0 || got.Acked() != 4 {
		t.Errorf("of the known product: %+v", got)
	}
	if got := consumer.CountsOf("unheard of"); got != (cart.Counts{}) {
		t.Errorf("of another product: %+v", got)
	}
	for queue, want := range map[string]map[string]int{
		platform.ProductCreated: {"new": 3},
		platform.ProductUpdated: {"known": 2},
		platform.ProductDeleted: {},
	} {
		if got := consumer.Repeated(queue); !maps.Equal(got, want) {
			t.Errorf("repeated in %s: %v, want %v", queue, got, want)
		}
	}
}

// What dies over an event gets it again; that is not a second event.
func TestRedeliveredEventsAreNotRepeated(t *testing.T) {
	t.Parallel()
	s := setup(t)
	consumer := s.start(cart.Config{Restart: true, RestartDelay: time.Millisecond})
	s.db.Insert(held)
	s.db.Hold(held.ID)
	s.broker.Publish(platform.ProductDeleted, []byte(`{"id":"held"}`))
	testenv.Eventually(t, timeout, func() bool { return consumer.Restarts() >= 2 }, "deaths over one event")
	s.db.Exec("DELETE FROM cart")
	testenv.Eventually(t, timeout, func() bool { return consumer.Counts().Deleted == 1 }, "the event to be handled")
	if got := consumer.Repeated(platform.ProductDeleted); len(got) != 0 {
		t.Errorf("repeated: %v", got)
	}
}

func TestConsumerWithoutPrefetchHoldsEverything(t *testing.T) {
	t.Parallel()
	s := setup(t)
	consumer := s.start(cart.Config{NoPrefetch: true, DelayPerEvent: time.Hour})
	_, events := created(500)
	s.broker.Publish(platform.ProductCreated, events...)
	testenv.Eventually(t, timeout, func() bool {
		return s.broker.QueueStats(platform.ProductCreated) == testenv.QueueStats{Consumers: 1}
	}, "all events to be held")
	consumer.Kill()
	testenv.Eventually(t, timeout, func() bool {
		return s.broker.QueueStats(platform.ProductCreated).Ready == len(events)
	}, "all events to be back")
}

func TestForgetfulConsumerStoresNothing(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.db.Insert(known)
	consumer := s.start(cart.Config{Forgetful: true, DelayPerEvent: time.Millisecond})
	s.broker.Publish(platform.ProductCreated, []byte(newEvent))
	s.broker.Publish(platform.ProductUpdated, []byte(`{"id":"known","title":"T"}`))
	s.broker.Publish(platform.ProductDeleted, []byte(`{"id":"known"}`))
	s.wantAcked(consumer, 3)
	if got := consumer.Counts(); got != (cart.Counts{Ignored: 3}) {
		t.Errorf("%+v", got)
	}
	if rows := s.db.Rows(); len(rows) != 1 || rows[0] != known {
		t.Errorf("the cart holds %+v", rows)
	}
}

func TestConsumerTakesQuorumQueues(t *testing.T) {
	t.Parallel()
	s := fixture{t, testenv.Vhost(t, testenv.QuorumQueues()), testenv.Cart(t)}
	consumer := s.start(cart.Config{})
	s.broker.Publish(platform.ProductCreated, []byte(newEvent))
	s.wantAcked(consumer, 1)
	if row, ok := s.db.Row("new"); !ok || row != added {
		t.Errorf("the cart holds %+v, %t, want %+v", row, ok, added)
	}
}
