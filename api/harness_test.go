package api_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/secret"
)

const key = secret.Text("the platform's key")

var admin = api.User{ID: "64b7f0c2a1b2c3d4e5f60718", Email: "admin@example.com", Role: "admin"}

// service is an API with everything it speaks to in memory. Each exchange with it is
// checked against the document.
type service struct {
	*memory
	t       *testing.T
	api     *api.API
	handler http.Handler
	log     *logBook
}

func setup(t *testing.T, change ...func(*api.Config, *api.Parts)) *service {
	t.Helper()
	s := &service{memory: newMemory(), t: t, log: &logBook{}}
	config := api.Config{Port: 0, JWTKey: key}
	parts := api.Parts{
		Runs: s.memory, Doorbell: s.memory, Stores: s.memory, Probes: s.memory, Schedule: s.plan,
		Log: slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&config, &parts)
	}
	s.api = api.New(config, parts)
	s.handler = checked(t, s.api)
	return s
}

// serve starts a real server for the API.
func (s *service) serve() *httptest.Server {
	server := httptest.NewServer(s.handler)
	s.t.Cleanup(server.Close)
	s.t.Cleanup(s.api.Drain)
	return server
}

// logBook keeps log lines.
type logBook struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logBook) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(line)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// line is the first log line with that message, nil where there is none.
func (l *logBook) line(message string) map[string]any {
	for text := range strings.Lines(l.String()) {
		var line map[string]any
		if json.Unmarshal([]byte(text), &line) == nil && line["msg"] == message {
			return line
		}
	}
	return nil
}

// answer is what the API answered.
type answer struct {
	t *testing.T
	*httptest.ResponseRecorder
}

// do sends a request as an admin, unless headers say otherwise: pairs of name and value.
func (s *service) do(method, path, body string, headers ...string) *answer {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+token(s.t, admin))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Del(headers[i])
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	a := &answer{s.t, httptest.NewRecorder()}
	s.handler.ServeHTTP(a, r)
	return a
}

func token(t *testing.T, user api.User) string {
	t.Helper()
	text, err := api.NewToken(key, user, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// want checks the status, and that the body contains each of parts.
func (a *answer) want(status int, parts ...string) *answer {
	a.t.Helper()
	if a.Code != status {
		a.t.Fatalf("status %d, want %d: %s", a.Code, status, a.Body)
	}
	for _, part := range parts {
		if !strings.Contains(a.Body.String(), part) {
			a.t.Errorf("%q is not in the answer: %s", part, a.Body)
		}
	}
	return a
}

// without checks that the body contains none of parts.
func (a *answer) without(parts ...string) *answer {
	a.t.Helper()
	for _, part := range parts {
		if strings.Contains(a.Body.String(), part) {
			a.t.Errorf("%q is in the answer: %s", part, a.Body)
		}
	}
	return a
}

func (a *answer) wantHeader(name, value string) *answer {
	a.t.Helper()
	if got := a.Header().Get(name); got != value {
		a.t.Errorf("%s is %q, want %q", name, got, value)
	}
	return a
}

// document is the body; get picks what a path such as "report.result" names.
func (a *answer) get(path string) any {
	a.t.Helper()
	var value any
	if err := json.Unmarshal(a.Body.Bytes(), &value); err != nil {
		a.t.Fatalf("%v: %s", err, a.Body)
	}
	for name := range strings.SplitSeq(path, ".") {
		if list, is := value.([]any); is {
			value = nil
			if i, err := strconv.Atoi(name); err == nil && i < len(list) {
				value = list[i]
			}
			continue
		}
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return value
}

func (a *answer) wantFields(want map[string]any) *answer {
	a.t.Helper()
	for path, value := range want {
		if got := a.get(path); got != value {
			a.t.Errorf("%s is %v, want %v: %s", path, got, value, a.Body)
		}
	}
	return a
}
