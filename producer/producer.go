// Package producer replays: it publishes product events for the cart's normal
// consumer, confirmed by the broker and never faster than the cart consumes.
package producer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
)

// Config sets how events are published.
type Config struct {
	// MaxQueueDepth is how many messages a queue of the cart may hold, ours and
	// live ones together, before publishing pauses: 1..10,000.
	MaxQueueDepth int `env:"REPLAY_MAX_QUEUE_DEPTH, default=200"`
	// ConfirmTimeout is how long the broker may take to confirm what was
	// published; after it the events count as unknown.
	ConfirmTimeout time.Duration `env:"REPLAY_CONFIRM_TIMEOUT, default=30s"`
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
	return errors.Join(problems...)
}

// maxWindow is the largest number of events that may be unconfirmed at once.
const maxWindow = 10_000

// ErrNoConsumer says that an event would wait for nobody.
var ErrNoConsumer = errors.New("nobody consumes queue " + rabbit.CreatedQueue)

// UnroutableError says that the broker had no queue for an event and returned it.
type UnroutableError struct {
	Exchange, RoutingKey, Reply string
}

func (e *UnroutableError) Error() string {
	return fmt.Sprintf("the broker returned an event as unroutable (%s): no queue is bound to exchange %s with routing key %s; restart the Cart Service, which binds it", e.Reply, e.Exchange, e.RoutingKey)
}

// Counter hears what became of events that were sent: confirmed by the broker,
// returned by it as unroutable, or unknown.
type Counter func(confirmed, returned, unknown int)

// Producer publishes the events of one run. It is for one goroutine at a time;
// Throttle and Paused may be called from any.
type Producer struct {
	// Count, if set, hears of every event. Set it before the first one.
	Count Counter

	conn     *rabbit.Connection // publishes, and nothing else: a broker that blocks publishers stops reading from it
	queues   map[string]*rabbit.Queue
	monitor  *rabbit.Connection
	config   Config
	patience time.Duration
	run      string

	ch       *amqp.Channel
	returns  chan amqp.Return
	closed   chan *amqp.Error
	checked  bool
	throttle atomic.Pointer[Pause]
}

// New makes a producer for one run. It publishes on conn and looks at queues on
// monitor, another connection. A pause longer than patience ends with a
// *product.PausedError.
func New(conn, monitor *rabbit.Connection, config Config, run string, patience time.Duration) *Producer {
	return &Producer{conn: conn, monitor: monitor, config: config, run: run, patience: patience,
		queues: map[string]*rabbit.Queue{
			rabbit.CreatedQueue: monitor.Queue(rabbit.CreatedQueue),
			rabbit.DeletedQueue: monitor.Queue(rabbit.DeletedQueue),
		}}
}

// check insists, before the first event, on the cart's exchange and queues and on
// a consumer.
func (p *Producer) check(ctx context.Context) error {
	if p.checked {
		return nil
	}
	if err := p.monitor.CheckTopology(ctx); err != nil {
		return err
	}
	state, err := p.queues[rabbit.CreatedQueue].State(ctx)
	if err != nil {
		return err
	}
	if state.Consumers == 0 {
		return fmt.Errorf("%w: start the Cart Service, or restart it if it runs but lost its connection", ErrNoConsumer)
	}
	p.checked = true
	return nil
}

// Repair publishes one ProductCreated event for each product and waits for the
// broker's confirms. There is one result for each, in their order. The error is
// one of the broker; results that say neither Acted nor Err were not published.
func (p *Producer) Repair(ctx context.Context, round int, repairs []product.Repair) ([]product.Result, error) {
	results := make([]product.Result, len(repairs))
	events := make([]event, 0, len(repairs))
	for i := range repairs {
		results[i].ID = repairs[i].Row.ID
		body, err := encodeCreated(&repairs[i])
		if err != nil {
			results[i].Err = err
			continue
		}
		events = append(events, p.event("ProductCreated", rabbit.CreatedQueue, round, body, &results[i]))
	}
	return results, p.publish(ctx, events)
}

// Remove publishes one ProductDeleted event for each id.
func (p *Producer) Remove(ctx context.Context, ids []product.ID) ([]product.Result, error) {
	results := make([]product.Result, len(ids))
	for i, id := range ids {
		results[i].ID = id
	}
	for done := 0; done < len(ids); {
		n, err := p.reserve(ctx, rabbit.DeletedQueue, len(ids)-done)
		if err != nil {
			return results, err
		}
		events := make([]event, 0, n)
		for i := done; i < done+n; i++ {
			body, err := encodeDeleted(ids[i])
			if err != nil {
				return results, err
			}
			events = append(events, p.event("ProductDeleted", rabbit.DeletedQueue, 0, body, &results[i]))
		}
		if err := p.publish(ctx, events); err != nil {
			return results, err
		}
		done += n
	}
	return results, nil
}

// event is one message to publish and the result that it decides.
type event struct {
	key     string
	message amqp.Publishing
	result  *product.Result
	confirm *amqp.DeferredConfirmation
}

// publish sends events without waiting in between, then waits for all confirms.
// An event whose fate is unknown (nacked, unconfirmed in time, or its channel
// lost before the confirm) counts as acted on: it may be in the queue, so only
// the next comparison decides. An event that was not sent has an empty result.
func (p *Producer) publish(ctx context.Context, events []event) error {
	if len(events) == 0 {
		return nil
	}
	ch, err := p.channel(ctx)
	if err != nil {
		return err
	}
	sent := p.send(ctx, ch, events)
	if !p.awaitConfirms(ctx, events) || !sent || ch.IsClosed() {
		// Late confirms of this channel must not be taken for those of later
		// events. Reserve waits for the broker's return before the next event.
		defer p.dropChannel()
	}
	unroutable := p.takeReturns(events)
	p.count(events)
	if unroutable != nil {
		return unroutable
	}
	return p.refusal(ch)
}

func (p *Producer) count(events []event) {
	if p.Count == nil {
		return
	}
	var confirmed, returned, unknown int
	for i := range events {
		switch e := &events[i]; {
		case errors.As(e.result.Err, new(*UnroutableError)):
			returned++
		case e.result.Acted && e.confirm != nil && e.confirm.Acked():
			confirmed++
		case e.result.Acted:
			unknown++
		}
	}
	p.Count(confirmed, returned, unknown)
}

// send writes the events and reports whether all were written. A write does not
// return while the broker reads nothing, so the connection is given up when that
// takes longer than a confirm may.
func (p *Producer) send(ctx context.Context, ch *amqp.Channel, events []event) bool {
	written := make(chan struct{})
	var watch sync.WaitGroup
	defer watch.Wait()
	defer close(written)
	watch.Go(func() {
		timeout := time.NewTimer(p.config.ConfirmTimeout)
		defer timeout.Stop()
		if !p.await(ctx, written, timeout) {
			p.conn.Drop()
		}
	})
	for i := range events {
		if ctx.Err() != nil {
			return false
		}
		e := &events[i]
		// Unknown from here on: the library may fail after bytes have left.
		e.result.Acted = true
		confirm, err := ch.PublishWithDeferredConfirm(rabbit.Exchange, e.key, true, false, e.message)
		if err != nil {
			return false
		}
		e.confirm = confirm
	}
	return true
}

// awaitConfirms waits for the confirms of what was sent, also when the run is
// being stopped, and reports whether all came in time.
func (p *Producer) awaitConfirms(ctx context.Context, events []event) bool {
	defer p.throttle.Store(nil)
	timeout := time.NewTimer(p.config.ConfirmTimeout)
	defer timeout.Stop()
	for i := range events {
		if confirm := events[i].confirm; confirm != nil && !p.await(ctx, confirm.Done(), timeout) {
			return false
		}
	}
	return true
}

// await waits until done, or until timeout. While the broker blocks publishers it
// does not read our events, and unless the run is being stopped that time does
// not count.
func (p *Producer) await(ctx context.Context, done <-chan struct{}, timeout *time.Timer) bool {
	for {
		select {
		case <-done:
			return true
		case <-timeout.C:
			reason := p.conn.Blocked()
			if reason == "" || ctx.Err() != nil {
				return false
			}
			pause := pauseBlocked(reason)
			p.throttle.Store(&pause)
			timeout.Reset(p.config.ConfirmTimeout)
		}
	}
}

// takeReturns marks the events that came back. The broker sends a return before
// the confirm of the same message, so all that matter are here by now.
func (p *Producer) takeReturns(events []event) error {
	var unroutable error
	for {
		select {
		case returned, open := <-p.returns:
			if !open {
				return unroutable // the channel is gone, and its returns with it
			}
			err := &UnroutableError{Exchange: returned.Exchange, RoutingKey: returned.RoutingKey, Reply: strconv.Itoa(int(returned.ReplyCode)) + " " + returned.ReplyText}
			for i := range events {
				if events[i].message.MessageId == returned.MessageId {
					events[i].result.Acted, events[i].result.Err = false, err
				}
			}
			unroutable = err
		default:
			return unroutable
		}
	}
}

// refusal is why the broker closed the channel, where publishing once more would
// fail once more. A lost connection is no refusal.
func (p *Producer) refusal(ch *amqp.Channel) error {
	if !ch.IsClosed() {
		return nil
	}
	reason := <-p.closed // the library closes it at the latest
	switch {
	case reason == nil:
		return nil
	case reason.Code == amqp.NotFound:
		return fmt.Errorf("publish to exchange %s: it does not exist any more: restart the Cart Service, which declares it: %w", rabbit.Exchange, reason)
	case reason.Code == amqp.AccessRefused:
		return fmt.Errorf("publish to exchange %s: the broker's user needs the write permission on it: %w", rabbit.Exchange, reason)
	case reason.Code == amqp.PreconditionFailed:
		return fmt.Errorf("publish to exchange %s: %w", rabbit.Exchange, reason)
	}
	return nil
}

// channel is the publishing channel, in confirm mode. It waits for a broker that
// is away, such as one that restarts.
func (p *Producer) channel(ctx context.Context) (*amqp.Channel, error) {
	if p.ch != nil && !p.ch.IsClosed() {
		return p.ch, nil
	}
	defer p.throttle.Store(nil)
	ch, err := backoff.Retry(ctx, func() (*amqp.Channel, error) {
		ch, err := p.conn.Channel(ctx)
		if err == nil {
			stop := context.AfterFunc(ctx, p.conn.Drop) // the call itself takes no context
			err = ch.Confirm(false)
			stop()
		}
		if err != nil {
			p.throttle.Store(&Pause{Away, err.Error()})
		}
		return ch, err
	}, backoff.WithMaxElapsedTime(p.patience))
	if err != nil {
		return nil, fmt.Errorf("open the publishing channel: %w", err)
	}
	p.ch = ch
	// Room for every event that can be under way, so that the library never waits.
	p.returns = ch.NotifyReturn(make(chan amqp.Return, maxWindow))
	p.closed = ch.NotifyClose(make(chan *amqp.Error, 1))
	return ch, nil
}

func (p *Producer) dropChannel() {
	if p.ch != nil {
		p.conn.Drop()
		p.ch = nil
	}
}

// Headers of our events; the cart's consumers ignore them, operators read them.
const (
	headerRun     = "x-etl-run"
	headerRound   = "x-etl-round"
	headerProduct = "x-etl-product"
	headerReason  = "x-etl-reason"
)

func (p *Producer) event(kind, key string, round int, body []byte, result *product.Result) event {
	reason := string(product.Missing)
	if key == rabbit.DeletedQueue {
		reason = "undone"
	}
	prefix := p.run + "/" + strconv.Itoa(round) + "/"
	id := shortened(result.ID, maxShortString-len(prefix))
	return event{key: key, result: result, message: amqp.Publishing{
		Headers:      amqp.Table{headerRun: p.run, headerRound: int32(round), headerProduct: id, headerReason: reason},
		ContentType:  "application/json",
		DeliveryMode: amqp.Persistent,
		MessageId:    prefix + id,
		Timestamp:    time.Now(),
		Type:         kind,
		AppId:        "etl",
		Body:         body,
	}}
}

// maxShortString is the longest message id that AMQP carries, in bytes.
const maxShortString = 255

// shortened is the product's id, or its hash where it is longer than most bytes. A
// message's properties must fit into one frame, and its id into a short string.
func shortened(id product.ID, most int) string {
	if len(id) <= most {
		return string(id)
	}
	sum := sha256.Sum256([]byte(id))
	return "sha256:" + hex.EncodeToString(sum[:])
}
