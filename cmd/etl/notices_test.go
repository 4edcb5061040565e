package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/ecom-micro/etl/internal/notify"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

// hook is a webhook that is away at first.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	away   bool
	events []string // with the subject
	texts  []string
}

func newHook(t *testing.T, key secret.Text) *hook {
	t.Helper()
	h := &hook{away: true}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		body, err := io.ReadAll(r.Body)
		var said struct{ Event, Subject, Text string }
		if err != nil || json.Unmarshal(body, &said) != nil || r.Header.Get(notify.HeaderSignature) != "sha256="+notify.Sign(key, r.Header.Get(notify.HeaderTimestamp), body) {
			t.Errorf("%s %v: %s", r.Header, err, body)
		}
		if h.away {
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		h.events, h.texts = append(h.events, said.Event), append(h.texts, said.Text)
	}))
	t.Cleanup(h.Close)
	return h
}

// tells waits until the hook was told of an event.
func (h *hook) tells(t *testing.T, event string) {
	t.Helper()
	testenv.Eventually(t, watchFor, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, told := range h.events {
			if told == event {
				return true
			}
		}
		return false
	}, "the webhook to be told: "+event)
}

// Whoever does not look is told: of drift, of delivery that breaks, and of its end; each once,
// whatever the number of replicas, and once the webhook is there.
func TestPeopleAreTold(t *testing.T) {
	t.Parallel()
	const key = secret.Text("the webhook's, and ours")
	s := newShop(t, 100, every(10))
	s.consumer()
	h := newHook(t, key)
	env := map[string]string{"ETL_NOTIFY_URL": h.URL + "/services/hush-hush", "ETL_NOTIFY_SECRET": key.Reveal(), "RABBITMQ_MANAGEMENT_URL": s.broker.Management}
	r, other := s.serve(env), s.serve(env)
	r.ready()
	other.ready()
	found := r.ended(r.post("/api/etl/sync", `{"dryRun":true}`).ID)
	testenv.Eventually(t, watchFor, func() bool {
		return s.number("SELECT coalesce(max(attempts), 0) FROM etl_ledger.notice WHERE run = $1", found.ID) > 1
	}, "it to be tried again")
	h.mu.Lock()
	h.away = false
	h.mu.Unlock()
	h.tells(t, "drift found")
	s.broker.Unbind(rabbit.CreatedQueue)
	h.tells(t, "delivery broken")
	s.broker.Bind(rabbit.CreatedQueue)
	h.tells(t, "delivery healed")
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.events) != 3 || !strings.Contains(h.texts[0], found.ID) || !strings.Contains(h.texts[0], "10 missing") || !strings.Contains(h.texts[1], "not bound") {
		t.Errorf("%q: %q", h.events, h.texts)
	}
	if log := r.stdout.String() + other.stdout.String(); strings.Contains(log, "hush-hush") || strings.Contains(log, key.Reveal()) {
		t.Error("a secret is in the log")
	}
}
