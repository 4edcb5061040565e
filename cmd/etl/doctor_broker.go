package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/producer"
)

func (d *doctor) examineBroker(ctx context.Context, c *config, clean *cleanup) {
	management, err := rabbit.NewManagement(c.Rabbit)
	if err != nil {
		d.fail("management API", err)
		return
	}
	b := &broker{monitor: rabbit.NewConnection(c.Rabbit, monitorName), management: management}
	clean.add(func(context.Context) { b.monitor.Close() })
	if err := b.monitor.CheckTopology(ctx); err != nil {
		d.fail("broker", err)
		return
	}
	d.pass("broker", "connected, exchange "+rabbit.Exchange+" and the cart's queues are there")
	for _, queue := range rabbit.CartQueues() {
		d.examineQueue(ctx, b, queue)
	}
	d.examinePublishing(ctx, c, clean)
	if management == nil {
		d.warn("management API", "not used: with RABBITMQ_MANAGEMENT_URL, unacknowledged events are seen and consumers are known by name")
		return
	}
	for _, queue := range rabbit.CartQueues() {
		bound, err := management.Bound(ctx, rabbit.Exchange, queue, queue)
		if err == nil && !bound {
			err = fmt.Errorf("queue %s is not bound to exchange %s with routing key %s: restart the Cart Service, which binds it", queue, rabbit.Exchange, queue)
		}
		if err != nil {
			d.fail("bindings", err)
			return
		}
	}
	d.pass("bindings", "events reach the cart's queues")
}

// examinePublishing asks whether a replay may publish its events. Direct mode does
// without.
func (d *doctor) examinePublishing(ctx context.Context, c *config, clean *cleanup) {
	exchange, way := "", "to the cart's queues by their names"
	if c.Replay.Route == producer.ByExchange {
		exchange, way = rabbit.Exchange, "to exchange "+rabbit.Exchange
	}
	conn := rabbit.NewConnection(c.Rabbit, producerName)
	clean.add(func(context.Context) { conn.Close() })
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %s", patience))
	defer cancel()
	if err := conn.CheckWrite(ctx, exchange); err != nil {
		if blocked := conn.Blocked(); blocked != "" {
			err = fmt.Errorf("the broker blocks publishers: %s", blocked)
		}
		d.warn("replay", err.Error())
		return
	}
	d.pass("replay", "events may be published "+way)
}

func (d *doctor) examineQueue(ctx context.Context, b *broker, queue string) {
	what := "queue " + strings.TrimPrefix(queue, "product-")
	state, err := b.monitor.Queue(queue).State(ctx)
	if err != nil {
		d.fail(what, err)
		return
	}
	waiting := fmt.Sprintf("%s events waiting, ", grouped(int64(state.Ready)))
	switch {
	case state.Consumers == 0 && state.Ready > 0:
		d.fail(what, fmt.Errorf("%snobody consumes %s: start the Cart Service; if it keeps dying, the first event of the queue is one that it cannot store", waiting, queue))
	case state.Consumers == 0:
		d.fail(what, fmt.Errorf("nobody consumes %s: start the Cart Service, or restart it if it runs but lost its connection", queue))
	case state.Consumers > 1:
		names := ""
		if b.management != nil {
			if list, err := b.consumerNames(ctx, queue); err == nil {
				names = " (" + strings.Join(list, ", ") + ")"
			}
		}
		d.warn(what, fmt.Sprintf("%s%d consumers%s: each event reaches only one of them, so a foreign one takes events from the cart", waiting, state.Consumers, names))
	default:
		d.pass(what, waiting+"1 consumer")
	}
}
