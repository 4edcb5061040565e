package main

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/testenv/platform"
	"github.com/ecom-micro/etl/internal/words"
)

// shop is an e-commerce platform of a test's own: a catalogue, a cart's database
// and a virtual host with the cart's exchange and queues.
type shop struct {
	tb        testing.TB
	catalogue *testenv.Catalogue
	cart      *testenv.CartDB
	broker    *testenv.Broker
	products  platform.Assortment
	env       map[string]string
}

// newShop seeds n products; the cart has all rows but those that lost picks.
func newShop(tb testing.TB, n int, lost func(i int) bool) *shop {
	tb.Helper()
	return newShopOn(tb, testenv.Vhost(tb), n, lost)
}

func newShopOn(tb testing.TB, broker *testenv.Broker, n int, lost func(i int) bool, opts ...testenv.CartOption) *shop {
	tb.Helper()
	s := &shop{tb: tb, catalogue: testenv.Products(tb), cart: testenv.Cart(tb, opts...), broker: broker}
	s.broker.DeclareTopology()
	s.products = s.catalogue.Seed(n)
	s.cart.Fill(s.products.Where(func(i int) bool { return !lost(i) }))
	s.env = map[string]string{
		"PRODUCT_SERVICE_MONGODB_URL": s.catalogue.URL,
		"MONGO_USER":                  s.catalogue.User,
		"MONGO_PASSWORD":              s.catalogue.Password,
		"CART_DB_URL":                 s.cart.URL,
		"RABBITMQ_ENDPOINT":           s.broker.URL,
		"JWT_KEY":                     "kV3!the tests sign with this, and nobody else",
		// What waits for real traffic in production need not slow down a test.
		"SYNC_GRACE":  "300ms",
		"SYNC_SETTLE": "2s",
	}
	return s
}

// with is the same shop for a command with other variables; an empty value unsets one.
func (s *shop) with(changes map[string]string) *shop {
	other := *s
	other.env = maps.Clone(s.env)
	maps.Copy(other.env, changes)
	return &other
}

// outcome is what a command left behind.
type outcome struct {
	code   int
	stdout string
	stderr string
	report *words.ReportDocument // with --output json
}

// etl runs a command in this process.
func (s *shop) etl(ctx context.Context, args ...string) outcome { return s.start(ctx, args...).wait() }

// running is a command under way in this process.
type running struct {
	stdout, stderr transcript
	code           int
	ended          chan struct{}
}

func (s *shop) start(ctx context.Context, args ...string) *running {
	r := &running{ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.code = execute(ctx, args, terminal{in: strings.NewReader(""), out: &r.stdout, err: &r.stderr}, environment{envconfig.MapLookuper(s.env), func() []string { return slices.Collect(maps.Keys(s.env)) }})
	}()
	return r
}

func (r *running) wait() outcome {
	<-r.ended
	return outcome{code: r.code, stdout: r.stdout.String(), stderr: r.stderr.String()}
}

// transcript is a buffer that may be read while it is written.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// sync runs `etl sync --output json` and decodes its report.
func (s *shop) sync(ctx context.Context, args ...string) outcome {
	s.tb.Helper()
	o := s.etl(ctx, append([]string{"sync", "--output", "json"}, args...)...)
	if o.stdout != "" {
		o.report = o.decoded(s.tb)
	}
	return o
}

// decoded is the report that a command has printed as JSON.
func (o outcome) decoded(tb testing.TB) *words.ReportDocument {
	tb.Helper()
	var report words.ReportDocument
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil {
		tb.Fatalf("the report is no JSON: %v\n%s", err, o.stdout)
	}
	return &report
}

// note is the report's note of a code, nil where there is none.
func note(report *words.ReportDocument, code run.NoteCode) *words.NoteDocument {
	for i := range report.Notes {
		if report.Notes[i].Code == code {
			return &report.Notes[i]
		}
	}
	return nil
}

// notes are the texts of a report's notes.
func notes(report *words.ReportDocument) string {
	var texts strings.Builder
	for _, n := range report.Notes {
		texts.WriteString(n.Text + "\n")
	}
	return texts.String()
}

// mustSync is sync that must end with the code.
func (s *shop) mustSync(ctx context.Context, code int, args ...string) *words.ReportDocument {
	s.tb.Helper()
	o := s.sync(ctx, args...)
	if o.code != code || o.report == nil {
		s.tb.Fatalf("etl sync %v ended with %d, not %d\nstdout: %s\nstderr: %s", args, o.code, code, o.stdout, o.stderr)
	}
	return o.report
}

// wantComplete insists that the cart holds exactly the catalogue's products.
func (s *shop) wantComplete() {
	s.tb.Helper()
	rows := s.cart.Rows()
	if len(rows) != s.products.N {
		s.tb.Errorf("the cart has %d rows, the catalogue %d products", len(rows), s.products.N)
		return
	}
	i := 0
	for p := range s.products.All() {
		if want := testenv.RowOf(p); rows[i] != want {
			s.tb.Fatalf("row %d is %+v, want %+v", i, rows[i], want)
		}
		i++
	}
}

// every picks each n-th product.
func every(n int) func(int) bool { return func(i int) bool { return i%n == 0 } }

func none(int) bool { return false }

// withHost is a URL with another host.
func withHost(tb testing.TB, address, host string) string {
	tb.Helper()
	u, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	u.Host = host
	return u.String()
}

// consumer starts the cart's consumer; it ends with the test.
func (s *shop) consumer(change ...func(*cart.Config)) *cart.Consumer {
	s.tb.Helper()
	config := cart.Config{BrokerURL: s.broker.URL, DatabaseURL: s.cart.URL}
	for _, c := range change {
		c(&config)
	}
	consumer, err := cart.Start(context.WithoutCancel(s.tb.Context()), config)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(consumer.Stop)
	return consumer
}

// standstill keeps the cart's consumer from storing anything until it is released; what
// it has not done waits in its queue. Whoever reads the table is not held up.
func (s *shop) standstill() (release func()) {
	s.tb.Helper()
	tx, err := s.cart.Pool.Begin(s.tb.Context())
	if err == nil {
		_, err = tx.Exec(s.tb.Context(), "LOCK TABLE product IN SHARE ROW EXCLUSIVE MODE")
	}
	if err != nil {
		s.tb.Fatal(err)
	}
	release = sync.OnceFunc(func() { _ = tx.Rollback(context.WithoutCancel(s.tb.Context())) }) // which ends the lock in any case
	s.tb.Cleanup(release)
	return release
}

// begins waits until a run has made sure of all that it needs, and knows what it compares.
func (s *shop) begins() {
	s.tb.Helper()
	testenv.Eventually(s.tb, watchFor, func() bool { return s.number("SELECT count(to_regclass('etl_ledger.run'))") == 1 }, "the ledger")
	testenv.Eventually(s.tb, watchFor, func() bool { return s.number("SELECT count(*) FROM etl_ledger.run WHERE planned") > 0 }, "a run to begin")
}

// thief starts a foreign consumer of the cart's queue.
func (s *shop) thief(pace time.Duration) *cart.Thief {
	s.tb.Helper()
	thief, err := cart.StartThief(context.WithoutCancel(s.tb.Context()), cart.ThiefConfig{BrokerURL: s.broker.URL, DelayPerEvent: pace})
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(thief.Stop)
	return thief
}

// watchFor is how long a test waits for what should come soon, on a busy machine too.
const watchFor = 2 * time.Minute

func bsonField(key string, value any) bson.E { return bson.E{Key: key, Value: value} }

func bsonDocument(key string, value any) bson.D { return bson.D{bsonField(key, value)} }

func newObjectID() bson.ObjectID { return bson.NewObjectID() }
