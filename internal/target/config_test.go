package target

import (
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/secret"
)

func TestValidateNamesTheVariable(t *testing.T) {
	t.Parallel()
	const good = "postgres://cart:hunter2@db:5432/cart"
	for _, tt := range []struct {
		name   string
		config Config
		want   []string // one line each, which begins with it
	}{
		{"valid", Config{URL: good, Schema: "public", Table: "product"}, nil},
		{"the other scheme", Config{URL: "postgresql://cart:hunter2@db/cart?sslmode=require", Schema: "public", Table: "product"}, nil},
		{"write URL alone", Config{WriteURL: good, Schema: "public", Table: "product"}, nil},
		{"write URL beside a bad one that is not used", Config{WriteURL: good, URL: "mysql://", Schema: "public", Table: "product"}, nil},
		{"nothing", Config{}, []string{"CART_DB_URL is required", "CART_SCHEMA is empty", "CART_TABLE is empty"}},
		{"no URL", Config{Schema: "public", Table: "product"}, []string{"CART_DB_URL is required: the PostgreSQL connection URL of the Cart Service (CART_DB_WRITE_URL serves as well)"}},
		{"another scheme", Config{URL: "mysql://cart:hunter2@db/cart", Schema: "public", Table: "product"}, []string{"CART_DB_URL must begin with postgres://"}},
		{"a bad write URL", Config{URL: good, WriteURL: "hunter2", Schema: "public", Table: "product"}, []string{"CART_DB_WRITE_URL must begin with postgres://"}},
		{"words instead of a URL", Config{URL: "host=db password=hunter2", Schema: "public", Table: "product"}, []string{"CART_DB_URL must begin with postgres://"}},
		{"percent in the password", Config{URL: "postgres://cart:%hunter2@db/cart", Schema: "public", Table: "product"}, []string{"CART_DB_URL"}},
		{"slash in the password", Config{URL: "postgres://cart:hunter2/@db/cart", Schema: "public", Table: "product"}, []string{"CART_DB_URL"}},
		{"hash in the password", Config{URL: "postgres://cart:hunter2#@db/cart", Schema: "public", Table: "product"}, []string{"CART_DB_URL"}},
		{"no at sign", Config{URL: "postgres://cart:hunter2/cart", Schema: "public", Table: "product"}, []string{"CART_DB_URL"}},
		{"a port that is none", Config{URL: "postgres://cart:hunter2@db:99999999/cart", Schema: "public", Table: "product"}, []string{"CART_DB_URL"}},
		{"a bad option", Config{URL: good + "?sslmode=perhaps", Schema: "public", Table: "product"}, []string{"CART_DB_URL"}},
		{"a bad option of the pool", Config{URL: good + "?pool_max_conns=many", Schema: "public", Table: "product"}, []string{"CART_DB_URL"}},
		{"the password as an option", Config{URL: "postgres://db/cart?password=hunter2&sslmode=perhaps", Schema: "public", Table: "product"}, []string{"CART_DB_URL"}},
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
			if err == nil {
				t.Fatalf("no error, want %q", tt.want)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("%d lines, want %d: %q", len(lines), len(tt.want), lines)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("line %d is %q, want %q first", i, lines[i], want)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the message tells the password: %v", err)
			}
			if _, err := Open(t.Context(), tt.config); err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the message of Open tells the password: %v", err)
			}
		})
	}
}

func TestConnectionSettings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		url, name, timeout string
		connections        int32
	}{
		{"postgres://u:p@db/cart", "etl", "10s", maxConnections},
		{"postgres://u:p@db/cart?application_name=night&connect_timeout=3", "night", "3s", maxConnections},
		{"postgres://u:p@db/cart?pool_max_conns=9", "etl", "10s", 9},
	} {
		config, err := (&Config{URL: "postgres://other:other@db/other", WriteURL: secret.URL(tt.url)}).poolConfig()
		if err != nil {
			t.Fatal(err)
		}
		if got := config.ConnConfig.RuntimeParams["application_name"]; got != tt.name {
			t.Errorf("%s: application name %q, want %q", tt.url, got, tt.name)
		}
		if got := config.ConnConfig.ConnectTimeout.String(); got != tt.timeout {
			t.Errorf("%s: connect timeout %s, want %s", tt.url, got, tt.timeout)
		}
		if config.MaxConns < tt.connections || config.ConnConfig.Database != "cart" {
			t.Errorf("%s: %d connections to database %s", tt.url, config.MaxConns, config.ConnConfig.Database)
		}
	}
}
