package main

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

// A role that may read and insert products, and nothing else: the service lives and
// says in one line what a database administrator has to do, and recovers by itself
// when that is done. What the script's head grants is enough for everything.
func TestServiceWithTheLeastRights(t *testing.T) {
	t.Parallel()
	s := newShop(t, 60, every(3))
	s.consumer()
	address := s.cart.Role("SELECT, INSERT ON product")
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	s = s.with(map[string]string{"CART_DB_URL": address})
	r := s.serve(nil)
	const remedy = "run the output of `etl migrate --print-sql` as the owner of database"
	testenv.Eventually(t, watchFor, func() bool { return strings.Contains(r.stdout.String(), remedy) }, "the remedy in the log")
	if o := s.etl(t.Context(), "sync"); o.code != exitService || !strings.Contains(o.stderr, remedy) || strings.Count(o.stderr, "\n") != 1 {
		t.Errorf("sync: %d %s", o.code, o.stderr)
	}
	if live, ready := r.get("/api/etl/live", nil), r.get("/api/etl/ready", nil); live != http.StatusOK || ready != http.StatusServiceUnavailable {
		t.Errorf("live %d, ready %d", live, ready)
	}
	script := s.etl(t.Context(), "migrate", "--print-sql").stdout
	s.cart.Exec(script)
	for line := range strings.Lines(script) {
		if grant, is := strings.CutPrefix(line, "--   GRANT "); is {
			s.cart.Exec("GRANT " + strings.ReplaceAll(grant, "etl_service", parsed.User.Username()))
		}
	}
	r.ready()
	for _, body := range []string{`{"mode":"replay"}`, `{"mode":"direct"}`, `{"mode":"replay","fallback":"direct"}`} {
		s.cart.Exec("DELETE FROM product WHERE id IN (SELECT id FROM product ORDER BY id LIMIT 7)")
		if shown := r.ended(r.post("/api/etl/sync", body).ID); shown.Status != run.StatusSucceeded {
			t.Errorf("%s: %+v %+v", body, shown, shown.Report)
		}
		s.wantComplete()
	}
	for _, path := range []string{"status", "validate", "stats", "health", "runs", "scheduler/status", "products/" + s.products.Key(0)} {
		if a := r.do(http.MethodGet, "/api/etl/"+path, ""); a.status != http.StatusOK {
			t.Errorf("GET %s: %d %s", path, a.status, a.body)
		}
	}
	if a := r.do(http.MethodPost, "/api/etl/scheduler/stop", ""); a.status != http.StatusOK {
		t.Errorf("the switch: %d %s", a.status, a.body)
	}
}

// password is that of a URL.
func password(tb testing.TB, address string) string {
	tb.Helper()
	u, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	text, _ := u.User.Password()
	return text
}

// Passwords, the key of the tokens and the tokens themselves: they are in no answer,
// no log line, no metric and no row of the ledger, be they right or wrong.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	const wrong = "WRONGpassword"
	for name, spoil := range map[string]func(*shop) map[string]string{
		"all right":     func(*shop) map[string]string { return nil },
		"wrong MongoDB": func(*shop) map[string]string { return map[string]string{"MONGO_PASSWORD": wrong} },
		"wrong PostgreSQL": func(s *shop) map[string]string {
			return map[string]string{"CART_DB_URL": withUser(t, s.cart.URL, wrong)}
		},
		"wrong RabbitMQ": func(s *shop) map[string]string {
			return map[string]string{"RABBITMQ_ENDPOINT": withUser(t, s.broker.URL, wrong)}
		},
		"wrong management": func(s *shop) map[string]string {
			return map[string]string{"RABBITMQ_MANAGEMENT_URL": withUser(t, s.broker.Management, wrong)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 20, every(4))
			s.consumer()
			s = s.with(map[string]string{"RABBITMQ_MANAGEMENT_URL": s.broker.Management, "SYNC_STALL_TIMEOUT": "2s"}).with(spoil(s))
			r := s.serve(map[string]string{"HEALTH_CHECK_CRON_SCHEDULE": "* * * * * *"})
			secrets := map[string]string{
				"MongoDB's password": s.env["MONGO_PASSWORD"], "PostgreSQL's password": password(t, s.env["CART_DB_URL"]),
				"RabbitMQ's password": password(t, s.env["RABBITMQ_ENDPOINT"]), "the management's password": password(t, s.env["RABBITMQ_MANAGEMENT_URL"]),
				"JWT_KEY": s.env["JWT_KEY"], "the token": r.token,
			}
			look := func(where, text string) {
				for what, secret := range secrets {
					if strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret)) {
						t.Errorf("%s shows %s", where, what)
					}
				}
			}
			for _, path := range []string{"/metrics", "/api/etl/health", "/api/etl/ready", "/api/etl/status", "/api/etl/stats", "/api/etl/validate",
				"/api/etl/scheduler/status", "/api/etl/runs", "/api/etl/products/" + s.products.Key(0), "/api/etl/runs?token=" + url.QueryEscape(r.token)} {
				look("GET "+path, r.do(http.MethodGet, path, "").body)
			}
			look("POST sync", r.do(http.MethodPost, "/api/etl/sync", `{"mode":"direct","reason":"secrets"}`, "Prefer", "wait=5").body)
			look("a refusal", r.do(http.MethodGet, "/api/etl/runs", "", "Authorization", "Bearer "+r.token+"x").body)
			for _, command := range []string{"sync", "stats", "doctor", "config"} {
				o := s.etl(t.Context(), command)
				look("etl "+command, o.stdout+o.stderr)
			}
			r.stop()
			o := r.wait()
			look("the log", o.stdout+o.stderr)
			if name == "wrong PostgreSQL" {
				return // then nothing is in the ledger
			}
			for _, table := range []string{"run", "outcome", "health", "switch"} {
				var rows string
				if err := s.cart.Pool.QueryRow(t.Context(), "SELECT coalesce(string_agg(row_to_json(r)::text, ' '), '') FROM etl_ledger."+table+" r").Scan(&rows); err != nil {
					t.Fatal(err)
				}
				look("the table etl_ledger."+table, rows)
			}
		})
	}
}

// Whoever may look may not act, through the real binary's own tokens.
func TestTokensOfTheCommandLine(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, none)
	r := s.serve(nil).ready()
	token := func(args ...string) string {
		o := s.etl(t.Context(), append([]string{"token"}, args...)...)
		if o.code != exitOK {
			t.Fatalf("token %v: %d %s", args, o.code, o.stderr)
		}
		return strings.TrimSpace(o.stdout)
	}
	for role, want := range map[string]map[string]int{
		api.RoleOperator: {"GET /api/etl/status": http.StatusOK, "GET /api/etl/runs": http.StatusOK, "POST /api/etl/scheduler/start": http.StatusOK},
		api.RoleViewer:   {"GET /api/etl/status": http.StatusOK, "GET /api/etl/runs": http.StatusOK, "POST /api/etl/scheduler/start": http.StatusForbidden},
	} {
		bearer := "Bearer " + token("--role", role, "--ttl", "24h")
		for operation, status := range want {
			method, path, _ := strings.Cut(operation, " ")
			if a := r.do(method, path, "", "Authorization", bearer); a.status != status {
				t.Errorf("%s: %s: %d %s", role, operation, a.status, a.body)
			}
		}
	}
	for _, wrong := range [][]string{{"--role", "admin"}, {"--role", "seller"}, {"--role", "operator"}, {"--ttl", "0s"}, {"--ttl", "-1h"}, {"--ttl", "24h1s"}, {"--email", ""}, {"--email", " "},
		{"--email", "ann@shop "}, {"--email", "ann\n@shop"}, {"--email", strings.Repeat("a", 321)}} {
		if o := s.etl(t.Context(), append([]string{"token"}, wrong...)...); o.code != exitUsage || !strings.Contains(o.stderr, wrong[0]) || o.stdout != "" {
			t.Errorf("token %v: %d %s%s", wrong, o.code, o.stdout, o.stderr)
		}
	}
	other := s.with(map[string]string{"JWT_KEY": "another key"})
	o := other.etl(t.Context(), "token")
	if a := r.do(http.MethodPost, "/api/etl/sync", `{}`, "Authorization", "Bearer "+strings.TrimSpace(o.stdout)); a.status != http.StatusForbidden {
		t.Errorf("a token of another key: %d %s", a.status, a.body)
	}
	if !strings.HasPrefix(o.stderr, "warning: JWT_KEY is weak, it has 11 bytes") {
		t.Errorf("a token of a weak key: %q", o.stderr)
	}
	changed := s.with(nil)
	maps.DeleteFunc(changed.env, func(name, _ string) bool { return name == "JWT_KEY" })
	if o := changed.etl(t.Context(), "token"); o.code != exitUsage || !strings.Contains(o.stderr, "JWT_KEY is required") {
		t.Errorf("without a key: %d %s", o.code, o.stderr)
	}
}
