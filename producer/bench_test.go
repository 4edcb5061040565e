package producer

import (
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

// BenchmarkPublish sets replaying beside plain confirmed publishing of the same
// bodies, at its best window. Both queues are drained by a consumer that acknowledges at once: what is
// measured is the publishing side, not a cart.
func BenchmarkPublish(b *testing.B) {
	const events = 20_000
	repairs := make([]product.Repair, events)
	for i := range repairs {
		r := &repairs[i]
		r.Row.ID = product.ID(fmt.Sprintf("65f2a1b2c3d4e5f6%08x", i))
		for f, v := range map[product.Field]product.Value{
			product.Title: product.TextValue("Größe 42, a title as products have them"), product.Price: product.IntegerValue(int64(i)),
			product.Image:    product.TextValue("https://images.shop.example/products/65f2a1b2c3d4e5f6a7b8c9d0.jpg"),
			product.SellerID: product.TextValue("65f2a1b2c3d4e5f6a7b8c9d0"), product.Quantity: product.IntegerValue(5),
		} {
			r.Row.Values[f] = v
		}
		r.Product.Values = r.Row.Values
		r.Product.Values[product.Category] = product.TextValue("other")
		r.Product.Tags = []string{"new", "sale"}
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			events := newEncoder()
			for i := range repairs {
				if _, err := events.encode(product.Missing, &repairs[i]); err != nil {
					b.Fatal(err)
				}
			}
		}
		perSecond(b, events)
	})
	raw := func(message func(i int) amqp.Publishing) func(b *testing.B) {
		return func(b *testing.B) {
			broker := drainedBroker(b)
			best, least := 0, time.Duration(0)
			for _, window := range []int{512, 1024, 2048, 4096} {
				if took := publishedRaw(b, broker, message, events, window); best == 0 || took < least {
					best, least = window, took
				}
			}
			b.Logf("the best window is %d", best)
			for b.Loop() {
				publishedRaw(b, broker, message, events, best)
			}
			perSecond(b, events)
		}
	}
	body, err := bodyOf(product.Missing, &repairs[0])
	if err != nil {
		b.Fatal(err)
	}
	b.Run("raw", raw(func(int) amqp.Publishing { return amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body} }))
	// What our events carry beside their bodies costs the library and the broker something.
	dressed := New(nil, nil, Config{}, "bench", time.Minute).batch(product.Missing, 1, repairs)
	message := dressed.message()
	message.Body = body
	b.Run("rawdressed", raw(func(i int) amqp.Publishing {
		dressed.address(&message, &repairs[i])
		return message
	}))
	b.Run("replay", func(b *testing.B) {
		broker := drainedBroker(b)
		config := rabbit.Config{URL: secret.URL(broker.URL)}
		publisher, monitor := rabbit.NewConnection(config, "etl producer"), rabbit.NewConnection(config, "etl monitor")
		b.Cleanup(publisher.Close)
		b.Cleanup(monitor.Close)
		// A queue may hold all of them: nothing waits for the consumer.
		p := New(publisher, monitor, Config{MaxQueueDepth: 10 * events, ConfirmTimeout: 30 * time.Second, Route: ByQueue}, "bench", time.Minute)
		b.ReportAllocs()
		for b.Loop() {
			var under errgroup.Group
			under.SetLimit(2) // as a run does
			for rest := repairs; len(rest) > 0; {
				n, err := p.Reserve(b.Context(), product.Missing, min(len(rest), 1000), nil)
				if err != nil {
					b.Fatal(err)
				}
				batch := rest[:n]
				under.Go(func() error {
					results, err := p.Repair(b.Context(), product.Missing, 1, batch)
					if err == nil && results[0].Fate != product.Confirmed {
						err = fmt.Errorf("%+v", results[0])
					}
					return err
				})
				rest = rest[n:]
			}
			if err := under.Wait(); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, events)
	})
}

// publishedRaw is how long so many events take that are published with at most window of
// them unconfirmed.
func publishedRaw(b *testing.B, broker *testenv.Broker, message func(i int) amqp.Publishing, events, window int) time.Duration {
	b.Helper()
	began := time.Now()
	broker.Do(func(ch *amqp.Channel) error {
		if err := ch.Confirm(false); err != nil {
			return err
		}
		confirms := ch.NotifyPublish(make(chan amqp.Confirmation, window))
		for sent, confirmed := 0, 0; confirmed < events; {
			if sent < events && sent-confirmed < window {
				err := ch.PublishWithContext(b.Context(), rabbit.Exchange, rabbit.CreatedQueue, true, false, message(sent))
				if err != nil {
					return err
				}
				sent++
				continue
			}
			if c := <-confirms; !c.Ack {
				return fmt.Errorf("nacked")
			}
			confirmed++
		}
		return nil
	})
	return time.Since(began)
}

// drainedBroker is a virtual host with the cart's topology whose product-created
// queue is consumed as fast as possible.
func drainedBroker(b *testing.B) *testenv.Broker {
	b.Helper()
	broker := testenv.Vhost(b)
	broker.DeclareTopology()
	_, ch := testenv.Dial(b, broker.URL)
	deliveries, err := ch.Consume(rabbit.CreatedQueue, "", true, false, false, false, nil)
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for range deliveries {
		}
	}()
	return broker
}

func perSecond(b *testing.B, products int) {
	b.ReportMetric(float64(products*b.N)/b.Elapsed().Seconds(), "products/s")
}
