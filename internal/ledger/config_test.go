package ledger

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestValidateNamesTheVariable(t *testing.T) {
	t.Parallel()
	const good = "postgres://cart:hunter2@db:5432/cart"
	for _, tt := range []struct {
		name   string
		config Config
		want   []string // one line each, which begins with it
	}{
		{"without a URL of its own", Config{Pipeline: "products", Retention: time.Hour, MaxRows: most}, nil},
		{"with one", Config{URL: good, Pipeline: strings.Repeat("p", maxText), Retention: 1, MaxRows: most}, nil},
		{"the other scheme", Config{URL: "postgresql://db/cart?sslmode=require", Pipeline: "ö", Retention: 1, MaxRows: most}, nil},
		{"nothing", Config{}, []string{"ETL_PIPELINE must be", "ETL_RETENTION must be", "ETL_LEDGER_MAX_ROWS is 0, it must be at least 1000"}},
		{"all wrong", Config{URL: "hunter2", Retention: -1}, []string{"ETL_STATE_DB_URL must begin", "ETL_PIPELINE must be", "ETL_RETENTION must be", "ETL_LEDGER_MAX_ROWS is 0, it must be at least 1000"}},
		{"a long pipeline", Config{Pipeline: strings.Repeat("p", maxText+1), Retention: 1, MaxRows: most}, []string{"ETL_PIPELINE must be"}},
		{"a NUL", Config{Pipeline: "a\x00", Retention: 1, MaxRows: most}, []string{"ETL_PIPELINE must be"}},
		{"no UTF-8", Config{Pipeline: "a\xff", Retention: 1, MaxRows: most}, []string{"ETL_PIPELINE must be"}},
		{"another scheme", Config{URL: "mysql://cart:hunter2@db/cart", Pipeline: "p", Retention: 1, MaxRows: most}, []string{"ETL_STATE_DB_URL must begin with postgres://"}},
		{"percent in the password", Config{URL: "postgres://cart:%hunter2@db/cart", Pipeline: "p", Retention: 1, MaxRows: most}, []string{"ETL_STATE_DB_URL postgres://"}},
		{"a port that is none", Config{URL: "postgres://cart:hunter2@db:99999999/cart", Pipeline: "p", Retention: 1, MaxRows: most}, []string{"ETL_STATE_DB_URL postgres://"}},
		{"a bad option", Config{URL: good + "?sslmode=perhaps", Pipeline: "p", Retention: 1, MaxRows: most}, []string{"ETL_STATE_DB_URL postgres://"}},
		{"the password as an option", Config{URL: "postgres://db/cart?password=hunter2&sslmode=perhaps", Pipeline: "p", Retention: 1, MaxRows: most}, []string{"ETL_STATE_DB_URL postgres://"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.config.Validate()
			if len(tt.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			testenv.CheckMessage(t, oneLine(err), tt.want...)
			if lines := strings.Split(err.Error(), "\n"); len(lines) != len(tt.want) {
				t.Fatalf("%d lines, want %d: %q", len(lines), len(tt.want), lines)
			}
		})
	}
}

func TestOpenNamesTheVariable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		own, fallback secret.URL
		want          string
	}{
		{"", "", "ETL_STATE_DB_URL is required"},
		{"hunter2", "postgres://db/cart", "ETL_STATE_DB_URL must begin"},
		{"", "hunter2", "CART_DB_URL must begin"},
	} {
		_, err := Open(t.Context(), Config{URL: tt.own, Pipeline: "products", Retention: long, MaxRows: most}, tt.fallback)
		testenv.CheckMessage(t, err, tt.want)
	}
}

func TestConnectionSettings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		own, fallback           secret.URL
		name, timeout, database string
		connections             int32
	}{
		{"postgres://u:p@db/state", "postgres://u:p@db/cart", "etl ledger", "10s", "state", maxConnections},
		{"", "postgres://u:p@db/cart", "etl ledger", "10s", "cart", maxConnections},
		{"postgres://u:p@db/state?application_name=night&connect_timeout=3&pool_max_conns=99", "", "night", "3s", "state", 99},
	} {
		l, err := Open(t.Context(), Config{URL: tt.own, Pipeline: "products", Retention: long, MaxRows: most}, tt.fallback)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		config := l.pool.Config()
		if got := config.ConnConfig.RuntimeParams["application_name"]; got != tt.name {
			t.Errorf("%s: application name %q", tt.own, got)
		}
		if config.ConnConfig.ConnectTimeout.String() != tt.timeout || config.MaxConns != tt.connections || config.ConnConfig.Database != tt.database {
			t.Errorf("%s: %d connections to database %s within %s", tt.own, config.MaxConns, config.ConnConfig.Database, config.ConnConfig.ConnectTimeout)
		}
	}
}

// oneLine is a list of problems as one.
func oneLine(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
}
