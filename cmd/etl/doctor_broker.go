package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/delivery"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/text"
	"github.com/ecom-micro/etl/producer"
)

// namesPatience is how long doctor waits for the management API to know who consumes:
// its figures are renewed every five seconds.
const namesPatience = 7 * time.Second

func (d *doctor) examineBroker(ctx context.Context, c *app.Config, clean *app.Cleanup) {
	b, err := app.ConnectBroker(c, clean)
	if err != nil {
		d.fail("management API", err)
		return
	}
	connected := true
	if err := b.Monitor.CheckTopology(ctx); err != nil {
		d.fail("broker", err)
		connected = false
	} else {
		d.pass("broker", "connected, exchange "+rabbit.Exchange+" and the cart's queues are there")
	}
	d.examineManagement(ctx, b)
	if !connected {
		return
	}
	patience, cancel := context.WithTimeout(ctx, namesPatience)
	defer cancel()
	blind := false
	for _, queue := range rabbit.CartQueues() {
		q := queueExam{doctor: d, broker: b, queue: queue, depth: c.Replay.MaxQueueDepth}
		blind = q.examine(ctx, patience) || blind
	}
	if blind {
		d.warn("management API", "shows no figures, so unacknowledged events and who consumes are not seen: see disable_metrics_collector")
	}
	d.examinePublishing(ctx, c, clean)
	if b.Management != nil {
		d.examineRoutes(ctx, b.Management, c.Replay.Route)
	}
}

// examineManagement looks at the management API and at what only it knows of the broker
// as a whole. Where it does not answer nobody asks it further.
func (d *doctor) examineManagement(ctx context.Context, b *app.Broker) {
	const what = "management API"
	if b.Management == nil {
		d.warn(what, "not used, so policies, bindings, limits, unacknowledged events, and who consumes are not seen: set RABBITMQ_MANAGEMENT_URL")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, app.ManagementPatience)
	defer cancel()
	who, err := b.Management.Whoami(ctx)
	if err == nil { // who may ask who it is may have no access to the vhost
		_, err = b.Management.Queue(ctx, rabbit.CreatedQueue)
	}
	if err != nil && !errors.Is(err, rabbit.ErrNotFound) {
		b.Management = nil
		d.fail(what, fmt.Errorf("%w; runs go on without it", err))
		return
	}
	if !who.Monitors() {
		d.warn(what, fmt.Sprintf("user %s lacks the tag monitoring (it has %s), so names of connections, limits and alarms are not seen", who.Name, strings.Join(who.Tags, ", ")))
		return
	}
	d.pass(what, "answers, and user "+who.Name+" may see all of the vhost")
	d.examineNodes(ctx, b.Management)
	d.examineRooms(ctx, b.Management)
}

// examineNodes warns of nodes that are down, or that take no messages.
func (d *doctor) examineNodes(ctx context.Context, m *rabbit.Management) {
	nodes, err := m.Nodes(ctx)
	if err != nil {
		d.warn("broker nodes", err.Error())
		return
	}
	for _, n := range nodes {
		switch {
		case !n.Running:
			d.warn("broker nodes", n.Name+" is down: start it, for classic queues that live there do not answer")
		case n.MemoryAlarm:
			d.warn("broker nodes", n.Name+" is short of memory, so the broker blocks all who publish: see what fills it, and vm_memory_high_watermark")
		case n.DiskAlarm:
			d.warn("broker nodes", n.Name+" is short of disk, so the broker blocks all who publish: see what fills it, and disk_free_limit")
		}
	}
}

// needs are how much of a limit should be left, and for what.
var needs = map[rabbit.Resource]struct {
	spare int
	what  string
}{
	rabbit.Connections: {5, "the service needs 3, each run 2 more"},
	rabbit.Channels:    {20, "each of our connections opens up to 4"},
	rabbit.Queues:      {2, "`etl serve` declares 2 where they are not there yet"},
}

// examineRooms says which limits of the vhost and of its user there are.
func (d *doctor) examineRooms(ctx context.Context, m *rabbit.Management) {
	rooms, err := m.Rooms(ctx)
	if err != nil {
		d.warn("broker limits", err.Error())
		return
	}
	for _, r := range rooms {
		room := fmt.Sprintf("%s of at most %s %s of %s (%s)", grouped(int64(r.Used)), grouped(int64(r.Most)), r.Of, r.Owner, r.By)
		if need := needs[r.Of]; r.Most-r.Used < need.spare {
			d.warn("broker limits", room+": "+need.what)
		} else {
			d.pass("broker limits", room)
		}
	}
}

// examinePublishing asks whether a replay may publish its events. Direct mode does
// without.
func (d *doctor) examinePublishing(ctx context.Context, c *app.Config, clean *app.Cleanup) {
	exchange, way := "", "to the cart's queues by their names"
	if c.Replay.Route == producer.ByExchange {
		exchange, way = rabbit.Exchange, "to exchange "+rabbit.Exchange
	}
	conn := app.ConnectProducer(c, clean)
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %s", patience))
	defer cancel()
	err := conn.CheckWrite(ctx, exchange)
	if blocked := conn.Blocked(); blocked != "" { // it may have answered before
		err = fmt.Errorf("the broker blocks publishers: %s", blocked)
	}
	if err != nil {
		d.warn("replay", err.Error())
		return
	}
	d.pass("replay", "events may be published "+way)
}

// examineRoutes looks at how events of the Product Service come to the cart's queues, and
// to whom a replay through the exchange would go as well.
func (d *doctor) examineRoutes(ctx context.Context, m *rabbit.Management, route producer.Route) {
	exchange, err := m.Exchange(ctx, rabbit.Exchange)
	if err != nil {
		d.fail("bindings", err)
		return
	}
	away, err := m.From(ctx, rabbit.Exchange)
	if err != nil {
		d.fail("bindings", err)
		return
	}
	if exchange.Type != "direct" {
		d.warn("bindings", fmt.Sprintf("exchange %s is of type %s, and the services declare it as direct, which fails: delete it, then restart them", rabbit.Exchange, exchange.Type))
	}
	reached := true
	for _, queue := range rabbit.CartQueues() {
		to, err := m.To(ctx, queue)
		if err != nil {
			d.fail("bindings", err)
			return
		}
		reached = d.examineBindings(queue, exchange, away, to) && reached
	}
	if reached {
		d.pass("bindings", "events reach the cart's queues")
	}
	d.examineOthers(exchange, away, route)
}

// examineBindings tells whether events reach a queue by their key.
func (d *doctor) examineBindings(queue string, exchange rabbit.ExchangeDetails, away, to []rabbit.Binding) (reached bool) {
	route := delivery.RouteTo(queue, exchange, away, to)
	for _, b := range route.Others {
		if b.Exchange == rabbit.Exchange {
			d.warn("bindings", fmt.Sprintf("%s also gets events with the key %s, which the cart takes for its kind: remove that binding", queue, b.Key))
		} else {
			d.warn("bindings", fmt.Sprintf("%s also gets what comes from exchange %s, which the cart takes for its kind of event", queue, b.Exchange))
		}
	}
	switch unbound := route.Unbound(queue); {
	case unbound != "":
		d.fail("bindings", errors.New(unbound))
	case !route.Bound:
		d.warn("bindings", fmt.Sprintf("%s gets events of %s only by way of exchange %s, whose keys were not looked at", queue, rabbit.Exchange, route.By))
	}
	return route.Bound
}

// examineOthers says who else gets what is published to the cart's exchange. It matters
// to replays where they go that way.
func (d *doctor) examineOthers(exchange rabbit.ExchangeDetails, away []rabbit.Binding, route producer.Route) {
	say, replays := d.pass, "; replays do not"
	if route == producer.ByExchange {
		say, replays = d.warn, "; by REPLAY_ROUTE=exchange replays do too"
	}
	var others []string
	for _, b := range away {
		name := "queue " + b.Destination
		if b.ToExchange() {
			name = "exchange " + b.Destination
		}
		ours := !b.ToExchange() && slices.Contains(rabbit.CartQueues(), b.Destination)
		if slices.Contains(rabbit.CartQueues(), b.Key) && !ours && !slices.Contains(others, name) {
			others = append(others, name)
		}
	}
	if len(others) > 0 {
		say("bindings", "product events go to "+text.List(others, 4)+" as well"+replays)
	}
	if exchange.Alternate != "" {
		say("bindings", fmt.Sprintf("events that no queue is bound for go to exchange %s (alternate-exchange)%s", exchange.Alternate, replays))
	}
}
