package servers

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"
)

const exports = `export STACK_MONGODB_URL='mongodb://u:p@127.0.0.1:1/'
export STACK_POSTGRES_URL='postgres://u:p@127.0.0.1:2/postgres?sslmode=disable'
export STACK_RABBITMQ_URL='amqp://u:p@127.0.0.1:3/'
export STACK_RABBITMQ_MANAGEMENT_URL='http://u:p@127.0.0.1:4'
`

func TestReadExports(t *testing.T) {
	t.Parallel()
	var s Services
	if err := s.read(exports); err != nil {
		t.Fatal(err)
	}
	if want := (Services{"mongodb://u:p@127.0.0.1:1/", "postgres://u:p@127.0.0.1:2/postgres?sslmode=disable", "amqp://u:p@127.0.0.1:3/", "http://u:p@127.0.0.1:4"}); s != want {
		t.Errorf("read %+v", s)
	}
	s = Services{}
	if err := s.read(strings.Replace(exports, "RABBITMQ_URL", "RABBIT", 1)); err == nil || !strings.Contains(err.Error(), "STACK_RABBITMQ_URL") {
		t.Errorf("without one of them: %v", err)
	}
}

// given are servers that somebody else runs.
func given(t *testing.T) {
	t.Helper()
	for name := range new(Services).urls() {
		t.Setenv(name, "x://"+name)
	}
	t.Setenv("STACK_BACKEND", "")
}

func TestServersThatAreGiven(t *testing.T) {
	given(t)
	s, err := Current(t.Context())
	if err != nil || s.RabbitMQ != "x://STACK_RABBITMQ_URL" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := StartBroker(t.TempDir()); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a private server beside them: %v", err)
	}
}

func TestNoServers(t *testing.T) {
	given(t)
	for name := range new(Services).urls() {
		t.Setenv(name, "")
	}
	t.Setenv("STACK_NAME", "nobody-has-this-one")
	if s, err := Current(t.Context()); err == nil || !strings.Contains(err.Error(), "make up") {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestOrdersThatCannotBeObeyed(t *testing.T) {
	t.Parallel()
	s, err := newStarter()
	if err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]order{
		"there is no server 1":     {Do: "kill", Server: 1},
		"there is no server 2":     {Do: "start", Kind: "standby", Server: 2},
		`there is no private "db"`: {Do: "start", Kind: "db"},
	} {
		if _, err := s.order(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	if err := s.end(); err != nil {
		t.Errorf("the end: %v", err)
	}
	if _, err := s.order(order{Do: "kill", Server: 1}); err == nil {
		t.Error("it obeys after its end")
	}
}

// The starter may be killed, and then its servers must not stay behind: what ends them is that
// their orders end.
func TestServersEndWithWhoeverStartedThem(t *testing.T) {
	t.Parallel()
	server, err := StartPostgres(t.TempDir(), OfTheStack)
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", at.Host)
	if err != nil {
		t.Fatalf("it does not run: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := server.starter.end(); err != nil {
		t.Errorf("the end: %v", err)
	}
	if _, err := net.Dial("tcp", at.Host); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("behind its starter's end: %v", err)
	}
}
