package consumer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestMain(m *testing.M) {
	// The tests wait for servers and timeouts rather than compute.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const patience = 20 * time.Second

// connect prepares a connection, which is closed when the test ends.
func connect(t *testing.T, url string) *rabbit.Connection {
	t.Helper()
	c := rabbit.NewConnection(rabbit.Config{URL: secret.URL(url)}, "etl consumer")
	t.Cleanup(c.Close)
	return c
}

// manage asks the management API for something as an administrator.
func manage(t *testing.T, broker *testenv.Broker, method, path string, body, answer any) {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, broker.Management+path, bytes.NewReader(encoded))
	if err != nil {
		t.Fatal("a request cannot be made")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal("the management API does not answer")
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		t.Fatalf("%s %s: %s: %s, %v", method, path, response.Status, text, err)
	}
	if answer != nil {
		if err := json.Unmarshal(text, answer); err != nil {
			t.Fatal(err)
		}
	}
}

// restrict puts a policy on a queue, which makes a limit stricter than declared.
func restrict(t *testing.T, broker *testenv.Broker, queue, limit string, value int) {
	t.Helper()
	manage(t, broker, http.MethodPut, "/api/policies/"+broker.Vhost+"/"+queue, map[string]any{
		"pattern": "^" + queue + "$", "apply-to": "queues", "definition": map[string]any{limit: value},
	}, nil)
	testenv.Eventually(t, patience, func() bool {
		var q struct {
			Policy string `json:"policy"`
		}
		manage(t, broker, http.MethodGet, "/api/queues/"+broker.Vhost+"/"+queue, nil, &q)
		return q.Policy == queue
	}, "the policy to hold")
}

// limited is a URL of the virtual host for a user with the given permissions.
func limited(t *testing.T, broker *testenv.Broker, permissions map[string]string) string {
	t.Helper()
	name := broker.Vhost + "_user"
	manage(t, broker, http.MethodPut, "/api/users/"+name, map[string]string{"password": "hunter2", "tags": ""}, nil)
	t.Cleanup(func() { manage(t, broker, http.MethodDelete, "/api/users/"+name, nil, nil) })
	manage(t, broker, http.MethodPut, "/api/permissions/"+broker.Vhost+"/"+name, permissions, nil)
	u, err := url.Parse(broker.URL)
	if err != nil {
		t.Fatal("a URL cannot be read")
	}
	u.User = url.UserPassword(name, "hunter2")
	return u.String()
}

// publishSync publishes a body as a sync request, as it is.
func publishSync(broker *testenv.Broker, body string) {
	broker.PublishTo(Exchange, RequestKey, amqp.Publishing{Body: []byte(body), DeliveryMode: amqp.Persistent})
}

// wanted is a valid request.
func wanted(t *testing.T) run.Request {
	t.Helper()
	r := run.Request{Version: run.RequestVersion, By: "a test"}
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	return r
}

// logbook keeps what was logged.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logbook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// count is how many lines say what.
func (b *logbook) count(what string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.text.String()) {
		if strings.Contains(line, what) {
			n++
		}
	}
	return n
}

// memory is a ledger in memory.
type memory struct {
	mu      sync.Mutex
	runs    map[string]run.Record
	calls   int
	problem error // instead of an answer
}

func newMemory() *memory { return &memory{runs: make(map[string]run.Record)} }

func (m *memory) Accept(_ context.Context, r run.Request) (run.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	if m.problem != nil {
		return run.Record{}, m.problem
	}
	if record, known := m.runs[r.ID]; known {
		return record, nil
	}
	if r.Recorded {
		return run.Record{}, run.ErrNotFound
	}
	record := run.Record{ID: r.ID, Status: run.StatusQueued, Request: r}
	m.runs[r.ID] = record
	return record, nil
}

func (m *memory) fail(problem error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.problem = problem
}

func (m *memory) called() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls
}

func (m *memory) ids() (ids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.runs {
		ids = append(ids, id)
	}
	return ids
}

func (m *memory) has(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, known := m.runs[id]
	return known
}

var errAway = errors.New("the database is away")
