package target

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

// shown is what a plain client sees of a setting.
func shown(t *testing.T, address, setting string) (value string) {
	t.Helper()
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal("the address cannot be read")
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), "SHOW "+setting).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// refusedAtOnce checks that nothing is done over an address. away tells whether waiting
// may help.
func refusedAtOnce(t *testing.T, address string, away bool, wants ...string) {
	t.Helper()
	target := open(t, address, "public")
	begun := time.Now()
	_, err := target.Ping(t.Context())
	testenv.CheckMessage(t, err, append(wants, "reach PostgreSQL: ", "CART_DB_URL")...)
	testenv.CheckMessage(t, target.Describe(t.Context()), wants...)
	_, lockErr := target.Lock(t.Context())
	testenv.CheckMessage(t, lockErr, append(wants, "take the lock of "+target.Name())...)
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("refused after %s", took)
	}
	if errors.As(err, new(*product.AwayError)) != away {
		t.Errorf("away is not %t: %v", away, err)
	}
}

func TestCaseB1PoolerThatSharesItsSessions(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]string{
		"usual":                    nil,
		"one session":              {"default_pool_size = 1"},
		"the longest rested first": {"server_round_robin = 1", "min_pool_size = 3"},
		"always reset":             {"server_reset_query_always = 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pooler := testenv.PoolerOf(t, testenv.Cart(t), settings...)
			for _, mode := range []string{"transaction", "statement"} {
				refusedAtOnce(t, pooler.URL(mode), false, "connection pooler (such as PgBouncer) in transaction or statement mode")
				for _, setting := range []string{"statement_timeout", "idle_session_timeout", "lock_timeout"} {
					if value := shown(t, pooler.URL(mode), setting); value != "0" {
						t.Errorf("%s is left at %s for others", setting, value)
					}
				}
			}
		})
	}
}

func TestCaseB1PoolerInSessionMode(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	db.Insert(testenv.Row{ID: "a"})
	pooler := testenv.PoolerOf(t, db, "ignore_startup_parameters = client_encoding,application_name", "default_pool_size = 6")
	address := pooler.URL("session")
	target := described(t, address, "public")
	if found, err := target.Find(t.Context(), []product.ID{"a"}); err != nil || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
	lock, err := target.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, address, "public").Lock(t.Context()); !errors.Is(err, ErrLocked) {
		t.Errorf("a second run gets the lock: %v", err)
	}
	db.Exec("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
	select {
	case <-lock.Lost():
	case <-time.After(30 * time.Second):
		t.Error("the lock is not seen to be lost")
	}
	lock.Release(t.Context())
	target.Close()
	for _, setting := range []string{"statement_timeout", "idle_session_timeout", "lock_timeout"} {
		if value := shown(t, address, setting); value != "0" {
			t.Errorf("%s is left at %s for others", setting, value)
		}
	}
	refusedAtOnce(t, address+"&options=-c%20geqo%3Doff", false, "unsupported startup parameter: options", "ignore_startup_parameters")
	refusedAtOnce(t, address+"&extra_float_digits=3", false, "unsupported startup parameter: extra_float_digits", "ignore_startup_parameters")

	small := testenv.PoolerOf(t, db, "default_pool_size = 1")
	_, err = open(t, small.URL("session"), "public").Ping(t.Context())
	isAway(t, err, "gives no second session", "raise its pool size")
}

func TestCaseB2Standby(t *testing.T) {
	t.Parallel()
	primary := testenv.PrivatePostgreSQL(t)
	db := testenv.Cart(t, testenv.OnPostgreSQL(primary.URL))
	db.Insert(testenv.Row{ID: "a"})
	standby := testenv.Standby(t, primary)
	host := func(address string) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal("the address cannot be read")
		}
		return u.Host
	}
	on := func(hosts string) string { return strings.Replace(db.URL, host(primary.URL), hosts, 1) }

	refusedAtOnce(t, on(host(standby.URL)), true, "this is a standby")
	refusedAtOnce(t, on(host(standby.URL))+"&target_session_attrs=standby", true, "this is a standby")
	closed := testenv.ClosedAddress(t)
	refusedAtOnce(t, on(closed+","+host(standby.URL)), true, "this is a standby", closed)

	target := described(t, on(host(standby.URL)+","+host(primary.URL)), "public")
	preferring := described(t, on(host(primary.URL)+","+host(standby.URL))+"&target_session_attrs=prefer-standby", "public")
	read := func(target *Target) error {
		found, err := target.Find(t.Context(), []product.ID{"a"})
		if err == nil && len(found) != 1 {
			err = errors.New("the row is not seen")
		}
		return err
	}
	for _, target := range []*Target{target, preferring} {
		if err := read(target); err != nil {
			t.Error(err)
		}
	}
	lock, err := target.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	// The primary is lost in mid-run, and the standby takes its place.
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	defer func() { // for the clean-up
		if err := primary.Start(); err != nil {
			t.Error(err)
		}
	}()
	isAway(t, read(target), "this is a standby", host(primary.URL))
	select {
	case <-lock.Lost():
	case <-time.After(30 * time.Second):
		t.Error("the lock is not seen to be lost")
	}
	lock.Release(t.Context())
	if value := shown(t, standby.URL, "in_hot_standby"); value != "on" {
		t.Errorf("in_hot_standby is %s", value)
	}
	promote(t, standby.URL)
	for _, target := range []*Target{target, preferring} {
		if err := read(target); err != nil {
			t.Errorf("after the promotion: %v", err)
		}
	}
}

// promote makes a primary of a standby.
func promote(t *testing.T, address string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), "SELECT pg_promote()"); err != nil {
		t.Fatal(err)
	}
}

func TestCaseB3LimitsOfTheRole(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	db.Insert(testenv.Row{ID: "a"})
	address := db.Role("SELECT, INSERT, UPDATE, DELETE ON product", "SELECT ON cart")
	role := strings.Split(strings.TrimPrefix(address, "postgres://"), ":")[0]
	for setting, limit := range map[string]string{"statement_timeout": "8", "lock_timeout": "8", "idle_in_transaction_session_timeout": "8", "idle_session_timeout": "3000"} {
		db.Exec("ALTER ROLE " + role + " SET " + setting + " = " + limit)
	}
	db.Exec("ALTER DATABASE " + db.Name + " SET statement_timeout = 5")
	target := described(t, address, "public")
	if _, err := target.pool.Exec(t.Context(), "SELECT pg_sleep(0.05)"); err != nil {
		t.Error(err)
	}
	err := pgx.BeginFunc(t.Context(), target.pool, func(tx pgx.Tx) error {
		time.Sleep(20 * time.Millisecond) // the role's limit is over
		_, err := tx.Exec(t.Context(), "SELECT 1")
		return err
	})
	if err != nil {
		t.Error(err)
	}
	replaced := strings.Join(target.Limits(), "; ")
	for _, want := range []string{"statement_timeout", "lock_timeout = 8ms of role " + role, "idle_session_timeout = 3000ms of role"} {
		if !strings.Contains(replaced, want) {
			t.Errorf("%q does not name %q", replaced, want)
		}
	}
	// What the address asks for is taken.
	own := open(t, address+"&statement_timeout=300", "public")
	_, err = own.pool.Exec(t.Context(), "SELECT pg_sleep(3)")
	isAway(t, own.explained(t.Context(), err), "canceling statement due to statement timeout", "statement_timeout may be set in CART_DB_URL")
}

func TestCaseB3ReadOnly(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ set, says, remedy string }{
		"role":             {"ALTER ROLE %[1]s SET default_transaction_read_only = on", "role %[1]s has default_transaction_read_only = on", "ALTER ROLE %[1]q RESET default_transaction_read_only"},
		"database":         {"ALTER DATABASE %[2]s SET default_transaction_read_only = on", "database %[2]s has", "ALTER DATABASE %[2]q RESET"},
		"role in database": {"ALTER ROLE %[1]s IN DATABASE %[2]s SET default_transaction_read_only = on", "role %[1]s in database %[2]s has", "ALTER ROLE %[1]q IN DATABASE %[2]q RESET"},
		"address":          {"", "the address has", "remove it from there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := testenv.Cart(t)
			db.Insert(testenv.Row{ID: "a"})
			address := db.Role("SELECT, INSERT, UPDATE, DELETE ON product", "SELECT ON cart")
			role := strings.Split(strings.TrimPrefix(address, "postgres://"), ":")[0]
			filled := func(text string) string {
				return strings.Split(fmt.Sprintf(text+"\x00%[1]s%[2]s", role, db.Name), "\x00")[0]
			}
			if tt.set != "" {
				db.Exec(filled(tt.set))
			} else {
				address += "&default_transaction_read_only=on"
			}
			target := described(t, address, "public")
			if found, err := target.Find(t.Context(), []product.ID{"a"}); err != nil || len(found) != 1 {
				t.Errorf("it is the primary, and can be read: %v, %v", found, err)
			}
			_, err := target.Writer(product.Kinds())
			testenv.CheckMessage(t, err, "nothing may be written to the database of CART_DB_URL", filled(tt.says), filled(tt.remedy), "--mode replay")
		})
	}
	// Where it begins in mid-run, the statement is refused.
	db := testenv.Cart(t)
	target := described(t, db.URL, "public")
	writer := writerOf(t, target)
	_, err := target.pool.Exec(t.Context(), "SET default_transaction_read_only = on")
	if err != nil {
		t.Fatal(err)
	}
	_, err = writer.Repair(t.Context(), product.Missing, 1, repairsOf(row("b", 1)))
	testenv.CheckMessage(t, err, "read-only transaction", "default_transaction_read_only")
}

func TestCaseB4OldVersion(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t, testenv.OnPostgreSQL(testenv.OldPostgreSQL(t).URL))
	refusedAtOnce(t, db.URL, false, "PostgreSQL 14 or later is needed", "13.")
}

func TestCaseB5LockOfAnotherSession(t *testing.T) {
	t.Parallel()
	looks := map[string]func(*testing.T, *Target) error{
		"find": func(t *testing.T, target *Target) error {
			_, err := target.Find(t.Context(), []product.ID{"a"})
			return err
		},
		"count": func(t *testing.T, target *Target) error { _, err := target.Count(t.Context()); return err },
		"insert": func(t *testing.T, target *Target) error {
			return untried(t, &Writer{target}, product.Missing, repairsOf(row("b", 1)))
		},
		"update": func(t *testing.T, target *Target) error {
			return untried(t, &Writer{target}, product.Stale, []product.Repair{staleFrom(row("a", 0), row("a", 2))})
		},
	}
	for name, tt := range map[string]struct {
		statement string
		wants     []string
		who       []string
	}{
		"exclusive":            {"LOCK product IN ACCESS EXCLUSIVE MODE", []string{"table public.product is locked by pid ", `application "testenv", since 20`}, []string{"find", "count", "insert", "update"}},
		"as CREATE INDEX does": {"LOCK product IN SHARE MODE", []string{"table public.product is locked by pid ", `application "testenv"`}, []string{"insert"}},
		"of a row":             {"SELECT FROM product FOR UPDATE", []string{"lock timeout"}, []string{"update"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := testenv.Cart(t)
			db.Insert(testenv.Row{ID: "a", Title: "title of a"})
			target := described(t, db.URL, "public")
			release := holding(t, db, tt.statement)
			for _, who := range tt.who {
				begun := time.Now()
				isAway(t, looks[who](t, target), tt.wants...)
				if took := time.Since(begun); took > 20*time.Second {
					t.Errorf("%s waited for %s", who, took)
				}
			}
			release()
			if err := looks["find"](t, target); err != nil {
				t.Error(err)
			}
		})
	}
}
