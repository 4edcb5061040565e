package testenv

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// NameServer is a DNS server of the test's own for one made-up domain. While the test runs all of this process's look-ups
// of names that are in no hosts file come to the name servers of its tests.
type NameServer struct {
	// Domain is the name of a cluster below it: three levels, as drivers ask of mongodb+srv.
	Domain string

	mu     sync.Mutex
	silent bool
	port   uint16 // of the one member, 0: there is none
	asked  int
}

// zones are the name servers of all tests of the process, by their domains; address is where they are asked.
var zones struct {
	sync.Mutex
	of      map[string]*NameServer
	socket  net.PacketConn
	address atomic.Pointer[string]
}

// UseNameServers lets the process's look-ups go to the tests' name servers, where there are some. It is called before any
// test.
func UseNameServers() {
	var dialer net.Dialer
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if ours := zones.address.Load(); ours != nil {
			return dialer.DialContext(ctx, "udp", *ours)
		}
		return dialer.DialContext(ctx, network, address)
	}}
}

// NewNameServer begins to answer for a domain; it knows no member of the cluster yet.
func NewNameServer(tb testing.TB) *NameServer {
	tb.Helper()
	s := &NameServer{Domain: randomName("cluster") + ".shop.test"}
	s.Domain = strings.ReplaceAll(s.Domain, "_", "-")
	zones.Lock()
	defer zones.Unlock()
	if len(zones.of) == 0 {
		var listen net.ListenConfig
		socket, err := listen.ListenPacket(tb.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		address := socket.LocalAddr().String()
		zones.of, zones.socket = map[string]*NameServer{}, socket
		zones.address.Store(&address)
		go serveNames(socket)
	}
	zones.of[s.Domain] = s
	tb.Cleanup(func() {
		zones.Lock()
		defer zones.Unlock()
		if delete(zones.of, s.Domain); len(zones.of) == 0 {
			zones.address.Store(nil)
			_ = zones.socket.Close()
		}
	})
	return s
}

// Names says that the cluster has one member on this port of this machine; 0: none.
func (s *NameServer) Names(port uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.port, s.silent = port, false
}

// Silence lets the server answer nothing.
func (s *NameServer) Silence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = true
}

// Asked is how many questions have come.
func (s *NameServer) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func serveNames(socket net.PacketConn) {
	buffer := make([]byte, 1500)
	for {
		n, from, err := socket.ReadFrom(buffer)
		if err != nil {
			return // the last test has closed it
		}
		if answer := answerName(buffer[:n]); answer != nil {
			_, _ = socket.WriteTo(answer, from) // DNS may lose an answer
		}
	}
}

// answerName is nil where nothing is to be answered.
func answerName(question []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	asked := strings.TrimSuffix(q.Name.String(), ".")
	zones.Lock()
	var s *NameServer
	for domain, server := range zones.of {
		if asked == domain || strings.HasSuffix(asked, "."+domain) {
			s = server
		}
	}
	zones.Unlock()
	answer := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true, RCode: dnsmessage.RCodeNameError}, Questions: m.Questions}
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked++
		if s.silent {
			return nil
		}
		header := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type}
		member := "a." + s.Domain
		switch {
		case s.port == 0: // no such name
		case q.Type == dnsmessage.TypeSRV && strings.HasPrefix(asked, "_mongodb._tcp."):
			answer.RCode = dnsmessage.RCodeSuccess
			answer.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.SRVResource{Port: s.port, Target: dnsmessage.MustNewName(member + ".")}}}
		case asked == member && q.Type == dnsmessage.TypeA:
			answer.RCode = dnsmessage.RCodeSuccess
			answer.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
		default: // nothing of this type
			answer.RCode = dnsmessage.RCodeSuccess
		}
	}
	packed, err := answer.Pack()
	if err != nil {
		return nil
	}
	return packed
}
