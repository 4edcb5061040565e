package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

// viewed is a view of a queue through a management API.
func viewed(t *testing.T, broker *testenv.Broker, management, queue string, retries ...string) *queueView {
	t.Helper()
	config := rabbit.Config{URL: secret.URL(broker.URL), ManagementURL: secret.URL(management)}
	conn := rabbit.NewConnection(config, "etl test")
	t.Cleanup(conn.Close)
	client, err := rabbit.NewManagement(config)
	if err != nil {
		t.Fatal(err)
	}
	return &queueView{queue: conn.Queue(queue), management: client, retries: retries}
}

// What is rejected, and waits to come back, is part of what a queue shows.
func TestAQueueIsSeenWithWhatComesBackToIt(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	const queue, retry = "impatient", "impatient.retry"
	broker.Do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": retry})
		if err == nil {
			_, err = ch.QueueDeclare(retry, true, false, false, false, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue, "x-message-ttl": 600_000})
		}
		return err
	})
	broker.PublishTo("", queue, amqp.Publishing{Body: []byte("1")}, amqp.Publishing{Body: []byte("2")})
	_, ch := testenv.Dial(t, broker.URL)
	deliveries, err := ch.Consume(queue, "cart", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := (<-deliveries).Nack(false, false); err != nil {
		t.Fatal(err)
	}
	view := viewed(t, broker, broker.Management, queue, retry)
	testenv.Eventually(t, time.Minute, func() error {
		d, err := view.Depth(t.Context())
		if err != nil {
			return err
		}
		s := d.Statistics
		if d.Ready != 0 || d.Consumers != 1 || s == nil || s.Unlimited != 1 || s.Unacknowledged == nil || *s.Unacknowledged != 1 || s.Retrying == nil || *s.Retrying != 1 {
			return fmt.Errorf("it is %+v, %+v", d, s)
		}
		return nil
	}, "one message that is held, and one that waits to come back")
}

// A management API that fails or hangs costs a look its figures, and little time.
func TestAQueueIsSeenWithoutTheManagementAPI(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	broker.Publish(rabbit.CreatedQueue, []byte("{}"))
	server, err := url.Parse(broker.Management)
	if err != nil {
		t.Fatal("the management API's URL cannot be read")
	}
	forward := &httputil.ReverseProxy{Transport: &http.Transport{DisableKeepAlives: true}, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(server) }}
	for name, fail := range map[string]http.HandlerFunc{
		"fails": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"hangs": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var failing atomic.Bool
			var asked atomic.Int64
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				if failing.Load() {
					fail(w, r)
					return
				}
				forward.ServeHTTP(w, r)
			}))
			t.Cleanup(api.Close)
			address := testenv.ChangedURL(t, api.URL, func(u *url.URL) { u.User = server.User })
			view := viewed(t, broker, address, rabbit.CreatedQueue)
			if d, err := view.Depth(t.Context()); err != nil || d.Statistics == nil {
				t.Fatalf("%+v, %v", d, err)
			}
			failing.Store(true)
			view.next = time.Time{}
			for range 3 {
				if d, err := view.Depth(t.Context()); err != nil || d.Ready != 1 || d.Statistics != nil {
					t.Errorf("%+v, %v", d, err)
				}
			}
			if n := asked.Load(); n != 2 {
				t.Errorf("it was asked %d times", n)
			}
			failing.Store(false)
			view.next = time.Time{}
			if d, err := view.Depth(t.Context()); err != nil || d.Statistics == nil {
				t.Errorf("it answers again: %+v, %v", d, err)
			}
		})
	}
}

// A run goes on without a management API that does not answer it, and knows why.
func TestCaseC7ABrokerWithoutItsManagementAPI(t *testing.T) {
	t.Parallel()
	vhost := testenv.Vhost(t)
	vhost.DeclareTopology()
	for _, tt := range []struct{ name, management, want string }{
		{"it answers", vhost.Management, ""},
		{"there is none", "", ""},
		{"nobody listens", "http://etl:hunter2@127.0.0.1:1", "no answer: check RABBITMQ_MANAGEMENT_URL"},
		{"the user may not", testenv.ChangedURL(t, vhost.Management, func(u *url.URL) { u.User = url.UserPassword("etl", "hunter2") }), `the tag "monitoring"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := &Config{Rabbit: rabbit.Config{URL: secret.URL(vhost.URL), ManagementURL: secret.URL(tt.management)}}
			c.Sync.Grace = 100 * time.Millisecond
			b, err := openBroker(t.Context(), c, newCleanup(t))
			if err != nil {
				t.Fatal(err)
			}
			if used := b.Management != nil; used != (tt.management != "" && tt.want == "") {
				t.Errorf("the management API is used: %t", used)
			}
			if tt.want == "" && b.withoutManagement != nil {
				t.Error(b.withoutManagement)
			} else if tt.want != "" && (b.withoutManagement == nil || !strings.Contains(b.withoutManagement.Error(), tt.want)) {
				t.Errorf("%v, want %q", b.withoutManagement, tt.want)
			}
			watch := b.watches[product.Missing]
			seen := watch.Changed()
			if sight := watch.Sight(); sight.Idle.IsZero() {
				<-seen
			}
			if sight := watch.Sight(); sight.Err != nil || sight.Idle.IsZero() || sight.Depth.Ready != 0 {
				t.Errorf("%+v", sight)
			}
		})
	}
	// Who ends a run while it begins is not told of the management API.
	ctx, stop := context.WithCancelCause(t.Context())
	cause := errors.New("stopped by a person")
	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stop(cause); <-r.Context().Done() }))
	t.Cleanup(api.Close)
	if _, err := openBroker(ctx, &Config{Rabbit: rabbit.Config{URL: secret.URL(vhost.URL), ManagementURL: secret.URL(api.URL)}}, newCleanup(t)); !errors.Is(err, cause) {
		t.Errorf("stopped as it began: %v", err)
	}
}
