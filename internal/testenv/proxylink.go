package testenv

import (
	"errors"
	"io"
	"net"
	"sync"
)

// link is one client's connection with its own to the server.
type link struct {
	client *net.TCPConn

	mu     sync.Mutex
	server *net.TCPConn  // nil until it is dialled
	done   chan struct{} // closed when the link is reset
}

// run passes bytes until both sides have ended or one of them fails, which resets the other.
func (l *link) run(target string, flowing func() <-chan struct{}) {
	if !l.wait(flowing) || !l.dial(target) {
		l.reset()
		return
	}
	var up sync.WaitGroup
	up.Go(func() { l.pass(l.server, l.client, flowing) })
	l.pass(l.client, l.server, flowing)
	up.Wait()
	// Both directions have ended properly or the link was reset, which closing does not undo.
	_ = l.client.Close()
	_ = l.server.Close()
}

// wait waits until bytes may pass; it is false if the link is reset before.
func (l *link) wait(flowing func() <-chan struct{}) bool {
	select {
	case <-l.done: // a link that was reset passes nothing, even when both could be chosen
		return false
	default:
	}
	select {
	case <-flowing():
		return true
	case <-l.done:
		return false
	}
}

func (l *link) dial(target string) bool {
	conn, err := net.DialTimeout("tcp", target, patience)
	if err != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.done: // reset meanwhile
		_ = conn.Close()
		return false
	default:
		l.server = conn.(*net.TCPConn)
		return true
	}
}

// pass copies bytes from one side to the other until the first ends, and then ends the other's input.
func (l *link) pass(to, from *net.TCPConn, flowing func() <-chan struct{}) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !l.wait(flowing) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				l.reset()
				return
			}
		}
		if errors.Is(err, io.EOF) {
			_ = to.CloseWrite() // fails only where the other side has gone already
			return
		}
		if err != nil {
			l.reset()
			return
		}
	}
}

// reset ends both connections with a TCP reset.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.done:
		return
	default:
		close(l.done)
	}
	for _, conn := range []*net.TCPConn{l.client, l.server} {
		if conn != nil {
			_ = conn.SetLinger(0) // closing then sends a reset; a connection that is closed already needs none
			_ = conn.Close()
		}
	}
}
