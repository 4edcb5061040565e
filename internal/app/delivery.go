package app

import (
	"context"
	"sync"
	"time"

	"github.com/ecom-micro/etl/consumer"
	"github.com/ecom-micro/etl/internal/delivery"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/run"
)

// deliveries looks at the way of the Product Service's events to the cart, for whoever asks,
// and remembers what was seen.
type deliveries struct {
	broker *Broker
	tap    func() consumer.TapState

	mu     sync.Mutex
	judge  delivery.Judge
	latest *run.Delivery
}

// look asks the broker. err is what it lacks, or why it does not answer.
func (d *deliveries) look(ctx context.Context) (verdict run.Delivery, err error) {
	tap := d.tap()
	look := delivery.Look{At: time.Now(), Poison: delivery.Poison{Queue: tap.UnreadableIn, At: tap.UnreadableAt, Text: tap.Unreadable}}
	look.Queues, look.Err = d.broker.Monitor.Look(ctx)
	if look.Err == nil {
		look.Routes = d.broker.routes(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	verdict = d.judge.See(look)
	d.latest = &verdict
	return verdict, look.Err
}

// last is the latest verdict, nil before the first look.
func (d *deliveries) last() *run.Delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.latest
}

// routes are the ways to the cart's queues, nil where the management API does not tell.
func (b *Broker) routes(ctx context.Context) map[string]delivery.Route {
	if b.Management == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ManagementPatience)
	defer cancel()
	exchange, err := b.Management.Exchange(ctx, rabbit.Exchange)
	if err != nil {
		return nil
	}
	away, err := b.Management.From(ctx, rabbit.Exchange)
	if err != nil {
		return nil
	}
	routes := make(map[string]delivery.Route)
	for _, queue := range rabbit.CartQueues() {
		to, err := b.Management.To(ctx, queue)
		if err != nil {
			return nil
		}
		routes[queue] = delivery.RouteTo(queue, exchange, away, to)
	}
	return routes
}
