package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/source"
	"github.com/ecom-micro/etl/internal/target"
)

// cleanup ends what was opened, the last first.
type cleanup struct{ steps []func(context.Context) }

func (c *cleanup) add(step func(context.Context)) { c.steps = append(c.steps, step) }

// drainTimeout bounds the end of a command.
const drainTimeout = 10 * time.Second

func (c *cleanup) run(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	for len(c.steps) > 0 {
		last := len(c.steps) - 1
		step := c.steps[last]
		c.steps = c.steps[:last]
		step(ctx)
	}
}

// closing is a step for what takes no context, such as a pool of connections to a
// server that has fallen silent.
func closing(end func()) func(context.Context) {
	return func(ctx context.Context) {
		ended := make(chan struct{})
		go func() { defer close(ended); end() }()
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
}

// stores are the two databases.
type stores struct {
	source *source.Source
	target *target.Target
}

// connectStores prepares connections to both databases and waits for neither.
func connectStores(ctx context.Context, c *config, clean *cleanup) (*stores, error) {
	src, err := source.Open(c.Source)
	if err != nil {
		return nil, err
	}
	clean.add(func(ctx context.Context) { _ = src.Close(ctx) })
	tgt, err := target.Open(ctx, c.Target)
	if err != nil {
		return nil, err
	}
	clean.add(closing(tgt.Close))
	return &stores{src, tgt}, nil
}

// openStores connects to both databases, checks that they answer, and reads the
// cart's catalogue.
func openStores(ctx context.Context, c *config, clean *cleanup) (*stores, error) {
	both, err := connectStores(ctx, c, clean)
	if err != nil {
		return nil, err
	}
	src, tgt := both.source, both.target
	if _, err := src.Ping(ctx); err != nil {
		return nil, fmt.Errorf("product service: %w", err)
	}
	exists, err := src.Exists(ctx)
	if err != nil {
		return nil, fmt.Errorf("product service: %w", err)
	}
	if !exists {
		return nil, fmt.Errorf("product service: collection %s does not exist: check the database name of PRODUCT_SERVICE_MONGODB_URL and PRODUCT_COLLECTION", src.Name())
	}
	if _, err := tgt.Ping(ctx); err != nil {
		return nil, fmt.Errorf("cart service: %w", err)
	}
	if err := tgt.Describe(ctx); err != nil {
		return nil, err
	}
	return both, nil
}

// broker is the looking side of RabbitMQ: a connection that never publishes, so
// that the broker answers it even while it blocks publishers.
type broker struct {
	monitor    *rabbit.Connection
	management *rabbit.Management // nil without RABBITMQ_MANAGEMENT_URL
	watches    diff.QueueBarriers
}

// watchInterval is how often each of the cart's queues is looked at.
const watchInterval = 200 * time.Millisecond

// openBroker connects, checks the cart's exchange and queues, and watches them.
func openBroker(ctx context.Context, c *config, clean *cleanup) (*broker, error) {
	management, err := rabbit.NewManagement(c.Rabbit)
	if err != nil {
		return nil, err
	}
	b := &broker{monitor: rabbit.NewConnection(c.Rabbit, monitorName), management: management}
	clean.add(func(context.Context) { b.monitor.Close() })
	if err := b.monitor.CheckTopology(ctx); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	b.watches = make(diff.QueueBarriers)
	for kind, queue := range map[product.Kind]string{
		product.Missing: rabbit.CreatedQueue, product.Stale: rabbit.UpdatedQueue, product.Orphaned: rabbit.DeletedQueue,
	} {
		b.watches[kind] = diff.NewWatch(queue, &queueView{queue: b.monitor.Queue(queue), management: management},
			diff.WatchConfig{Grace: c.Sync.Grace, StallTimeout: c.Sync.StallTimeout, Interval: watchInterval})
	}
	watchCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.watches.Run(watchCtx)
	}()
	clean.add(func(context.Context) { stop(); <-done })
	return b, nil
}

// queueView shows a queue to the finding engine. The management API's figures are
// renewed every few seconds only, so they are not asked for at every look.
type queueView struct {
	queue      *rabbit.Queue
	management *rabbit.Management
	asked      time.Time
	statistics *diff.Statistics
}

const statisticsInterval = time.Second

func (v *queueView) Depth(ctx context.Context) (diff.Depth, error) {
	state, err := v.queue.State(ctx)
	if err != nil {
		return diff.Depth{}, err
	}
	if v.management != nil && time.Since(v.asked) >= statisticsInterval {
		asked := time.Now()
		details, err := v.management.Queue(ctx, v.queue.Name())
		if err != nil {
			return diff.Depth{}, err
		}
		v.asked, v.statistics = asked, &diff.Statistics{Unacknowledged: details.Unacknowledged, Acknowledged: details.Acknowledged}
	}
	return diff.Depth{Ready: state.Ready, Consumers: state.Consumers, Statistics: v.statistics}, nil
}

// diagnose says who else takes the cart's events, as far as the broker tells.
func (b *broker) diagnose(ctx context.Context) string {
	watch, err := b.watches[product.Missing].Last()
	if err != nil || watch.Consumers < 2 {
		return ""
	}
	text := fmt.Sprintf("queue %s has %d consumers, and each event reaches only one of them", rabbit.CreatedQueue, watch.Consumers)
	if b.management != nil {
		if names, err := b.consumerNames(ctx, rabbit.CreatedQueue); err == nil {
			text += " (" + strings.Join(names, ", ") + ")"
		}
	}
	return text + "; give each service a queue of its own"
}

// consumerNames lists the consumers of a queue by their connections' names.
func (b *broker) consumerNames(ctx context.Context, queue string) ([]string, error) {
	details, err := b.management.Queue(ctx, queue)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, c := range details.Consumers {
		name, err := b.management.ConnectionName(ctx, c.Connection)
		if err != nil && !errors.Is(err, rabbit.ErrNotFound) {
			return nil, err
		}
		if name == "" {
			name = c.Connection
		}
		names = append(names, name)
	}
	return names, nil
}
