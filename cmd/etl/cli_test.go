package main

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// Wrong input gets one clear line that names the thing and the remedy, and no secret.
func TestWrongInputIsOneClearLine(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, none)
	bare := testenv.Vhost(t) // without the cart's topology
	empty := testenv.Cart(t)
	empty.Exec("DROP TABLE cart, product")
	narrow := testenv.Cart(t)
	narrow.Exec(`ALTER TABLE product DROP COLUMN "sellerId"`)
	const closed = "127.0.0.1:9"
	for _, c := range []struct {
		name string
		env  map[string]string
		args []string
		code int
		says []string
	}{
		{"unknown command", nil, []string{"synch"}, exitUsage, []string{"synch"}},
		{"unknown flag", nil, []string{"sync", "--fast"}, exitUsage, []string{"--fast", "etl sync --help"}},
		{"argument", nil, []string{"sync", "now"}, exitUsage, []string{"now"}},
		{"batch size 0", nil, []string{"sync", "--batch-size", "0"}, exitUsage, []string{"--batch-size", "1..1000"}},
		{"batch size 5000", nil, []string{"sync", "--batch-size", "5000"}, exitUsage, []string{"5000", "1..1000"}},
		{"batch size variable", map[string]string{"SYNC_BATCH_SIZE": "5000"}, []string{"sync"}, exitUsage, []string{"SYNC_BATCH_SIZE", "1..1000"}},
		{"batch size no number", map[string]string{"SYNC_BATCH_SIZE": "many"}, []string{"sync"}, exitUsage, []string{"SYNC_BATCH_SIZE", "many"}},
		{"unknown mode", nil, []string{"sync", "--mode", "magic"}, exitUsage, []string{"--mode", "replay", "direct"}},
		{"unknown repair", nil, []string{"sync", "--repair", "stale,price"}, exitUsage, []string{"--repair", "missing, stale or orphaned"}},
		{"max deletes 0", nil, []string{"sync", "--repair", "orphaned", "--max-deletes", "0"}, exitUsage, []string{"--max-deletes", "at least 1"}},
		{"max repairs 0", nil, []string{"sync", "--max-repairs", "0"}, exitUsage, []string{"--max-repairs", "at least 1"}},
		{"since a negative time ago", nil, []string{"sync", "--since", "-2h"}, exitUsage, []string{"--since", "must be a time or how long ago it was"}},
		{"since in the future", nil, []string{"sync", "--since", "2999-01-01"}, exitUsage, []string{"--since is 2999-01-01", "in the future"}},
		{"fields of a repair", nil, []string{"sync", "--fields", "none"}, exitUsage, []string{"--fields goes with --dry-run and validate"}},
		{"unknown field", nil, []string{"validate", "--fields", "title,colour"}, exitUsage, []string{"--fields: the cart has no field \"colour\"", "none compares ids alone"}},
		{"ids and since", nil, []string{"sync", "--since", "2h", "--id", "a"}, exitUsage, []string{"--id", "--since"}},
		{"replay without broker", nil, []string{"sync", "--without-broker"}, exitUsage, []string{"--mode direct"}},
		{"unknown output", nil, []string{"validate", "--output", "xml"}, exitUsage, []string{"--output", "text", "json"}},
		{"unknown compared field", map[string]string{"SYNC_COMPARE_FIELDS": "title,colour"}, []string{"validate"}, exitUsage, []string{"SYNC_COMPARE_FIELDS", "colour"}},
		{"bad MongoDB URL", map[string]string{"PRODUCT_SERVICE_MONGODB_URL": "http://mongo"}, []string{"sync"}, exitUsage, []string{"PRODUCT_SERVICE_MONGODB_URL", "mongodb://"}},
		{"MongoDB URL without a database", map[string]string{"PRODUCT_SERVICE_MONGODB_URL": "mongodb://mongo:27017"}, []string{"sync"}, exitUsage, []string{"PRODUCT_SERVICE_MONGODB_URL", "PRODUCT_DATABASE"}},
		{"bad PostgreSQL URL", map[string]string{"CART_DB_URL": "mysql://cart"}, []string{"sync"}, exitUsage, []string{"CART_DB_URL", "postgres://"}},
		{"unescaped PostgreSQL password", map[string]string{"CART_DB_URL": "postgres://u:hush%zz@host/cart"}, []string{"sync"}, exitUsage, []string{"CART_DB_URL", "percent-encode"}},
		{"bad broker URL", map[string]string{"RABBITMQ_ENDPOINT": "rabbit:5672"}, []string{"sync"}, exitUsage, []string{"RABBITMQ_ENDPOINT", "amqp://"}},
		{"wrong MongoDB password", map[string]string{"MONGO_PASSWORD": "hush"}, []string{"sync"}, exitService, []string{"authentication failed", "MONGO_PASSWORD"}},
		{"wrong PostgreSQL password", map[string]string{"CART_DB_URL": withUser(t, s.cart.URL, "hush")}, []string{"sync"}, exitService, []string{"authentication failed", "CART_DB_URL"}},
		{"wrong broker password", map[string]string{"RABBITMQ_ENDPOINT": withUser(t, s.broker.URL, "hush")}, []string{"sync"}, exitService, []string{"authentication failed", "RABBITMQ_ENDPOINT"}},
		{"unreachable MongoDB", map[string]string{"PRODUCT_SERVICE_MONGODB_URL": withHost(t, s.catalogue.URL, closed) + "?serverSelectionTimeoutMS=500"}, []string{"stats"}, exitService, []string{"no server answers", "PRODUCT_SERVICE_MONGODB_URL"}},
		{"unreachable PostgreSQL", map[string]string{"CART_DB_URL": withHost(t, s.cart.URL, closed)}, []string{"sync"}, exitService, []string{"no server answers", "CART_DB_URL"}},
		{"unreachable broker", map[string]string{"RABBITMQ_ENDPOINT": withHost(t, s.broker.URL, closed)}, []string{"sync"}, exitService, []string{"no broker answers", "RABBITMQ_ENDPOINT"}},
		{"direct with an unreachable broker", map[string]string{"RABBITMQ_ENDPOINT": withHost(t, s.broker.URL, closed)}, []string{"sync", "--mode", "direct"}, exitService, []string{"no broker answers", "--without-broker"}},
		{"missing collection", map[string]string{"PRODUCT_COLLECTION": "wares"}, []string{"sync"}, exitService, []string{"wares", "does not exist", "PRODUCT_COLLECTION"}},
		{"missing table", map[string]string{"CART_DB_URL": empty.URL}, []string{"sync"}, exitService, []string{"public.product", "does not exist", "CART_TABLE"}},
		{"missing column", map[string]string{"CART_DB_URL": narrow.URL}, []string{"sync"}, exitService, []string{`"sellerId"`, "missing"}},
		{"missing exchange", map[string]string{"RABBITMQ_ENDPOINT": bare.URL}, []string{"sync"}, exitService, []string{"exchange product-service", "does not exist", "vhost"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := s.with(c.env).etl(t.Context(), c.args...)
			if o.code != c.code {
				t.Errorf("it ended with %d, want %d", o.code, c.code)
			}
			line := strings.TrimSuffix(o.stderr, "\n")
			if strings.Contains(line, "\n") || !strings.HasPrefix(line, "etl: ") {
				t.Errorf("want one line, got:\n%s", o.stderr)
			}
			for _, want := range c.says {
				if !strings.Contains(line, want) {
					t.Errorf("%q does not say %q", line, want)
				}
			}
			if strings.Contains(o.stdout+o.stderr, "hush") {
				t.Errorf("a password is shown: %s%s", o.stdout, o.stderr)
			}
			t.Log(line)
		})
	}
	if n := s.cart.Count(); n != 10 {
		t.Errorf("wrong input changed the cart: %d rows", n)
	}
}

// withUser is a URL with another password.
func withUser(tb testing.TB, address, password string) string {
	tb.Helper()
	u, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String()
}

func TestAllMissingVariablesAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	s := &shop{tb: t, env: map[string]string{"SYNC_MAX_ROUNDS": "0", "MONGO_USER": "  "}}
	o := s.etl(t.Context(), "sync")
	if o.code != exitUsage {
		t.Errorf("it ended with %d", o.code)
	}
	for _, name := range []string{"PRODUCT_SERVICE_MONGODB_URL", "MONGO_USER", "MONGO_PASSWORD", "CART_DB_URL", "SYNC_MAX_ROUNDS"} {
		if !strings.Contains(o.stderr, name) {
			t.Errorf("%s is not named in:\n%s", name, o.stderr)
		}
	}
	// A command asks only for what it uses.
	if o := s.with(map[string]string{"RABBITMQ_ENDPOINT": "nonsense"}).etl(t.Context(), "stats"); strings.Contains(o.stderr, "SYNC_MAX_ROUNDS") || strings.Contains(o.stderr, "RABBITMQ_ENDPOINT") {
		t.Errorf("stats asks for what it does not use:\n%s", o.stderr)
	}
	if o := s.etl(t.Context(), "version"); o.code != exitOK || !strings.HasPrefix(o.stdout, "etl ") {
		t.Errorf("version needs no configuration: %d %s", o.code, o.stderr)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	s := newShop(t, 300, every(10))
	s.consumer()
	s.cart.Insert(testenv.Row{ID: "nobody's", Title: "t", Image: "i", SellerID: "s"})
	s.catalogue.Set(s.products.ID(7), bsonField("price", 123456))
	o := s.etl(t.Context(), "validate", "--output", "json")
	var got validation
	if err := json.Unmarshal([]byte(o.stdout), &got); err != nil {
		t.Fatalf("%v\n%s%s", err, o.stdout, o.stderr)
	}
	want := validationDetails{SourceCount: 300, TargetCount: 271, MissingInTarget: 30, ExtraInTarget: 1, StaleInTarget: 1}
	if o.code != exitDifferences || got.IsValid || got.Details != want {
		t.Errorf("it ended with %d: %+v, want %+v", o.code, got.Details, want)
	}
	inSync := newShop(t, 50, none)
	if o := inSync.etl(t.Context(), "validate"); o.code != exitOK || !strings.Contains(o.stdout, "In sync: 50 products compared") {
		t.Errorf("it ended with %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

func TestSyncOfNamedAndOfRecentProducts(t *testing.T) {
	t.Parallel()
	s := newShop(t, 100, every(10))
	s.consumer()
	id := s.products.Key(10)
	report := s.mustSync(t.Context(), exitOK, "--id", id, "--id", s.products.Key(11))
	if report.Acted != 1 || report.Products != 2 {
		t.Errorf("%d repaired of %d compared, want 1 of 2", report.Acted, report.Products)
	}
	unknown := s.mustSync(t.Context(), exitDifferences, "--id", id, "--id", "unknown")
	if unknown.Acted != 0 || unknown.Products != 1 || !strings.Contains(notes(unknown), "1 of the 2 products named is in neither store") {
		t.Errorf("%d repaired of %d compared: %s", unknown.Acted, unknown.Products, notes(unknown))
	}
	if _, there := s.cart.Row(id); !there {
		t.Error("the named product is not in the cart")
	}
	fresh := s.catalogue.InsertOdd(bsonField("_id", newObjectID()))
	_ = fresh
	recent := s.mustSync(t.Context(), exitOK, "--since", "1h")
	if recent.Products != 1 || recent.Acted != 1 {
		t.Errorf("%d repaired of %d compared, want the one recent product", recent.Acted, recent.Products)
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	s := newShop(t, 120, every(2))
	s.broker.Publish(platform.ProductCreated, []byte(`{"id":"x"}`))
	s.catalogue.Insert(bsonDocument("_id", 1.5))
	o := s.etl(t.Context(), "stats", "--output", "json")
	var got api.Statistics
	if err := json.Unmarshal([]byte(o.stdout), &got); err != nil {
		t.Fatalf("%v\n%s%s", err, o.stdout, o.stderr)
	}
	if got.Products != 121 || got.Rows != 60 || got.Unsupported["double"] != 1 || got.Queues[platform.ProductCreated].Ready != 1 {
		t.Errorf("%+v", got)
	}
	away := s.with(map[string]string{"RABBITMQ_ENDPOINT": withHost(t, s.broker.URL, "127.0.0.1:9")}).etl(t.Context(), "stats")
	if away.code != exitOK || !strings.Contains(away.stdout, "│ queues") {
		t.Errorf("it ended with %d\n%s%s", away.code, away.stdout, away.stderr)
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	s := newShop(t, 20, none)
	s = s.with(map[string]string{"RABBITMQ_MANAGEMENT_URL": s.broker.Management})
	ill := s.etl(t.Context(), "doctor")
	if ill.code != exitService || !strings.Contains(ill.stdout, "FAIL  queue created") || !strings.Contains(ill.stdout, "start the Cart Service") {
		t.Errorf("without a consumer it ended with %d\n%s%s", ill.code, ill.stdout, ill.stderr)
	}
	s.consumer()
	well := s.etl(t.Context(), "doctor")
	if well.code != exitOK || strings.Contains(well.stdout, "FAIL") || strings.Contains(well.stdout, "warn") {
		t.Errorf("it ended with %d\n%s%s", well.code, well.stdout, well.stderr)
	}
	// Who may not publish to the default exchange cannot replay, and whose role may not
	// delete is told so where it is wanted.
	less := s.with(map[string]string{
		"RABBITMQ_ENDPOINT": s.broker.User("monitoring", map[string]string{"configure": "", "write": "^etl", "read": ".*"}),
		"CART_DB_URL":       s.cart.Role("SELECT, INSERT, UPDATE ON product"),
	})
	limited := less.etl(t.Context(), "doctor")
	if !strings.Contains(limited.stdout, "warn  replay") || !strings.Contains(limited.stdout, "amq.default") {
		t.Errorf("without the right to publish it ended with %d\n%s%s", limited.code, limited.stdout, limited.stderr)
	}
	if !strings.Contains(limited.stdout, "ok    direct mode            repairs what is missing, stale; not orphaned: ") {
		t.Errorf("without the right to delete it ended with %d\n%s%s", limited.code, limited.stdout, limited.stderr)
	}
	wanted := less.with(map[string]string{"SYNC_REPAIR": "missing,orphaned"}).etl(t.Context(), "doctor")
	if !strings.Contains(wanted.stdout, "warn  direct mode            repairs what is missing, stale; not orphaned: ") {
		t.Errorf("with orphaned rows to be deleted it ended with %d\n%s%s", wanted.code, wanted.stdout, wanted.stderr)
	}
	s.thief(0)
	testenv.Eventually(t, watchFor, func() bool {
		shared := s.etl(t.Context(), "doctor")
		return shared.code == exitOK && strings.Contains(shared.stdout, "order service (stand-in)")
	}, "the doctor to name the foreign consumer")
}

// A slip of the pen is answered with what may have been meant.
func TestDidYouMean(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"sny":                    `unknown command "sny" for "etl", did you mean sync?; see ` + "`etl --help`",
		"sync --bathc-size 3":    "unknown flag: --bathc-size, did you mean --batch-size?; see `etl sync --help`",
		"sync --frobnicate":      "unknown flag: --frobnicate; see `etl sync --help`",
		"sync --mode dirct":      "must be one of [replay direct]",
		"completely-elsewhere":   `unknown command "completely-elsewhere" for "etl"; see ` + "`etl --help`",
		"validate --output yaml": "must be one of [text json]",
	} {
		var out, problem bytes.Buffer
		code := execute(t.Context(), strings.Fields(line), terminal{out: &out, err: &problem}, environment{envconfig.MapLookuper(nil), func() []string { return nil }})
		if code != exitUsage || !strings.Contains(problem.String(), want) {
			t.Errorf("%s: %d %s", line, code, problem.String())
		}
	}
	var named, flagged bytes.Buffer
	for out, line := range map[*bytes.Buffer]string{&named: "version", &flagged: "--version"} {
		if code := execute(t.Context(), []string{line}, terminal{out: out, err: out}, environment{envconfig.MapLookuper(nil), func() []string { return nil }}); code != exitOK {
			t.Errorf("%s: %d", line, code)
		}
	}
	if named.String() != flagged.String() || !strings.HasPrefix(named.String(), "etl dev") {
		t.Errorf("%q and %q", named.String(), flagged.String())
	}
}

// A named product that is nowhere is no success.
func TestCaseD11NobodyKnowsTheProduct(t *testing.T) {
	t.Parallel()
	s := newShop(t, 4, none)
	s.consumer()
	there := s.products.Key(1)
	for _, args := range [][]string{{"sync"}, {"sync", "--mode", "direct"}, {"sync", "--dry-run"}, {"validate"}} {
		if o := s.etl(t.Context(), append(args, "--id", "nope")...); o.code != exitDifferences || !strings.Contains(o.stdout, "Nothing to compare: the named products are in neither store.") || !strings.Contains(o.stdout, "in neither store: nope") {
			t.Errorf("%v: %d\n%s%s", args, o.code, o.stdout, o.stderr)
		}
		if o := s.etl(t.Context(), append(args, "--id", "nope", "--id", there)...); o.code != exitDifferences || !strings.Contains(o.stdout, "1 of the 2 products named is in neither store: nope") {
			t.Errorf("%v: %d\n%s%s", args, o.code, o.stdout, o.stderr)
		}
		if o := s.etl(t.Context(), append(args, "--id", there)...); o.code != exitOK {
			t.Errorf("%v: %d\n%s%s", args, o.code, o.stdout, o.stderr)
		}
	}
}

// Programs read the same checks as people.
func TestDoctorAsJSON(t *testing.T) {
	t.Parallel()
	s := newShop(t, 4, none)
	s.consumer()
	for _, well := range []bool{true, false} {
		ill := s
		if !well {
			ill = s.with(map[string]string{"MONGO_PASSWORD": "wrong"})
		}
		o := ill.etl(t.Context(), "doctor", "-o", "json")
		var shown struct {
			Failed int
			Checks []diagnosis
		}
		if err := json.Unmarshal([]byte(o.stdout), &shown); err != nil || len(shown.Checks) < 5 || well != (o.code == exitOK) || well != (shown.Failed == 0) {
			t.Errorf("%d, %v\n%s%s", o.code, err, o.stdout, o.stderr)
		}
		if !well && !slices.ContainsFunc(shown.Checks, func(d diagnosis) bool { return d.State == "fail" && strings.Contains(d.Text, "MONGO_PASSWORD") }) {
			t.Errorf("%+v", shown.Checks)
		}
	}
}
