package target

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestMessagesNameTheVariableAndTheRemedy(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	for _, tt := range testenv.Mishaps(t, db.URL) {
		for _, variable := range []string{"CART_DB_URL", "CART_DB_WRITE_URL"} {
			config := Config{URL: secret.URL(tt.URL), Schema: "public", Table: "product"}
			if variable == "CART_DB_WRITE_URL" {
				config.URL, config.WriteURL = secret.URL(db.URL), secret.URL(tt.URL)
			}
			t.Run(tt.Name+" of "+variable, func(t *testing.T) {
				t.Parallel()
				target, err := Open(t.Context(), config)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(target.Close)
				_, pingErr := target.Ping(t.Context())
				testenv.CheckMessage(t, pingErr, append(tt.Says, "reach PostgreSQL: ", variable)...)
				testenv.CheckMessage(t, target.Describe(t.Context()), append(tt.Says, "cart table "+target.Name(), variable)...)
				_, countErr := target.Count(t.Context())
				testenv.CheckMessage(t, countErr, append(tt.Says, "count "+target.Name(), variable)...)
				_, lockErr := target.Lock(t.Context())
				testenv.CheckMessage(t, lockErr, append(tt.Says, "take the lock of "+target.Name(), variable)...)
			})
		}
	}
}

func TestWriteURLIsPreferred(t *testing.T) {
	t.Parallel()
	db, replica := testenv.Cart(t), testenv.Cart(t)
	db.Insert(testenv.Row{ID: "a"})
	target, err := Open(t.Context(), Config{URL: secret.URL(replica.URL), WriteURL: secret.URL(db.URL), Schema: "public", Table: "product"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	if n, err := target.Count(t.Context()); err != nil || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestMessageOfAMissingTableNamesTheVariableInUse(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	target, err := Open(t.Context(), Config{WriteURL: secret.URL(db.URL), Schema: "public", Table: "products"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	testenv.CheckMessage(t, target.Describe(t.Context()), "the table does not exist", "CART_DB_WRITE_URL", "CART_TABLE", db.Name+".public.products")
	_, err = target.Count(t.Context())
	testenv.CheckMessage(t, err, "count "+db.Name+".public.products", "does not exist", "changed meanwhile: see `etl doctor`")
}

func TestPingTellsTheClockSkew(t *testing.T) {
	t.Parallel()
	target := open(t, testenv.Cart(t).URL, "public")
	skew, err := target.Ping(t.Context())
	if err != nil || skew.Abs() > 10*time.Second {
		t.Errorf("skew %s, %v; the server is on this machine", skew, err)
	}
}

// proxied is a described table behind a proxy.
func proxied(t *testing.T, db *testenv.CartDB) (*Target, *testenv.Proxy) {
	t.Helper()
	proxy, url := testenv.ProxyTo(t, db.URL)
	return described(t, url, "public"), proxy
}

func TestSpanGoesOnAfterEachBrokenConnection(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	target, proxy := proxied(t, db)
	var want []product.ID
	for i := range 100 {
		id := fmt.Sprintf("id%03d", i)
		db.Insert(testenv.Row{ID: id})
		want = append(want, product.ID(id))
	}
	target.page = 15
	var got []product.ID
	cuts := 0
	for page, err := range target.Span(t.Context(), "", "", product.CartFields()) {
		page = testenv.KeptRows(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			got = append(got, r.ID)
		}
		if cuts++; cuts == 3 { // away for a while
			proxy.Cut()
			time.AfterFunc(200*time.Millisecond, proxy.Restore)
		} else {
			proxy.Reset()
		}
	}
	if !slices.Equal(got, want) || cuts != 7 {
		t.Errorf("%d rows in %d pages, want each of %d once and in order", len(got), cuts, len(want))
	}
	if found, err := target.Find(t.Context(), want); err != nil || len(found) != len(want) {
		t.Errorf("%d of %d are found, %v", len(found), len(want), err)
	}
}

func TestReadsSayThatTheServerStaysAway(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	db.Insert(testenv.Row{ID: "a"}, testenv.Row{ID: "b"})
	target, proxy := proxied(t, db)
	target.shape.checks = []check{{name: "rule", expression: expression{text: "true"}, scope: "true"}}
	target.page = 1
	writer := writerOf(t, target)
	pages := 0
	var last error
	for _, err := range target.Span(t.Context(), "", "", product.CartFields()) {
		if last != nil {
			t.Fatal("the error was not the end")
		}
		if pages++; pages == 1 {
			proxy.Cut()
			target.pool.Reset() // connections that broke while nobody looked
		}
		last = err
	}
	testenv.CheckMessage(t, last, "read rows of "+target.Name(), "no server answers", "CART_DB_URL", proxy.Addr)
	if pages != 2 {
		t.Errorf("%d pages, the second one was to fail", pages)
	}
	for name, read := range map[string]func() error{
		"find":       func() error { _, err := target.Find(t.Context(), []product.ID{"a"}); return err },
		"check":      func() error { _, err := target.Check(t.Context(), []product.Row{row("a", 1)}); return err },
		"referenced": func() error { _, err := target.Referenced(t.Context(), []product.ID{"a"}); return err },
		"insert":     func() error { return untried(t, writer, product.Missing, repairsOf(row("c", 1), row("d", 1))) },
		"update": func() error {
			return untried(t, writer, product.Stale, []product.Repair{staleFrom(row("a", 1), row("a", 2)), staleFrom(row("b", 1), row("b", 2))})
		},
		"delete": func() error { return untried(t, writer, product.Orphaned, removalsOf("a", "b")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			testenv.CheckMessage(t, read(), "no server answers", "CART_DB_URL", proxy.Addr)
			if took := time.Since(begun); took > 15*time.Second {
				t.Errorf("it took %s to give up", took)
			}
		})
	}
}

// untried repairs while the server is away, and expects that nothing was sent.
func untried(t *testing.T, writer *Writer, kind product.Kind, repairs []product.Repair) error {
	t.Helper()
	results, err := writer.Repair(t.Context(), kind, 1, repairs)
	for i, r := range repairs {
		if results[i] != (product.Result{ID: r.Row.ID}) {
			t.Errorf("%s: %+v; nothing was sent", kind, results[i])
		}
	}
	return err
}

// differing is a table that holds "stale" and "orphaned", behind a proxy.
func differing(t *testing.T) (*Target, *Writer, *testenv.Proxy) {
	t.Helper()
	db := testenv.Cart(t)
	target, proxy := proxied(t, db)
	fill(t, target, []product.ID{"stale", "orphaned"})
	db.Exec("UPDATE product SET price = 1")
	return target, writerOf(t, target), proxy
}

// each is a repair of every kind in such a table.
func each() map[product.Kind][]product.Repair {
	return map[product.Kind][]product.Repair{
		product.Missing:  repairsOf(row("missing", 1)),
		product.Stale:    {staleFrom(row("stale", 1), row("stale", 2))},
		product.Orphaned: removalsOf("orphaned"),
	}
}

// repairedEach checks that the table holds what it does after each.
func repairedEach(t *testing.T, target *Target) {
	t.Helper()
	found, err := target.Find(t.Context(), []product.ID{"missing", "stale", "orphaned"})
	if err != nil || len(found) != 2 || found["missing"] != row("missing", 1) || found["stale"] != row("stale", 2) {
		t.Errorf("the table holds %v, %v", found, err)
	}
}

// A write whose answer never came may have happened.
func TestRepairThatIsNotAnsweredIsUnknown(t *testing.T) {
	t.Parallel()
	target, writer, proxy := differing(t)
	proxy.Freeze()
	for kind, repairs := range each() {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		results, err := writer.Repair(ctx, kind, 1, repairs)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", kind, err)
		}
		if results[0] != (product.Result{ID: repairs[0].Row.ID, Fate: product.Unknown}) {
			t.Errorf("%+v; nobody knows whether it is done", results[0])
		}
	}
	proxy.Thaw()
	for kind, repairs := range each() {
		if results, err := writer.Repair(t.Context(), kind, 2, repairs); err != nil || results[0] != confirmed(repairs[0].Row.ID) {
			t.Errorf("%s once more: %+v, %v", kind, results, err)
		}
	}
	repairedEach(t, target)
}

// What comes after a lost answer was not sent, and says so.
func TestRepairStopsAtALostAnswer(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	target, proxy := proxied(t, db)
	writer := writerOf(t, target)
	rows := []product.Row{row("a", 1), row("b", 1), row("c", 1)}
	for i := range rows { // each in a transaction of its own
		rows[i].Values[product.Title] = product.TextValue(strings.Repeat("x", transactionSize-100))
	}
	db.Exec("CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 'b' THEN PERFORM pg_advisory_xact_lock(7); END IF; RETURN NEW; END $$")
	db.Exec("CREATE TRIGGER wait BEFORE INSERT ON product FOR EACH ROW EXECUTE FUNCTION wait()")
	release := holding(t, db, "SELECT pg_advisory_xact_lock(7)")
	done := make(chan []product.Result)
	go func() {
		results, err := writer.Repair(t.Context(), product.Missing, 1, repairsOf(rows...))
		testenv.CheckMessage(t, err, "insert rows into "+target.Name(), "no server answers")
		done <- results
	}()
	waitForLock(t, db)
	proxy.Cut()
	want := []product.Result{confirmed("a"), {ID: "b", Fate: product.Unknown}, {ID: "c"}}
	if results := <-done; !slices.Equal(results, want) {
		t.Errorf("%+v, want %+v", results, want)
	}
	release()
}

func TestRepairGoesOnAfterABrokenConnection(t *testing.T) {
	t.Parallel()
	target, writer, proxy := differing(t)
	for kind, repairs := range each() {
		proxy.Reset()
		if results, err := writer.Repair(t.Context(), kind, 1, repairs); err != nil || results[0] != confirmed(repairs[0].Row.ID) {
			t.Errorf("%s: %+v, %v", kind, results, err)
		}
	}
	repairedEach(t, target)
}

func TestFindOddTexts(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	target := described(t, db.URL, "public")
	db.Insert(testenv.Row{ID: ""}, testenv.Row{ID: "a"}, testenv.Row{ID: "{a,b}"}, testenv.Row{ID: `"`}, testenv.Row{ID: `\`}, testenv.Row{ID: "NULL"}, testenv.Row{ID: "ü😀"})
	asked := []product.ID{"", "a", "{a,b}", `"`, `\`, "NULL", "ü😀", "a\x00", "\x00", "\xff", "a\xc3", "A", " a", "a ", "absent"}
	found, err := target.Find(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range asked {
		if r, ok := found[id]; ok != (i < 7) || r.ID != id && ok {
			t.Errorf("%q: found %t as %q", id, ok, r.ID)
		}
	}
	for _, none := range [][]product.ID{nil, {"\x00"}, {"\xff", "\xfe"}} {
		if found, err := target.Find(t.Context(), none); err != nil || len(found) != 0 {
			t.Errorf("%q: %v, %v", none, found, err)
		}
	}
	many := make([]product.ID, 20_000)
	for i := range many {
		many[i] = product.ID(fmt.Sprint("absent", i))
	}
	if found, err := target.Find(t.Context(), append(many, "a")); err != nil || len(found) != 1 {
		t.Errorf("%d of many are found, %v", len(found), err)
	}
}

func TestSpanStopsWithItsReader(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	target := described(t, db.URL, "public")
	db.Insert(testenv.Row{ID: "a"}, testenv.Row{ID: "b"}, testenv.Row{ID: "c"})
	target.page = 1
	pages := 0
	for _, err := range target.Span(t.Context(), "", "", product.CartFields()) {
		if err != nil {
			t.Fatal(err)
		}
		if pages++; pages == 2 {
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pages = 0
	var last error
	for _, err := range target.Span(ctx, "", "", product.CartFields()) {
		last = err
		pages++
		cancel()
	}
	if !errors.Is(last, context.Canceled) || pages != 2 {
		t.Errorf("%d pages and %v; a span that was stopped must not look complete", pages, last)
	}
}

func TestRetried(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  error
		want bool // it is tried again
	}{
		{"shut down", &pgconn.PgError{Code: "57P01"}, true},
		{"starting", fmt.Errorf("read: %w", &pgconn.PgError{Code: "57P03"}), true},
		{"too many connections", &pgconn.PgError{Code: "53300"}, true},
		{"deadlock", &pgconn.PgError{Code: "40P01"}, true},
		{"connection failure", &pgconn.PgError{Code: "08006"}, true},
		{"reset", &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, true},
		{"lost within a transaction", fmt.Errorf("commit: %w", pgconn.ErrConnClosed), true},
		{"cancelled by an operator", &pgconn.PgError{Code: "57014"}, false},
		{"no such table", &pgconn.PgError{Code: "42P01"}, false},
		{"no right", &pgconn.PgError{Code: "42501"}, false},
		{"bad value", &pgconn.PgError{Code: "22P02"}, false},
		{"broken row", errors.New("a bigint of 7 bytes"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var tries atomic.Int32
			_, err := retried(t.Context(), func() (int, error) {
				if tries.Add(1) == 2 {
					return 1, nil
				}
				return 0, tt.err
			})
			if again := err == nil; again != tt.want || again != (tries.Load() == 2) {
				t.Errorf("tried %d times, %v", tries.Load(), err)
			}
			if err != nil && !errors.Is(err, tt.err) {
				t.Errorf("the cause is lost: %v", err)
			}
		})
	}
	tries := 0
	ctx, cancel := context.WithCancel(t.Context())
	_, err := retried(ctx, func() (int, error) {
		tries++
		cancel()
		return 0, &pgconn.PgError{Code: "57P01", Message: "shut down"}
	})
	if tries != 1 || err == nil || !strings.Contains(err.Error(), "shut down") {
		t.Errorf("a read that was stopped was tried %d times: %v", tries, err)
	}
}
