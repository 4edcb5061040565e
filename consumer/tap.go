package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
)

// TapQueue has copies of the platform's product events.
const TapQueue = "etl.tap"

const (
	// tapPrefetch is how many events one process has in hand.
	tapPrefetch = 1000
	// maxTapMessages and the bytes bound the queue. It drops its oldest events, which
	// complete comparisons make up for: no live publisher is ever refused for it.
	maxTapMessages = 100_000
	maxTapBytes    = 512 << 20
	// tapExpires is how long the queue stays when nobody consumes it.
	tapExpires = 24 * time.Hour
	// tapStands is how long the cart's queues may stand, or be out of sight, before the events
	// in hand are given back, and how long the tap pauses then at most before it tries again.
	tapStands = time.Minute
	// tapHolds is how long an event is held at most: less than holdTime.
	tapHolds = holdTime - time.Minute
	// lookEvery is how often what can be looked at is: events of that time share one look.
	lookEvery = 500 * time.Millisecond
)

// Judge tells what the cart has made of announced products.
type Judge interface {
	// Sight is until when everything queued for the cart before has been consumed, of the
	// queue that events of this kind travel through, and whether it moves.
	Sight(kind product.Kind) Sight
	// Check reads products on both sides and keeps what differs. Announced are those whose
	// creation was among the events.
	Check(ctx context.Context, ids []product.ID, announced map[product.ID]bool) error
	// Announced hears how long after its creation a product was announced.
	Announced(ctx context.Context, gap time.Duration)
}

// Sight is what is known of one of the cart's queues.
type Sight struct {
	Passed time.Time // everything queued before it has been consumed
	Stands time.Duration
	Why    string // it stands
}

// TapState is what the tap is doing.
type TapState struct {
	Connected bool
	Since     time.Time // of the last change of Connected
	Err       string    // what keeps it from working, empty while nothing does
	// Oldest is since when the longest held event waits for its look, zero where none does.
	Oldest time.Time
	Held   int
	// Unreadable is what the last event looked like that no consumer can read, empty where
	// there was none, UnreadableIn the queue of the cart that it came to, and UnreadableAt when.
	Unreadable   string
	UnreadableIn string
	UnreadableAt time.Time
}

// Tap looks at what the platform announces: once the cart has consumed an event, its product
// must be the same on both sides.
type Tap struct {
	conn  *rabbit.Connection
	judge Judge
	log   *slog.Logger
	// Alternate tells which exchange takes what finds no queue on the platform's, empty where
	// none does: a binding of ours would take it from there. Nil is unknown.
	Alternate func(ctx context.Context) (string, error)
	// Count, if set, hears how many events came, and how many of them were done with.
	Count func(seen, checked int)

	stands time.Duration // tapStands, but for tests

	mu    sync.Mutex
	state TapState
}

// NewTap makes a tap that consumes on conn.
func NewTap(conn *rabbit.Connection, judge Judge, log *slog.Logger) *Tap {
	return &Tap{conn: conn, judge: judge, log: log.With("component", "tap"), stands: tapStands, state: TapState{Since: time.Now()}}
}

// State tells what the tap is doing. It may be called at any time.
func (t *Tap) State() TapState {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state
}

// errHeld ends a subscription whose events waited too long for the cart.
type errHeld struct{ why string }

func (e errHeld) Error() string {
	return "events are given back to queue " + TapQueue + ", the cart does not consume: " + e.why
}

// errOff says why there is no tap here, which only an operator changes.
type errOff struct{ error }

// Run consumes until ctx ends. It outlives the loss of the broker, and of everything else.
func (t *Tap) Run(ctx context.Context) error {
	retry := newBackOff()
	for {
		err := t.consume(ctx, retry.Reset)
		select {
		case <-ctx.Done():
			t.change(false, nil)
			return nil
		default:
		}
		t.change(false, err)
		pause := retry.NextBackOff()
		switch {
		case errors.As(err, new(errHeld)):
			t.rest(ctx)
			continue
		case errors.As(err, new(errOff)):
			pause = t.stands
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// rest waits until the cart consumes again.
func (t *Tap) rest(ctx context.Context) {
	begun := time.Now()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for time.Since(begun) < t.stands {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if t.judge.Sight(product.Missing).Passed.After(begun) {
			return
		}
	}
}

func (t *Tap) change(connected bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.state
	t.state.Err = ""
	if err != nil {
		t.state.Err = err.Error()
	}
	if !connected {
		t.state.Held, t.state.Oldest = 0, time.Time{}
	}
	if connected != before.Connected {
		t.state.Connected, t.state.Since = connected, time.Now()
	}
	switch {
	case connected && !before.Connected:
		t.log.Info("looking at what the platform announces", "queue", TapQueue)
	case err != nil && before.Err != t.state.Err:
		t.log.Warn("not looking at what the platform announces", "err", err)
	}
}

// subscribe declares the queue and its bindings, and returns how many events wait in it.
func (t *Tap) subscribe(ctx context.Context) (on *amqp.Channel, deliveries <-chan amqp.Delivery, waiting int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, subscribeTimeout, errSilent)
	defer cancel()
	if err := t.conn.CheckTopology(ctx); err != nil {
		return nil, nil, 0, err
	}
	alternate, err := t.alternate(ctx)
	if err != nil {
		return nil, nil, 0, err
	}
	ch, err := t.conn.Channel(ctx)
	if err != nil {
		return nil, nil, 0, err
	}
	defer func() {
		if err != nil {
			_ = release(ch)
		}
	}()
	if alternate != "" {
		err := answered(ctx, func() error { _, err := ch.QueueDelete(TapQueue, false, false, false); return err })
		return nil, nil, 0, errOff{errors.Join(fmt.Errorf("exchange %s has the alternate exchange %s, which a binding of ours would take messages from", rabbit.Exchange, alternate), err)}
	}
	arguments := queueArguments(deadDeliveries, maxTapBytes)
	arguments["x-max-length"], arguments["x-overflow"], arguments["x-expires"] = maxTapMessages, "drop-head", tapExpires.Milliseconds()
	queue, err := rabbit.Answered(ctx, func() (amqp.Queue, error) { return ch.QueueDeclare(TapQueue, true, false, false, false, arguments) })
	if err != nil {
		return nil, nil, 0, refused(err, "queue "+TapQueue)
	}
	for _, key := range rabbit.CartQueues() {
		err := answered(ctx, func() error { return ch.QueueBind(TapQueue, key, rabbit.Exchange, false, nil) })
		if reason := (*amqp.Error)(nil); errors.As(err, &reason) && reason.Code == amqp.AccessRefused {
			return nil, nil, 0, errOff{fmt.Errorf(`the broker's user may not bind queue %s to exchange %s, which needs the read permission on "^%s$": %w`, TapQueue, rabbit.Exchange, rabbit.Exchange, err)}
		}
		if err != nil {
			return nil, nil, 0, fmt.Errorf("bind queue %s to exchange %s: %w", TapQueue, rabbit.Exchange, err)
		}
	}
	deliveries, err = rabbit.Answered(ctx, func() (<-chan amqp.Delivery, error) {
		if err := ch.Qos(tapPrefetch, 0, false); err != nil {
			return nil, err
		}
		return ch.Consume(TapQueue, "etl tap", false, false, false, false, nil)
	})
	if err != nil {
		return nil, nil, 0, fmt.Errorf("consume queue %s: %w", TapQueue, err)
	}
	return ch, deliveries, queue.Messages, nil
}

func (t *Tap) alternate(ctx context.Context) (string, error) {
	if t.Alternate == nil {
		return "", nil
	}
	return t.Alternate(ctx)
}

// announcement is an event in hand.
type announcement struct {
	amqp.Delivery
	id      product.ID
	kind    product.Kind
	arrived time.Time
}

// consume subscribes, and holds each event until its product was looked at.
func (t *Tap) consume(ctx context.Context, subscribed func()) error {
	ch, deliveries, waiting, err := t.subscribe(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = release(ch) }() // which gives back what is in hand
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	t.change(true, nil)
	subscribed()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var held []announcement
	for {
		select {
		case <-ctx.Done():
			return nil
		case d, open := <-deliveries:
			if !open {
				return ended(ch, closed, TapQueue)
			}
			waiting--
			a, is := t.read(d)
			if !is {
				if err := d.Ack(false); err != nil {
					return err
				}
				t.count(1, 1)
				continue
			}
			if waiting < 0 && !d.Redelivered { // it has come as it was published
				t.measure(ctx, &a)
			}
			held = append(held, a)
			t.holds(held)
			t.count(1, 0)
		case <-tick.C:
			if held, err = t.look(ctx, held); err != nil {
				return err
			}
		}
	}
}

func (t *Tap) count(seen, checked int) {
	if t.Count != nil {
		t.Count(seen, checked)
	}
}

// read is the event as far as it matters here; false of one that is ours, or that says nothing
// of a product.
func (t *Tap) read(d amqp.Delivery) (a announcement, is bool) {
	a = announcement{Delivery: d, arrived: time.Now()}
	if d.AppId == rabbit.App {
		return a, false
	}
	var body struct {
		ID product.ID `json:"id"`
	}
	err := json.Unmarshal(d.Body, &body)
	if err == nil && body.ID == "" {
		err = errors.New("it has no id")
	}
	if err != nil {
		t.log.Warn("an event that the cart's consumer cannot read", "routingKey", d.RoutingKey, "bytes", len(d.Body), "err", err)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.state.Unreadable = fmt.Sprintf("an event for queue %s of %d bytes cannot be read, and stops the cart's consumer: %v", d.RoutingKey, len(d.Body), err)
		t.state.UnreadableIn, t.state.UnreadableAt = d.RoutingKey, a.arrived
		return a, false
	}
	a.id, a.Body = body.ID, nil // of large events little stays in memory
	for _, rule := range product.Rules() {
		if rule.Queue == d.RoutingKey {
			a.kind = rule.Kind
		}
	}
	return a, a.kind != ""
}

// measure tells how long after its creation the product was announced, to the second that its
// ObjectId has.
func (t *Tap) measure(ctx context.Context, a *announcement) {
	if a.kind != product.Missing {
		return
	}
	if created := product.CreatedBy(a.id); !created.IsZero() && a.arrived.After(created) {
		t.judge.Announced(ctx, a.arrived.Sub(created))
	}
}

// look checks those events that the cart has consumed by now, and returns the others.
func (t *Tap) look(ctx context.Context, held []announcement) ([]announcement, error) {
	sights := make(map[product.Kind]Sight)
	for _, rule := range product.Rules() {
		sights[rule.Kind] = t.judge.Sight(rule.Kind)
	}
	var done, left []announcement
	for _, a := range held {
		// A change may be queued behind the creation of its product.
		if a.arrived.Before(sights[a.kind].Passed) && a.arrived.Before(sights[product.Missing].Passed) {
			done = append(done, a)
		} else {
			left = append(left, a)
		}
	}
	if err := t.check(ctx, done); err != nil {
		t.change(true, fmt.Errorf("what the platform announced cannot be looked at: %w", err))
		left = held
	} else {
		for _, a := range done {
			if err := a.Ack(false); err != nil {
				return nil, err
			}
		}
		if len(done) > 0 {
			t.change(true, nil)
			t.count(0, len(done))
		}
	}
	t.holds(left)
	if len(left) == 0 {
		return nil, nil
	}
	oldest := &left[0]
	sight := sights[oldest.kind]
	if other := sights[product.Missing]; other.Stands > sight.Stands {
		sight = other
	}
	switch age := time.Since(oldest.arrived); {
	case age > t.stands && sight.Stands > t.stands, age > tapHolds:
		return nil, errHeld{sight.Why}
	}
	return left, nil
}

// holds shows what is in hand.
func (t *Tap) holds(held []announcement) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state.Held, t.state.Oldest = len(held), time.Time{}
	if len(held) > 0 {
		t.state.Oldest = held[0].arrived
	}
}

// check looks at the products of events, each once.
func (t *Tap) check(ctx context.Context, done []announcement) error {
	if len(done) == 0 {
		return nil
	}
	announced := make(map[product.ID]bool, len(done))
	for _, a := range done {
		announced[a.id] = announced[a.id] || a.kind == product.Missing
	}
	ids := slices.Collect(maps.Keys(announced))
	ctx, cancel := context.WithTimeout(ctx, tapStands/2)
	defer cancel()
	return t.judge.Check(ctx, ids, announced)
}
