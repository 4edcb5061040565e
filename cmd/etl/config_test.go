package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"

	"github.com/ecom-micro/etl/api/ui"
	"github.com/ecom-micro/etl/internal/testenv"
)

// strong is a key that nothing is remarked on.
const strong = "w9Zf3kQ1pX7vB2nM8cR4tY6uJ5hG0sDaE1"

// complete is a valid configuration, of servers that nothing asks.
func complete(changes map[string]string) environment {
	env := map[string]string{
		"PRODUCT_SERVICE_MONGODB_URL": "mongodb://mongo:27017/product", "MONGO_USER": "admin", "MONGO_PASSWORD": "hush",
		"CART_DB_URL": "postgresql://postgres:hush@postgres:5432/cart", "RABBITMQ_ENDPOINT": "amqp://guest:hush@rabbitmq:5672/", "JWT_KEY": strong,
	}
	maps.Copy(env, changes)
	return environment{envconfig.MapLookuper(env), func() []string { return slices.Collect(maps.Keys(env)) }}
}

func all(c *config) []section { return c.sections() }

// A secret is taken as it is, and what nobody sees of it is remarked on; around other
// values blanks do not count.
func TestCaseD2SecretsAreTakenAsTheyAre(t *testing.T) {
	t.Parallel()
	for value, remarked := range map[string]bool{
		strong: false, strong + "\n": true, strong + "\r\n": true, " " + strong: true, strong + "\t": true, "\ufeff" + strong: true, strong + "\u200b": true,
		strong + "\u00a0": true, strong + "\x00": true, "a b " + strong: false,
	} {
		env := complete(map[string]string{"JWT_KEY": value, "MONGO_PASSWORD": value, "MONGO_USER": " admin\n", "SYNC_BATCH_SIZE": " 50\n", "CART_DB_URL": "postgresql://u:p@db/cart\n"})
		c, err := load(t.Context(), env, all)
		if err != nil {
			t.Fatal(err)
		}
		if c.API.JWTKey.Reveal() != value || c.Source.Password.Reveal() != value {
			t.Errorf("%q became %q and %q", value, c.API.JWTKey.Reveal(), c.Source.Password.Reveal())
		}
		if c.Source.User != "admin" || c.Sync.BatchSize != 50 || c.Target.URL.Reveal() != "postgresql://u:p@db/cart" {
			t.Errorf("other values are %q, %d, %q", c.Source.User, c.Sync.BatchSize, c.Target.URL.Reveal())
		}
		var want []string
		if remarked {
			for _, name := range []string{"MONGO_PASSWORD", "JWT_KEY"} {
				want = append(want, name+" begins or ends with a blank or a line break, which counts: a Secret made with `echo` has one, with `printf %s` it has none")
			}
		}
		if got := c.remarks(env); !slices.Equal(got, want) {
			t.Errorf("%q: remarks %q, want %q", value, got, want)
		}
	}
	env := complete(map[string]string{"CART_DB_URL": "postgresql://u:p%0A@db/cart"})
	if c, err := load(t.Context(), env, all); err != nil || !slices.Equal(c.remarks(env), []string{"the password in CART_DB_URL begins or ends with a blank or a line break, which counts"}) {
		t.Errorf("a password in an address: %v", err)
	}
	// A secret of nothing but blanks is one, and one that is empty is none.
	if c, err := load(t.Context(), complete(map[string]string{"JWT_KEY": " "}), all); err != nil || c.API.JWTKey.Reveal() != " " {
		t.Errorf("a blank: %v", err)
	}
	if _, err := load(t.Context(), complete(map[string]string{"JWT_KEY": ""}), all); err == nil || !strings.Contains(err.Error(), "JWT_KEY is required") {
		t.Errorf("no key: %v", err)
	}
}

// The service lets in who signs with the very bytes of its key, and the commands say that
// the key has an odd end.
func TestCaseD2DoctorAndServiceSayIt(t *testing.T) {
	t.Parallel()
	s := newShop(t, 5, none)
	s.consumer()
	s = s.with(map[string]string{"JWT_KEY": "secret\n"})
	r := s.serve(nil).ready()
	if a := r.do(http.MethodGet, "/api/etl/runs", ""); a.status != http.StatusOK {
		t.Errorf("a token of the key as it is: %d %s", a.status, a.body)
	}
	ends, weak := "JWT_KEY begins or ends with a blank", "JWT_KEY is weak, it has 7 bytes"
	doctor, shown := s.etl(t.Context(), "doctor"), s.etl(t.Context(), "config")
	for where, text := range map[string]string{"the log": r.stdout.String(), "doctor": doctor.stdout, "config": shown.stderr} {
		if !strings.Contains(text, ends) || !strings.Contains(text, weak) {
			t.Errorf("%s does not say it:\n%s", where, text)
		}
	}
	if doctor.code != exitOK || shown.code != exitOK {
		t.Errorf("doctor %d, config %d", doctor.code, shown.code)
	}
}

// Every variable that is in quotes is named, whatever it is to hold, and so is each that
// cannot be read, all at once.
func TestCaseD3ValuesInQuotes(t *testing.T) {
	t.Parallel()
	for _, quote := range [][2]string{{`"`, `"`}, {"'", "'"}, {"“", "”"}, {" \"", "\" "}} {
		values := map[string]string{}
		c, err := load(t.Context(), complete(nil), all)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range c.settings(complete(nil)) {
			values[s.Name] = quote[0] + strings.ReplaceAll(s.Value, "********", "hush") + quote[1]
		}
		_, err = load(t.Context(), complete(values), all)
		if err == nil {
			t.Fatalf("%s: all is in quotes, and nothing is said", quote)
		}
		lines := strings.Split(err.Error(), "\n")
		for name := range values {
			n := 0
			for _, line := range lines {
				if strings.Contains(line, name+" ") {
					n++
				}
			}
			if n != 1 || !strings.Contains(err.Error(), name+" is in quotes") {
				t.Errorf("%s is named %d times:\n%v", name, n, err)
			}
		}
		if strings.Contains(err.Error(), "hush") {
			t.Errorf("a secret is shown: %v", err)
		}
	}
	wrong := map[string]string{"SYNC_BATCH_SIZE": "many", "SYNC_PARALLEL": "'x'", "SYNC_SETTLE": "30", "SYNC_GRACE": `"2"`, "ENABLE_SCHEDULER": "yes", "PORT": "http", "ETL_LEASE": "soon", "SYNC_MAX_ROUNDS": "1000"}
	_, err := load(t.Context(), complete(wrong), all)
	for _, want := range []string{
		`SYNC_BATCH_SIZE is "many", it must be a whole number`, `SYNC_PARALLEL is in quotes`, `SYNC_PARALLEL is "x", it must be a whole number`,
		`SYNC_SETTLE is "30", it must be a duration such as "30s" or "10m"`, `SYNC_GRACE is in quotes`, `SYNC_GRACE is "2", it must be a duration`,
		`ENABLE_SCHEDULER is "yes", it must be true or false`, `PORT is "http", it must be a whole number`, `ETL_LEASE is "soon"`, `SYNC_MAX_ROUNDS`,
	} {
		if err == nil || strings.Count(err.Error(), want) != 1 {
			t.Errorf("%q is not said once:\n%v", want, err)
		}
	}
	// A secret alone may be meant so.
	env := complete(map[string]string{"JWT_KEY": `"` + strong + `"`})
	c, err := load(t.Context(), env, all)
	if err != nil || c.API.JWTKey.Reveal() != `"`+strong+`"` || len(c.remarks(env)) != 1 || !strings.HasPrefix(c.remarks(env)[0], "JWT_KEY is in quotes") {
		t.Errorf("a secret in quotes: %v", err)
	}
	for _, plain := range []string{`a"b"`, `it's`, `"`, `x"`} {
		if _, err := load(t.Context(), complete(map[string]string{"CART_TABLE": plain}), all); err != nil && strings.Contains(err.Error(), "in quotes") {
			t.Errorf("%s is not in quotes: %v", plain, err)
		}
	}
}

// Go reads GOMEMLIMIT before the program begins, so all that can be done is said by Go, and
// by the README.
func TestCaseD3MemoryLimitInQuotes(t *testing.T) {
	t.Parallel()
	path, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), path, "version")
	command.Env = []string{`GOMEMLIMIT="64MiB"`}
	output, err := command.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "malformed GOMEMLIMIT") || !strings.Contains(read(t, "../../docs/configuration.md"), "malformed GOMEMLIMIT") {
		t.Errorf("%v: %s", err, output)
	}
}

// What the configuration is shows as it is, but for the secrets in it.
func TestCaseE8ConfigShowsOptions(t *testing.T) {
	t.Parallel()
	env := complete(map[string]string{
		"PRODUCT_SERVICE_MONGODB_URL": "mongodb://etl:hush@a:1,b:2/product?authSource=admin&replicaSet=rs0",
		"CART_DB_URL":                 "postgresql://etl:hush@db/cart?sslmode=disable&password=hush",
		"SYNC_CRON_SCHEDULE":          "*/90 * * * *", "ETL_HOTS": "x",
	})
	var out, errs transcript
	code := execute(t.Context(), []string{"config", "-o", "json"}, terminal{in: strings.NewReader(""), out: &out, err: &errs}, env)
	var shown struct {
		Variables        []ui.Setting
		Unknown, Remarks []string
	}
	if err := json.Unmarshal([]byte(out.String()), &shown); err != nil || code != exitOK {
		t.Fatalf("%d, %v: %s%s", code, err, out.String(), errs.String())
	}
	values := map[string]string{}
	for _, s := range shown.Variables {
		values[s.Name] = s.Value
	}
	for name, want := range map[string]string{
		"PRODUCT_SERVICE_MONGODB_URL": "mongodb://etl:********@a:1,b:2/product?authSource=admin&replicaSet=rs0",
		"CART_DB_URL":                 "postgresql://etl:********@db/cart?sslmode=disable&password=********", "JWT_KEY": "********", "MONGO_PASSWORD": "********",
	} {
		if values[name] != want {
			t.Errorf("%s shows %q, want %q", name, values[name], want)
		}
	}
	if !slices.Equal(shown.Unknown, []string{"ETL_HOTS"}) || len(shown.Remarks) != 2 || !strings.Contains(fmt.Sprint(shown.Remarks), "@every 90m") {
		t.Errorf("unknown %q, remarks %q", shown.Unknown, shown.Remarks)
	}
}

// A service that starts while scheduled runs are switched off says so, by whom and since when.
func TestCaseE16TheSwitchIsToldAtTheStart(t *testing.T) {
	t.Parallel()
	s := newShop(t, 5, none)
	said := func(r *replica, want ...string) {
		t.Helper()
		testenv.Eventually(t, watchFor, func() bool { return strings.Contains(r.stdout.String(), want[0]) }, want[0]+" in the log")
		for _, w := range want {
			if !strings.Contains(r.stdout.String(), w) {
				t.Errorf("%q is not in the log:\n%s", w, r.stdout.String())
			}
		}
	}
	const on, off = `"msg":"scheduled runs are on"`, `"msg":"scheduled runs are off: POST /api/etl/scheduler/start turns them on"`
	first := s.serve(nil).ready()
	said(first, on)
	begun := time.Now().UTC()
	if a := first.do(http.MethodPost, "/api/etl/scheduler/stop", ""); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	first.stop()
	first.wait()
	second := s.serve(nil).ready()
	said(second, off, `"by":"ann@shop"`, begun.Format(`"since":"2006-01-02T`))
	if strings.Contains(second.stdout.String(), on) || strings.Contains(second.stdout.String(), "scheduler is on") {
		t.Errorf("it says that they are on:\n%s", second.stdout.String())
	}
	said(s.serve(map[string]string{"ENABLE_SCHEDULER": "false"}), "the scheduler is off (ENABLE_SCHEDULER=false)")
	if o := s.serve(map[string]string{"ETL_ROLES": "api"}).ready().stdout.String(); strings.Contains(o, "scheduled runs are") {
		t.Errorf("a process without the role speaks of them:\n%s", o)
	}
}
