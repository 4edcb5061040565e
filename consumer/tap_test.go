package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/testenv"
)

// judging is a judge that a test tells what the cart has consumed, and that remembers what it
// was asked.
type judging struct {
	mu     sync.Mutex
	sights map[product.Kind]Sight
	err    error
	asked  [][]product.ID
	// announced are those of all that was asked whose creation was among the events.
	announced map[product.ID]bool
	gaps      []time.Duration
}

func (j *judging) Sight(kind product.Kind) Sight {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.sights[kind]
}

func (j *judging) Check(_ context.Context, ids []product.ID, announced map[product.ID]bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		if j.announced == nil {
			j.announced = make(map[product.ID]bool)
		}
		maps.Copy(j.announced, announced)
		j.asked = append(j.asked, slices.Sorted(slices.Values(ids)))
	}
	return j.err
}

func (j *judging) Announced(_ context.Context, gap time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.gaps = append(j.gaps, gap)
}

// sees sets what the cart has consumed of some kinds.
func (j *judging) sees(s Sight, kinds ...product.Kind) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.sights == nil {
		j.sights = make(map[product.Kind]Sight)
	}
	for _, kind := range kinds {
		j.sights[kind] = s
	}
}

func (j *judging) fails(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.err = err
}

func (j *judging) all() (ids []product.ID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, some := range j.asked {
		ids = append(ids, some...)
	}
	slices.Sort(ids)
	return ids
}

// tapping is a tap that runs.
type tapping struct {
	*Tap
	*judging
	broker *testenv.Broker
}

// tapOn starts a tap that uses url on a broker with the cart's topology.
func tapOn(t *testing.T, broker *testenv.Broker, url string, change func(*Tap)) *tapping {
	t.Helper()
	broker.DeclareTopology()
	s := &tapping{judging: &judging{}, broker: broker}
	s.Tap = NewTap(connect(t, url), s.judging, slog.New(slog.DiscardHandler))
	if change != nil {
		change(s.Tap)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			t.Errorf("the tap: %v", err)
		}
	}()
	t.Cleanup(func() { stop(); <-done })
	return s
}

func (s *tapping) connected(t *testing.T) {
	t.Helper()
	testenv.Eventually(t, patience, func() error {
		if state := s.State(); !state.Connected {
			return errors.New(state.Err)
		}
		return nil
	}, "the tap to be connected")
}

// wantLeft waits until so many events are in the tap's queue, or in hand.
func (s *tapping) wantLeft(t *testing.T, n int) {
	t.Helper()
	testenv.Eventually(t, patience, func() error {
		if held, ready := s.State().Held, s.broker.QueueStats(TapQueue).Ready; held+ready != n {
			return fmt.Errorf("%d are in hand and %d in the queue", held, ready)
		}
		return nil
	}, fmt.Sprintf("%d events to be left", n))
}

// wantLooked waits until these products, and no others, were looked at, each once.
func (s *tapping) wantLooked(t *testing.T, ids ...product.ID) {
	t.Helper()
	testenv.Eventually(t, patience, func() error {
		if all := s.all(); !slices.Equal(all, ids) {
			return fmt.Errorf("looked at %q", all)
		}
		return nil
	}, fmt.Sprintf("a look at %q", ids))
}

func body(id string) []byte { return fmt.Appendf(nil, `{"id":%q,"title":"a lamp"}`, id) }

// An event is looked at once the cart has consumed it and what created its product, several of
// one product once, and none that is ours.
func TestTapLooksAtWhatWasConsumed(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	s := tapOn(t, broker, broker.URL, nil)
	s.connected(t)
	id := fmt.Sprintf("%08x0123456789abcdef", time.Now().Add(-5*time.Second).Unix())
	broker.Publish(rabbit.CreatedQueue, body(id), body("a"), body("a"))
	broker.Publish(rabbit.UpdatedQueue, body("a"), body("b"))
	broker.Publish(rabbit.DeletedQueue, []byte(`{"id":"c"}`))
	broker.PublishTo(rabbit.Exchange, rabbit.CreatedQueue, amqp.Publishing{AppId: "etl", Body: body("ours")})
	s.wantLeft(t, 6)
	if ids := s.all(); len(ids) > 0 {
		t.Errorf("%q were looked at before the cart has consumed them", ids)
	}
	future := Sight{Passed: time.Now().Add(time.Hour)}
	s.sees(future, product.Stale) // whose products may not be there yet
	s.sees(future, product.Missing)
	s.wantLooked(t, product.ID(id), "a", "b")
	s.wantLeft(t, 1)
	s.sees(future, product.Orphaned)
	s.wantLooked(t, product.ID(id), "a", "b", "c")
	s.wantLeft(t, 0)
	s.judging.mu.Lock()
	defer s.judging.mu.Unlock()
	if want := map[product.ID]bool{product.ID(id): true, "a": true, "b": false, "c": false}; !maps.Equal(s.announced, want) {
		t.Errorf("announced are %v", s.announced)
	}
}

// How late events are is learnt from those that come as they are published.
func TestTapMeasuresHowLateEventsAre(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	late := fmt.Sprintf("%08x0123456789abcdef", time.Now().Add(-7*time.Second).Unix())
	first := tapOn(t, broker, broker.URL, nil)
	first.connected(t)
	broker.Publish(rabbit.CreatedQueue, body(late), body("no ObjectId"))
	first.wantLeft(t, 2)
	first.judging.mu.Lock()
	gaps := slices.Clone(first.gaps)
	first.judging.mu.Unlock()
	if len(gaps) != 1 || gaps[0] < 6*time.Second || gaps[0] > time.Minute {
		t.Errorf("the gaps are %s", gaps)
	}
}

// Events that the cart does not consume are given back, and looked at when it does again.
func TestTapGivesBackWhatStands(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	s := tapOn(t, broker, broker.URL, func(tap *Tap) { tap.stands = time.Second })
	s.connected(t)
	s.sees(Sight{Stands: time.Hour, Why: "nobody consumes"}, product.Kinds()...)
	broker.Publish(rabbit.CreatedQueue, body("a"), body("b"))
	testenv.Eventually(t, patience, func() bool { return strings.Contains(s.State().Err, "the cart does not consume: nobody consumes") }, "the tap to pause")
	testenv.Eventually(t, patience, func() bool { return broker.QueueStats(TapQueue).Ready == 2 }, "the events to be given back")
	s.sees(Sight{Passed: time.Now().Add(time.Hour)}, product.Kinds()...)
	s.wantLooked(t, []product.ID{"a", "b"}...)
	s.connected(t)
}

// While products cannot be looked at no event is acknowledged.
func TestTapOutlivesTheStores(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	s := tapOn(t, broker, broker.URL, nil)
	s.sees(Sight{Passed: time.Now().Add(time.Hour)}, product.Kinds()...)
	s.fails(errAway)
	s.connected(t)
	broker.Publish(rabbit.CreatedQueue, body("a"))
	testenv.Eventually(t, patience, func() bool { return strings.Contains(s.State().Err, errAway.Error()) }, "the reason")
	s.wantLeft(t, 1)
	s.fails(nil)
	s.wantLooked(t, "a")
	testenv.Eventually(t, patience, func() bool { return s.State().Err == "" }, "the reason to be gone")
	// Nor does the loss of the connection lose anything.
	s.fails(errAway)
	broker.Publish(rabbit.CreatedQueue, body("b"))
	s.wantLeft(t, 1)
	broker.ForceCloseConnections("etl consumer")
	s.fails(nil)
	s.wantLooked(t, []product.ID{"a", "b"}...)
}

// An event that no consumer can read is named, and holds up nothing.
func TestTapNamesWhatNobodyCanRead(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	s := tapOn(t, broker, broker.URL, nil)
	s.sees(Sight{Passed: time.Now().Add(time.Hour)}, product.Kinds()...)
	s.connected(t)
	broker.Publish(rabbit.CreatedQueue, []byte(`{"id":`), []byte(`{"title":"a lamp"}`), []byte(`{"id":7}`), body("a"))
	testenv.Eventually(t, patience, func() bool { return slices.Equal(s.all(), []product.ID{"a"}) }, "the readable one")
	s.wantLeft(t, 0)
	if state := s.State(); !strings.Contains(state.Unreadable, "an event for queue product-created of 8 bytes cannot be read, and stops the cart's consumer") || state.UnreadableAt.IsZero() {
		t.Errorf("%+v", state)
	}
}

// A tap that may not bind, or had better not, says so, and takes nothing from anybody.
func TestTapStaysOff(t *testing.T) {
	t.Parallel()
	t.Run("no right to bind", func(t *testing.T) {
		t.Parallel()
		broker := testenv.Vhost(t)
		url := broker.User("", map[string]string{"configure": ".*", "write": ".*", "read": `^etl(\..*)?$`})
		s := tapOn(t, broker, url, nil)
		testenv.Eventually(t, patience, func() bool {
			return strings.Contains(s.State().Err, `the broker's user may not bind queue etl.tap to exchange product-service, which needs the read permission on "^product-service$"`)
		}, "the reason")
		if s.State().Connected {
			t.Error("it is connected")
		}
	})
	t.Run("alternate exchange", func(t *testing.T) {
		t.Parallel()
		broker := testenv.Vhost(t)
		broker.DeclareTopology()
		broker.Do(func(ch *amqp.Channel) error { // from when there was none
			if _, err := ch.QueueDeclare(TapQueue, true, false, false, false, nil); err != nil {
				return err
			}
			return ch.QueueBind(TapQueue, rabbit.CreatedQueue, rabbit.Exchange, false, nil)
		})
		s := tapOn(t, broker, broker.URL, func(tap *Tap) {
			tap.Alternate = func(context.Context) (string, error) { return "unroutable", nil }
		})
		testenv.Eventually(t, patience, func() bool {
			return strings.Contains(s.State().Err, "exchange product-service has the alternate exchange unroutable, which a binding of ours would take messages from")
		}, "the reason")
		broker.Do(func(ch *amqp.Channel) error {
			// A queue that is there would refuse to be another kind of queue.
			_, err := ch.QueueDeclare(TapQueue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
			return err
		})
	})
}
