package api_test

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

func TestUnknownPathsAndMethods(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, path := range []string{"/", "/api/etl", "/api/etl/", "/api/etl/nothing", "/api/etl//status", "/api/etl/status/", "/api/etl/../etl/status", "/api/orders", "/metrics"} {
		s.do("GET", path, "").want(404, `{"errors":[{"message":`)
	}
	for _, tt := range []struct{ method, path, allow string }{
		{"GET", "/api/etl/sync", "POST"},
		{"DELETE", "/api/etl/sync", "POST"},
		{"OPTIONS", "/api/etl/sync", "POST"},
		{"POST", "/api/etl/status", "GET, HEAD"},
		{"PUT", "/api/etl/runs/x", "GET, HEAD"},
		{"GET", "/api/etl/runs/x/cancel", "POST"},
		{"POST", "/api/etl/health", "GET, HEAD"},
	} {
		s.do(tt.method, tt.path, "").want(405, `{"errors":[{"message":"this takes `+tt.allow).wantHeader("Allow", tt.allow)
	}
	for _, path := range []string{"/api/etl/health", "/api/etl/ready", "/api/etl/live", "/api/etl/runs", "/api/etl/openapi.yaml"} {
		s.do("HEAD", path, "").want(200)
	}
}

func TestMetricsAreServedBesideTheAPI(t *testing.T) {
	t.Parallel()
	s := setup(t, func(_ *api.Config, p *api.Parts) {
		p.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("etl_runs_total 1\n")) })
	})
	s.do("GET", "/metrics", "", "Authorization", "").want(200, "etl_runs_total 1")
	s.do("POST", "/metrics", "").want(405)
}

func TestEveryAnswerIsSafeToShow(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, path := range []string{"/api/etl/status", "/api/etl/live", "/api/etl/nothing", "/api/etl/runs/x"} {
		s.do("GET", path, "").wantHeader("X-Content-Type-Options", "nosniff").wantHeader("Cache-Control", "no-store").
			wantHeader("X-Frame-Options", "DENY").wantHeader("Referrer-Policy", "no-referrer").
			wantHeader("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	}
}

func TestRequestsFromOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		headers []string
		refused bool
	}{
		{"no browser", nil, false},
		{"the same origin", []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://example.com"}, false},
		{"typed by a person", []string{"Sec-Fetch-Site", "none"}, false},
		{"another site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, true},
		{"another host of the site", []string{"Sec-Fetch-Site", "same-site"}, true},
		{"an old browser, another site", []string{"Origin", "https://evil.example"}, true},
		{"an old browser, the same origin", []string{"Origin", "http://example.com"}, false},
		{"a hidden origin", []string{"Origin", "null"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			status := map[bool]int{true: 403, false: 202}[tt.refused]
			cookie := append([]string{"Authorization", "", "Cookie", session(token(t, admin))}, tt.headers...)
			s.do("POST", "/api/etl/sync", "", cookie...).want(status)
			// A GET that starts something is an action too, one that does not is none.
			s.do("GET", "/api/etl/validate?maxAge=0s", "", append(cookie, "Prefer", "wait=0")...).want(status)
			s.looked()
			s.do("GET", "/api/etl/validate", "", cookie...).want(200)
			if len(s.rung) != map[bool]int{true: 0, false: 2}[tt.refused] {
				t.Errorf("rung %v", s.rung)
			}
		})
	}
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.do("GET", "/api/etl/runs", "", "X-Request-ID", "ingress-1.2:3_4").want(200).wantHeader("X-Request-ID", "ingress-1.2:3_4")
	line := s.log.line("request")
	for name, want := range map[string]any{"request": "ingress-1.2:3_4", "user": "admin@example.com", "method": "GET", "path": "/api/etl/runs", "status": 200.0, "level": "INFO"} {
		if line[name] != want {
			t.Errorf("%s is %v, want %v", name, line[name], want)
		}
	}
	made := make(map[string]bool)
	for _, id := range []string{"", "two words", "a\"b", "<script>", strings.Repeat("x", 65), "ü", "a\tb"} {
		got := s.do("GET", "/api/etl/runs", "", "X-Request-ID", id).want(200).Header().Get("X-Request-ID")
		if got == id || len(got) != 36 || made[got] {
			t.Errorf("%q became %q", id, got)
		}
		made[got] = true
	}
	if api.RequestID(t.Context()) != "" {
		t.Error("a request id without a request")
	}
}

func TestProbesAreLoggedForDebuggingOnly(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/api/etl/health", "/api/etl/ready", "/api/etl/live"} {
		s := setup(t)
		s.do("GET", path, "").want(200)
		if line := s.log.line("request"); line["level"] != "DEBUG" {
			t.Errorf("%s: %v", path, line)
		}
	}
}

func TestTokensAreNotLogged(t *testing.T) {
	t.Parallel()
	s := setup(t)
	text := token(t, admin)
	for _, headers := range [][]string{{"Authorization", "Bearer " + text}, {"Authorization", "", "Cookie", session(text)}, {"Authorization", "Bearer x" + text}} {
		s.do("POST", "/api/etl/sync", "", headers...)
	}
	parts := strings.Split(text, ".")
	for _, secret := range []string{parts[1], parts[2], key.Reveal(), strings.TrimPrefix(session(text), "session=")} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("%q is in the log:\n%s", secret, s.log)
		}
	}
}

func TestPanicsAreAnswered(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.do("GET", "/api/etl/products/panic", "", "X-Request-ID", "r-7").want(500, "something went wrong here", "r-7").without("mistake", "goroutine")
	line := s.log.line("a request panicked")
	stack, _ := line["stack"].(string)
	if line["request"] != "r-7" || line["err"] != "a mistake about panic" || !strings.Contains(stack, "Explain") {
		t.Errorf("logged %v", line)
	}
	if access := s.log.line("request"); access["status"] != 500.0 {
		t.Errorf("logged %v", access)
	}
	s.do("GET", "/api/etl/live", "").want(200)
}

// Where an answer has begun, only a broken connection tells that it is not whole.
func TestPanicsWithinAnAnswerBreakIt(t *testing.T) {
	t.Parallel()
	s := setup(t, func(_ *api.Config, p *api.Parts) {
		p.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			panic("half way")
		})
	})
	server := httptest.NewUnstartedServer(s.api)
	var noise bytes.Buffer
	server.Config.ErrorLog = log.New(&noise, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	response, err := server.Client().Get(server.URL + "/metrics")
	if err == nil {
		_, err = bytes.NewBuffer(nil).ReadFrom(response.Body)
		_ = response.Body.Close()
	}
	if err == nil {
		t.Error("the answer looks whole")
	}
	if line := s.log.line("a request panicked"); line["err"] != "half way" {
		t.Errorf("logged %v", line)
	}
}

// What panics while an answer is made for many does not take the process with it.
func TestPanicsBehindASharedAnswer(t *testing.T) {
	t.Parallel()
	s := setup(t, func(_ *api.Config, p *api.Parts) { p.Stores = panicking{} })
	s.do("GET", "/api/etl/stats", "").want(503).without("upside down")
	if line := s.log.line("request failed"); !strings.Contains(line["err"].(string), "upside down") {
		t.Errorf("logged %v", line)
	}
}

func TestServerHasLimits(t *testing.T) {
	t.Parallel()
	s := setup(t)
	server := api.NewServer(s.api, api.Config{Port: 4001})
	if server.Addr != ":4001" || server.ReadHeaderTimeout <= 0 || server.ReadTimeout <= 0 || server.WriteTimeout <= 0 || server.IdleTimeout <= 0 || server.MaxHeaderBytes <= 0 {
		t.Errorf("%+v", server)
	}
	real := httptest.NewUnstartedServer(nil)
	real.Config = server
	real.Start()
	t.Cleanup(real.Close)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, real.URL+"/api/etl/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Large", strings.Repeat("x", 64<<10))
	response, err := real.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("headers of 64 KiB are answered with %d", response.StatusCode)
	}
}

// A caller that leaves while its run is submitted leaves no half of a run behind.
func TestSubmittingDoesNotDependOnTheCaller(t *testing.T) {
	t.Parallel()
	s := setup(t)
	ctx, leave := context.WithCancel(t.Context())
	bell := &watchedBell{leave: leave}
	s.api = api.New(api.Config{JWTKey: key}, api.Parts{Runs: s.memory, Doorbell: bell, Stores: s.memory, Probes: s.memory, Schedule: s.plan, Log: slog.New(slog.DiscardHandler)})
	r := httptest.NewRequestWithContext(ctx, "POST", "/api/etl/sync", nil)
	r.Header.Set("Authorization", "Bearer "+token(t, admin))
	s.api.ServeHTTP(httptest.NewRecorder(), r)
	if bell.err != nil || len(s.All()) != 1 {
		t.Errorf("the doorbell's context ended with the caller's: %v, %d runs", bell.err, len(s.All()))
	}
}

// watchedBell rings after the caller has left.
type watchedBell struct {
	leave context.CancelFunc
	err   error
}

func (b *watchedBell) Ring(ctx context.Context, _ run.Request) error {
	b.leave()
	b.err = ctx.Err()
	return nil
}

type panicking struct{}

func (panicking) Explain(context.Context, product.ID) (*run.Explanation, error) {
	panic("upside down")
}

func (panicking) Statistics(context.Context) (api.Statistics, error) { panic("upside down") }
