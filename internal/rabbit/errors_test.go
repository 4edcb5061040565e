package rabbit

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/testenv"
)

// wantRefusal insists on what an error says, and on whether it may pass.
func wantRefusal(t *testing.T, err error, mayPass bool, says ...string) {
	t.Helper()
	testenv.CheckMessage(t, err, says...)
	if got := errors.As(err, new(*AwayError)); got != mayPass {
		t.Errorf("it may pass: %t, want %t: %v", got, mayPass, err)
	}
	if err != nil && strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %v", err)
	}
	t.Log(err)
}

// A limit that is reached is named as what it is, and may be waited for.
func TestCaseC11LimitsAreNamed(t *testing.T) {
	t.Parallel()
	const name, value = "max-connections", "value"
	t.Run("connections to the vhost", func(t *testing.T) {
		t.Parallel()
		broker := testenv.Vhost(t)
		broker.Manage(http.MethodPut, "/api/vhost-limits/"+broker.Vhost+"/"+name, map[string]int{value: 1}, nil)
		first, second := connect(t, broker.URL), connect(t, broker.URL)
		if _, err := first.Channel(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := second.Channel(t.Context())
		wantRefusal(t, err, true, "the vhost has as many connections as its limit allows", "rabbitmqctl set_vhost_limits", "connection limit (1) is reached")
		first.Close()
		testenv.Eventually(t, time.Minute, func() error { _, err := second.Channel(t.Context()); return err }, "a connection to be free")
	})
	t.Run("queues of the vhost", func(t *testing.T) {
		t.Parallel()
		broker := testenv.Vhost(t)
		broker.Manage(http.MethodPut, "/api/vhost-limits/"+broker.Vhost+"/max-queues", map[string]int{value: 0}, nil)
		ch, err := connect(t, broker.URL).Channel(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = ch.QueueDeclare("one", true, false, false, false, nil)
		var refused *amqp.Error
		if !errors.As(err, &refused) {
			t.Fatalf("a queue too many: %v", err)
		}
		wantRefusal(t, Limited(refused), true, "the vhost has as many queues as its limit allows", "(0) is reached")
	})
	for what, says := range map[string]string{name: "the broker's user has as many connections as its limit allows", "max-channels": "the broker's user has as many channels as its limit allows"} {
		t.Run(what+" of the user", func(t *testing.T) {
			t.Parallel()
			broker := testenv.Vhost(t)
			address := broker.User("", map[string]string{"configure": ".*", "write": ".*", "read": ".*"})
			user, err := url.Parse(address)
			if err != nil {
				t.Fatal("the user's URL cannot be read")
			}
			broker.Manage(http.MethodPut, "/api/user-limits/"+user.User.Username()+"/"+what, map[string]int{value: 0}, nil)
			_, err = connect(t, address).Channel(t.Context())
			wantRefusal(t, err, true, says, "rabbitmqctl set_user_limits")
		})
	}
}

// What only concerns a node, on one of the test's own.
func TestCaseC11LimitsOfANode(t *testing.T) {
	t.Parallel()
	node, broker := testenv.PrivateBroker(t, testenv.ClassicQueues()) // a queue of one node
	broker.DeclareTopology()
	eval := func(expressions ...string) {
		t.Helper()
		if _, err := node.Control("eval", strings.Join(expressions, ", ")+"."); err != nil {
			t.Fatal(err)
		}
	}
	set := func(limit, value string) string {
		return fmt.Sprintf("application:set_env(rabbit, %s, %s)", limit, value)
	}
	eval(set("connection_max", "0"))
	_, err := connect(t, broker.URL).Channel(t.Context())
	wantRefusal(t, err, true, "the broker's node has as many connections as its limit allows: close some, or raise connection_max in its rabbitmq.conf")

	eval(set("connection_max", "infinity"), set("channel_max_per_node", "1"))
	c := connect(t, broker.URL)
	// The fixture's own channel may have ended, and a node counts channels a moment after it has
	// opened them.
	testenv.Eventually(t, time.Minute, func() bool { _, err = c.Channel(t.Context()); return err != nil }, "a channel to be one too many")
	wantRefusal(t, err, true, "the broker's node has as many channels as its limit allows: close some, or raise channel_max_per_node in its rabbitmq.conf")

	// A queue that lives on a node which is away is not one that does not exist.
	eval(set("channel_max_per_node", "infinity"), `Away = binary_to_term(<<131,103,119,11,"rabbit@gone",0,0,1,0,0,0,0,0,1>>)`,
		fmt.Sprintf("rabbit_amqqueue:update(rabbit_misc:r(<<%q>>, queue, <<%q>>), fun(Q) -> amqqueue:set_pid(Q, Away) end)", broker.Vhost, CreatedQueue))
	err = connect(t, broker.URL).CheckTopology(t.Context())
	wantRefusal(t, err, true, "look at queue product-created: it does not answer: see to the node of the broker that has it")
	if errors.Is(err, ErrNotFound) {
		t.Errorf("it counts as absent: %v", err)
	}

	eval(fmt.Sprintf("rabbit_vhost_sup_sup:stop_and_delete_vhost(<<%q>>)", broker.Vhost))
	_, err = connect(t, broker.URL).Channel(t.Context())
	wantRefusal(t, err, true, "the vhost of RABBITMQ_ENDPOINT is down: restart it (rabbitmqctl restart_vhost)")
}

// What a wrong configuration meets does not pass.
func TestCaseC11WhatIsNoLimit(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	web := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	login, err := url.Parse(broker.URL)
	if err != nil {
		t.Fatal("the broker's URL cannot be read")
	}
	at := func(scheme, host, query string) string {
		return testenv.ChangedURL(t, broker.URL, func(u *url.URL) { u.Scheme, u.Host, u.RawQuery = scheme, host, query })
	}
	// As a broker with TLS does, with client certificates that it insists on or not.
	secure := tlsServer(t, web.TLS, tls.NoClientCert)
	strict := tlsServer(t, web.TLS, tls.RequireAnyClientCert)
	silent, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	for _, tt := range []struct {
		name, url string
		passes    bool
		says      []string
	}{
		{"no such vhost", testenv.ChangedURL(t, broker.URL, func(u *url.URL) { u.Path = "/nosuch" }), false, []string{"there is no such vhost: check the vhost of RABBITMQ_ENDPOINT"}},
		{"no right to the vhost", broker.User("", nil), false, []string{"the user may not use this vhost"}},
		{"TLS to a plain port", at("amqps", login.Host, ""), false, []string{"the broker does not speak TLS there: use amqp:// or the TLS port"}},
		{"no TLS to a TLS port", at("amqp", secure, ""), true, []string{"a TLS port needs amqps://"}},
		{"a certificate of nobody's", at("amqps", secure, ""), false, []string{"the broker's certificate is not trusted"}},
		{"no client certificate", at("amqps", strict, "cacertfile="+url.QueryEscape(certificateFile(t, web))), false, []string{"the broker refused our TLS", "certfile and keyfile"}},
		{"a server that says nothing", at("amqp", silent.Addr().String(), ""), true, []string{"the connection is taken, and nobody answers within 10s"}},
		{"nobody listens", at("amqp", testenv.ClosedAddress(t), ""), true, []string{"no broker answers"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := connect(t, tt.url).Channel(t.Context())
			wantRefusal(t, err, tt.passes, tt.says...)
		})
	}
	t.Run("channels of a connection", func(t *testing.T) {
		t.Parallel()
		c := connect(t, at("amqp", login.Host, "channel_max=1"))
		if _, err := c.Channel(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := c.Channel(t.Context())
		wantRefusal(t, err, false, "the connection has as many channels as it may: raise channel_max")
	})
}

// tlsServer ends each connection after its first bytes.
func tlsServer(t *testing.T, config *tls.Config, clients tls.ClientAuthType) (address string) {
	t.Helper()
	config = config.Clone()
	config.ClientAuth = clients
	listener, err := tls.Listen("tcp4", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	return serving(t, listener, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 16)) })
}

// certificateFile holds the certificate of a server, to be trusted.
func certificateFile(t *testing.T, server *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Words of older versions, as they are in their sources.
func TestCaseC11WordsOfOtherVersions(t *testing.T) {
	t.Parallel()
	for says, want := range map[string]string{
		"NOT_ALLOWED - access to vhost 'shop' refused for user 'etl': connection limit (5) is reached":                                        "the vhost has",
		"NOT_ALLOWED - Connection refused for user 'etl': user connection limit (5) is reached":                                               "the broker's user has",
		"NOT_ALLOWED - connection refused: node connection limit (5) is reached":                                                              "the broker's node has",
		"NOT_ALLOWED - number of channels opened for user 'etl' has reached the maximum allowed user limit of (5)":                            "the broker's user has",
		"NOT_ALLOWED - access to vhost 'connection' refused for user 'limit'":                                                                 "the user may not use this vhost",
		"NOT_ALLOWED - vhost shop not found":                                                                                                  "there is no such vhost",
		"NOT_ALLOWED - failed to negotiate connection parameters: negotiated frame_max = 4096 is lower than the minimum allowed value (8192)": "the broker's limits do not suit",
	} {
		if err := explained(&amqp.Error{Code: amqp.NotAllowed, Reason: says, Server: true}); !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q first", says, err, want)
		}
	}
}
