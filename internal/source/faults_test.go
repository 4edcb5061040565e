package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

// withOptions adds options to the URL of a configuration.
func withOptions(c Config, options string) Config {
	separator := "?"
	if strings.Contains(c.URL.Reveal(), "?") {
		separator = "&"
	}
	c.URL = secret.URL(c.URL.Reveal() + separator + options)
	return c
}

// proxied is a configuration that goes through a proxy, with little patience.
func proxied(t *testing.T, c *testenv.Catalogue) (Config, *testenv.Proxy) {
	t.Helper()
	proxy, url := testenv.ProxyTo(t, c.URL)
	config := configOf(c)
	config.URL = secret.URL(url)
	return withOptions(config, "serverSelectionTimeoutMS=4000&heartbeatFrequencyMS=500&connectTimeoutMS=4000"), proxy
}

// commands counts the commands that a source sends.
type commands struct{ find, getMore atomic.Int32 }

// watch replaces the client of a source by one whose commands are counted.
func watch(t *testing.T, config Config) (*Source, *commands) {
	t.Helper()
	s := open(t, config)
	opts, database, err := config.clientOptions()
	if err != nil {
		t.Fatal(err)
	}
	var sent commands
	opts.SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		switch e.CommandName {
		case "find":
			sent.find.Add(1)
		case "getMore":
			sent.getMore.Add(1)
		}
	}})
	client, err := mongo.Connect(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.WithoutCancel(t.Context())) })
	s.collection = client.Database(database).Collection(config.Collection)
	return s, &sent
}

func TestScanGoesOnAfterEachBrokenCursor(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	seeded := catalogue.Seed(200)
	config, proxy := proxied(t, catalogue)
	s := open(t, config)
	s.page = 20
	var got []string
	cuts := 0
	for page, err := range s.Scan(t.Context(), product.Range{Class: product.ObjectIDs}, product.CartFields(), time.Time{}) {
		page = testenv.KeptProducts(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page {
			got = append(got, string(p.ID()))
		}
		if cuts++; cuts <= maxAttempts+1 { // more often than one read is tried again without progress
			proxy.Cut()
			proxy.Restore()
		}
	}
	if !slices.Equal(got, seeded.Keys()) {
		t.Errorf("%d products, want each of %d once and in order", len(got), seeded.N)
	}
}

func TestParallelScansGoOnAfterBrokenConnections(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	seeded := catalogue.Seed(400)
	config, proxy := proxied(t, catalogue)
	s := open(t, config)
	s.page = 10
	var mu sync.Mutex
	seen, pages := map[product.ID]int{}, 0
	var scans sync.WaitGroup
	for i := range 4 {
		r := product.Range{Class: product.ObjectIDs, Through: product.ID(seeded.Key(100*i + 99))}
		if i > 0 {
			r.After = product.ID(seeded.Key(100*i - 1))
		}
		scans.Go(func() {
			for page, err := range s.Scan(t.Context(), r, product.CartFields(), time.Time{}) {
				page = testenv.KeptProducts(page)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, p := range page {
					seen[p.ID()]++
				}
				if pages++; pages == 10 || pages == 20 {
					proxy.Reset()
				}
				mu.Unlock()
			}
		})
	}
	scans.Wait()
	for _, key := range seeded.Keys() {
		if seen[product.ID(key)] != 1 {
			t.Errorf("%s was read %d times", key, seen[product.ID(key)])
		}
	}
}

func TestScanWaitsForItsServer(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	seeded := catalogue.Seed(60)
	config, proxy := proxied(t, catalogue)
	s := open(t, withOptions(config, "serverSelectionTimeoutMS=20000"))
	s.page = 20
	var got []string
	restored := make(chan struct{})
	for page, err := range s.Scan(t.Context(), product.Range{Class: product.ObjectIDs}, product.CartFields(), time.Time{}) {
		page = testenv.KeptProducts(page)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			proxy.Cut()
			time.AfterFunc(time.Second, func() { proxy.Restore(); close(restored) })
		}
		for _, p := range page {
			got = append(got, string(p.ID()))
		}
	}
	<-restored
	if !slices.Equal(got, seeded.Keys()) {
		t.Errorf("%d products, want each of %d once and in order", len(got), seeded.N)
	}
}

func TestIdleCursorIsReopened(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	seeded := catalogue.Seed(100)
	for _, tt := range []struct {
		idle          time.Duration
		find, getMore int32
	}{
		{time.Hour, 1, 5}, // five full pages, and the end of the last
		{0, 6, 0},         // the reader always takes longer than nothing
	} {
		s, sent := watch(t, configOf(catalogue))
		s.page, s.idle = 20, tt.idle
		var got []string
		for _, p := range scanned(t, s, product.Range{Class: product.ObjectIDs}, time.Time{}) {
			got = append(got, string(p.ID()))
		}
		if !slices.Equal(got, seeded.Keys()) {
			t.Errorf("idle %s: %d products, want each of %d once and in order", tt.idle, len(got), seeded.N)
		}
		if sent.find.Load() != tt.find || sent.getMore.Load() > tt.getMore {
			t.Errorf("idle %s: %d cursors and %d further reads of them, want %d and %d", tt.idle, sent.find.Load(), sent.getMore.Load(), tt.find, tt.getMore)
		}
	}
}

func TestScanSaysThatTheServerStaysAway(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*testenv.Proxy){"gone": (*testenv.Proxy).Cut, "hung": (*testenv.Proxy).Freeze} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			catalogue := testenv.Products(t)
			seeded := catalogue.Seed(100)
			config, proxy := proxied(t, catalogue)
			s := open(t, config)
			s.page = 20
			r := product.Range{Class: product.ObjectIDs, Through: product.ID(seeded.Key(90))}
			n, begun := 0, time.Time{}
			var last error
			for page, err := range s.Scan(t.Context(), r, product.CartFields(), time.Time{}) {
				page = testenv.KeptProducts(page)
				if last != nil {
					t.Fatal("the error was not the end")
				}
				n, last = n+len(page), err
				if begun.IsZero() {
					begun = time.Now()
					fault(proxy)
				}
			}
			if took := time.Since(begun); took > 15*time.Second {
				t.Errorf("it took %s to give up", took)
			}
			left := product.Range{Class: r.Class, After: product.ID(seeded.Key(n - 1)), Through: r.Through}
			checkAway(t, last, left.String(), s.Name(), "no server answers", "PRODUCT_SERVICE_MONGODB_URL")
			if n != 20 {
				t.Errorf("%d products before the error, want one page", n)
			}
			proxy.Thaw()
		})
	}
}

func TestScanThatIsStoppedDoesNotWaitForItsServer(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	catalogue.Seed(60)
	proxy, url := testenv.ProxyTo(t, catalogue.URL)
	config := configOf(catalogue)
	config.URL = secret.URL(url)
	s := open(t, config)
	s.page = 20
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stopped time.Time
	var last error
	for _, err := range s.Scan(ctx, product.Range{Class: product.ObjectIDs}, product.CartFields(), time.Time{}) {
		last = err
		if stopped.IsZero() {
			proxy.Freeze()
			stopped = time.Now().Add(200 * time.Millisecond)
			time.AfterFunc(200*time.Millisecond, cancel)
		}
	}
	if took := time.Since(stopped); took > 2*closeTimeout || !errors.Is(last, context.Canceled) {
		t.Errorf("it ended %s after it was stopped, with %v", took, last)
	}
	proxy.Thaw()
}

// reads are all the ways of reading a source.
func reads() map[string]func(context.Context, *Source) error {
	return map[string]func(context.Context, *Source) error{
		"ping":        func(ctx context.Context, s *Source) error { _, err := s.Ping(ctx); return err },
		"exists":      func(ctx context.Context, s *Source) error { _, err := s.Exists(ctx); return err },
		"count":       func(ctx context.Context, s *Source) error { _, err := s.Count(ctx); return err },
		"estimate":    func(ctx context.Context, s *Source) error { _, err := s.EstimatedCount(ctx); return err },
		"unsupported": func(ctx context.Context, s *Source) error { _, err := s.Unsupported(ctx); return err },
		"ranges":      func(ctx context.Context, s *Source) error { _, err := s.Ranges(ctx, 4); return err },
		"sample":      func(ctx context.Context, s *Source) error { _, err := s.Sample(ctx, 4); return err },
		"find": func(ctx context.Context, s *Source) error {
			_, err := s.Find(ctx, []product.ID{"65f2a1b2c3d4e5f6a7b8c9d0"})
			return err
		},
		"scan": func(ctx context.Context, s *Source) (last error) {
			for _, err := range s.Scan(ctx, product.Range{Class: product.ObjectIDs}, product.CartFields(), time.Time{}) {
				last = err
			}
			return last
		},
	}
}

func TestUnreachableServer(t *testing.T) {
	t.Parallel()
	closed := testenv.ClosedAddress(t)
	for _, host := range []string{closed, "nowhere.invalid"} {
		s := open(t, Config{URL: secret.URL("mongodb://" + host + "/shop?serverSelectionTimeoutMS=100"), User: "etl", Password: "hunter2", Collection: "products"})
		for name, read := range reads() {
			t.Run(host+" "+name, func(t *testing.T) {
				checkAway(t, read(t.Context(), s), "no server answers: check the host of PRODUCT_SERVICE_MONGODB_URL and the network", host)
			})
		}
	}
}

func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	for _, user := range []string{catalogue.User, "nobody"} {
		for name, read := range reads() {
			t.Run(user+" "+name, func(t *testing.T) {
				t.Parallel()
				config := configOf(catalogue)
				config.User, config.Password = user, "hunter2"
				s := open(t, config)
				begun := time.Now()
				err := read(t.Context(), s)
				testenv.CheckMessage(t, err, "authentication failed: check MONGO_USER, MONGO_PASSWORD and the authentication database (authSource) of PRODUCT_SERVICE_MONGODB_URL")
				if errors.As(err, new(*product.AwayError)) {
					t.Errorf("wrong credentials count as away: %v", err)
				}
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("refused credentials were tried for %s", took)
				}
			})
		}
	}
}

func TestExplainedErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{mongo.CommandError{Code: 13, Message: "not authorized on shop to execute command"}, "MONGO_USER may not do this: grant it the role read on the database"},
		{mongo.CommandError{Code: 18, Message: "Authentication failed."}, "authentication failed: check MONGO_USER"},
		{mongo.CommandError{Code: 2, Message: "bad value"}, "bad value"},
	} {
		err := explained(fmt.Errorf("first: %w", tt.err))
		testenv.CheckMessage(t, err, tt.want)
		if !errors.As(err, new(mongo.CommandError)) {
			t.Errorf("%v lost its cause", err)
		}
	}
}

// clearedPool is what the driver tells the reads that waited for a connection
// when another read's connection broke.
type clearedPool struct{ error }

func (clearedPool) Retryable() bool { return true }

func TestTransientErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"cursor not found", mongo.CommandError{Code: 43}, true},
		{"wrapped", fmt.Errorf("read a page: %w", mongo.CommandError{Code: 43}), true},
		{"interrupted at shutdown", mongo.CommandError{Code: 11600}, true},
		{"not primary", mongo.CommandError{Code: 10107}, true},
		{"labelled", mongo.CommandError{Code: 2, Labels: []string{"RetryableReadError"}}, true},
		{"network", mongo.CommandError{Code: 2, Labels: []string{"NetworkError"}}, true},
		{"pool", fmt.Errorf("read a page: %w", clearedPool{errors.New("another operation failed")}), true},
		{"bad value", mongo.CommandError{Code: 2}, false},
		{"unauthorized", mongo.CommandError{Code: 13}, false},
		{"authentication failed", mongo.CommandError{Code: 18}, false},
		{"broken document", errors.New("broken document"), false},
	} {
		if got := transient(tt.err); got != tt.want {
			t.Errorf("%s: transient is %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestReadsAreRetriedForAWhile(t *testing.T) {
	t.Parallel()
	lost := mongo.CommandError{Code: 43, Message: "cursor not found"}
	synctest.Test(t, func(t *testing.T) {
		var patience retry
		begun, attempts := time.Now(), 1
		for patience.wait(t.Context(), lost) == nil {
			attempts++
		}
		if took := time.Since(begun); attempts != maxAttempts || took != 3*time.Second {
			t.Errorf("%d attempts in %s", attempts, took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("the run was stopped")
		time.AfterFunc(firstPause/2, func() { cancel(stopped) })
		begun := time.Now()
		if err := (&retry{}).wait(ctx, lost); !errors.Is(err, stopped) || time.Since(begun) != firstPause/2 {
			t.Errorf("a read that was stopped waits %s and gets %v", time.Since(begun), err)
		}
	})
	if err := (&retry{}).wait(t.Context(), mongo.CommandError{Code: 13}); err == nil {
		t.Error("a refused read is tried again")
	}
}

func TestFindGoesOnAfterABrokenConnection(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	seeded := catalogue.Seed(3)
	config, proxy := proxied(t, catalogue)
	s := open(t, config)
	for range 3 {
		found, err := s.Find(t.Context(), []product.ID{product.ID(seeded.Key(1))})
		if err != nil || len(found) != 1 {
			t.Fatalf("%v, %v", found, err)
		}
		proxy.Reset()
	}
}
