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
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
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
	management *rabbit.Management // nil without RABBITMQ_MANAGEMENT_URL, or where it does not answer
	// withoutManagement is why the management API is not used although it is configured.
	withoutManagement error
	watches           diff.Watches
}

// awaited gives an error of a broker that is away the form that runs wait for.
func awaited(err error) error {
	if errors.As(err, new(*rabbit.AwayError)) {
		return &product.AwayError{Server: "RabbitMQ", Err: err}
	}
	return err
}

// watchInterval is how often each of the cart's queues is looked at.
const watchInterval = 200 * time.Millisecond

// openBroker connects, checks the cart's exchange and queues, and watches them. A
// management API that does not answer is not waited for again.
func openBroker(ctx context.Context, c *config, clean *cleanup) (*broker, error) {
	management, err := rabbit.NewManagement(c.Rabbit)
	if err != nil {
		return nil, err
	}
	b := &broker{monitor: rabbit.NewConnection(c.Rabbit, monitorName), management: management}
	clean.add(func(context.Context) { b.monitor.Close() })
	if err := b.monitor.CheckTopology(ctx); err != nil {
		return nil, awaited(fmt.Errorf("broker: %w", err))
	}
	retries, err := retryQueues(ctx, management)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		b.management, b.withoutManagement = nil, err
	}
	b.watches = make(diff.Watches)
	for _, rule := range product.Rules() {
		view := &queueView{queue: b.monitor.Queue(rule.Queue), management: b.management, retries: retries[rule.Queue]}
		b.watches[rule.Kind] = diff.NewWatch(rule.Queue, view, diff.WatchConfig{Grace: c.Sync.Grace, Interval: watchInterval})
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

// diagnose says by what the broker tells, why events that the cart's queue had may have
// left no row; it is empty where the broker tells nothing of the kind.
func (b *broker) diagnose(ctx context.Context) string {
	sight := b.watches[product.Missing].Sight()
	if sight.Err != nil {
		return ""
	}
	a := audience{count: sight.Depth.Consumers}
	var risks []string
	if b.management != nil {
		if details, err := b.management.Queue(ctx, rabbit.CreatedQueue); err == nil {
			risks = endangered(&details, 0)
			if known, err := b.audience(ctx, a.count, &details); err == nil {
				a = known
			}
		}
	}
	return strings.Join(append(a.blamed(), risks...), "; ")
}

// watermarks are the sights of the cart's queues as a run wants them.
func (b *broker) watermarks() map[product.Kind]reconcile.Watermark {
	all := make(map[product.Kind]reconcile.Watermark, len(b.watches))
	for kind, watch := range b.watches {
		all[kind] = watch
	}
	return all
}

// notes say what a run has to do without.
func (b *broker) notes() []run.Note {
	if b.withoutManagement == nil {
		return nil
	}
	return []run.Note{{Code: run.NoteNoManagement, Detail: b.withoutManagement.Error()}}
}
