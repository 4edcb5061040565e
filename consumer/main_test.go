package consumer

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const patience = 20 * time.Second

// connect prepares a connection, which is closed when the test ends.
func connect(t *testing.T, url string) *rabbit.Connection {
	t.Helper()
	c := rabbit.NewConnection(rabbit.Config{URL: secret.URL(url)}, "etl consumer")
	t.Cleanup(c.Close)
	return c
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
