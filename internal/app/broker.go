package app

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
)

// The names of our connections in the management UI.
const (
	producerName = "etl producer" // publishes, and nothing else
	monitorName  = "etl monitor"  // looks at queues
	consumerName = "etl consumer" // takes sync requests
	tapName      = "etl tap"      // takes copies of the platform's events
)

// ConnectProducer prepares a connection that publishes, and nothing else. None of the
// connections waits for the broker.
func ConnectProducer(c *Config, clean *Cleanup) *rabbit.Connection {
	return connect(c, producerName, clean)
}

// ConnectMonitor prepares a connection that looks at queues.
func ConnectMonitor(c *Config, clean *Cleanup) *rabbit.Connection {
	return connect(c, monitorName, clean)
}

// ConnectConsumer prepares a connection that takes sync requests.
func ConnectConsumer(c *Config, clean *Cleanup) *rabbit.Connection {
	return connect(c, consumerName, clean)
}

func connect(c *Config, name string, clean *Cleanup) *rabbit.Connection {
	conn := rabbit.NewConnection(c.Rabbit, name)
	clean.Add("the connection "+name, Closing(conn.Close))
	return conn
}

// Broker is the looking side of RabbitMQ: a connection that never publishes, so
// that the broker answers it even while it blocks publishers.
type Broker struct {
	Monitor    *rabbit.Connection
	Management *rabbit.Management // nil without RABBITMQ_MANAGEMENT_URL, or where it does not answer
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

// ConnectBroker prepares to look at the broker, and waits for nothing.
func ConnectBroker(c *Config, clean *Cleanup) (*Broker, error) {
	management, err := rabbit.NewManagement(c.Rabbit)
	if err != nil {
		return nil, err
	}
	return &Broker{Monitor: ConnectMonitor(c, clean), Management: management}, nil
}

// openBroker connects, checks the cart's exchange and queues, and watches them. A
// management API that does not answer is not waited for again.
func openBroker(ctx context.Context, c *Config, clean *Cleanup) (*Broker, error) {
	b, err := ConnectBroker(c, clean)
	if err != nil {
		return nil, err
	}
	if err := b.Monitor.CheckTopology(ctx); err != nil {
		return nil, awaited(fmt.Errorf("broker: %w", err))
	}
	retries, err := retryQueues(ctx, b.Management)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		b.Management, b.withoutManagement = nil, err
	}
	b.watches = make(diff.Watches)
	for _, rule := range product.Rules() {
		view := &queueView{queue: b.Monitor.Queue(rule.Queue), management: b.Management, retries: retries[rule.Queue]}
		b.watches[rule.Kind] = diff.NewWatch(rule.Queue, view, diff.WatchConfig{Grace: c.Sync.Grace, Interval: watchInterval})
	}
	watchCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.watches.Run(watchCtx)
	}()
	clean.Add("the watches of the cart's queues", Closing(func() { stop(); <-done }))
	return b, nil
}

// diagnose says by what the broker tells, why events that the cart's queue had may have
// left no row; it is empty where the broker tells nothing of the kind.
func (b *Broker) diagnose(ctx context.Context) string {
	sight := b.watches[product.Missing].Sight()
	if sight.Err != nil {
		return ""
	}
	a := b.Nameless(sight.Depth.Consumers)
	var risks []string
	if b.Management != nil {
		if details, err := b.Management.Queue(ctx, rabbit.CreatedQueue); err == nil {
			risks = Risks(&details, 0)
			if known, err := b.Audience(ctx, sight.Depth.Consumers, &details); err == nil {
				a = known
			}
		}
	}
	return strings.Join(append(a.blamed(), risks...), "; ")
}

// watermarks are the sights of the cart's queues as a run wants them.
func (b *Broker) watermarks() map[product.Kind]reconcile.Watermark {
	all := make(map[product.Kind]reconcile.Watermark, len(b.watches))
	for kind, watch := range b.watches {
		all[kind] = watch
	}
	return all
}

// notes say what a run has to do without.
func (b *Broker) notes() []run.Note {
	if b.withoutManagement == nil {
		return nil
	}
	return []run.Note{{Code: run.NoteNoManagement, Detail: b.withoutManagement.Error()}}
}
