package rabbit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// connect prepares a connection, which is closed when the test ends.
func connect(t *testing.T, url string) *Connection {
	t.Helper()
	c := NewConnection(Config{URL: secret.URL(url)}, "etl test")
	t.Cleanup(c.Close)
	return c
}

// proxied prepares a connection through a proxy.
func proxied(t *testing.T, url string) (*Connection, *testenv.Proxy) {
	t.Helper()
	proxy, url := testenv.ProxyTo(t, url)
	return connect(t, url), proxy
}

// notABroker is the address of a server that speaks another protocol.
func notABroker(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serving(t, listener, func(conn net.Conn) {
		_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))
	})
}

// serving answers each connection and closes it, until the test ends. It returns where.
func serving(t *testing.T, listener net.Listener, answer func(net.Conn)) (address string) {
	t.Helper()
	var server sync.WaitGroup
	server.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			answer(conn)
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		server.Wait()
	})
	return listener.Addr().String()
}

func TestMessagesNameTheVariableAndTheRemedy(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	stranger := broker.User("", nil)
	closed := testenv.ClosedAddress(t)
	to := func(host string) string {
		return testenv.ChangedURL(t, broker.URL, func(u *url.URL) { u.Host, u.User = host, url.UserPassword("etl", "hunter2") })
	}
	web := notABroker(t)
	for _, tt := range []struct {
		name, url string
		want      []string
	}{
		{"wrong password", testenv.ChangedURL(t, broker.URL, func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "hunter2") }),
			[]string{"authentication failed: check user, password and vhost of RABBITMQ_ENDPOINT"}},
		{"unknown user", testenv.ChangedURL(t, broker.URL, func(u *url.URL) { u.User = url.UserPassword("nobody", "hunter2") }),
			[]string{"authentication failed: check user, password and vhost of RABBITMQ_ENDPOINT"}},
		{"unknown vhost", testenv.ChangedURL(t, broker.URL, func(u *url.URL) { u.Path = "/nosuchshop" }),
			[]string{"there is no such vhost: check the vhost of RABBITMQ_ENDPOINT", "nosuchshop"}},
		{"no right to the vhost", stranger, []string{"the user may not use this vhost: check the vhost of RABBITMQ_ENDPOINT and the user's permissions"}},
		{"nobody listens", to(closed), []string{"no broker answers: check the host of RABBITMQ_ENDPOINT and the network", closed}},
		{"unknown host", to("nowhere.invalid:5672"), []string{"no broker answers: check the host of RABBITMQ_ENDPOINT", "nowhere.invalid"}},
		{"no AMQP", to(web), []string{"what answers is no AMQP broker: check host and port of RABBITMQ_ENDPOINT", web}},
		{"no TLS", strings.Replace(broker.URL, "amqp://", "amqps://", 1), []string{"the broker does not speak TLS there: use amqp:// or the TLS port in RABBITMQ_ENDPOINT"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := connect(t, tt.url)
			begun := time.Now()
			_, err := c.Channel(t.Context())
			testenv.CheckMessage(t, err, append(tt.want, "connect to RabbitMQ at amqp")...)
			testenv.CheckMessage(t, c.CheckTopology(t.Context()), tt.want...)
			_, err = c.Queue(CreatedQueue).State(t.Context())
			testenv.CheckMessage(t, err, tt.want...)
			if took := time.Since(begun); took > 35*time.Second {
				t.Errorf("three times took %s", took)
			}
		})
	}
}

func TestOneConnectionForAll(t *testing.T) {
	t.Parallel()
	c, proxy := proxied(t, testenv.Vhost(t).URL)
	if proxy.Accepted() != 0 {
		t.Error("it connects before it has to")
	}
	var users sync.WaitGroup
	for range 10 {
		users.Go(func() {
			if _, err := c.Channel(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	users.Wait()
	if n := proxy.Accepted(); n != 1 {
		t.Errorf("ten users opened %d connections", n)
	}
	if c.Name() != "etl test" {
		t.Errorf("name %q", c.Name())
	}
}

func TestConnectionIsDialledAgain(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	c, proxy := proxied(t, broker.URL)
	open := func() *amqp.Channel {
		t.Helper()
		ch, err := c.Channel(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return ch
	}
	first := open()
	second := open()
	c.Drop()
	third := open()
	if proxy.Accepted() != 2 || third.IsClosed() {
		t.Errorf("%d connections after one was dropped", proxy.Accepted())
	}
	testenv.Eventually(t, time.Minute, func() bool { return first.IsClosed() && second.IsClosed() }, "the channels of the dropped connection to end")

	proxy.Cut()
	testenv.Eventually(t, time.Minute, third.IsClosed, "the channel to end with its connection")
	begun := time.Now()
	_, err := c.Channel(t.Context())
	testenv.CheckMessage(t, err, "no broker answers", "RABBITMQ_ENDPOINT")
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("a refused connection took %s", took)
	}
	proxy.Restore()
	fourth := open()

	if n := broker.ForceCloseConnections("^etl test$"); n != 1 {
		t.Errorf("%d connections have the name", n)
	}
	testenv.Eventually(t, time.Minute, fourth.IsClosed, "the channel to end with its connection")
	open()

	c.Close()
	c.Close()
	if _, err := c.Channel(t.Context()); !errors.Is(err, amqp.ErrClosed) {
		t.Errorf("a channel after the end: %v", err)
	}
	c.Drop()
	if c.Blocked() != "" {
		t.Errorf("blocked after the end: %s", c.Blocked())
	}
}

func TestFrozenBrokerHoldsNobody(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	within := func(t *testing.T, most time.Duration, what string, do func(context.Context) error) {
		t.Helper()
		because := errors.New("no longer wanted")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, because)
		defer cancel()
		begun := time.Now()
		err := do(ctx)
		if took := time.Since(begun); took > most {
			t.Errorf("%s took %s", what, took)
		}
		if !errors.Is(err, because) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
	}
	t.Run("on an open connection", func(t *testing.T) {
		t.Parallel()
		c, proxy := proxied(t, broker.URL)
		queue := c.Queue(CreatedQueue)
		if _, err := queue.State(t.Context()); err != nil {
			t.Fatal(err)
		}
		proxy.Freeze()
		within(t, 20*time.Second, "a look at a queue", func(ctx context.Context) error { _, err := queue.State(ctx); return err })
		within(t, 20*time.Second, "a second look", func(ctx context.Context) error { _, err := queue.State(ctx); return err })
		within(t, 20*time.Second, "a channel", func(ctx context.Context) error { _, err := c.Channel(ctx); return err })
		proxy.Thaw()
		if _, err := queue.State(t.Context()); err != nil {
			t.Errorf("a look after the thaw: %v", err)
		}
		proxy.Freeze()
		begun := time.Now()
		c.Close()
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("closing took %s", took)
		}
	})
	t.Run("before it is open", func(t *testing.T) {
		t.Parallel()
		c, proxy := proxied(t, broker.URL)
		proxy.Freeze()
		within(t, 20*time.Second, "a channel", func(ctx context.Context) error { _, err := c.Channel(ctx); return err })
		within(t, 20*time.Second, "the topology", c.CheckTopology)
		proxy.Thaw()
		if err := c.CheckTopology(t.Context()); err != nil {
			t.Errorf("the topology after the thaw: %v", err)
		}
	})
}

// relay passes bytes between a client and the broker. Once it stalls it takes
// nothing more from the client, so that what the client writes stays in the
// client's own buffers; when it resumes it only counts what the client sends.
type relay struct {
	addr   string
	stall  atomic.Bool
	resume chan struct{}
	rest   chan int64 // bytes that came after the stall
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: listener.Addr().String(), resume: make(chan struct{}), rest: make(chan int64, 1)}
	var tasks sync.WaitGroup
	tasks.Go(func() {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = client.Close() }()
		_ = client.(*net.TCPConn).SetReadBuffer(64 << 10)
		server, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		tasks.Go(func() { _, _ = io.Copy(client, server) })
		defer func() { _ = server.Close() }()
		buffer := make([]byte, 1<<10)
		for !r.stall.Load() {
			n, err := client.Read(buffer)
			if err != nil {
				return
			}
			if _, err := server.Write(buffer[:n]); err != nil {
				return
			}
		}
		<-r.resume
		n, _ := io.Copy(io.Discard, client)
		r.rest <- n
	})
	t.Cleanup(func() {
		_ = listener.Close()
		tasks.Wait()
	})
	return r
}

// What was not sent when a connection is given up must never arrive: its events
// count as lost once the queue was seen empty, and may be published again. A write
// that waits for the broker ends with the connection.
func TestGivenUpConnectionSendsNothingMore(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	for name, end := range map[string]func(*Connection){"drop": (*Connection).Drop, "close": (*Connection).Close} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRelay(t, testenv.ChangedURL(t, broker.URL, func(u *url.URL) { u.Scheme, u.User, u.Path = "", nil, "" })[2:])
			c := connect(t, testenv.ChangedURL(t, broker.URL, func(u *url.URL) { u.Host = r.addr }))
			ch, err := c.Channel(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			r.stall.Store(true)
			var written atomic.Int64
			published := make(chan struct{})
			go func() {
				defer close(published)
				var err error
				for err == nil { // until the buffers are full, and longer
					err = ch.PublishWithContext(t.Context(), Exchange, UpdatedQueue, true, false, amqp.Publishing{Body: make([]byte, 100_000)})
					written.Add(1)
				}
			}()
			before, since := int64(0), time.Now()
			testenv.Eventually(t, time.Minute, func() bool {
				if now := written.Load(); now != before {
					before, since = now, time.Now()
				}
				return before > 10 && time.Since(since) > 300*time.Millisecond
			}, "the writer to wait for the broker")
			begun := time.Now()
			end(c)
			select {
			case <-published:
			case <-time.After(time.Minute):
				t.Fatal("the write outlives its connection")
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
			close(r.resume)
			if rest, all := <-r.rest, 100_000*written.Load(); rest > all/2 {
				t.Errorf("%d bytes of %d were sent after the connection was given up", rest, all)
			}
		})
	}
}

func TestCheckTopology(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	c := connect(t, broker.URL)
	err := c.CheckTopology(t.Context())
	testenv.CheckMessage(t, err, "exchange product-service does not exist", "start the Product Service or the Cart Service once", "vhost of RABBITMQ_ENDPOINT")
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("%v is no ErrNotFound", err)
	}
	broker.DeclareTopology()
	if err := c.CheckTopology(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, queue := range CartQueues() {
		broker.Do(func(ch *amqp.Channel) error { _, err := ch.QueueDelete(queue, false, false, false); return err })
		err := c.CheckTopology(t.Context())
		testenv.CheckMessage(t, err, "queue "+queue+" does not exist", "the Cart Service, which declares it, has not started on this broker yet: start it", "vhost of RABBITMQ_ENDPOINT")
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%v is no ErrNotFound", err)
		}
		broker.DeclareTopology()
	}
	if err := c.CheckTopology(t.Context()); err != nil {
		t.Errorf("the failures left a mark: %v", err)
	}
}

// A queue with arguments of its own is none of our business: we only look.
func TestCheckTopologyDeclaresNothing(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.Do(func(ch *amqp.Channel) error {
		if err := ch.ExchangeDeclare(Exchange, amqp.ExchangeDirect, false, true, false, false, nil); err != nil {
			return err
		}
		for _, queue := range CartQueues() {
			if _, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
				return err
			}
		}
		return nil
	})
	c := connect(t, broker.URL)
	if err := c.CheckTopology(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := c.Queue(CreatedQueue).State(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestQueueState(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	c, proxy := proxied(t, broker.URL)
	queue := c.Queue(UpdatedQueue)
	if queue.Name() != UpdatedQueue {
		t.Errorf("name %q", queue.Name())
	}
	expect := func(want QueueState) {
		t.Helper()
		testenv.Eventually(t, time.Minute, func() error {
			got, err := queue.State(t.Context())
			if err == nil && got != want {
				err = fmt.Errorf("it is %+v", got)
			}
			return err
		}, fmt.Sprintf("the state to be %+v", want))
	}
	expect(QueueState{})
	broker.Publish(UpdatedQueue, []byte("1"), []byte("2"), []byte("3"))
	expect(QueueState{Ready: 3})

	_, ch := testenv.Dial(t, broker.URL)
	if err := ch.Qos(1, 0, false); err != nil {
		t.Fatal(err)
	}
	deliveries, err := ch.Consume(UpdatedQueue, "cart", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	delivery := <-deliveries
	expect(QueueState{Ready: 2, Consumers: 1}) // what the consumer holds is not waiting
	if err := delivery.Ack(false); err != nil {
		t.Fatal(err)
	}
	<-deliveries
	expect(QueueState{Ready: 1, Consumers: 1})
	if err := ch.Close(); err != nil {
		t.Fatal(err)
	}
	expect(QueueState{Ready: 2}) // what it had not acknowledged came back

	proxy.Cut()
	testenv.Eventually(t, time.Minute, func() bool {
		_, err = queue.State(t.Context())
		return err != nil && strings.Contains(err.Error(), "connect to RabbitMQ")
	}, "the loss to be seen")
	testenv.CheckMessage(t, err, "no broker answers: check the host of RABBITMQ_ENDPOINT")
	proxy.Restore()
	expect(QueueState{Ready: 2})

	broker.Do(func(ch *amqp.Channel) error { _, err := ch.QueueDelete(UpdatedQueue, false, false, false); return err })
	for range 3 {
		_, err = queue.State(t.Context())
		testenv.CheckMessage(t, err, "queue product-updated does not exist", "the Cart Service, which declares it, has not started on this broker yet: start it")
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%v is no ErrNotFound", err)
		}
	}
	broker.DeclareTopology()
	expect(QueueState{})
	if n := proxy.Accepted(); n != 2 {
		t.Errorf("%d connections; only one was lost", n)
	}
}

func TestLookingNeedsOnePermission(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		configure string
		want      string
	}{
		{".*", ""},
		{"^$", "look at exchange product-service: the broker's user needs the configure permission on it"},
		{"^product-service$", "look at queue product-created: the broker's user needs the configure permission on it"},
	} {
		broker := testenv.Vhost(t)
		broker.DeclareTopology()
		c := connect(t, broker.User("", map[string]string{"configure": tt.configure, "write": "^$", "read": "^$"}))
		err := c.CheckTopology(t.Context())
		if tt.want == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		testenv.CheckMessage(t, err, tt.want)
	}
}

func TestRemedies(t *testing.T) {
	t.Parallel()
	fromServer := func(code int) error {
		return fmt.Errorf("first: %w", &amqp.Error{Code: code, Reason: "what the broker says", Server: true})
	}
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"not found", missing(&amqp.Error{Code: amqp.NotFound, Reason: "NOT_FOUND - no queue 'a' in vhost '/'", Server: true}, "queue a", "start it"), "queue a does not exist: start it"},
		{"a node is down", missing(&amqp.Error{Code: amqp.NotFound, Reason: "NOT_FOUND - home node 'rabbit@b' of durable queue 'a' in vhost '/' is down or inaccessible", Server: true}, "queue a", "start it"), "look at queue a: it does not answer: see to the node of the broker that has it: "},
		{"a crash", missing(&amqp.Error{Code: amqp.NotFound, Reason: "NOT_FOUND - queue 'a' in vhost '/' has crashed and failed to restart", Server: true}, "queue a", "start it"), "look at queue a: it does not answer: see to the node of the broker that has it: "},
		{"no permission", missing(fromServer(amqp.AccessRefused), "queue a", "start it"), "look at queue a: the broker's user needs the configure permission on it, even to look: "},
		{"exclusive", missing(&amqp.Error{Code: amqp.ResourceLocked, Reason: "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'a' in vhost '/'", Server: true}, "queue a", "start it"), "look at queue a: another connection has declared it as exclusive, "},
		{"something else", missing(fromServer(amqp.InternalError), "queue a", "start it"), "look at queue a: first: "},
		{"refused", explained(fromServer(amqp.AccessRefused)), "authentication failed: check user, password and vhost of RABBITMQ_ENDPOINT"},
		{"not allowed", explained(fromServer(amqp.NotAllowed)), "the user may not use this vhost: check the vhost of RABBITMQ_ENDPOINT"},
		{"a certificate", explained(&tls.CertificateVerificationError{Err: errors.New("unknown authority")}), "the broker's certificate is not trusted: check the host of RABBITMQ_ENDPOINT"},
		{"no frame", explained(&amqp.Error{Code: amqp.FrameError, Reason: amqp.ErrFrame.Error()}), "what answers is no AMQP broker: check host and port of RABBITMQ_ENDPOINT"},
		{"an end", explained(&amqp.Error{Code: amqp.FrameError, Reason: "EOF"}), "the connection was ended without a word: check host and port of RABBITMQ_ENDPOINT"},
		{"the network", explained(&net.OpError{Op: "dial", Err: errors.New("no route")}), "no broker answers: check the host of RABBITMQ_ENDPOINT"},
		{"an end with a reason", explained(fromServer(amqp.ConnectionForced)), "the broker ended the connection: see its log: first: "},
		{"something else", explained(fromServer(amqp.ResourceError)), "first: "},
	} {
		if !strings.HasPrefix(tt.err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q first", tt.name, tt.err, tt.want)
		}
	}
}

// The broker takes nothing from publishers while it is short of memory, and says so.
func TestBlocked(t *testing.T) {
	t.Parallel()
	node, broker := testenv.PrivateBroker(t)
	broker.DeclareTopology()
	c := connect(t, broker.URL)
	ch, err := c.Channel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if blocked := c.Blocked(); blocked != "" {
		t.Errorf("blocked: %s", blocked)
	}
	if _, err := node.Control("set_vm_memory_high_watermark", "absolute", "1"); err != nil {
		t.Fatal(err)
	}
	// The broker tells a connection when it publishes.
	if err := ch.PublishWithContext(t.Context(), Exchange, CreatedQueue, true, false, amqp.Publishing{Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Minute, func() bool { return c.Blocked() != "" }, "the connection to be blocked")
	if !strings.Contains(c.Blocked(), "memory") {
		t.Errorf("blocked because of %q", c.Blocked())
	}
	looker := connect(t, broker.URL)
	if _, err := looker.Queue(CreatedQueue).State(t.Context()); err != nil || looker.Blocked() != "" {
		t.Errorf("a connection that only looks: %v, blocked %q", err, looker.Blocked())
	}
	if _, err := node.Control("set_vm_memory_high_watermark", "absolute", "1GB"); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Minute, func() bool { return c.Blocked() == "" }, "the connection to be free again")

	// A planned restart says goodbye; the next channel is on the new node.
	if err := node.Stop(); err != nil {
		t.Fatal(err)
	}
	_, err = c.Channel(t.Context())
	testenv.CheckMessage(t, err, "RABBITMQ_ENDPOINT")
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.CheckTopology(t.Context()); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}
