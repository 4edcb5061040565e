package rabbit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	dialTimeout = 10 * time.Second
	// heartbeat is short: a silent network loss is seen after three of them, by the
	// broker after two.
	heartbeat = 10 * time.Second
)

var errNoHandshake = &AwayError{fmt.Errorf("the connection is taken, and nobody answers within %s: check the port of RABBITMQ_ENDPOINT, and the broker's log for what it lacks (memory, file descriptors, its authentication backend)", dialTimeout)}

// Connection is a named connection to the broker. It is dialled when a channel is
// asked for, and again when it was lost; the client library's own recovery stays
// off, because only the caller knows what a lost channel means for its messages.
type Connection struct {
	config  Config
	name    string
	dialing chan struct{} // holds one value while somebody dials

	mu      sync.Mutex
	conn    *amqp.Connection
	socket  net.Conn // of conn
	blocked string
	closed  bool
}

// NewConnection prepares a connection that the management UI shows as name.
func NewConnection(config Config, name string) *Connection {
	return &Connection{config: config, name: name, dialing: make(chan struct{}, 1)}
}

// Name is the connection's name.
func (c *Connection) Name() string { return c.name }

// Channel opens a channel, dialling first where there is no live connection.
func (c *Connection) Channel(ctx context.Context) (*amqp.Channel, error) {
	ch, err := c.open(ctx)
	if errors.Is(err, amqp.ErrClosed) { // the connection broke just now, or the library has lost the reason
		ch, err = c.open(ctx)
	}
	return ch, err
}

func (c *Connection) open(ctx context.Context) (*amqp.Channel, error) {
	conn, err := c.dialled(ctx)
	if err != nil {
		return nil, err
	}
	ch, err := Answered(ctx, func() (*amqp.Channel, error) {
		ch, err := conn.Channel()
		if err == nil && ctx.Err() != nil { // nobody waits for it any more
			_ = ch.Close()
			return nil, context.Cause(ctx)
		}
		return ch, err
	})
	if err != nil {
		return nil, fmt.Errorf("open a channel: %w", explained(err))
	}
	return ch, nil
}

// dialled is the live connection, a new one if need be. Nobody waits longer than
// ctx for a dial, be it somebody else's.
func (c *Connection) dialled(ctx context.Context) (*amqp.Connection, error) {
	select {
	case c.dialing <- struct{}{}:
		defer func() { <-c.dialing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to RabbitMQ at %s: %w", c.config.URL, context.Cause(ctx))
	}
	if conn, err := c.live(); conn != nil || err != nil {
		return conn, err
	}
	conn, socket, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = socket.Close()
		return nil, amqp.ErrClosed
	}
	c.conn, c.socket, c.blocked = conn, socket, ""
	notices := conn.NotifyBlocked(make(chan amqp.Blocking, 4))
	go func() { // ends when the connection does: the library closes notices
		for n := range notices {
			c.mu.Lock()
			if c.conn == conn {
				c.blocked = ""
				if n.Active {
					c.blocked = n.Reason
				}
			}
			c.mu.Unlock()
		}
	}()
	return conn, nil
}

// live is the present connection, nil where there is none.
func (c *Connection) live() (*amqp.Connection, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, amqp.ErrClosed
	case c.conn != nil && !c.conn.IsClosed():
		return c.conn, nil
	}
	return nil, nil
}

func (c *Connection) dial(ctx context.Context) (*amqp.Connection, net.Conn, error) {
	if _, err := c.config.uri(); err != nil {
		return nil, nil, err
	}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(c.name)
	var socket net.Conn
	var deadline time.Time // of the handshake
	interrupted := func() bool { return false }
	conn, err := amqp.DialConfig(c.config.URL.Reveal(), amqp.Config{
		Properties: properties,
		Heartbeat:  heartbeat,
		Dial: func(network, address string) (net.Conn, error) {
			var err error
			if socket, err = (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address); err != nil {
				return nil, err
			}
			if tcp, is := socket.(*net.TCPConn); is {
				// What a connection has not sent when it is given up must never arrive: its
				// events may be published again. A proper end has been answered by then.
				_ = tcp.SetLinger(0)
			}
			// Bounds the handshake; the library lifts it afterwards.
			deadline = time.Now().Add(dialTimeout)
			if err := socket.SetDeadline(deadline); err != nil {
				return nil, err
			}
			stop := context.AfterFunc(ctx, func() { _ = socket.SetDeadline(time.Now()) })
			interrupted = func() bool { return !stop() }
			return socket, nil
		},
	})
	switch late := !deadline.IsZero() && !time.Now().Before(deadline); {
	case interrupted():
		_ = socket.Close() // which ends conn, if there is one
		err = context.Cause(ctx)
	case err != nil && late: // of which the library makes a refusal
		err = errNoHandshake
	case err != nil:
		err = explained(err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("connect to RabbitMQ at %s: %w", c.config.URL, err)
	}
	return conn, socket, nil
}

// Blocked is the broker's reason for taking no messages on this connection
// (memory or disk alarm), empty while it takes them.
func (c *Connection) Blocked() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil || c.conn.IsClosed() {
		return ""
	}
	return c.blocked
}

// Close ends the connection for good.
func (c *Connection) Close() {
	c.mu.Lock()
	conn := c.conn
	c.closed = true
	c.mu.Unlock()
	if conn != nil {
		_ = conn.CloseDeadline(time.Now().Add(dialTimeout / 5))
	}
}

// Drop ends the present connection at once, so that the next channel is on a fresh
// one. It does not say goodbye: what waits to be sent is not sent any more.
func (c *Connection) Drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.socket.Close()
		c.conn, c.socket = nil, nil
	}
}

// Answered waits for a call of the library, which takes no context. When ctx ends
// first, the call goes on in the background until the connection is closed or its
// heartbeat fails.
func Answered[T any](ctx context.Context, call func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := call()
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
