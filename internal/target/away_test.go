package target

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

// isAway checks that an error says that the server does not answer at present.
func isAway(t *testing.T, err error, wants ...string) {
	t.Helper()
	testenv.CheckMessage(t, err, wants...)
	var away *product.AwayError
	if !errors.As(err, &away) || away.Server != "PostgreSQL" {
		t.Errorf("not told from what PostgreSQL refuses for good: %v", err)
	}
}

func TestCaseD13ServerThatDoesNotAnswerAtPresent(t *testing.T) {
	t.Parallel()
	ids := []product.ID{"a"}
	read := func(target *Target) error { _, err := target.Find(t.Context(), ids); return err }

	t.Run("cut", func(t *testing.T) {
		t.Parallel()
		target, proxy := proxied(t, testenv.Cart(t))
		proxy.Cut()
		isAway(t, read(target), "no server answers", "CART_DB_URL")
		isAway(t, target.Describe(t.Context()), "no server answers")
		_, err := target.Ping(t.Context())
		isAway(t, err, "no server answers")
		_, err = target.Lock(t.Context())
		isAway(t, err, "no server answers")
		isAway(t, untried(t, &Writer{target}, product.Orphaned, removalsOf("a")), "no server answers")
		proxy.Restore()
		if err := read(target); err != nil {
			t.Error(err)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		server := testenv.PrivatePostgreSQL(t)
		target := described(t, testenv.Cart(t, testenv.OnPostgreSQL(server.URL)).URL, "public")
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		isAway(t, read(target), "no server answers")
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		if err := read(target); err != nil {
			t.Error(err)
		}
	})
	t.Run("unknown host", func(t *testing.T) {
		t.Parallel()
		address := testenv.ChangedURL(t, testenv.Cart(t).URL, func(u *url.URL) { u.Host = "nowhere.invalid:5432" })
		_, err := open(t, address, "public").Ping(t.Context())
		isAway(t, err, "no server answers", "nowhere.invalid")
	})
	t.Run("too many connections", func(t *testing.T) {
		t.Parallel()
		db := testenv.Cart(t)
		address := db.Role("SELECT ON product")
		db.Exec("ALTER DATABASE " + db.Name + " CONNECTION LIMIT 0")
		_, err := open(t, address, "public").Ping(t.Context())
		isAway(t, err, "PostgreSQL takes no more connections", "too many connections for database", "CONNECTION LIMIT")
		if strings.Contains(err.Error(), "SQLSTATE") {
			t.Error(err)
		}
	})
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		proxy, address := testenv.ProxyTo(t, testenv.Cart(t).URL)
		target := described(t, address+"&statement_timeout=500&connect_timeout=3", "public") // 500 ms and 5 s are waited for
		err := target.pool.AcquireFunc(t.Context(), func(conn *pgxpool.Conn) error {
			proxy.Freeze()
			return conn.QueryRow(t.Context(), "SELECT $1::int", 1).Scan(new(int))
		})
		isAway(t, target.explained(t.Context(), err), "no answer within 5.5s")
		begun := time.Now()
		isAway(t, read(target), "no server answers")
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("it took %s to give up", took)
		}
		proxy.Thaw()
		if err := read(target); err != nil {
			t.Error(err)
		}
	})
	t.Run("lost commit", func(t *testing.T) {
		t.Parallel()
		db := testenv.Cart(t)
		target, proxy := proxied(t, db)
		db.Insert(testenv.Row{ID: "a"})
		db.Exec("CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN OLD; END $$")
		db.Exec("CREATE CONSTRAINT TRIGGER wait AFTER DELETE ON product DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()")
		release := holding(t, db, "SELECT pg_advisory_xact_lock(7)")
		done := make(chan struct{})
		go func() {
			defer close(done)
			results, err := (&Writer{target}).Repair(t.Context(), product.Orphaned, 1, removalsOf("a"))
			isAway(t, err, "no server answers")
			if results[0].Fate != product.Unknown {
				t.Errorf("%+v; nobody knows whether it is done", results[0])
			}
		}()
		waitForLock(t, db)
		proxy.Cut()
		<-done
		release()
	})
	t.Run("not away", func(t *testing.T) {
		t.Parallel()
		db := testenv.Cart(t)
		for name, address := range map[string]string{
			"wrong password":   testenv.ChangedURL(t, db.URL, func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), testenv.Password) }),
			"unknown database": testenv.ChangedURL(t, db.URL, func(u *url.URL) { u.Path = "/nosuchshop" }),
			"no TLS":           testenv.ChangedURL(t, db.URL, func(u *url.URL) { u.RawQuery = "sslmode=require" }),
			"no right":         db.Role(),
		} {
			_, err := open(t, address, "public").Count(t.Context())
			if err == nil || errors.As(err, new(*product.AwayError)) {
				t.Errorf("%s: waiting does not help: %v", name, err)
			}
		}
		target, proxy := proxied(t, db)
		proxy.Freeze()
		defer proxy.Thaw()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := target.Find(ctx, ids); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(*product.AwayError)) {
			t.Errorf("the caller's own deadline is over: %v", err)
		}
	})
}
