package testenv_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/testenv"
)

// echo is a server that sends lines back.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return listener.Addr().String()
}

type client struct {
	t    *testing.T
	conn net.Conn
	read *bufio.Reader
}

func dialProxy(t *testing.T, p *testenv.Proxy) client {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return client{t, conn, bufio.NewReader(conn)}
}

func (c client) send(line string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(line + "\n")); err != nil {
		c.t.Fatal(err)
	}
}

func (c client) receive(want string) {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	if line, err := c.read.ReadString('\n'); err != nil || line != want+"\n" {
		c.t.Fatalf("received %q, %v, want %q", line, err, want)
	}
}

func TestProxyPassesBytesAndEnds(t *testing.T) {
	t.Parallel()
	c := dialProxy(t, testenv.NewProxy(t, echo(t)))
	c.send("one")
	c.receive("one")
	c.send("two")
	if err := c.conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.receive("two")
	if _, err := c.read.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v after the server's last byte, want the end", err)
	}
}

func TestProxyCutAndRestore(t *testing.T) {
	t.Parallel()
	p := testenv.NewProxy(t, echo(t))
	for range 20 {
		c := dialProxy(t, p)
		c.send("hello")
		c.receive("hello")
		p.Cut()
		if _, err := c.read.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("the connection ended with %v, want a reset", err)
		}
		if conn, err := net.Dial("tcp", p.Addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("got %v, %v, want the connection refused", conn, err)
		}
		p.Restore()
	}
	if p.Accepted() != 20 {
		t.Errorf("accepted %d connections, want 20", p.Accepted())
	}
}

func TestProxyReset(t *testing.T) {
	t.Parallel()
	p := testenv.NewProxy(t, echo(t))
	c := dialProxy(t, p)
	c.send("hello")
	c.receive("hello")
	p.Reset()
	if _, err := c.read.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the connection ended with %v, want a reset", err)
	}
	c = dialProxy(t, p)
	c.send("again")
	c.receive("again")
}

func TestProxyFreezeAndThaw(t *testing.T) {
	t.Parallel()
	p := testenv.NewProxy(t, echo(t))
	before := dialProxy(t, p)
	before.send("hello")
	before.receive("hello")

	p.Freeze()
	before.send("held up")
	during := dialProxy(t, p)
	during.send("held up, too")
	for _, c := range []client{before, during} {
		if err := c.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.read.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v while frozen, want nothing", err)
		}
	}
	p.Thaw()
	before.receive("held up")
	during.receive("held up, too")

	p.Freeze()
	during.send("lost")
	p.Cut()
	if _, err := during.read.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the frozen connection ended with %v, want a reset", err)
	}
}

func TestProxyRefusesWhatTheServerRefuses(t *testing.T) {
	t.Parallel()
	conn, err := net.Dial("tcp", testenv.NewProxy(t, testenv.ClosedAddress(t)).Addr)
	if err == nil { // else the reset has come while dialling
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v, want a reset", err)
	}
}

func TestServersAnswerThroughAProxy(t *testing.T) {
	t.Parallel()
	p, through := testenv.ProxyTo(t, testenv.Services(t).PostgreSQL)
	cart := testenv.Cart(t, testenv.OnPostgreSQL(through))
	cart.Insert(testenv.Row{ID: "one"})
	p.Reset()
	testenv.Eventually(t, time.Minute, func() bool {
		var one int
		return cart.Pool.QueryRow(t.Context(), "SELECT 1").Scan(&one) == nil
	}, "the cart to be reached again")
}
