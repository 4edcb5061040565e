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

// Producer publishes the events of one run. It is for one goroutine at a time;
// Throttle may be called from any.
type Producer struct {
	conn     *rabbit.Connection // publishes, and nothing else: a broker that blocks publishers stops reading from it
	queues   map[string]*rabbit.Queue
	monitor  *rabbit.Connection
	config   Config
	patience time.Duration
	run      string

	ch       *amqp.Channel
	returns  chan amqp.Return
	checked  bool
	throttle atomic.Pointer[string]
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

// Throttle is why publishing pauses at this moment, empty while it does not.
func (p *Producer) Throttle() string {
	if reason := p.throttle.Load(); reason != nil {
		return *reason
	}
	return ""
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
		events = append(events, event{key: rabbit.CreatedQueue, kind: "ProductCreated", id: repairs[i].Row.ID, body: body, result: &results[i]})
	}
	return results, p.publish(ctx, round, events)
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
			events = append(events, event{key: rabbit.DeletedQueue, kind: "ProductDeleted", id: ids[i], body: body, result: &results[i]})
		}
		if err := p.publish(ctx, 0, events); err != nil {
			return results, err
		}
		done += n
	}
	return results, nil
}

// event is one message to publish and the result that it decides.
type event struct {
	key, kind string
	id        product.ID
	body      []byte
	result    *product.Result
	confirm   *amqp.DeferredConfirmation
}

// publish sends events without waiting in between, then waits for all confirms.
// An event whose fate is unknown (nacked, unconfirmed in time, or its channel
// lost before the confirm) counts as acted on: it may be in the queue, so only
// the next comparison decides. An event that was not sent has an empty result.
func (p *Producer) publish(ctx context.Context, round int, events []event) error {
	if len(events) == 0 {
		return nil
	}
	ch, err := p.channel(ctx)
	if err != nil {
		return err
	}
	for i := range events {
		e := &events[i]
		// Unknown from here on: the library may fail after bytes have left.
		e.result.Acted = true
		e.confirm, err = ch.PublishWithDeferredConfirmWithContext(ctx, rabbit.Exchange, e.key, true, false, p.message(round, e))
		if err != nil {
			break
		}
	}
	if !p.awaitConfirms(ctx, events) || err != nil || ch.IsClosed() {
		// Late confirms of this channel must not be taken for those of later
		// events. Reserve waits for the broker's return before the next event.
		defer p.dropChannel()
	}
	return p.takeReturns(events)
}

// awaitConfirms waits for the confirms of what was sent, also when the run is
// being stopped, and reports whether all came in time. While the broker blocks
// publishers it has not read our events yet, and that time does not count.
func (p *Producer) awaitConfirms(ctx context.Context, events []event) bool {
	defer p.throttle.Store(nil)
	timeout := time.NewTimer(p.config.ConfirmTimeout)
	defer timeout.Stop()
	for i := range events {
		for confirm := events[i].confirm; confirm != nil; {
			select {
			case <-confirm.Done():
				confirm = nil
			case <-timeout.C:
				reason := p.conn.Blocked()
				if reason == "" || ctx.Err() != nil {
					return false
				}
				reason = "the broker blocks publishers: " + reason
				p.throttle.Store(&reason)
				timeout.Reset(p.config.ConfirmTimeout)
			}
		}
	}
	return true
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
			id, _ := returned.Headers[headerProduct].(string)
			for i := range events {
				if string(events[i].id) == id {
					events[i].result.Acted, events[i].result.Err = false, err
				}
			}
			unroutable = err
		default:
			return unroutable
		}
	}
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
			err = ch.Confirm(false)
		}
		if err != nil {
			reason := err.Error()
			p.throttle.Store(&reason)
		}
		return ch, err
	}, backoff.WithMaxElapsedTime(p.patience))
	if err != nil {
		return nil, fmt.Errorf("open the publishing channel: %w", err)
	}
	p.ch = ch
	// Room for every event that can be under way, so that the library never waits.
	p.returns = ch.NotifyReturn(make(chan amqp.Return, maxWindow))
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

func (p *Producer) message(round int, e *event) amqp.Publishing {
	reason := string(product.Missing)
	if e.key == rabbit.DeletedQueue {
		reason = "undone"
	}
	return amqp.Publishing{
		Headers:      amqp.Table{headerRun: p.run, headerRound: int32(round), headerProduct: string(e.id), headerReason: reason},
		ContentType:  "application/json",
		DeliveryMode: amqp.Persistent,
		MessageId:    messageID(p.run, round, e.id),
		Timestamp:    time.Now(),
		Type:         e.kind,
		AppId:        "etl",
		Body:         e.body,
	}
}

// maxShortString is the longest message id that AMQP carries, in bytes.
const maxShortString = 255

// messageID is run/round/product; a long product id is replaced by its hash.
func messageID(run string, round int, id product.ID) string {
	text := run + "/" + strconv.Itoa(round) + "/" + string(id)
	if len(text) > maxShortString {
		sum := sha256.Sum256([]byte(id))
		text = run + "/" + strconv.Itoa(round) + "/sha256:" + hex.EncodeToString(sum[:])
	}
	return text
}
