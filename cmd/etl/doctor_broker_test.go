package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/producer"
)

// widest is how wide doctor's lines about a broker may be, where names are short.
const widest = 170

// examination is what doctor says of a broker.
type examination struct {
	text   string
	failed int
}

// examined has doctor look at a broker, and at nothing else.
func examined(t *testing.T, url, management string, route producer.Route) examination {
	t.Helper()
	c := &app.Config{Rabbit: rabbit.Config{URL: secret.URL(url), ManagementURL: secret.URL(management)}}
	c.Replay.MaxQueueDepth, c.Replay.Route = 200, route
	var out bytes.Buffer
	var clean app.Cleanup
	defer func() {
		if err := clean.End(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	d := doctor{out: &out}
	d.examineBroker(t.Context(), c, &clean)
	t.Log("\n" + out.String())
	return examination{out.String(), d.failed}
}

// vhostName is one of the fixtures', which are longer than people's.
var vhostName = regexp.MustCompile(`test_(vhost|user)_[a-z0-9]+`)

// want insists on lines by how they begin, but for the padding, and on how many checks
// failed. All lines must fit.
func (e examination) want(t *testing.T, failed int, lines ...string) {
	t.Helper()
	spaces := regexp.MustCompile(` +`)
	text := spaces.ReplaceAllString(e.text, " ")
	for _, line := range lines {
		if !strings.Contains("\n"+text, "\n"+line) {
			t.Errorf("doctor does not say %q", line)
		}
	}
	if e.failed != failed {
		t.Errorf("%d checks failed, want %d", e.failed, failed)
	}
	for line := range strings.Lines(vhostName.ReplaceAllString(e.text, "shop")) {
		if utf8.RuneCountInString(strings.TrimSpace(line)) > widest && !strings.Contains(line, "connect to RabbitMQ at") {
			t.Errorf("a line of %d columns: %s", utf8.RuneCountInString(line), line)
		}
	}
}

// lacks insists that doctor does not say something.
func (e examination) lacks(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(e.text, text) {
			t.Errorf("doctor says %q", text)
		}
	}
}

// consumes has a program consume queues of a broker, the cart's where none are named. An
// empty name is of a client that sets none, as those of the platform are.
func consumes(t *testing.T, address, name string, change func(*amqp.Channel), queues ...string) {
	t.Helper()
	properties := amqp.NewConnectionProperties()
	if name != "" {
		properties.SetClientConnectionName(name)
	}
	conn, err := amqp.DialConfig(address, amqp.Config{Properties: properties})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Qos(1, 0, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(ch)
	}
	if queues == nil {
		queues = rabbit.CartQueues()
	}
	for _, queue := range queues {
		if _, err := ch.Consume(queue, "", false, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// shopBroker is a virtual host with the cart's topology and its one consumer.
func shopBroker(t *testing.T, options ...testenv.VhostOption) *testenv.Broker {
	t.Helper()
	broker := testenv.Vhost(t, options...)
	broker.DeclareTopology()
	consumes(t, broker.URL, "cart", nil)
	return broker
}

// passing is a management API in front of the real one, whose answers may be changed.
func passing(t *testing.T, real string, change func(path string, body []byte) []byte) (address string) {
	t.Helper()
	server, err := url.Parse(real)
	if err != nil {
		t.Fatal("the management API's URL cannot be read")
	}
	forward := &httputil.ReverseProxy{
		Transport: &http.Transport{DisableKeepAlives: true},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(server)
			r.Out.Header.Set("Accept-Encoding", "identity")
		},
		ModifyResponse: func(r *http.Response) error {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			body = change(r.Request.URL.Path, body)
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			r.Header.Set("Content-Length", strconv.Itoa(len(body)))
			return nil
		},
	}
	api := httptest.NewServer(forward)
	t.Cleanup(api.Close)
	return testenv.ChangedURL(t, api.URL, func(u *url.URL) { u.User = server.User })
}

var channelDetails = regexp.MustCompile(`"channel_details":\{[^}]*\}`)

// Consumers that have just come are listed before anybody knows who they are.
func TestCaseC9ConsumersThatHaveJustCome(t *testing.T) {
	t.Parallel()
	broker := shopBroker(t)
	for _, unknown := range []string{`"channel_details":[]`, `"channel_details":{}`} {
		t.Run(unknown, func(t *testing.T) {
			t.Parallel()
			hide := func(_ string, body []byte) []byte { return channelDetails.ReplaceAll(body, []byte(unknown)) }
			e := examined(t, broker.URL, passing(t, broker.Management, hide), producer.ByQueue)
			e.want(t, 0, "ok queue created 0 events waiting, 1 consumer (1 not known by name yet)\n")
			e.lacks(t, "no RabbitMQ", "not RabbitMQ", "cannot unmarshal", "()")
		})
	}
	t.Run("and are known soon", func(t *testing.T) {
		t.Parallel()
		var asked atomic.Int64
		hide := func(path string, body []byte) []byte {
			if strings.Contains(path, "/queues/") && asked.Add(1) <= 3 {
				return channelDetails.ReplaceAll(body, []byte(`"channel_details":[]`))
			}
			return body
		}
		e := examined(t, broker.URL, passing(t, broker.Management, hide), producer.ByQueue)
		e.want(t, 0, "ok queue created 0 events waiting, 1 consumer (cart)\n", "ok queue deleted 0 events waiting, 1 consumer (cart)\n")
	})
}

// administrator is the user of the stack's broker.
func administrator(t *testing.T) string {
	t.Helper()
	login, err := url.Parse(testenv.Services(t).RabbitMQ)
	if err != nil {
		t.Fatal("the broker's URL cannot be read")
	}
	return login.User.Username()
}

// Several consumers are an alarm only where they are seen to be of several services.
func TestCaseC10SeveralConsumers(t *testing.T) {
	t.Parallel()
	all := map[string]string{"configure": ".*", "write": ".*", "read": ".*"}
	admin := administrator(t)
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, broker *testenv.Broker)
		line    string // by how it begins
		says    string
	}{
		{"replicas", func(t *testing.T, b *testenv.Broker) {
			consumes(t, b.URL, "cart-depl-5c9d7b6f4d-x2x9k", nil)
			consumes(t, b.URL, "cart-depl-5c9d7b6f4d-mvbtq", nil)
		}, "ok queue created 0 events waiting, 2 consumers (2 × cart-depl-5c9d7b6f4d-", "): each event reaches one of them\n"},
		{"two services by name", func(t *testing.T, b *testenv.Broker) {
			consumes(t, b.URL, "cart", nil)
			consumes(t, b.URL, "order", nil)
		}, "warn queue created 0 events waiting, 2 consumers (", "each event reaches only one; give each service its own queue\n"},
		{"nameless of one user", func(t *testing.T, b *testenv.Broker) {
			consumes(t, b.URL, "", nil)
			consumes(t, b.URL, "", nil)
		}, "ok queue created 0 events waiting, 2 consumers (2 × user " + admin + " at 127.0.0.1): each event reaches only one of them, so all should be the cart's\n", ""},
		{"nameless of two users", func(t *testing.T, b *testenv.Broker) {
			consumes(t, b.URL, "", nil)
			consumes(t, b.User("", all), "", nil)
		}, "warn queue created 0 events waiting, 2 consumers (", "user test_user_"},
		{"a shovel", func(t *testing.T, b *testenv.Broker) {
			consumes(t, b.URL, "Shovel to-the-lake", nil)
		}, "warn queue created 0 events waiting, 1 consumer (Shovel to-the-lake): a plugin moves events elsewhere: give it a queue of its own\n", ""},
		{"no prefetch", func(t *testing.T, b *testenv.Broker) {
			consumes(t, b.URL, "cart", func(ch *amqp.Channel) { _ = ch.Qos(0, 0, false) })
		}, "warn consumers of created 1 without prefetch: ", ""},
		{"automatic", func(t *testing.T, b *testenv.Broker) {
			consumes(t, b.URL, "cart", func(ch *amqp.Channel) { _, _ = ch.Consume(rabbit.CreatedQueue, "", true, false, false, false, nil) }, rabbit.UpdatedQueue, rabbit.DeletedQueue)
		}, "warn consumers of created 1 acknowledging automatically: ", ""},
		{"exclusive", func(t *testing.T, b *testenv.Broker) {
			consumes(t, b.URL, "cart", func(ch *amqp.Channel) { _, _ = ch.Consume(rabbit.CreatedQueue, "", false, true, false, false, nil) }, rabbit.UpdatedQueue, rabbit.DeletedQueue)
		}, "ok queue created 0 events waiting, 1 consumer (cart): it consumes exclusively, so a second replica is refused\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			broker := testenv.Vhost(t)
			broker.DeclareTopology()
			tt.prepare(t, broker)
			e := examined(t, broker.URL, broker.Management, producer.ByQueue)
			e.want(t, 0, tt.line)
			if !strings.Contains(e.text, tt.says) {
				t.Errorf("doctor does not say %q", tt.says)
			}
			e.lacks(t, "foreign")
		})
	}
	t.Run("without the management API", func(t *testing.T) {
		t.Parallel()
		broker := testenv.Vhost(t)
		broker.DeclareTopology()
		consumes(t, broker.URL, "cart", nil)
		consumes(t, broker.URL, "order", nil)
		e := examined(t, broker.URL, "", producer.ByQueue)
		e.want(t, 0, "ok queue created 0 events waiting, 2 consumers: each event reaches only one of them; RABBITMQ_MANAGEMENT_URL shows whose they are\n",
			"warn management API not used, so policies, bindings, limits, unacknowledged events, and who consumes are not seen: set RABBITMQ_MANAGEMENT_URL\n")
	})
	t.Run("a user who is not shown names", func(t *testing.T) {
		t.Parallel()
		broker := testenv.Vhost(t)
		broker.DeclareTopology()
		consumes(t, broker.URL, "cart", nil)
		consumes(t, broker.URL, "order", nil)
		guest := broker.User("management", map[string]string{"configure": "", "write": "", "read": ".*"})
		login, err := url.Parse(guest)
		if err != nil {
			t.Fatal("the user's URL cannot be read")
		}
		e := examined(t, broker.URL, testenv.ChangedURL(t, broker.Management, func(u *url.URL) { u.User = login.User }), producer.ByQueue)
		e.want(t, 0, "warn management API user "+login.User.Username()+" lacks the tag monitoring (it has management), so names of connections, limits and alarms are not seen\n",
			"ok queue created 0 events waiting, 2 consumers (2 × user "+admin+" at 127.0.0.1): ")
	})
}

// A single active consumer is named. The platform's own services declare no such queue.
func TestCaseC10SingleActiveConsumer(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.Do(func(ch *amqp.Channel) error {
		err := ch.ExchangeDeclare(rabbit.Exchange, amqp.ExchangeDirect, true, false, false, false, nil)
		for _, queue := range rabbit.CartQueues() {
			_, declared := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-single-active-consumer": true})
			err = errors.Join(err, declared, ch.QueueBind(queue, queue, rabbit.Exchange, false, nil))
		}
		return err
	})
	consumes(t, broker.URL, "cart-1", nil)
	consumes(t, broker.URL, "cart-2", nil)
	for _, queue := range rabbit.CartQueues() { // a quorum queue counts only the active one, so doctor cannot know that another one will be shown
		awaitTimes(t, broker, queue, `"consumer_tag"`, 2)
	}
	examined(t, broker.URL, broker.Management, producer.ByQueue).
		want(t, 0, "ok queue created 0 events waiting, 2 consumers (2 × cart-1, cart-2): cart-1 at 127.0.0.1 is the single active one, the others stand by\n")
}

// A limit that is reached is one, and no right that is missing.
func TestCaseC11DoctorNamesALimit(t *testing.T) {
	t.Parallel()
	broker := shopBroker(t)
	limit := func(name string, most int) {
		t.Helper()
		broker.Manage(http.MethodPut, "/api/vhost-limits/"+broker.Vhost+"/"+name, map[string]int{"value": most}, nil)
	}
	limit("max-connections", 6)
	limit("max-queues", 100)
	examined(t, broker.URL, broker.Management, producer.ByQueue).want(t, 0, "ok broker limits 4 of at most 100 queues of vhost "+broker.Vhost+" (set_vhost_limits)\n")
	limit("max-connections", 2) // the fixture's and the cart's
	e := examined(t, broker.URL, broker.Management, producer.ByQueue)
	e.want(t, 1, "FAIL broker connect to RabbitMQ at amqp://"+administrator(t)+":********@", "ok management API ")
	wantWords(t, e.text, "the vhost has as many connections as its limit allows", "rabbitmqctl set_vhost_limits", "connection limit (2) is reached")
	e.lacks(t, "the user may not use this vhost")
}

func wantWords(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in:\n%s", w, text)
		}
	}
}

// A broker that collects no statistics shows no figures and no consumers. None is claimed.
func TestCaseC3DoctorWithoutFigures(t *testing.T) {
	t.Parallel()
	broker := testenv.Vhost(t)
	broker.DeclareTopology()
	consumes(t, broker.URL, "cart", nil)
	consumes(t, broker.URL, "order", nil)
	broker.LimitLength(rabbit.CreatedQueue, 50, testenv.DropHead)
	figures := regexp.MustCompile(`"(messages|messages_unacknowledged|consumer_details)":`)
	hide := func(path string, body []byte) []byte {
		if strings.Contains(path, "/queues/") {
			return figures.ReplaceAll(body, []byte(`"not_$1":`))
		}
		return body
	}
	e := examined(t, broker.URL, passing(t, broker.Management, hide), producer.ByQueue)
	e.want(t, 0, "ok queue created 0 events waiting, 2 consumers: each event reaches only one of them, and whose they are is not shown\n",
		"warn rules of created holds 50 events ", // which needs no statistics
		"warn management API shows no figures, so unacknowledged events and who consumes are not seen: see disable_metrics_collector\n")
	if n := strings.Count(e.text, "shows no figures"); n != 1 {
		t.Errorf("it is said %d times", n)
	}
}

// What policies do to events is said as an operator needs it.
func TestDoctorOfOddBrokers(t *testing.T) {
	t.Parallel()
	created := rabbit.CreatedQueue
	for _, tt := range []struct {
		name    string
		route   producer.Route
		prepare func(t *testing.T, b *testenv.Broker)
		failed  int
		lines   []string
	}{
		{"the oldest are dropped", producer.ByQueue, func(_ *testing.T, b *testenv.Broker) { b.LimitLength(created, 50, testenv.DropHead) }, 0,
			[]string{"warn rules of created holds 50 events (max-length of policy product-created), then drops the oldest, live ones too; a replay keeps to 25\n"}},
		{"new ones are refused", producer.ByQueue, func(_ *testing.T, b *testenv.Broker) { b.LimitLength(created, 5000, testenv.RejectPublish) }, 0,
			[]string{"warn rules of created holds 5,000 events (max-length of policy product-created), then refuses new ones, which publishers without confirms lose\n"}},
		{"bytes", producer.ByQueue, func(_ *testing.T, b *testenv.Broker) {
			b.Restrict(created, map[string]any{"max-length-bytes": 1 << 20, "overflow": rabbit.RejectPublishAndDLX})
		}, 0, []string{"warn rules of created holds 1,048,576 bytes (max-length-bytes of policy product-created), then refuses new ones and dead-letters them; a replay keeps to half\n"}},
		{"they expire", producer.ByQueue, func(_ *testing.T, b *testenv.Broker) {
			b.Restrict(created, map[string]any{"message-ttl": 90_000, "expires": 600_000})
		}, 0, []string{
			"warn rules of created events expire after 1m30s (message-ttl of policy product-created): what the cart has not taken by then never comes to it\n",
			"warn rules of created after 10m0s without a consumer it is deleted, with all that waits in it (expires of policy product-created)\n"}},
		{"an operator's policy", producer.ByQueue, func(_ *testing.T, b *testenv.Broker) {
			b.Restrict(created, map[string]any{"max-length": 50})
			b.Manage(http.MethodPut, "/api/operator-policies/"+b.Vhost+"/strict", map[string]any{"pattern": "^product-created$", "definition": map[string]any{"max-length": 20}}, nil)
			await(t, b, created, `"max-length":20`)
		}, 0, []string{"warn rules of created holds 20 events (max-length of policies product-created, strict), then drops the oldest, live ones too; a replay keeps to 10\n"}},
		{"dead letters to nowhere", producer.ByQueue, func(_ *testing.T, b *testenv.Broker) {
			b.Restrict(created, map[string]any{"dead-letter-exchange": "graves"})
		}, 0, []string{"warn rules of created exchange graves, where dead letters go, does not exist, so they are dropped: declare it\n"}},
		{"dead letters that come back", producer.ByQueue, func(_ *testing.T, b *testenv.Broker) {
			b.Do(func(ch *amqp.Channel) error {
				_, err := ch.QueueDeclare("retry", true, false, false, false, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": created, "x-message-ttl": 60_000})
				return err
			})
			b.Restrict(created, map[string]any{"dead-letter-exchange": "", "dead-letter-routing-key": "retry"})
		}, 0, []string{"ok rules of created what is rejected, expired or dropped goes to the default exchange (dead-letter-exchange of policy product-created)\n", "ok rules of created what the cart rejects comes back to it by way of retry\n"}},
		{"not bound", producer.ByQueue, func(_ *testing.T, b *testenv.Broker) { b.Unbind(created) }, 1,
			[]string{"FAIL bindings product-created is not bound to exchange product-service, so its events are dropped: restart the Cart Service, which binds it\n"}},
		{"not bound, with an alternate exchange", producer.ByExchange, func(_ *testing.T, b *testenv.Broker) { b.Unbind(created); b.DivertUnroutable() }, 1, []string{
			"FAIL bindings product-created is not bound to exchange product-service, so its events go to exchange unroutable: restart",
			"warn bindings events that no queue is bound for go to exchange unroutable (alternate-exchange); by REPLAY_ROUTE=exchange replays do too\n"}},
		{"bound twice over", producer.ByQueue, func(_ *testing.T, b *testenv.Broker) {
			b.Do(func(ch *amqp.Channel) error {
				return errors.Join(ch.QueueBind(created, rabbit.UpdatedQueue, rabbit.Exchange, false, nil), ch.QueueBind(created, "x", "amq.direct", false, nil))
			})
		}, 0, []string{
			"warn bindings product-created also gets events with the key product-updated, which the cart takes for its kind: remove that binding\n",
			"warn bindings product-created also gets what comes from exchange amq.direct, which the cart takes for its kind of event\n"}},
		{"bound by way of another exchange", producer.ByExchange, func(_ *testing.T, b *testenv.Broker) {
			b.Unbind(created)
			b.Do(func(ch *amqp.Channel) error {
				return errors.Join(ch.ExchangeDeclare("hub", amqp.ExchangeFanout, true, false, false, false, nil),
					ch.ExchangeBind("hub", created, rabbit.Exchange, false, nil), ch.QueueBind(created, "", "hub", false, nil))
			})
		}, 0, []string{
			"warn bindings product-created gets events of product-service only by way of exchange hub, whose keys were not looked at\n",
			"warn bindings product events go to exchange hub as well; by REPLAY_ROUTE=exchange replays do too\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			broker := shopBroker(t)
			tt.prepare(t, broker)
			e := examined(t, broker.URL, broker.Management, tt.route)
			e.want(t, tt.failed, tt.lines...)
			// Without the management API nothing of it is claimed.
			blind := examined(t, broker.URL, "", tt.route)
			blind.want(t, 0, "ok queue created 0 events waiting, 1 consumer\n", "warn management API not used")
			blind.lacks(t, "bindings   ", "rules of", "broker limits")
		})
	}
}

// await waits until the management API shows something of a queue.
func await(t *testing.T, b *testenv.Broker, queue, text string) {
	t.Helper()
	awaitTimes(t, b, queue, text, 1)
}

// awaitTimes is await for what is shown several times.
func awaitTimes(t *testing.T, b *testenv.Broker, queue, text string, times int) {
	t.Helper()
	testenv.Eventually(t, watchFor, func() bool {
		var answer json.RawMessage
		b.Manage(http.MethodGet, "/api/queues/"+b.Vhost+"/"+queue, nil, &answer)
		return strings.Count(string(answer), text) >= times
	}, text)
}

// Types and states of queues that a test can hardly bring about.
func TestDoctorOfOddQueues(t *testing.T) {
	t.Parallel()
	broker := shopBroker(t, testenv.ClassicQueues()) // their answers are rewritten
	for name, tt := range map[string]struct {
		old, new string
		failed   int
		line     string
	}{
		"a stream":               {`"type":"classic"`, `"type":"stream"`, 1, "FAIL rules of created it is a stream, which keeps what was consumed, so no replay can be followed: make it a classic or a quorum queue\n"},
		"a quorum queue":         {`"type":"classic"`, `"type":"quorum","delivery_limit":20,"members":["a","b","c"],"online":["a","b","c"]`, 0, "ok rules of created an event that came back 20 times is dropped\n"},
		"goes with its consumer": {`"auto_delete":false`, `"auto_delete":true`, 0, "warn rules of created it is deleted with its last consumer (auto-delete), and with it all that waits: declare it anew without\n"},
		"not durable":            {`"durable":true`, `"durable":false`, 0, "warn rules of created it does not survive the broker's restart, nor does what waits in it: declare it anew as durable\n"},
		"a member is down":       {`"type":"classic"`, `"type":"quorum","members":["a","b","c"],"online":["a","b"]`, 0, "warn rules of created 2 of its 3 members answer (a, b): start the other nodes\n"},
		"most members are down":  {`"type":"classic"`, `"type":"quorum","members":["a","b","c"],"online":["a"]`, 1, "FAIL rules of created only 1 of its 3 members answer (a), fewer than half, so it takes and gives nothing: start the other nodes\n"},
		"crashed":                {`"state":"running"`, `"state":"crashed"`, 1, "FAIL rules of created its state is crashed, so it takes and gives nothing: see the broker's log\n"},
		"memory":                 {`"mem_alarm":false`, `"mem_alarm":true`, 0, "warn broker nodes rabbit@localhost is short of memory, so the broker blocks all who publish: "},
		"disk":                   {`"disk_free_alarm":false`, `"disk_free_alarm":true`, 0, "warn broker nodes rabbit@localhost is short of disk, so the broker blocks all who publish: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed := func(path string, body []byte) []byte {
				if strings.HasSuffix(path, "/nodes") || strings.HasSuffix(path, "/"+rabbit.CreatedQueue) {
					body = bytes.ReplaceAll(body, []byte(tt.old), []byte(tt.new))
				}
				return body
			}
			examined(t, broker.URL, passing(t, broker.Management, changed), producer.ByQueue).want(t, tt.failed, tt.line)
		})
	}
}

// A management API that does not answer as it should is one failure, and nothing is
// claimed of what it would have shown.
func TestCaseC7DoctorWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	broker := shopBroker(t)
	stranger := broker.User("", map[string]string{"configure": "", "write": "", "read": ".*"})
	login, err := url.Parse(stranger)
	if err != nil {
		t.Fatal("the user's URL cannot be read")
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://user:hush@rabbit.example/x")
		w.WriteHeader(http.StatusFound)
	}))
	t.Cleanup(elsewhere.Close)
	as := func(user *url.Userinfo) string {
		return testenv.ChangedURL(t, broker.Management, func(u *url.URL) { u.User = user })
	}
	for name, tt := range map[string]struct {
		management string
		says       []string
	}{
		"nobody listens":      {"http://etl:hush@127.0.0.1:1", []string{"no answer: check RABBITMQ_MANAGEMENT_URL"}},
		"a wrong password":    {as(url.UserPassword("etl", "hush")), []string{"check its user and password", `the tag "monitoring"`}},
		"a user without tag":  {as(login.User), []string{`the user needs the tag "monitoring"`}},
		"it points elsewhere": {elsewhere.URL, []string{"302 Found", "https://rabbit.example, in RABBITMQ_MANAGEMENT_URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := examined(t, broker.URL, tt.management, producer.ByQueue)
			e.want(t, 1, "FAIL management API ", "ok queue created 0 events waiting, 1 consumer\n")
			wantWords(t, e.text, append(tt.says, "; runs go on without it")...)
			e.lacks(t, "hush", "bindings", "rules of")
		})
	}
}

// No proxy of the environment is asked, and none gets the credentials.
func TestCaseC12TheManagementAPIIsAskedDirectly(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(proxy.Close)
	s := newShop(t, 5, none)
	s.consumer()
	variables := map[string]string{"RABBITMQ_MANAGEMENT_URL": "http://etl:hush@rabbitmq.invalid:15672"}
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		variables[name] = proxy.URL
	}
	p := s.with(variables).command(t.Context(), "doctor")
	_ = p.Run() // it fails: there is no such host
	if n := asked.Load(); n != 0 {
		t.Errorf("the proxy was asked %d times", n)
	}
	wantWords(t, p.stdout.String(), "no answer: check RABBITMQ_MANAGEMENT_URL", "rabbitmq.invalid")
	if strings.Contains(p.stdout.String()+p.stderr.String(), "hush") {
		t.Errorf("a password is shown:\n%s", &p.stdout)
	}
}

// What a policy may have done to events is named where they left no row.
func TestCaseC6APolicyIsNamedWhereEventsAreLost(t *testing.T) {
	t.Parallel()
	s := newShop(t, 50, every(10))
	s = s.with(map[string]string{"SYNC_MAX_ROUNDS": "1", "RABBITMQ_MANAGEMENT_URL": s.broker.Management})
	s.broker.Restrict(rabbit.CreatedQueue, map[string]any{"message-ttl": 50})
	s.consumer(slow(300 * time.Millisecond))
	report := s.mustSync(t.Context(), exitDifferences)
	if n := note(report, run.NoteConsumed); n == nil || !strings.Contains(n.Text, "events expire after 50ms (message-ttl of policy product-created)") {
		t.Errorf("the notes do not name the policy: %+v", report.Notes)
	}
}
