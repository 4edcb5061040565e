package producer

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
)

// UnroutableError says that the broker had no queue for an event and returned it.
type UnroutableError struct {
	Exchange, RoutingKey, Reply string
}

func (e *UnroutableError) Error() string {
	why := fmt.Sprintf("no queue is bound to exchange %s with routing key %s; restart the Cart Service, which binds it", e.Exchange, e.RoutingKey)
	if e.Exchange == "" {
		why = fmt.Sprintf("queue %s does not exist; start the Cart Service, which declares it", e.RoutingKey)
	}
	return fmt.Sprintf("the broker returned an event as unroutable (%s): %s", e.Reply, why)
}

// Repair publishes one event for each product, and waits for the broker's answers.
// There is one result for each, in order. The error is one of the broker, and ends
// the run.
//
// An event whose fate is unknown may be in the queue. Where there are such, Repair
// returns once the broker is back, so that an event which is not there by then will
// not get there any more; with a *product.PausedError where the broker stays away, and
// at once where ctx is done. But Repair does not begin without a broker: then
// nothing is sent, and Reserve waits.
//
// Batches may be repaired at once. One whose turn to be written comes so late that its products
// may have changed since they were read is not sent.
func (p *Producer) Repair(ctx context.Context, kind product.Kind, attempt int, repairs []product.Repair) ([]product.Result, error) {
	b := p.batch(kind, attempt, repairs)
	for i := range repairs {
		b.results[i].ID = repairs[i].Row.ID
	}
	if !b.begin() {
		return b.results, nil
	}
	return b.results, b.publish(ctx)
}

// batch is events on their way.
type batch struct {
	*lane
	ch      *channel // that they travel on
	attempt int
	prefix  string // of message ids
	repairs []product.Repair
	results []product.Result
	// confirms are nil where nothing, or not all of an event, was written to the connection.
	confirms []*amqp.DeferredConfirmation
	// returned are those events that came back, by message id.
	returned map[string]*UnroutableError
	ids      map[string]bool // of its messages, once they are asked for
}

// carries tells whether a message is one of the batch. The channel's lock is held.
func (b *batch) carries(message string) bool {
	if b.ids == nil {
		b.ids = make(map[string]bool, len(b.results))
		for i := range b.results {
			b.ids[b.messageID(b.results[i].ID)] = true
		}
	}
	return b.ids[message]
}

func (p *Producer) batch(kind product.Kind, attempt int, repairs []product.Repair) *batch {
	return &batch{
		lane: p.lanes[kind], attempt: attempt, prefix: p.run + "/" + strconv.Itoa(attempt) + "/", repairs: repairs,
		results: make([]product.Result, len(repairs)), confirms: make([]*amqp.DeferredConfirmation, len(repairs)),
	}
}

// longestTurn is how long a batch waits at most until the one before it is written.
const longestTurn = 2 * time.Second

// begin waits for the batch's turn to be written, and for nothing where there is no channel.
// Publish ends the turn.
func (b *batch) begin() bool {
	asked := time.Now()
	b.sending.Lock()
	b.ch = b.current()
	if b.ch == nil || b.ch.ended() || time.Since(asked) > longestTurn {
		b.sending.Unlock()
		return false
	}
	b.ch.mu.Lock()
	defer b.ch.mu.Unlock()
	b.ch.flight[b] = true
	return true
}

// publish sends the events without waiting in between, then waits for all answers.
func (b *batch) publish(ctx context.Context) error {
	b.send(ctx)
	b.sending.Unlock()
	if !b.await(ctx) {
		// What the broker has not read yet must never be read, and late confirms of this
		// channel must not be taken for those of later events.
		b.ch.dropped.Store(true)
		b.conn.Drop()
	}
	b.settle()
	unroutable := b.takeReturns()
	refusal := b.refusal()
	unknown := b.count()
	switch {
	case unroutable != nil:
		return unroutable
	case refusal != nil:
		return refusal
	case unknown > 0 && ctx.Err() == nil:
		// Whoever waits until the queue was drained after this moment must not miss an event
		// that the old connection still brings.
		if err := b.open(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// send encodes and writes one event after the other, until all are written, the
// connection breaks or the run is being stopped. A write does not return while the
// broker reads nothing, so the connection is given up when all this takes longer
// than a confirm may.
func (b *batch) send(ctx context.Context) {
	written := make(chan struct{})
	var watch sync.WaitGroup
	defer watch.Wait()
	defer close(written)
	watch.Go(func() {
		timeout := time.NewTimer(b.config.ConfirmTimeout)
		defer timeout.Stop()
		if !b.awaitOne(ctx, written, timeout) {
			b.conn.Drop()
		}
	})
	exchange, events, message := b.config.Route.exchange(), newEncoder(), b.message()
	for i := range b.repairs {
		if ctx.Err() != nil {
			return
		}
		repair, result := &b.repairs[i], &b.results[i]
		if message.Body, result.Err = events.encode(b.rule.Kind, repair); result.Err != nil {
			continue
		}
		result.Bytes = len(message.Body)
		if most := b.maxBody.Load(); most > 0 && int64(len(message.Body)) > most {
			result.Err = tooLarge(len(message.Body), most)
			continue
		}
		b.address(&message, repair)
		// Unknown from here on: the library may fail after bytes have left.
		result.Fate = product.Unknown
		confirm, err := b.ch.PublishWithDeferredConfirm(exchange, b.rule.Queue, true, false, message)
		if err != nil {
			return
		}
		b.confirms[i] = confirm
	}
}

// await waits for the answers to what was sent, also when the run is being stopped,
// and reports whether all came in time.
func (b *batch) await(ctx context.Context) bool {
	defer b.pause.Store(nil)
	timeout := time.NewTimer(b.config.ConfirmTimeout)
	defer timeout.Stop()
	for _, confirm := range b.confirms {
		if confirm != nil && !b.awaitOne(ctx, confirm.Done(), timeout) {
			return false
		}
	}
	return true
}

// awaitOne waits until done, or until timeout. While the broker blocks publishers it
// does not read our events, and unless the run is being stopped that time does
// not count.
func (b *batch) awaitOne(ctx context.Context, done <-chan struct{}, timeout *time.Timer) bool {
	select { // most are answered by the time that the first one is
	case <-done:
		return true
	default:
	}
	look := time.NewTicker(gather)
	defer look.Stop()
	for {
		select {
		case <-done:
			return true
		case <-look.C:
			b.pause.Store(nil)
			if reason := b.conn.Blocked(); reason != "" {
				pause := pauseBlocked(reason)
				b.pause.Store(&pause)
			}
		case <-timeout.C:
			if b.conn.Blocked() == "" || ctx.Err() != nil {
				return false
			}
			timeout.Reset(b.config.ConfirmTimeout)
		}
	}
}

// settle keeps the broker's answers.
func (b *batch) settle() {
	for i, confirm := range b.confirms {
		result := &b.results[i]
		if confirm == nil {
			continue
		}
		select {
		case <-confirm.Done():
			// The end of a channel resolves its confirms as nacks do, but is known before.
			if confirm.Acked() {
				result.Fate = product.Confirmed
			} else if !b.ch.dropped.Load() && !b.ch.IsClosed() {
				result.Fate = product.Nacked
			}
		default:
		}
	}
}

// takeReturns marks the events that came back. The broker sends a return before
// the confirm of the same message, so all that matter are here by now, or were given to
// the batch by another one that looked before.
func (b *batch) takeReturns() error {
	b.ch.mu.Lock()
	defer b.ch.mu.Unlock()
	delete(b.ch.flight, b)
	b.give(b.ch.flight)
	var unroutable error
	if len(b.returned) == 0 {
		return nil
	}
	for i := range b.results {
		result := &b.results[i]
		if err := b.returned[b.messageID(result.ID)]; err != nil {
			result.Fate, result.Err = product.Untried, err
			unroutable = err
		}
	}
	return unroutable
}

// give hands the events that came back to their batches: this one, and the others that are
// under way. The channel's lock is held.
func (b *batch) give(others map[*batch]bool) {
	for {
		select {
		case returned, open := <-b.ch.returns:
			if !open {
				return // the channel is gone, and its returns with it
			}
			of := b
			for other := range others {
				if other.carries(returned.MessageId) {
					of = other
				}
			}
			if of.returned == nil {
				of.returned = make(map[string]*UnroutableError)
			}
			of.returned[returned.MessageId] = &UnroutableError{Exchange: returned.Exchange, RoutingKey: returned.RoutingKey, Reply: strconv.Itoa(int(returned.ReplyCode)) + " " + returned.ReplyText}
		default:
			return
		}
	}
}

// refusal is why the broker closed the channel, where publishing once more would
// fail once more. A lost connection is no refusal, nor is a message above the
// broker's limit: that one is a misfit, and those behind it were not looked at.
func (b *batch) refusal() error {
	if b.ch.dropped.Load() || !b.ch.IsClosed() {
		return nil
	}
	reason := b.ch.end()
	most := sizeLimit(reason)
	if most == 0 {
		return rabbit.PublishError(b.config.Route.exchange(), reason)
	}
	b.maxBody.Store(most)
	for i, behind := 0, false; i < len(b.results); i++ {
		result := &b.results[i]
		switch {
		case result.Fate != product.Unknown:
		case int64(result.Bytes) > most:
			behind = true
			result.Fate, result.Err = product.Untried, tooLarge(result.Bytes, most)
		case behind:
			result.Fate = product.Untried
		}
	}
	return nil
}

// sizeRefused is what RabbitMQ says of a message above its max_message_size.
var sizeRefused = regexp.MustCompile(`message size \d+ is larger than (?:configured )?max size (\d+)`)

// sizeLimit is the size in bytes above which the broker refused a message, 0 where it
// closed the channel for another reason.
func sizeLimit(reason *amqp.Error) int64 {
	if reason == nil || reason.Code != amqp.PreconditionFailed {
		return 0
	}
	found := sizeRefused.FindStringSubmatch(reason.Reason)
	if found == nil {
		return 0
	}
	most, _ := strconv.ParseInt(found[1], 10, 64)
	return most
}

func tooLarge(size int, most int64) *product.Misfit {
	return &product.Misfit{Column: "event", Reason: fmt.Sprintf("has %d bytes, and the broker takes at most %d (its max_message_size); repair it with --mode direct", size, most)}
}

// count tells what became of the events, and returns how many are unknown.
func (b *batch) count() (unknown int) {
	var confirmed, returned, nacked, largest int
	for i := range b.results {
		largest = max(largest, b.results[i].Bytes)
		switch r := &b.results[i]; r.Fate {
		case product.Confirmed:
			confirmed++
		case product.Nacked:
			nacked++
		case product.Unknown:
			unknown++
		case product.Untried:
			if errors.As(r.Err, new(*UnroutableError)) {
				returned++
			}
		}
	}
	b.limit.weighed(largest)
	b.limit.sent(confirmed + nacked + unknown)
	if nacked > 0 {
		b.limit.refused()
	}
	if b.Count != nil {
		b.Count(confirmed, returned, nacked, unknown)
	}
	return unknown
}

// open sees to it that there is a publishing channel, in confirm mode. It waits for a
// broker that is away, such as one that restarts; a *product.PausedError says that it
// waited in vain.
func (l *lane) open(ctx context.Context) error {
	l.opening.Lock()
	defer l.opening.Unlock()
	if ch := l.current(); ch != nil && !ch.ended() {
		return nil
	}
	defer l.pause.Store(nil)
	begun := time.Now()
	pace := backoff.NewExponentialBackOff()
	pace.MaxInterval = 5 * time.Second
	ch, err := backoff.Retry(ctx, func() (*amqp.Channel, error) {
		if reason := l.conn.Blocked(); reason != "" { // it would not answer
			pause := pauseBlocked(reason)
			l.pause.Store(&pause)
			return nil, errors.New(pause.Reason)
		}
		ctx, cancel := context.WithTimeoutCause(ctx, openTimeout, errSilent)
		defer cancel()
		ch, err := l.conn.Channel(ctx)
		if err == nil {
			_, err = rabbit.Answered(ctx, func() (struct{}, error) { return struct{}{}, ch.Confirm(false) })
		}
		if err != nil {
			l.pause.Store(&Pause{Away, err.Error()})
		}
		return ch, err
	}, backoff.WithBackOff(pace), backoff.WithMaxElapsedTime(l.patience))
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return &product.PausedError{Reason: fmt.Sprintf("open the publishing channel: %v", err), Waited: time.Since(begun)}
	}
	l.ch.Store(&channel{
		Channel: ch, flight: make(map[*batch]bool),
		// Room for every event that can be under way, so that the library never waits.
		returns: ch.NotifyReturn(make(chan amqp.Return, maxWindow)),
		closed:  ch.NotifyClose(make(chan *amqp.Error, 1)),
	})
	return nil
}

// current is the channel that new batches travel on, nil where there is none.
func (l *lane) current() *channel { return l.ch.Load() }
