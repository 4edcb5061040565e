package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/run"
)

// Ledger is where requests become runs. Accept returns the run of the request's id,
// recording it first where it is new; run.ErrNotFound where there is no run
// to which the request refers, *run.InvalidError where it cannot become one.
// Any other error is a ledger that does not answer. Defer is for a request that only a
// newer program can read, with the document as it came, and likewise.
type Ledger interface {
	Accept(ctx context.Context, request run.Request) (run.Record, error)
	Defer(ctx context.Context, request run.Request, document []byte, why string) (run.Record, error)
}

// ListenerState is what a listener is doing.
type ListenerState struct {
	Connected bool      // it is subscribed to the queue
	Since     time.Time // of the last change of Connected
	Err       string    // what keeps it from working, empty while nothing does
}

// Listener turns messages into runs of the ledger.
type Listener struct {
	conn   *rabbit.Connection
	ledger Ledger
	config Config
	rung   func()
	log    *slog.Logger
	dead   *publisher

	mu    sync.Mutex
	state ListenerState
}

// NewListener makes a listener on conn that calls rung whenever a run is queued. Its
// few dead letters travel on the same connection, on a channel of their own.
func NewListener(conn *rabbit.Connection, ledger Ledger, config Config, rung func(), log *slog.Logger) *Listener {
	return &Listener{conn: conn, ledger: ledger, config: config, rung: rung, log: log.With("component", "listener"),
		dead: newPublisher(conn), state: ListenerState{Since: time.Now()}}
}

// State tells what the listener is doing. It may be called at any time.
func (l *Listener) State() ListenerState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Run listens until ctx ends. It outlives the loss of the broker, of the queue and
// of the ledger.
func (l *Listener) Run(ctx context.Context) error {
	defer l.dead.close()
	retry := newBackOff()
	for {
		err := l.listen(ctx, retry.Reset)
		if ctx.Err() != nil {
			l.change(false, nil)
			return nil
		}
		l.change(false, err)
		select {
		case <-time.After(retry.NextBackOff()):
		case <-ctx.Done():
		}
	}
}

func newBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 200*time.Millisecond, 5*time.Second
	return b
}

// change keeps the state and logs when it is another one.
func (l *Listener) change(connected bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.state
	l.state.Err = ""
	if err != nil {
		l.state.Err = err.Error()
	}
	if connected != before.Connected {
		l.state.Connected, l.state.Since = connected, time.Now()
	}
	switch {
	case connected && !before.Connected:
		l.log.Info("listening for sync requests", "queue", RequestQueue)
	case connected && err != nil && before.Err == "":
		l.log.Warn("holding a sync request", "err", err)
	case connected && err == nil && before.Err != "":
		l.log.Info("going on with sync requests")
	case !connected && err != nil && (before.Connected || before.Err == ""):
		l.log.Warn("not listening for sync requests, trying again and again", "err", err)
	}
}

// listen subscribes and handles messages until the subscription or ctx ends.
func (l *Listener) listen(ctx context.Context, subscribed func()) error {
	ch, deliveries, err := l.subscribe(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = release(ch) }()
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	l.change(true, nil)
	subscribed()
	for {
		select {
		case <-ctx.Done():
			return nil // what is not acknowledged goes back to the queue
		case delivery, open := <-deliveries:
			if !open {
				return ended(ch, closed, RequestQueue)
			}
			if err := l.handle(ctx, delivery); ch.IsClosed() {
				return ended(ch, closed, RequestQueue)
			} else if err != nil {
				return err
			}
		}
	}
}

func (l *Listener) subscribe(ctx context.Context) (*amqp.Channel, <-chan amqp.Delivery, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, subscribeTimeout, errSilent)
	defer cancel()
	ch, err := declared(ctx, l.conn)
	if err != nil {
		return nil, nil, err
	}
	deliveries, err := rabbit.Answered(ctx, func() (<-chan amqp.Delivery, error) {
		// One at a time: a message that is held stops the intake, and what is not held
		// is there for others.
		if err := ch.Qos(1, 0, false); err != nil {
			return nil, err
		}
		return ch.Consume(RequestQueue, "etl", false, false, false, false, nil)
	})
	if err != nil {
		_ = release(ch)
		return nil, nil, fmt.Errorf("consume queue %s: %w", RequestQueue, err)
	}
	return ch, deliveries, nil
}

const subscribeTimeout = 15 * time.Second

// ended is why there are no more deliveries of a queue.
func ended(ch *amqp.Channel, closed <-chan *amqp.Error, queue string) error {
	if !ch.IsClosed() {
		return errors.New("the broker cancelled the subscription: queue " + queue + " was deleted or moved, or a message was held for longer than " + holdTime.String())
	}
	if reason := <-closed; reason != nil {
		return fmt.Errorf("the connection to the broker was lost: %w", reason)
	}
	return amqp.ErrClosed
}

// handle sees to one message and acknowledges it. After an error the message is
// not acknowledged, and comes again: that is the same run, or where it names no id
// one more, which finds nothing left to do.
func (l *Listener) handle(ctx context.Context, d amqp.Delivery) error {
	request, err := decode(d.Body)
	var record run.Record
	var newer *run.NewerError
	if (errors.As(err, &newer) || err == nil) && !request.Recorded {
		request.Trigger = run.ByMessage // whatever it claims
		if refused := l.config.refuses(&request); refused != nil {
			err, newer = refused, nil
		}
	}
	if newer != nil || err == nil {
		record, err = persist(ctx, l, "the ledger does not answer", func(ctx context.Context) (run.Record, error) {
			if newer != nil {
				return l.ledger.Defer(ctx, request, d.Body, newer.Error())
			}
			return l.ledger.Accept(ctx, request)
		})
	}
	switch {
	case err == nil && newer != nil:
		l.log.Warn("sync request kept for a newer version", "run", record.ID, "message", d.MessageId, "reason", newer.Error(), "status", record.Status)
	case err == nil:
		if record.Status == run.StatusQueued {
			l.rung()
		}
		l.log.Info("sync request accepted", "run", record.ID, "trigger", request.Trigger, "status", record.Status)
	case errors.Is(err, run.ErrNotFound) && request.Recorded:
		l.log.Debug("sync request dropped, its run is gone", "run", request.ID, "trigger", request.Trigger)
	case !final(err):
		return err
	default:
		letter := deadLetter(d, err.Error(), time.Now())
		_, err := persist(ctx, l, "an invalid request finds no place in queue "+DeadQueue+" (see etl dead list)", func(ctx context.Context) (struct{}, error) {
			return struct{}{}, l.dead.publish(ctx, DeadKey, letter)
		})
		if err != nil {
			return err
		}
		l.log.Warn("sync request refused, see etl dead list", "message", d.MessageId, "reason", letter.Headers[headerReason])
	}
	return d.Ack(false)
}

// refuses tells why a request of somebody else is not taken, nil where it is.
func (c *Config) refuses(r *run.Request) error {
	problem := ""
	switch {
	case c.Messages == messagesNone:
		problem = "is not taken: ETL_MESSAGES is none, so runs are asked for over HTTP or by a command"
	case c.Messages == messagesLook && !r.DryRun:
		problem = "is not taken: ETL_MESSAGES is look, so a message may ask for a comparison only (dryRun)"
	}
	if problem == "" {
		return nil
	}
	return &run.InvalidError{Fields: []run.FieldError{{Message: problem}}}
}

// decode reads a message.
func decode(body []byte) (run.Request, error) {
	if len(body) > MaxBody {
		return run.Request{}, &run.InvalidError{Fields: []run.FieldError{
			{Message: fmt.Sprintf("is %d bytes long, at most %d are read", len(body), MaxBody)},
		}}
	}
	return run.DecodeRequest(body)
}

// final tells whether trying again would lead to the same error.
func final(err error) bool {
	return errors.Is(err, run.ErrNotFound) || errors.As(err, new(*run.InvalidError))
}

// persist tries until it succeeds, fails for good, or ctx ends. The message is held
// meanwhile, which is no fault of its own: giving it back for each try would use up
// its deliveries.
func persist[T any](ctx context.Context, l *Listener, problem string, attempt func(context.Context) (T, error)) (T, error) {
	value, err := backoff.Retry(ctx, func() (T, error) {
		// An attempt is brief, so that the end of ctx need not leave it undecided.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
		defer cancel()
		value, err := attempt(ctx)
		if err != nil && final(err) {
			err = backoff.Permanent(err)
		}
		return value, err
	}, backoff.WithBackOff(newBackOff()), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, _ time.Duration) {
		l.change(true, fmt.Errorf("%s: %w", problem, err))
	}))
	if err == nil || final(err) {
		l.change(true, nil)
	}
	return value, err
}

const attemptTimeout = 5 * time.Second
