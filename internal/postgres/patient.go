package postgres

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// patient is a connection that is closed where a wait for the next bytes takes too
// long. A server that has fallen silent, or a machine that is gone, is noticed by
// nothing else: the network acknowledges for it, or keeps trying for hours.
type patient struct {
	net.Conn
	limit  atomic.Int64 // nanoseconds, 0 without
	silent atomic.Bool  // it was closed for that
	timer  *time.Timer  // of the one read that may wait
}

// connectPatience is longer than a connection may take to be made, which has its own
// limit.
const connectPatience = time.Minute

func newPatient(conn net.Conn) *patient {
	c := &patient{Conn: conn}
	c.limit.Store(int64(connectPatience))
	c.timer = time.AfterFunc(connectPatience, func() {
		c.silent.Store(true)
		_ = conn.Close()
	})
	c.timer.Stop()
	return c
}

// patience bounds the waits on a connection by the time that a statement may take,
// and a little more: the server's own word is better.
func patience(conn net.Conn, statement time.Duration) {
	const more = 5 * time.Second
	if statement > 0 {
		statement += more
	}
	if c, is := conn.(*patient); is {
		c.limit.Store(int64(statement))
	}
}

func (c *patient) Read(b []byte) (int, error) {
	limit := time.Duration(c.limit.Load())
	if limit > 0 {
		c.timer.Reset(limit)
	}
	n, err := c.Conn.Read(b)
	c.timer.Stop()
	return n, c.explained(err)
}

func (c *patient) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.explained(err)
}

func (c *patient) explained(err error) error {
	if err != nil && c.silent.Load() {
		return silence(c.limit.Load())
	}
	return err
}

// silence is how long a server did not answer.
type silence time.Duration

func (s silence) Error() string { return fmt.Sprintf("no answer within %s", time.Duration(s)) }
