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
	// lookTimeout is how long one look at a queue, or at the cart, may take before it
	// counts as failed.
	lookTimeout = 3 * time.Second
	// openTimeout is how long one try to open a channel may take, the dial included.
	openTimeout = 15 * time.Second
)

var (
	errSilent     = errors.New("the broker does not answer")
	errCartSilent = errors.New("the cart's database does not answer")
)

// Reserve waits until events of a kind may be published without starving live
// traffic and returns how many, 1..want: what the queue's limit leaves above the
// messages that wait there, or above our own events that are not seen in the cart
// yet, whichever are more. unseen tells what these count for; it is asked in each round
// of the wait, every 20 ms, and nil is none. Reserve waits while either cannot be
// read, while the queue is full, while nobody consumes it, and while the broker is
// away or blocks us. A *product.PausedError says that it waited in vain.
func (p *Producer) Reserve(ctx context.Context, kind product.Kind, want int, unseen func(context.Context) (int, error)) (int, error) {
	l := p.lanes[kind]
	defer l.pause.Store(nil)
	begun := time.Now()
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		// A broker that is away is waited for here, before the products are read: an event
		// must not carry a document from before that wait.
		if err := l.open(ctx); err != nil {
			return 0, err
		}
		l.measure(ctx)
		credit, enough, pause := l.credit(ctx, unseen)
		waited := time.Since(begun)
		switch {
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case credit >= min(want, enough) || credit > 0 && waited >= gather:
			return min(credit, want), nil
		case waited >= p.patience:
			return 0, &product.PausedError{Reason: pause.Reason, Waited: waited}
		}
		if waited >= gather {
			l.pause.Store(&pause)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// credit is how many events may be added to the queue now, why none where it is 0,
// and how many are worth a batch.
func (l *lane) credit(ctx context.Context, unseen func(context.Context) (int, error)) (credit, enough int, pause Pause) {
	most, origin := l.limit.now()
	enough = max(most/4, 1)
	if blocked := l.conn.Blocked(); blocked != "" {
		return 0, enough, pauseBlocked(blocked)
	}
	look, cancel := context.WithTimeoutCause(ctx, lookTimeout, errSilent)
	defer cancel()
	state, err := l.queue.State(look)
	switch {
	case err != nil:
		return 0, enough, Pause{Unreadable, fmt.Sprintf("the depth of queue %s cannot be read: %v", l.rule.Queue, err)}
	case state.Consumers == 0:
		return 0, enough, Pause{NoConsumer, fmt.Sprintf("nobody consumes queue %s (%d messages waiting)", l.rule.Queue, state.Ready)}
	}
	l.limit.seen(state.Ready)
	if state.Ready >= most {
		return 0, enough, Pause{QueueFull, fmt.Sprintf("queue %s holds %d messages, the limit is %d (%s)", l.rule.Queue, state.Ready, most, origin)}
	}
	if unseen == nil {
		return most - state.Ready, enough, Pause{}
	}
	look, cancelCart := context.WithTimeoutCause(ctx, lookTimeout, errCartSilent)
	defer cancelCart()
	n, err := unseen(look)
	switch {
	case err != nil:
		return 0, enough, Pause{Unreadable, fmt.Sprintf("what of queue %s has arrived in the cart cannot be read: %v", l.rule.Queue, err)}
	case n >= most:
		return 0, enough, Pause{Unseen, fmt.Sprintf("events of queue %s have not arrived in the cart yet, the limit is %d (%s)", l.rule.Queue, most, origin)}
	}
	return most - max(state.Ready, n), enough, Pause{}
}

// measure asks for the queue's own length limit where that is not known, or may have
// changed. Where no answer comes, losses and nacks tell of it.
func (l *lane) measure(ctx context.Context) {
	if l.Management == nil || !l.limit.stale() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	l.limit.learn(l.Management.Limits(ctx, l.rule.Queue))
}

// Lost tells that events of a kind were proved not to have arrived: where the queue's
// own length limit is not known, it may have dropped them, and the next ones are
// fewer. It may be called at any time from any goroutine, and once for each loss.
func (p *Producer) Lost(kind product.Kind) { p.lanes[kind].limit.lost() }

// Cause is a kind of pause.
type Cause string

// The causes of a pause.
const (
	QueueFull  Cause = "queue_full"
	Unseen     Cause = "unseen" // too many of our own events have not arrived in the cart
	NoConsumer Cause = "no_consumer"
	Blocked    Cause = "blocked"    // the broker takes no messages
	Unreadable Cause = "unreadable" // what is outstanding is not known
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

// Bounds are the queues' own length limits, in messages, where half of them is less
// than REPLAY_MAX_QUEUE_DEPTH. Where it is one of bytes these are set, and the messages
// as many as fit of the largest size that was sent.
func (p *Producer) Bounds() map[product.Kind]rabbit.QueueLimits {
	bounds := make(map[product.Kind]rabbit.QueueLimits)
	for kind, l := range p.lanes {
		if own := l.limit.own(); own.Messages > 0 && own.Messages/2 < p.config.MaxQueueDepth {
			bounds[kind] = own
		}
	}
	return bounds
}

// Throttle is why publishing pauses at this moment, empty while it does not.
func (p *Producer) Throttle() string { return p.Paused().Reason }

// Paused is the same with its cause. Where several kinds pause it is that of the gravest.
func (p *Producer) Paused() Pause {
	for _, kind := range product.Kinds() {
		if pause := p.lanes[kind].pause.Load(); pause != nil {
			return *pause
		}
	}
	return Pause{}
}
