package ledger

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

// refusedAtOnce checks that a ledger is neither looked at nor made over an address.
func refusedAtOnce(t *testing.T, address string, away bool, wants ...string) {
	t.Helper()
	l := open(t, address, "products")
	_, checkErr := l.Check(t.Context())
	_, claimErr := l.Claim(t.Context(), "worker", long)
	for _, err := range []error{checkErr, claimErr, l.Migrate(t.Context())} {
		testenv.CheckMessage(t, err, append(wants, "ETL_STATE_DB_URL")...)
		if errors.As(err, new(*product.AwayError)) != away {
			t.Errorf("away is not %t: %v", away, err)
		}
	}
}

func TestCaseB1LedgerBehindAPooler(t *testing.T) {
	t.Parallel()
	pooler := testenv.PoolerOf(t, testenv.Cart(t))
	for _, mode := range []string{"transaction", "statement"} {
		refusedAtOnce(t, pooler.URL(mode), false, "connection pooler (such as PgBouncer) in transaction or statement mode")
	}
	l := open(t, pooler.URL("session"), "products")
	if err := l.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	begun(t, l, long)
}

func TestCaseB2LedgerOnAStandby(t *testing.T) {
	t.Parallel()
	primary := testenv.PrivatePostgreSQL(t)
	db := testenv.Cart(t, testenv.OnPostgreSQL(primary.URL))
	standby := testenv.Standby(t, primary)
	host := func(address string) (host string) {
		testenv.ChangedURL(t, address, func(u *url.URL) { host = u.Host })
		return host
	}
	there := testenv.ChangedURL(t, db.URL, func(u *url.URL) { u.Host = host(standby.URL) })
	refusedAtOnce(t, there, true, "this is a standby")
	both := testenv.ChangedURL(t, there, func(u *url.URL) { u.Host += "," + host(primary.URL) })
	l := open(t, both, "products")
	if err := l.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	submitted(t, l)
}

func TestCaseB3LedgerOfALimitedRole(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	address := db.Role("CREATE ON DATABASE " + db.Name)
	role := strings.Split(strings.TrimPrefix(address, "postgres://"), ":")[0]
	for _, setting := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		db.Exec("ALTER ROLE " + role + " SET " + setting + " = 8")
	}
	l := open(t, address, "products")
	if err := l.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	submitted(t, l)
	db.Exec("ALTER ROLE " + role + " SET default_transaction_read_only = on")
	refusedAtOnce(t, address, false, "role "+role+" has default_transaction_read_only = on", "RESET")
}

func TestCaseB4LedgerOnAnOldVersion(t *testing.T) {
	t.Parallel()
	refusedAtOnce(t, testenv.Cart(t, testenv.OnPostgreSQL(testenv.OldPostgreSQL(t).URL)).URL, false, "PostgreSQL 14 or later is needed", "13.")
}
