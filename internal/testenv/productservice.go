package testenv

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// ProductService imitates the Product Service where that matters to its listeners: it stores first and publishes
// afterwards, one event after the other from a queue in its own process. Under a burst the last events leave long
// after their products were stored. Its methods are to be called from the test's goroutine.
type ProductService struct {
	tb        testing.TB
	catalogue *Catalogue
	broker    *Broker
	interval  time.Duration // from one event to the next
	made      platform.Assortment
	created   int

	mu        sync.Mutex
	waiting   []announcement
	published int
	changed   chan struct{} // has room for one: there may be something to publish
}

// announcement is an event that has not been published yet.
type announcement struct {
	routingKey string
	body       []byte
}

// ProductServiceOption changes the Product Service that NewProductService makes.
type ProductServiceOption func(*ProductService)

// PublishRate sets how many events it publishes a second, above 0. The real one publishes 20: each event waits for an
// exchange.declare on a socket that delays small packets.
func PublishRate(perSecond float64) ProductServiceOption {
	return func(s *ProductService) { s.interval = time.Duration(float64(time.Second) / perSecond) }
}

// The seed of the products that a Product Service makes, far from those that SeedFrom is called with.
const serviceSeed = oddSeed + 1

// NewProductService starts a Product Service on a catalogue and a broker, on which the platform's topology must have
// been declared. It ends with the test; what it has not published by then is lost.
func NewProductService(tb testing.TB, catalogue *Catalogue, broker *Broker, opts ...ProductServiceOption) *ProductService {
	tb.Helper()
	s := &ProductService{
		tb: tb, catalogue: catalogue, broker: broker,
		made:    platform.Assortment{Seed: serviceSeed},
		changed: make(chan struct{}, 1),
	}
	PublishRate(20)(s)
	for _, opt := range opts {
		opt(s)
	}
	conn, err := dial(broker.URL)
	if err != nil {
		tb.Fatalf("connect the Product Service to the broker: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	var publishing sync.WaitGroup
	publishing.Go(func() {
		if err := s.publish(ctx, conn); err != nil && ctx.Err() == nil {
			tb.Errorf("the Product Service cannot publish: %v", err)
		}
	})
	tb.Cleanup(func() {
		cancel()
		publishing.Wait()
		_ = conn.CloseDeadline(time.Now().Add(patience)) // the test's faults may have closed it
	})
	return s
}

// createBatch is how many products are stored at once. They have one time of creation.
const createBatch = 100

// Create stores n new products, which are of this moment, and returns them in ascending order of their ids. Their
// ProductCreated events follow.
func (s *ProductService) Create(n int) []platform.Product {
	s.tb.Helper()
	products := make([]platform.Product, 0, n)
	for len(products) < n {
		batch := min(createBatch, n-len(products))
		now := time.Now()
		documents := make([]any, batch)
		events := make([]announcement, batch)
		for i := range batch {
			product := s.made.Product(s.created).CreatedAnew(now)
			s.created++
			products = append(products, product)
			documents[i], events[i] = product, announcement{platform.ProductCreated, product.Event()}
		}
		s.catalogue.Insert(documents...)
		s.announce(events...)
	}
	return products
}

// Update changes fields of a product, which keep their types, and its time of update. It returns the product as it is
// then. A ProductUpdated event follows.
func (s *ProductService) Update(id bson.ObjectID, fields ...bson.E) platform.Product {
	s.tb.Helper()
	change := bson.D{{Key: "$set", Value: append(bson.D(fields), bson.E{Key: "updatedAt", Value: time.Now()})}}
	var updated platform.Product
	err := s.catalogue.Collection.FindOneAndUpdate(setupContext(s.tb), bson.D{{Key: "_id", Value: id}}, change,
		options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&updated)
	if err != nil {
		s.tb.Fatalf("update product %s: %v", id.Hex(), err)
	}
	s.announce(announcement{platform.ProductUpdated, updated.Event()})
	return updated
}

// Delete removes products. A ProductDeleted event for each follows.
func (s *ProductService) Delete(ids ...bson.ObjectID) {
	s.tb.Helper()
	keys := make([]any, len(ids))
	events := make([]announcement, len(ids))
	for i, id := range ids {
		keys[i], events[i] = id, announcement{platform.ProductDeleted, platform.Product{ID: id}.DeletedEvent()}
	}
	s.catalogue.Delete(keys...)
	s.announce(events...)
}

// Published is how many events the broker has confirmed.
func (s *ProductService) Published() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.published
}

// Waiting is how many events are still to be published.
func (s *ProductService) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

// WaitPublished waits until nothing is left to be published.
func (s *ProductService) WaitPublished() {
	s.tb.Helper()
	s.mu.Lock()
	all := s.published + len(s.waiting)
	s.mu.Unlock()
	Reaches(s.tb, patience+s.interval, all, s.Published, "published events")
}

func (s *ProductService) announce(events ...announcement) {
	s.mu.Lock()
	s.waiting = append(s.waiting, events...)
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// next is the event that has waited longest; false: none waits.
func (s *ProductService) next() (announcement, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return announcement{}, false
	}
	return s.waiting[0], true
}

func (s *ProductService) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = s.waiting[1:]
	s.published++
}

// publish publishes what waits, at its pace, until ctx ends.
func (s *ProductService) publish(ctx context.Context, conn *amqp.Connection) error {
	channel, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	pace := time.NewTicker(s.interval)
	defer pace.Stop()
	for {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return nil
		}
		event, ok := s.next()
		for !ok {
			select {
			case <-s.changed:
			case <-ctx.Done():
				return nil
			}
			event, ok = s.next()
		}
		message := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: event.body}
		if err := publish(ctx, channel, platform.Exchange, event.routingKey, []amqp.Publishing{message}); err != nil {
			return err
		}
		s.done()
	}
}
