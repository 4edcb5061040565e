package rabbit

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

// withoutUser is a URL without its credentials.
func withoutUser(t *testing.T, raw string) string {
	t.Helper()
	return testenv.ChangedURL(t, raw, func(u *url.URL) { u.User = nil })
}

func management(t *testing.T, config Config) *Management {
	t.Helper()
	m, err := NewManagement(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.client.CloseIdleConnections)
	return m
}

// amount is a figure's value, -1 where it is unknown.
func amount[T int | int64](figure *T) T {
	if figure == nil {
		return -1
	}
	return *figure
}

// shown is what a queue's details say, -1 for what is unknown.
func shown(d QueueDetails) string {
	return fmt.Sprintf("messages %d, unacknowledged %d, acknowledged %d, delayed %d, consumers %+v",
		amount(d.Messages), amount(d.Unacknowledged), amount(d.Acknowledged), amount(d.Delayed), d.Consumers)
}

func TestNoManagementWithoutItsURL(t *testing.T) {
	t.Parallel()
	if m, err := NewManagement(Config{URL: "amqp://guest:guest@rabbitmq"}); m != nil || err != nil {
		t.Errorf("%v, %v", m, err)
	}
}

func TestManagementSeesAQueue(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	m := management(t, Config{URL: secret.URL(broker.URL), ManagementURL: secret.URL(withoutUser(t, broker.Management))})
	details, err := m.Queue(t.Context(), CreatedQueue)
	if err != nil || len(details.Consumers) != 0 || amount(details.Unacknowledged) > 0 || amount(details.Acknowledged) > 0 {
		t.Errorf("a new queue: %s, %v", shown(details), err)
	}

	named := connect(t, broker.URL)
	nameless, err := amqp.Dial(broker.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nameless.Close() }()
	first, err := named.Channel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := nameless.Channel()
	if err != nil {
		t.Fatal(err)
	}
	broker.Publish(CreatedQueue, slices.Repeat([][]byte{[]byte("{}")}, 5)...)
	for i, ch := range []*amqp.Channel{first, second} {
		if err := ch.Qos(2, 0, false); err != nil {
			t.Fatal(err)
		}
		deliveries, err := ch.Consume(CreatedQueue, fmt.Sprint("consumer", i), false, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := (<-deliveries).Ack(false); err != nil {
			t.Fatal(err)
		}
		<-deliveries
	}
	// Five messages: two are acknowledged, and the two consumers hold the others.
	testenv.Eventually(t, time.Minute, func() error {
		if details, err = m.Queue(t.Context(), CreatedQueue); err != nil {
			return err
		}
		connected := !slices.ContainsFunc(details.Consumers, func(c Consumer) bool { return c.Connection == "" })
		if amount(details.Messages) != 3 || amount(details.Unacknowledged) != 3 || amount(details.Acknowledged) != 2 || len(details.Consumers) != 2 || !connected {
			return errors.New("it is " + shown(details))
		}
		return nil
	}, "the figures of the queue")
	if details.Unlimited() != 0 || details.Delayed != nil {
		t.Errorf("two consumers with a prefetch: %s", shown(details))
	}
	slices.SortFunc(details.Consumers, func(a, b Consumer) int { return strings.Compare(a.Tag, b.Tag) })
	login, err := url.Parse(broker.URL)
	if err != nil {
		t.Fatal("the broker's URL cannot be read")
	}
	for i, want := range []string{"etl test", ""} {
		consumer := details.Consumers[i]
		if consumer.Tag != fmt.Sprint("consumer", i) || consumer.User != login.User.Username() || consumer.Connection == "" {
			t.Errorf("consumer %d is %+v", i, consumer)
		}
		testenv.Eventually(t, time.Minute, func() error {
			client, err := m.Client(t.Context(), consumer.Connection)
			if err == nil && (client.Name != want || client.Product == "") {
				err = fmt.Errorf("it is %+v", client)
			}
			return err
		}, fmt.Sprintf("the name %q of connection %s", want, consumer.Connection))
	}
}

func TestManagementSeesBindings(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	m := management(t, Config{URL: secret.URL(broker.URL), ManagementURL: secret.URL(broker.Management)})
	expect := func(want bool, queue, key string) {
		t.Helper()
		binding := Binding{Exchange: Exchange, Destination: queue, Kind: "queue", Key: key}
		to, err := m.To(t.Context(), queue)
		if err != nil || slices.Contains(to, binding) != want {
			t.Errorf("queue %s bound with key %s: %+v, %v; want %t", queue, key, to, err, want)
		}
		from, err := m.From(t.Context(), Exchange)
		if err != nil || slices.Contains(from, binding) != want {
			t.Errorf("queue %s bound with key %s: %+v, %v; want %t", queue, key, from, err, want)
		}
	}
	for _, queue := range CartQueues() {
		expect(true, queue, queue)
	}
	expect(false, CreatedQueue, UpdatedQueue)
	broker.Do(func(ch *amqp.Channel) error { return ch.QueueUnbind(CreatedQueue, CreatedQueue, Exchange, nil) })
	expect(false, CreatedQueue, CreatedQueue)
	broker.Do(func(ch *amqp.Channel) error {
		return errors.Join(ch.QueueBind(CreatedQueue, "other", Exchange, false, nil), ch.QueueBind(CreatedQueue, CreatedQueue, Exchange, false, nil))
	})
	expect(true, CreatedQueue, CreatedQueue)
}

func TestManagementOfOtherAddresses(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	server, err := url.Parse(withoutUser(t, broker.Management))
	if err != nil {
		t.Fatal("the management API's URL cannot be read")
	}
	// As an ingress or management.path_prefix would have it.
	prefixed := httptest.NewServer(http.StripPrefix("/rabbit mq", &httputil.ReverseProxy{
		Transport: &http.Transport{DisableKeepAlives: true},
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(server) },
	}))
	t.Cleanup(prefixed.Close)
	for _, address := range []string{server.String(), server.String() + "/", prefixed.URL + "/rabbit%20mq", prefixed.URL + "/rabbit%20mq/"} {
		m := management(t, Config{URL: secret.URL(broker.URL), ManagementURL: secret.URL(address)})
		if _, err := m.Queue(t.Context(), CreatedQueue); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestManagementOfOddNames(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	queue := "a/b c%2F?#ü"
	broker.Do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(queue, true, false, false, false, nil)
		return err
	})
	m := management(t, Config{URL: secret.URL(broker.URL), ManagementURL: secret.URL(broker.Management)})
	if _, err := m.Queue(t.Context(), queue); err != nil {
		t.Error(err)
	}
	// The default vhost is a slash.
	m.vhost = "/"
	if _, err := m.Queue(t.Context(), queue); !errors.Is(err, ErrNotFound) {
		t.Errorf("the queue is in the default vhost: %v", err)
	}
}

func TestManagementMessages(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	stranger := broker.User("", map[string]string{"configure": "^$", "write": "^$", "read": ".*"})
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	t.Cleanup(broken.Close)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	t.Cleanup(other.Close)
	for _, tt := range []struct {
		name   string
		config Config
		want   []string
	}{
		{"wrong password of its own", Config{URL: secret.URL(broker.URL), ManagementURL: secret.URL(testenv.ChangedURL(t, broker.Management, func(u *url.URL) { u.User = url.UserPassword("etl", "hunter2") }))},
			[]string{"not authorized", `the tag "monitoring"`}},
		{"wrong password of the broker's URL", Config{URL: secret.URL(testenv.ChangedURL(t, broker.URL, func(u *url.URL) { u.User = url.UserPassword("etl", "hunter2") })), ManagementURL: secret.URL(withoutUser(t, broker.Management))},
			[]string{"not authorized", `the tag "monitoring"`}},
		{"a user without the tag", Config{URL: secret.URL(stranger), ManagementURL: secret.URL(withoutUser(t, broker.Management))},
			[]string{"not authorized", `the tag "monitoring"`}},
		{"nobody listens", Config{URL: secret.URL(broker.URL), ManagementURL: "http://etl:hunter2@127.0.0.1:1"}, []string{"no answer: check RABBITMQ_MANAGEMENT_URL", "127.0.0.1:1"}},
		{"a broken gateway", Config{URL: secret.URL(broker.URL), ManagementURL: secret.URL(broken.URL)}, []string{"502 Bad Gateway"}},
		{"something else", Config{URL: secret.URL(broker.URL), ManagementURL: secret.URL(other.URL)}, []string{"check RABBITMQ_MANAGEMENT_URL"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := management(t, tt.config)
			_, err := m.Queue(t.Context(), CreatedQueue)
			testenv.CheckMessage(t, err, append(tt.want, "ask the management API for queue product-created")...)
			_, err = m.To(t.Context(), CreatedQueue)
			testenv.CheckMessage(t, err, append(tt.want, "ask the management API for bindings of queue product-created")...)
			_, err = m.Client(t.Context(), "127.0.0.1:1 -> 127.0.0.1:2")
			testenv.CheckMessage(t, err, append(tt.want, "ask the management API for connection 127.0.0.1:1 -> 127.0.0.1:2")...)
		})
	}
	m := management(t, Config{URL: secret.URL(broker.URL), ManagementURL: secret.URL(broker.Management)})
	if _, err := m.Queue(t.Context(), "absent"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a queue that is not there: %v", err)
	}
	if _, err := m.Client(t.Context(), "127.0.0.1:1 -> 127.0.0.1:2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a connection that is not there: %v", err)
	}
}

// Whoever an answer redirects to gets neither a question nor the credentials, be it
// another port of the same host.
func TestCaseC12NoRedirectIsFollowed(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(other.Close)
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		api := httptest.NewServer(http.RedirectHandler(testenv.ChangedURL(t, other.URL, func(u *url.URL) { u.User = url.UserPassword("a", "hunter2") }), status))
		t.Cleanup(api.Close)
		m := management(t, Config{URL: "amqp://etl:hunter2@rabbitmq", ManagementURL: secret.URL(api.URL)})
		_, err := m.Queue(t.Context(), CreatedQueue)
		testenv.CheckMessage(t, err, strconv.Itoa(status), "name what it points to, "+other.URL+", in RABBITMQ_MANAGEMENT_URL")
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("it was followed %d times", n)
	}
}
