package main

import (
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/testenv"
)

// The cases B of PostgreSQL in the field, as doctor and the commands tell them.

// mustDiagnose checks that doctor has each of these lines, by mark, name and words.
func (s *shop) mustDiagnose(code int, lines ...string) {
	s.tb.Helper()
	o := s.etl(s.tb.Context(), "doctor")
	if o.code != code {
		s.tb.Errorf("doctor ends with %d, not %d", o.code, code)
	}
	for _, line := range lines {
		begin, words, _ := strings.Cut(line, ": ")
		found := false
		for told := range strings.Lines(o.stdout) {
			found = found || strings.HasPrefix(told, begin) && strings.Contains(told, words)
		}
		if !found {
			s.tb.Errorf("doctor does not tell %q:\n%s", line, o.stdout)
		}
	}
}

func hostOf(tb testing.TB, address string) (host string) {
	testenv.ChangedURL(tb, address, func(u *url.URL) { host = u.Host })
	return host
}

func TestCaseB1DoctorSeesAPooler(t *testing.T) {
	t.Parallel()
	s := newShop(t, 3, func(i int) bool { return i == 0 })
	pooler := testenv.PoolerOf(t, s.cart)
	for _, mode := range []string{"transaction", "statement"} {
		shared := s.with(map[string]string{"CART_DB_URL": pooler.URL(mode)})
		shared.mustDiagnose(exitService, "FAIL  cart service: connection pooler (such as PgBouncer) in transaction or statement mode", "FAIL  ledger: connection pooler")
		for _, command := range []string{"sync", "validate", "stats"} {
			if o := shared.etl(t.Context(), command); o.code != exitService || !strings.Contains(o.stderr, "connection pooler") {
				t.Errorf("%s in %s mode ends with %d: %s", command, mode, o.code, o.stderr)
			}
		}
	}
	s.with(map[string]string{"ETL_STATE_DB_URL": pooler.URL("transaction")}).mustDiagnose(exitService, "ok    cart service: connected", "FAIL  ledger: ETL_STATE_DB_URL leads to a connection pooler")
	s.consumer()
	s.with(map[string]string{"CART_DB_URL": pooler.URL("session")}).mustDiagnose(exitOK, "ok    cart service: connected", "ok    cart's lock: nobody holds it", "ok    ledger: ")
}

func TestCaseB2DoctorSeesAStandby(t *testing.T) {
	t.Parallel()
	primary := testenv.PrivatePostgreSQL(t)
	s := newShop(t, 3, func(int) bool { return false })
	cart := testenv.Cart(t, testenv.OnPostgreSQL(primary.URL))
	cart.Fill(s.products.Where(func(i int) bool { return i > 0 }))
	standby := testenv.Standby(t, primary)
	there := testenv.ChangedURL(t, cart.URL, func(u *url.URL) { u.Host = hostOf(t, standby.URL) })
	alone := s.with(map[string]string{"CART_DB_URL": there, "ETL_STATE_DB_URL": s.cart.URL})
	alone.mustDiagnose(exitService, "FAIL  cart service: this is a standby")
	for _, command := range []string{"sync", "validate", "stats"} {
		if o := alone.etl(t.Context(), command); o.code != exitService || !strings.Contains(o.stderr, "this is a standby") {
			t.Errorf("%s ends with %d: %s", command, o.code, o.stderr)
		}
	}
	s.consumer()
	both := testenv.ChangedURL(t, there, func(u *url.URL) { u.Host += "," + hostOf(t, primary.URL) })
	s.with(map[string]string{"CART_DB_URL": both}).mustDiagnose(exitOK, "ok    cart service: connected", "ok    ledger: ")
}

func TestCaseB3DoctorSeesTheRolesSettings(t *testing.T) {
	t.Parallel()
	s := newShop(t, 3, func(i int) bool { return i == 0 })
	s.consumer()
	address := s.cart.Role("SELECT, INSERT, UPDATE, DELETE ON product", "SELECT ON cart", "CREATE ON DATABASE "+s.cart.Name)
	role := ""
	testenv.ChangedURL(t, address, func(u *url.URL) { role = u.User.Username() })
	limited := s.with(map[string]string{"CART_DB_URL": address})
	s.cart.Exec("ALTER ROLE " + role + " SET lock_timeout = 7; ALTER ROLE " + role + " SET statement_timeout = 8")
	limited.mustDiagnose(exitOK, "ok    cart service limits: etl sets its own in the place of lock_timeout = 7ms of role "+role)
	if o := limited.etl(t.Context(), "sync"); o.code != exitOK {
		t.Errorf("sync ends with %d: %s%s", o.code, o.stdout, o.stderr)
	}
	s.cart.Exec("ALTER ROLE " + role + " SET default_transaction_read_only = on")
	const told = " has default_transaction_read_only = on: ALTER ROLE "
	limited.mustDiagnose(exitService, "warn  direct mode: role "+role+told, "FAIL  ledger: role "+role+told)
	if o := limited.with(map[string]string{"ETL_STATE_DB_URL": s.cart.URL}).etl(t.Context(), "sync", "--mode", "direct"); o.code == exitOK || !strings.Contains(o.stderr, "role "+role+told) {
		t.Errorf("a direct sync ends with %d: %s", o.code, o.stderr)
	}
	if o := limited.etl(t.Context(), "validate"); o.code != exitOK {
		t.Errorf("what only reads ends with %d: %s%s", o.code, o.stdout, o.stderr)
	}
}

func TestCaseB4DoctorSeesAnOldVersion(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1, func(int) bool { return true })
	old := testenv.Cart(t, testenv.OnPostgreSQL(testenv.OldPostgreSQL(t).URL))
	const told = "PostgreSQL 14 or later is needed"
	s.with(map[string]string{"CART_DB_URL": old.URL}).mustDiagnose(exitService, "FAIL  cart service: "+told, "FAIL  ledger: "+told)
	s.with(map[string]string{"ETL_STATE_DB_URL": old.URL}).mustDiagnose(exitService, "ok    cart service: ", "FAIL  ledger: "+told)
	if o := s.with(map[string]string{"CART_DB_URL": old.URL}).etl(t.Context(), "sync"); o.code != exitService || !strings.Contains(o.stderr, told) {
		t.Errorf("sync ends with %d: %s", o.code, o.stderr)
	}
}

func TestCaseB5CommandsSayWhoHoldsTheLock(t *testing.T) {
	t.Parallel()
	s := newShop(t, 3, func(int) bool { return false })
	tx, err := s.cart.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), "LOCK product IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	const told = "table public.product is locked by pid "
	var at sync.WaitGroup
	for _, command := range [][]string{{"stats"}, {"explain", "nope"}, {"explain", "nope"}} {
		at.Go(func() {
			begun := time.Now()
			o := s.etl(t.Context(), command...)
			if o.code != exitService || !strings.Contains(o.stderr, told) || strings.Contains(o.stderr, "product service") || strings.Contains(o.stderr, "MongoDB") {
				t.Errorf("%v ends with %d: %s", command, o.code, o.stderr)
			}
			if took := time.Since(begun); took > 30*time.Second {
				t.Errorf("%v was silent for %s", command, took)
			}
		})
	}
	at.Go(func() {
		s.mustDiagnose(exitService, "FAIL  cart rows: "+told, `FAIL  cart rows: application "testenv"`)
	})
	at.Wait()
}

func TestCaseF2DoctorSeesAnotherTable(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1, func(int) bool { return false })
	s.consumer()
	role := ""
	testenv.ChangedURL(t, s.cart.Role("INSERT ON product"), func(u *url.URL) { role = u.User.Username() })
	s.mustDiagnose(exitOK, "ok    cart roles: ")
	s.cart.Exec("CREATE SCHEMA " + role + "; GRANT USAGE ON SCHEMA " + role + " TO " + role)
	s.mustDiagnose(exitOK, "warn  cart roles: role "+role+` (search_path "$user", public) looks into schema `+role+" first")
	s.cart.Exec("CREATE TABLE " + role + ".product (id text)")
	s.mustDiagnose(exitOK, "warn  cart roles: uses the table of this name in schema "+role+", not public.product")
}
