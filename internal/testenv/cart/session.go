package cart

import (
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// session is one connection with one channel that consumes several queues.
type session struct {
	events <-chan event // from all queues
	ended  <-chan error // gets one error when the broker or the network ends the session; close sends none

	conn  *amqp.Connection
	quit  chan struct{}
	tasks sync.WaitGroup
}

// event is a delivery and the queue that it came from, which names the event.
type event struct {
	queue string
	amqp.Delivery
}

// Ending a session takes a moment, unless the broker hangs; then it is not waited for any longer than this.
const closeTimeout = 5 * time.Second

var (
	errConnectionLost = errors.New("the connection to the broker was lost")
	errQueueDeleted   = errors.New("the queue was deleted")
)

// openSession connects, lets declare declare what is to be consumed, and consumes it. Of each queue the session holds
// at most prefetch messages, 0 is any number; they are to be acked.
func openSession(rawURL, connectionName string, queues []string, prefetch int, declare func(*amqp.Channel) error) (*session, error) {
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(connectionName)
	conn, err := amqp.DialConfig(rawURL, amqp.Config{Properties: properties, Locale: "en_US"})
	if err != nil {
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	s := &session{conn: conn, quit: make(chan struct{})}
	if err := s.consume(queues, prefetch, declare); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) consume(queues []string, prefetch int, declare func(*amqp.Channel) error) error {
	channel, err := s.conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	if err := declare(channel); err != nil {
		return err
	}
	if err := channel.Qos(prefetch, 0, false); err != nil {
		return fmt.Errorf("set prefetch %d: %w", prefetch, err)
	}
	s.watch(channel)

	events := make(chan event)
	s.events = events
	for _, queue := range queues {
		deliveries, err := channel.Consume(queue, "listener of "+queue, false, false, false, false, nil)
		if err != nil {
			return fmt.Errorf("consume queue %s: %w", queue, err)
		}
		s.tasks.Go(func() {
			for delivery := range deliveries {
				select {
				case events <- event{queue, delivery}:
				case <-s.quit:
					return
				}
			}
		})
	}
	return nil
}

// watch tells ended what ends the session. The library closes the channels that it notifies when it is done.
func (s *session) watch(channel *amqp.Channel) {
	ended := make(chan error, 1)
	s.ended = ended
	connectionClosed := s.conn.NotifyClose(make(chan *amqp.Error, 1))
	channelClosed := channel.NotifyClose(make(chan *amqp.Error, 1))
	// One for each consumer: the library waits for a listener that has no room.
	cancelled := channel.NotifyCancel(make(chan string, 16))
	s.tasks.Go(func() {
		select {
		case reason, ok := <-connectionClosed:
			if ok {
				ended <- fmt.Errorf("%w: %w", errConnectionLost, reason)
			}
		case reason, ok := <-channelClosed: // also when the connection is closed, and then for the same reason
			if ok {
				ended <- fmt.Errorf("%w: %w", errConnectionLost, reason)
			}
		case _, ok := <-cancelled:
			if ok {
				ended <- errQueueDeleted
			}
		}
	})
}

// close ends the session. What was not acked goes back to its queue.
func (s *session) close() {
	close(s.quit)
	_ = s.conn.CloseDeadline(time.Now().Add(closeTimeout)) // it may be closed already
	s.tasks.Wait()
}

// orderly tells whether the broker ended a session as an operator or a planned restart does.
func orderly(reason error) bool {
	var closed *amqp.Error
	return errors.As(reason, &closed) && closed.Server &&
		(closed.Code == amqp.ConnectionForced || closed.Code == replySuccess)
}

const replySuccess = 200 // of AMQP 0-9-1; the library does not export it
