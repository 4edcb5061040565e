package producer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
)

const (
	lookInterval = 20 * time.Millisecond
	// gather is how long a small credit may grow before it is spent: the cart
	// consumes one by one, and a batch of one costs as much as one of fifty.
	gather = 250 * time.Millisecond
	// lookTimeout is how long one look at a queue may take before the broker counts
	// as silent.
	lookTimeout = 3 * time.Second
)

var errSilent = errors.New("the broker does not answer")

// Reserve waits until events may be published without starving live traffic and
// returns how many, at most want: what REPLAY_MAX_QUEUE_DEPTH leaves above the
// messages that are waiting. It waits while the queue is full, while nobody
// consumes it, while its depth cannot be read, and while the broker blocks us.
func (p *Producer) Reserve(ctx context.Context, want int) (int, error) {
	if err := p.check(ctx); err != nil {
		return 0, err
	}
	return p.reserve(ctx, rabbit.CreatedQueue, want)
}

func (p *Producer) reserve(ctx context.Context, queue string, want int) (int, error) {
	if p.ch == nil && p.returns != nil || p.ch != nil && p.ch.IsClosed() {
		// The channel was lost. A broker that is away is waited for here, before the
		// products are read: an event must not carry a document from before that wait.
		if _, err := p.channel(ctx); err != nil {
			return 0, err
		}
	}
	defer p.throttle.Store(nil)
	begun := time.Now()
	enough := min(want, max(p.config.MaxQueueDepth/4, 1))
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		credit, pause := p.credit(ctx, queue)
		waited := time.Since(begun)
		switch {
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case credit >= enough || credit > 0 && waited >= gather:
			return min(credit, want), nil
		case waited >= p.patience:
			return 0, &product.PausedError{Reason: pause.Reason, Waited: waited}
		}
		if waited >= gather {
			p.throttle.Store(&pause)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// credit is how many events may be added to queue now, and why none where it is 0.
func (p *Producer) credit(ctx context.Context, queue string) (int, Pause) {
	if blocked := p.conn.Blocked(); blocked != "" {
		return 0, pauseBlocked(blocked)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, errSilent)
	defer cancel()
	state, err := p.queues[queue].State(ctx)
	switch {
	case err != nil:
		return 0, Pause{Unreadable, fmt.Sprintf("the depth of queue %s cannot be read: %v", queue, err)}
	case state.Consumers == 0:
		return 0, Pause{NoConsumer, fmt.Sprintf("nobody consumes queue %s (%d messages waiting)", queue, state.Ready)}
	case state.Ready >= p.config.MaxQueueDepth:
		return 0, Pause{QueueFull, fmt.Sprintf("queue %s holds %d messages, the limit is %d (REPLAY_MAX_QUEUE_DEPTH)", queue, state.Ready, p.config.MaxQueueDepth)}
	}
	return p.config.MaxQueueDepth - state.Ready, Pause{}
}

// Cause is a kind of pause.
type Cause string

// The causes of a pause.
const (
	QueueFull  Cause = "queue_full"
	NoConsumer Cause = "no_consumer"
	Blocked    Cause = "blocked"    // the broker takes no messages
	Unreadable Cause = "unreadable" // the depth of the queue is not known
	Away       Cause = "away"       // there is no connection to publish on
)

// Pause is why publishing waits at one moment.
type Pause struct {
	Cause  Cause
	Reason string
}

func pauseBlocked(reason string) Pause {
	return Pause{Blocked, "the broker blocks publishers: " + reason}
}

// Throttle is why publishing pauses at this moment, empty while it does not.
func (p *Producer) Throttle() string { return p.Paused().Reason }

// Paused is the same with its cause.
func (p *Producer) Paused() Pause {
	if pause := p.throttle.Load(); pause != nil {
		return *pause
	}
	return Pause{}
}
