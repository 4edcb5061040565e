package cart

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// ConnectionName is how the consumer's connection is listed by RabbitMQ.
const ConnectionName = "cart service (stand-in)"

// Config says where the cart's broker and database are, and how the stand-in behaves where real ones differ.
type Config struct {
	BrokerURL   string
	DatabaseURL string
	Logger      *slog.Logger // nil: nothing is logged

	// DelayPerEvent is spent with each event between looking its product up and writing it. Without it the stand-in
	// is ten times faster than the real cart; with RealDelay it is as fast.
	DelayPerEvent time.Duration
	// NoPrefetch has the broker hand over all events at once, so that they are held here instead of waiting in the
	// queues. The real cart holds one of each queue.
	NoPrefetch bool
	// Forgetful acks events and stores nothing.
	Forgetful bool

	// Restart starts the consumer again after it died, RestartDelay later, for ever, as Kubernetes does. It includes
	// deaths at the start, such as while the broker cannot be reached. A consumer that is Deaf is not restarted.
	Restart      bool
	RestartDelay time.Duration // 0: 100 ms
}

func (c Config) prefetch() int {
	if c.NoPrefetch {
		return 0 // no limit
	}
	return 1
}

// RealDelay makes the stand-in as fast as the real cart, which was seen to handle 166 events/s.
const RealDelay = time.Second / 166

// Consumer is a running stand-in. Its methods may be called from several goroutines.
type Consumer struct {
	config Config
	log    *slog.Logger

	kill func() // ends the process at once
	stop chan struct{}
	once sync.Once // closes stop
	done chan struct{}

	mu       sync.Mutex
	err      error
	counts   Counts
	each     map[subject]Counts // counts in parts
	deaf     bool
	restarts int
}

// Counts is what became of the events that the consumer has acked.
type Counts struct {
	Inserted int // products that were new
	Updated  int // products that were changed, if only to what they were
	Deleted  int
	Ignored  int // events of no consequence: a known product created, an unknown one changed, an order
}

// subject is a queue and the product that its events are about.
type subject struct{ queue, product string }

func (c *Counts) add(other Counts) {
	c.Inserted += other.Inserted
	c.Updated += other.Updated
	c.Deleted += other.Deleted
	c.Ignored += other.Ignored
}

// Acked is how many events have been acked.
func (c Counts) Acked() int { return c.Inserted + c.Updated + c.Deleted + c.Ignored }

// Start declares exchanges and queues as the platform's listeners do, begins to consume, and returns when RabbitMQ
// lists the consumers. The error says why the first start failed; then nothing runs, whatever Restart says. When ctx
// ends the consumer ends as if it were killed: the event in hand is not acked.
func Start(ctx context.Context, config Config) (*Consumer, error) {
	if config.RestartDelay == 0 {
		config.RestartDelay = 100 * time.Millisecond
	}
	c := &Consumer{config: config, log: config.Logger, each: map[subject]Counts{}, stop: make(chan struct{}), done: make(chan struct{})}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.log = c.log.With("component", ConnectionName)

	first, err := c.startProcess(ctx)
	if err != nil {
		return nil, err
	}
	ctx, c.kill = context.WithCancel(ctx)
	go c.supervise(ctx, first)
	return c, nil
}

// Stop lets the consumer finish the event in hand and ends it. It returns when everything has ended, and may be
// called more than once.
func (c *Consumer) Stop() {
	c.once.Do(func() { close(c.stop) })
	<-c.done
}

// Kill ends the consumer at once, without acking the event in hand. It returns when everything has ended.
func (c *Consumer) Kill() {
	c.kill()
	<-c.done
}

// Done is closed when the consumer has ended for good: it was stopped or killed, or died and is not restarted.
func (c *Consumer) Done() <-chan struct{} { return c.done }

// Err says why the consumer died last; nil if it never did. Stop and Kill are no deaths.
func (c *Consumer) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Restarts is how many times the consumer was started again after it died.
func (c *Consumer) Restarts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.restarts
}

// Counts is what became of the events so far. It is kept across restarts.
func (c *Consumer) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}

// CountsOf is what became of the events of one product so far.
func (c *Consumer) CountsOf(product string) Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	var sum Counts
	for _, queue := range queues() {
		sum.add(c.each[subject{queue, product}])
	}
	return sum
}

// Repeated are the products of which a queue has offered more than one event, and how many of them were acked. An
// event that is delivered again because the consumer died over it counts once.
func (c *Consumer) Repeated(queue string) map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	repeated := map[string]int{}
	for s, counts := range c.each {
		if n := counts.Acked(); s.queue == queue && n > 1 {
			repeated[s.product] = n
		}
	}
	return repeated
}

// Deaf tells whether the broker has closed the connection in an orderly way, as it does when it is stopped or an
// operator closes the connection. The consumer then lives on and never consumes again, which is what the real cart
// does. It dies instead if it was at work on an event, whose ack then fails.
func (c *Consumer) Deaf() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deaf
}

// supervise runs one process after the other, beginning with one that has started.
func (c *Consumer) supervise(ctx context.Context, p *process) {
	defer close(c.done)
	defer c.kill() // frees the context
	for {
		var err error
		if p != nil {
			if err = p.run(ctx, c.stop); err == nil {
				return // stopped or killed
			}
			c.died(err)
		}
		if !c.config.Restart || !c.pause(ctx) {
			return
		}
		c.mu.Lock()
		c.restarts++
		c.mu.Unlock()
		if p, err = c.startProcess(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			c.died(err)
		}
	}
}

func (c *Consumer) died(err error) {
	c.log.Error("died", "err", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// pause waits before a restart; it is false if the consumer is stopped or killed meanwhile.
func (c *Consumer) pause(ctx context.Context) bool {
	select {
	case <-time.After(c.config.RestartDelay):
		return true
	case <-c.stop:
	case <-ctx.Done():
	}
	return false
}

// acked is called by the process for each event that it has acked.
func (c *Consumer) acked(about subject, what Counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.add(what)
	part := c.each[about]
	part.add(what)
	c.each[about] = part
}

func (c *Consumer) becameDeaf(reason error) {
	c.log.Warn("the broker closed the connection; alive, but not consuming any more", "err", reason)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf = true
}

// queues are all that the Cart Service consumes, on one channel.
func queues() []string { return append(platform.ProductQueues(), platform.OrderCreated) }
