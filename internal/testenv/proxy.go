package testenv

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy is a TCP proxy on loopback in front of a server, for faults that are real on the wire. Its methods may be
// called from several goroutines.
type Proxy struct {
	Addr string // host:port where it listens

	tb     testing.TB
	target string
	tasks  sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil while it is cut
	links    map[*link]struct{}
	flow     chan struct{} // closed while bytes may pass
	accepted int
}

// NewProxy starts a proxy in front of target, a host:port. It ends with the test.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	p := &Proxy{tb: tb, target: target, links: map[*link]struct{}{}, flow: make(chan struct{})}
	close(p.flow)
	listener, err := listenAnywhere()
	if err != nil {
		tb.Fatalf("start a proxy for %s: %v", target, err)
	}
	p.Addr = listener.Addr().String()
	p.serve(listener)
	tb.Cleanup(func() {
		p.Cut()
		p.tasks.Wait()
	})
	return p
}

// ProxyTo starts a proxy in front of a URL's host, and returns the URL with the proxy in its place.
func ProxyTo(tb testing.TB, rawURL string) (*Proxy, string) {
	tb.Helper()
	u, err := url.Parse(rawURL)
	if err != nil || u.Port() == "" {
		tb.Fatal("a proxy needs a URL with one host and a port") // the URL may hold a password
	}
	p := NewProxy(tb, u.Host)
	return p, p.URL(rawURL)
}

// URL is a URL with the proxy's address in the place of its host.
func (p *Proxy) URL(rawURL string) string {
	p.tb.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		p.tb.Fatal("this URL cannot be read") // it may hold a password
	}
	u.Host = p.Addr
	return u.String()
}

// listenAnywhere listens on a random loopback address where the system has more than one. Thus nobody else takes
// the port while the proxy refuses connections and does not listen.
func listenAnywhere() (net.Listener, error) {
	address := fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	if listener, err := net.Listen("tcp4", address); err == nil {
		return listener, nil
	}
	return net.Listen("tcp4", "127.0.0.1:0")
}

// Cut resets all connections and refuses new ones, as when the server is gone.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close() // it holds nothing that could be lost
		p.listener = nil
	}
	p.resetLinks()
}

// Reset resets all connections; new ones are served.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resetLinks()
}

func (p *Proxy) resetLinks() {
	for link := range p.links {
		link.reset()
	}
}

// Restore serves connections again after Cut.
func (p *Proxy) Restore() {
	p.tb.Helper()
	p.mu.Lock()
	cut := p.listener == nil
	p.mu.Unlock()
	if !cut {
		return
	}
	listener, err := net.Listen("tcp4", p.Addr)
	if err != nil {
		p.tb.Errorf("restore the proxy for %s: %v", p.target, err)
		return
	}
	p.serve(listener)
}

// Freeze lets no byte pass in either direction, but for what is on its way. Connections stay open and new ones are
// accepted, as when the server hangs.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flow:
		p.flow = make(chan struct{})
	default: // is frozen
	}
}

// Thaw lets bytes pass again after Freeze, those first that were held up.
func (p *Proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flow: // is not frozen
	default:
		close(p.flow)
	}
}

// Accepted is how many connections the proxy has accepted so far.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

func (p *Proxy) flowing() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flow
}

func (p *Proxy) serve(listener net.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener = listener
	p.tasks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // cut
			}
			p.accept(listener, conn.(*net.TCPConn))
		}
	})
}

func (p *Proxy) accept(listener net.Listener, client *net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &link{client: client, done: make(chan struct{})}
	if p.listener != listener { // cut since
		l.reset()
		return
	}
	p.accepted++
	p.links[l] = struct{}{}
	p.tasks.Go(func() {
		l.run(p.target, p.flowing)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, l)
	})
}
