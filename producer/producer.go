// Package producer replays: it publishes product events for the cart's normal
// consumer, confirmed by the broker and never faster than the cart consumes.
package producer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
)

// Config sets how events are published.
type Config struct {
	// MaxQueueDepth is how many messages of a queue of the cart, ours and live ones
	// together, may be outstanding before publishing pauses: 1..10,000.
	MaxQueueDepth int `env:"REPLAY_MAX_QUEUE_DEPTH, default=200"`
	// ConfirmTimeout is how long the broker may take to confirm what was
	// published; after it the events count as unknown.
	ConfirmTimeout time.Duration `env:"REPLAY_CONFIRM_TIMEOUT, default=30s"`
	// Route is the way of the events.
	Route Route `env:"REPLAY_ROUTE, default=queue"`
}

// Route is the way of an event to the cart.
type Route string

// The routes.
const (
	// ByQueue is through the default exchange to the cart's queue, and to nobody else.
	ByQueue Route = "queue"
	// ByExchange is through the exchange product-service, to all that is bound there.
	ByExchange Route = "exchange"
)

// exchange is what events are published to, with the queue's name as routing key.
func (r Route) exchange() string {
	if r == ByExchange {
		return rabbit.Exchange
	}
	return ""
}

// Validate reports what is wrong with the variables.
func (c *Config) Validate() error {
	var problems []error
	if c.MaxQueueDepth < 1 || c.MaxQueueDepth > maxWindow {
		problems = append(problems, fmt.Errorf("REPLAY_MAX_QUEUE_DEPTH is %d, it must be 1..%d", c.MaxQueueDepth, maxWindow))
	}
	if c.ConfirmTimeout <= 0 {
		problems = append(problems, fmt.Errorf("REPLAY_CONFIRM_TIMEOUT is %s, it must be above 0", c.ConfirmTimeout))
	}
	if c.Route != ByQueue && c.Route != ByExchange {
		problems = append(problems, fmt.Errorf("REPLAY_ROUTE is %q, it must be %s or %s", c.Route, ByQueue, ByExchange))
	}
	return errors.Join(problems...)
}

// maxWindow is the largest number of events that may be unconfirmed at once.
const maxWindow = 10_000

// Counter hears what became of events that were sent: confirmed by the broker,
// returned by it as unroutable, refused by it, or unknown.
type Counter func(confirmed, returned, nacked, unknown int)

// Producer publishes the events of one run. Reserve is for one goroutine of each kind at a
// time, Repair for any number: one batch is written after the other, and while the broker
// answers to one the next is written. Kinds do not wait for each other. Lost, Throttle and
// Paused may be called from any.
type Producer struct {
	// Count, if set, hears of every event, from the goroutines that publish. Set it
	// before the first one.
	Count Counter
	// Management, if set, tells the length limits of the cart's queues. Set it before
	// the first event.
	Management *rabbit.Management

	conn     *rabbit.Connection // publishes, and nothing else: a broker that blocks publishers stops reading from it
	monitor  *rabbit.Connection
	config   Config
	patience time.Duration
	run      string
	lanes    map[product.Kind]*lane
	// maxBody is the size in bytes above which the broker takes no message, 0 while that is not known.
	maxBody atomic.Int64
}

// lane is the way of one kind's events to their queue.
type lane struct {
	*Producer
	rule  *product.Rule
	queue *rabbit.Queue
	limit limit
	pause atomic.Pointer[Pause]

	opening sync.Mutex // held while a channel is opened
	sending sync.Mutex // held by the batch that is being written
	ch      atomic.Pointer[channel]
}

// channel is one that a lane publishes on, until it ends.
type channel struct {
	*amqp.Channel
	returns <-chan amqp.Return
	closed  <-chan *amqp.Error

	dropped atomic.Bool // with its connection, because the broker did not answer in time

	mu     sync.Mutex
	flight map[*batch]bool // batches that wait for answers
	reason *amqp.Error     // why the broker has closed it
	told   bool            // reason is known
}

// ended tells whether nothing can be published on it any more.
func (c *channel) ended() bool { return c.dropped.Load() || c.IsClosed() }

// end is why the broker has closed the channel; the library tells at the latest when it is
// closed.
func (c *channel) end() *amqp.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.told {
		c.reason, c.told = <-c.closed, true
	}
	return c.reason
}

// New makes a producer for one run. It publishes on conn and looks at queues on
// monitor, another connection. A pause longer than patience ends with a
// *product.PausedError.
func New(conn, monitor *rabbit.Connection, config Config, run string, patience time.Duration) *Producer {
	p := &Producer{conn: conn, monitor: monitor, config: config, run: run, patience: patience, lanes: make(map[product.Kind]*lane)}
	for _, kind := range product.Kinds() {
		rule := kind.Rule()
		p.lanes[kind] = &lane{Producer: p, rule: rule, queue: monitor.Queue(rule.Queue), limit: limit{most: config.MaxQueueDepth}}
	}
	return p
}

// ErrNoConsumer says that events would wait for nobody.
var ErrNoConsumer = errors.New("nobody consumes queue")

// Check insists, before anything is scanned, on all that repairs of these kinds need:
// the cart's exchange and queues, the right to publish, and a consumer of each
// kind's queue (ErrNoConsumer). Later the lack of a consumer is only a pause.
func (p *Producer) Check(ctx context.Context, kinds []product.Kind) error {
	states, err := p.monitor.Look(ctx)
	if err != nil {
		return err
	}
	if err := p.checkWrite(ctx); err != nil {
		return err
	}
	var idle []string
	for _, kind := range kinds {
		if queue := kind.Rule().Queue; states[queue].Consumers == 0 && !slices.Contains(idle, queue) {
			idle = append(idle, queue)
		}
	}
	if len(idle) > 0 {
		return fmt.Errorf("%w %s: start the Cart Service, or restart it if it runs but lost its connection", ErrNoConsumer, strings.Join(idle, ", "))
	}
	return nil
}

// checkWrite insists on the right to publish. A broker that blocks publishers does not
// answer, and is waited for later.
func (p *Producer) checkWrite(ctx context.Context) error {
	if p.conn.Blocked() != "" {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 2*lookTimeout, errSilent)
	defer cancel()
	err := p.conn.CheckWrite(ctx, p.config.Route.exchange())
	if err != nil && p.conn.Blocked() != "" {
		return nil
	}
	return err
}
