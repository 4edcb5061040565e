package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/text"
)

// Headers of a dead letter.
const (
	headerReason = "x-etl-reason"
	headerAt     = "x-etl-at"
	headerSize   = "x-etl-size" // of the whole body, where the letter holds the beginning only
)

const maxReason = 1000 // bytes

// deadLetter is a copy of a message that is no sync request. Its headers are ours
// alone: those of the original could be too many to take one more. Nothing that can
// become a request is cut, as MaxBody bounds that too.
func deadLetter(d amqp.Delivery, reason string, at time.Time) amqp.Publishing {
	headers := amqp.Table{headerReason: text.Stored(text.Cut(reason, maxReason)), headerAt: at}
	body := d.Body
	if len(body) > MaxBody {
		headers[headerSize] = int64(len(body))
		body = body[:MaxBody]
	}
	letter := again(d, body)
	letter.Headers = headers
	return letter
}

// again is a message published once more.
func again(d amqp.Delivery, body []byte) amqp.Publishing {
	return amqp.Publishing{
		ContentType:     d.ContentType,
		ContentEncoding: d.ContentEncoding,
		DeliveryMode:    amqp.Persistent,
		CorrelationId:   d.CorrelationId,
		MessageId:       d.MessageId,
		Timestamp:       d.Timestamp,
		Type:            d.Type,
		AppId:           d.AppId,
		Body:            body,
	}
}

// DeadLetter is a message of the queue etl.dead.
type DeadLetter struct {
	Number    int    // 1 is the oldest
	MessageID string // as its publisher set it, if at all
	AppID     string // likewise
	Reason    string
	At        time.Time // when it died; zero where that is not known
	Body      []byte
	Size      int // bytes of the body; more than Body has where that was cut
}

// Cut tells whether only the beginning of the body was kept.
func (l *DeadLetter) Cut() bool { return len(l.Body) < l.Size }

// letter is a dead letter that is held, unacknowledged.
type letter struct {
	DeadLetter
	delivery amqp.Delivery
}

// DeadLetters looks at the oldest dead letters, at most limit many. They stay where
// they are; nobody else sees them during the look.
func DeadLetters(ctx context.Context, conn *rabbit.Connection, limit int) ([]DeadLetter, error) {
	ch, letters, err := hold(ctx, conn, func(l DeadLetter) bool { return l.Number <= limit })
	if err != nil {
		return nil, err
	}
	found := make([]DeadLetter, len(letters))
	for i, l := range letters {
		found[i] = l.DeadLetter
	}
	return found, release(ch)
}

// RequeueDead puts the dead letters that pick chooses back into the queue of sync
// requests, and returns how many those were. After an error the others are still
// dead letters.
func RequeueDead(ctx context.Context, conn *rabbit.Connection, pick func(DeadLetter) bool) (n int, err error) {
	to := newPublisher(conn)
	defer to.close()
	return settle(ctx, conn, pick, func(l letter) error {
		if l.Cut() {
			return fmt.Errorf("dead letter %d was cut from %d to %d bytes and cannot be requeued: drop it", l.Number, l.Size, len(l.Body))
		}
		message := again(l.delivery, l.Body)
		message.Headers = maps.Clone(l.delivery.Headers)
		maps.DeleteFunc(message.Headers, func(name string, _ any) bool { return strings.HasPrefix(name, "x-") })
		return to.publish(ctx, RequestKey, message)
	})
}

// DropDead deletes the dead letters that pick chooses, and returns how many those were.
func DropDead(ctx context.Context, conn *rabbit.Connection, pick func(DeadLetter) bool) (n int, err error) {
	return settle(ctx, conn, pick, func(letter) error { return nil })
}

// settle acknowledges each letter that pick chooses, after act has succeeded with it.
func settle(ctx context.Context, conn *rabbit.Connection, pick func(DeadLetter) bool, act func(letter) error) (n int, err error) {
	ch, letters, err := hold(ctx, conn, pick)
	if err != nil {
		return 0, err
	}
	for _, l := range letters {
		if err = act(l); err == nil {
			err = l.delivery.Ack(false)
		}
		if err != nil {
			break
		}
		n++
	}
	// The broker answers after it has seen the acknowledgements.
	return n, errors.Join(err, release(ch))
}

// hold takes all dead letters, returns those to keep, and leaves all unacknowledged:
// they are back in the queue once the channel is closed. It takes all because what
// comes back stands behind what came back before: after a look at the first few the
// order would be another one. Thus what dies meanwhile is not met twice either.
func hold(ctx context.Context, conn *rabbit.Connection, keep func(DeadLetter) bool) (*amqp.Channel, []letter, error) {
	ch, err := declared(ctx, conn)
	if err != nil {
		return nil, nil, err
	}
	var letters []letter
	for number := 1; ; number++ {
		var d amqp.Delivery
		var ok bool
		err := answered(ctx, func() error {
			var err error
			d, ok, err = ch.Get(DeadQueue, false)
			return err
		})
		if err != nil {
			_ = release(ch)
			return nil, nil, fmt.Errorf("take message %d of queue %s: %w", number, DeadQueue, err)
		}
		if !ok {
			return ch, letters, nil
		}
		if l := read(d, number); keep(l.DeadLetter) {
			letters = append(letters, l)
		}
	}
}

func read(d amqp.Delivery, number int) letter {
	l := letter{DeadLetter{Number: number, MessageID: d.MessageId, AppID: d.AppId, Body: d.Body, Size: len(d.Body)}, d}
	if size, cut := d.Headers[headerSize].(int64); cut {
		l.Size = int(size)
	}
	if reason, ours := d.Headers[headerReason].(string); ours {
		l.Reason = reason
		l.At, _ = d.Headers[headerAt].(time.Time)
		return l
	}
	l.Reason, l.At = died(d.Headers)
	return l
}

// died reads what the broker writes on a message that it dead-letters
// (https://www.rabbitmq.com/docs/dlx#effects).
func died(headers amqp.Table) (reason string, at time.Time) {
	deaths, _ := headers["x-death"].([]any)
	if len(deaths) == 0 {
		return "no reason was given: it was published to " + DeadQueue + " by somebody else", time.Time{}
	}
	death, _ := deaths[0].(amqp.Table)
	at, _ = death["time"].(time.Time)
	switch queue, _ := death["queue"].(string); death["reason"] {
	case "delivery_limit":
		return "it came back to queue " + queue + " too often without being acknowledged: whoever took it ended or lost the connection each time", at
	default:
		return fmt.Sprintf("RabbitMQ moved it from queue %s: %v", queue, death["reason"]), at
	}
}
