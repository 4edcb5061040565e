package cart_test

import (
	"bytes"
	"compress/gzip"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

const timeout = 20 * time.Second // for what takes milliseconds on an idle machine

// The rows that are there before the event. The first is the one that an event without an id hits.
var (
	first = testenv.Row{ID: "first", Title: "First", Price: 1, Image: "1.jpg", SellerID: "s1", Quantity: 10}
	known = testenv.Row{ID: "known", Title: "Known", Price: 2, Image: "2.jpg", SellerID: "s2", Quantity: 20}
	held  = testenv.Row{ID: "held", Title: "Held", Price: 3, Image: "3.jpg", SellerID: "s3", Quantity: 30}
	// What newEvent makes.
	added = testenv.Row{ID: "new", Title: "New Café", Price: 777, Image: "n.jpg", SellerID: "s9", Quantity: 5}
)

const newEvent = `{"id":"new","title":"New Café","price":777,"sellerId":"s9","image":"n.jpg","quantity":5,` +
	`"category":"other","originalPrice":900,"stockQuantity":5,"tags":["a"]}`

// with is newEvent with one piece of its text replaced.
func with(old, replacement string) string {
	if !strings.Contains(newEvent, old) {
		panic("newEvent has no " + old)
	}
	return strings.Replace(newEvent, old, replacement, 1)
}

// change is what an event does to the rows, by id.
type change func(map[string]testenv.Row)

func unchanged(map[string]testenv.Row) {}

func inserts(row testenv.Row) change {
	return func(rows map[string]testenv.Row) { rows[row.ID] = row }
}

func drops(id string) change {
	return func(rows map[string]testenv.Row) { delete(rows, id) }
}

func sets(id string, set func(*testenv.Row)) change {
	return func(rows map[string]testenv.Row) {
		row := rows[id]
		set(&row)
		rows[id] = row
	}
}

// all sets what a ProductUpdated event can set. It never sets the seller.
func all(row *testenv.Row) {
	row.Title, row.Price, row.Image, row.Quantity = added.Title, added.Price, added.Image, added.Quantity
}

// TestEvents replays what the real cart was observed to do with an event.
func TestEvents(t *testing.T) {
	t.Parallel()
	const (
		created  = platform.ProductCreated
		updated  = platform.ProductUpdated
		deleted  = platform.ProductDeleted
		quantity = platform.ProductQuantityUpdated
	)
	tests := []struct {
		name, queue, body string
		becomes           change
		dies              string // empty: the event is acked; else a part of what the process dies of
	}{
		{name: "created, new id", queue: created, body: newEvent, becomes: inserts(added)},
		{name: "created, known id", queue: created, body: with(`"new"`, `"known"`), becomes: unchanged},
		{name: "created, no id", queue: created, body: with(`"id":"new",`, ``), becomes: unchanged},
		{name: "created, id null", queue: created, body: with(`"new"`, `null`), becomes: unchanged},

		{name: "created, price 9.99", queue: created, body: with(`777`, `9.99`), becomes: unchanged, dies: "22P02"},
		{name: "created, price 3e9", queue: created, body: with(`777`, `3e9`), becomes: unchanged, dies: "22003"},
		{name: "created, price 777.0", queue: created, body: with(`777`, `777.0`), becomes: inserts(added)},
		{name: `created, price "777"`, queue: created, body: with(`777`, `"777"`), becomes: inserts(added)},
		{name: `created, price "777.0"`, queue: created, body: with(`777`, `"777.0"`), becomes: unchanged, dies: "22P02"},
		{name: "created, price missing", queue: created, body: with(`"price":777,`, ``), becomes: unchanged, dies: "23502"},
		{name: "created, quantity missing", queue: created, body: with(`"quantity":5,`, ``), becomes: unchanged, dies: "23502"},
		{name: "created, quantity null", queue: created, body: with(`"quantity":5`, `"quantity":null`), becomes: unchanged, dies: "23502"},
		{name: "created, image missing", queue: created, body: with(`"image":"n.jpg",`, ``), becomes: unchanged, dies: "23502"},
		{name: "created, image null", queue: created, body: with(`"n.jpg"`, `null`), becomes: unchanged, dies: "23502"},
		{name: "created, title missing", queue: created, body: with(`"title":"New Café",`, ``), becomes: unchanged, dies: "23502"},
		{name: "created, title null", queue: created, body: with(`"New Café"`, `null`), becomes: unchanged, dies: "23502"},
		{name: "created, sellerId missing", queue: created, body: with(`"sellerId":"s9",`, ``), becomes: unchanged, dies: "23502"},
		{name: "created, NUL in title", queue: created, body: with(`New Café`, `New\u0000Café`), becomes: unchanged, dies: "22021"},

		{name: "body not JSON", queue: created, body: `id=new`, becomes: unchanged, dies: "parse the body"},
		{name: "body empty", queue: created, body: ``, becomes: unchanged, dies: "parse the body"},
		{name: "body null", queue: created, body: `null`, becomes: unchanged, dies: "parse the body"},
		{name: "body with BOM", queue: created, body: "\uFEFF" + newEvent, becomes: unchanged, dies: "parse the body"},
		{name: "body compressed", queue: created, body: compressed(newEvent), becomes: unchanged, dies: "parse the body"},

		{name: "updated, known id", queue: updated, body: with(`"new"`, `"known"`), becomes: sets("known", all)},
		{name: "updated, unknown id", queue: updated, body: newEvent, becomes: unchanged},
		{name: "updated, title only", queue: updated, body: `{"id":"known","title":"T"}`, becomes: sets("known", func(r *testenv.Row) { r.Title = "T" })},
		{name: "updated, price only", queue: updated, body: `{"id":"known","price":"5"}`, becomes: sets("known", func(r *testenv.Row) { r.Price = 5 })},
		{name: "updated, seller only", queue: updated, body: `{"id":"known","sellerId":"s9"}`, becomes: unchanged},
		{name: "updated, price 9.99", queue: updated, body: `{"id":"known","price":9.99}`, becomes: unchanged, dies: "22P02"},
		{name: "updated, title null", queue: updated, body: `{"id":"known","title":null}`, becomes: unchanged, dies: "23502"},
		{name: "updated, no id", queue: updated, body: with(`"id":"new",`, ``), becomes: sets("first", all)},
		{name: "updated, body null", queue: updated, body: `null`, becomes: unchanged, dies: "parse the body"},

		{name: "deleted, known id", queue: deleted, body: `{"id":"known"}`, becomes: drops("known")},
		{name: "deleted, unknown id", queue: deleted, body: `{"id":"new"}`, becomes: unchanged},
		{name: "deleted, no id", queue: deleted, body: `{}`, becomes: drops("first")},
		{name: "deleted, held by a cart", queue: deleted, body: `{"id":"held"}`, becomes: unchanged, dies: "23503"},

		{name: "quantity, known id", queue: quantity, body: `{"id":"known","quantity":3,"title":"T"}`, becomes: sets("known", func(r *testenv.Row) { r.Quantity = 3 })},
		{name: "quantity, unknown id", queue: quantity, body: `{"id":"new","quantity":3}`, becomes: unchanged},
		{name: "order created", queue: platform.OrderCreated, body: `{"id":"known"}`, becomes: unchanged},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			s.db.Insert(first, known, held)
			s.db.Hold(held.ID)
			consumer := s.start(cart.Config{})

			exchange := platform.Exchange
			if test.queue == platform.OrderCreated {
				exchange = platform.OrderExchange
			}
			s.broker.PublishTo(exchange, test.queue, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(test.body)})
			if test.dies != "" {
				s.wantDead(consumer, test.dies)
				s.wantQueue(test.queue, test.body)
			} else {
				s.wantAcked(consumer, 1)
				consumer.Stop()
				s.wantQueue(test.queue)
			}

			want := map[string]testenv.Row{"first": first, "known": known, "held": held}
			test.becomes(want)
			got := map[string]testenv.Row{}
			for _, row := range s.db.Rows() {
				got[row.ID] = row
			}
			if !maps.Equal(got, want) {
				t.Errorf("the cart holds\n%+v, want\n%+v", got, want)
			}
		})
	}
}

func TestPropertiesOfAMessageAreIgnored(t *testing.T) {
	t.Parallel()
	s := setup(t)
	consumer := s.start(cart.Config{})
	s.broker.PublishTo(platform.Exchange, platform.ProductCreated, amqp.Publishing{
		Headers: amqp.Table{"x-etl-run": "1"}, ContentType: "text/plain", ContentEncoding: "gzip", DeliveryMode: amqp.Persistent,
		Priority: 3, MessageId: "m", Timestamp: time.Now(), Type: "other", AppId: "etl",
		Body: []byte(with(`"tags":["a"]`, `"colour":"red"`)),
	})
	s.wantAcked(consumer, 1)
	if row, ok := s.db.Row("new"); !ok || row != added {
		t.Errorf("the cart holds %+v, %t, want %+v", row, ok, added)
	}
}

func TestEventWithoutIDInAnEmptyCart(t *testing.T) {
	t.Parallel()
	for queue, dies := range map[string]string{
		platform.ProductCreated: "23502", // nothing is found, so that it is inserted, without a primary key
		platform.ProductUpdated: "",
		platform.ProductDeleted: "",
	} {
		t.Run(queue, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			consumer := s.start(cart.Config{})
			s.broker.Publish(queue, []byte(with(`"id":"new",`, ``)))
			if dies != "" {
				s.wantDead(consumer, dies)
			} else {
				s.wantAcked(consumer, 1)
			}
		})
	}
}

func compressed(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

// fixture is a broker and a cart's database for one test.
type fixture struct {
	t      *testing.T
	broker *testenv.Broker
	db     *testenv.CartDB
}

func setup(t *testing.T) fixture {
	t.Helper()
	return fixture{t, testenv.Vhost(t), testenv.Cart(t)}
}

func (s fixture) start(config cart.Config) *cart.Consumer {
	s.t.Helper()
	if config.BrokerURL == "" {
		config.BrokerURL = s.broker.URL
	}
	config.DatabaseURL = s.db.URL
	consumer, err := cart.Start(s.t.Context(), config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(consumer.Stop)
	return consumer
}

func (s fixture) wantAcked(consumer *cart.Consumer, events int) {
	s.t.Helper()
	testenv.Reaches(s.t, timeout, events, func() int { return consumer.Counts().Acked() }, "acked events")
	if got := consumer.Counts().Acked(); got != events {
		s.t.Errorf("%d events were acked, want %d", got, events)
	}
	if err := consumer.Err(); err != nil {
		s.t.Errorf("the consumer died: %v", err)
	}
}

func (s fixture) wantDead(consumer *cart.Consumer, of string) {
	s.t.Helper()
	select {
	case <-consumer.Done():
	case <-time.After(timeout):
		s.t.Fatalf("the consumer is alive, having acked %+v", consumer.Counts())
	}
	if err := consumer.Err(); err == nil || !strings.Contains(err.Error(), of) {
		s.t.Errorf("the consumer died of %v, want %s", err, of)
	}
	if n := consumer.Counts().Acked(); n != 0 {
		s.t.Errorf("%d events were acked", n)
	}
}

// wantQueue waits until a queue has no consumer, and asserts what is in it: events that were delivered before.
func (s fixture) wantQueue(queue string, bodies ...string) {
	s.t.Helper()
	testenv.Eventually(s.t, timeout, func() bool {
		stats := s.broker.QueueStats(queue)
		return stats.Consumers == 0 && stats.Ready >= len(bodies)
	}, "the queue to be left alone")
	var got []string
	for _, delivery := range s.broker.Drain(queue) {
		if !delivery.Redelivered {
			s.t.Errorf("%s was never delivered before", delivery.Body)
		}
		got = append(got, string(delivery.Body))
	}
	if !slices.Equal(got, bodies) {
		s.t.Errorf("the queue holds %q, want %q", got, bodies)
	}
}
