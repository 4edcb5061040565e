package testenv

import (
	"context"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// CartDB is a Cart Service's database of its own for one test, with the tables that TypeORM makes.
type CartDB struct {
	URL  string        // as the owner of everything in it
	Name string        // the database's name
	Pool *pgxpool.Pool // a few connections for the test itself

	tb    testing.TB
	admin string // the URL of the server's own database, as the superuser
}

// CartOption changes the database that Cart makes.
type CartOption func(*cartOptions)

type cartOptions struct{ server, collation, encoding string }

// Collated gives the database a collation such as "en_US.utf8". A server that lacks the locale uses ICU's rules
// for the same language, which order text alike for a test's purposes: not by bytes.
func Collated(name string) CartOption {
	return func(o *cartOptions) { o.collation = name }
}

// Encoded gives the database an encoding such as "LATIN1", and the order of bytes.
func Encoded(name string) CartOption {
	return func(o *cartOptions) { o.encoding, o.collation = name, "C" }
}

// OnPostgreSQL makes the database on another server, given by the URL of a superuser.
func OnPostgreSQL(serverURL string) CartOption {
	return func(o *cartOptions) { o.server = serverURL }
}

// Cart makes a cart's database with empty tables. It is dropped when the test ends, whoever is still connected.
func Cart(tb testing.TB, opts ...CartOption) *CartDB {
	tb.Helper()
	options := cartOptions{encoding: "UTF8"}
	for _, opt := range opts {
		opt(&options)
	}
	if options.server == "" {
		options.server = Services(tb).PostgreSQL
	}
	c := &CartDB{tb: tb, Name: randomName("cart"), admin: options.server}
	c.URL = c.urlFor(nil)

	ctx := setupContext(tb)
	if err := c.create(ctx, options); err != nil {
		tb.Fatalf("create the cart's database: %v", err)
	}
	tb.Cleanup(func() {
		if err := c.drop(); err != nil {
			tb.Errorf("drop the cart's database %s: %v", c.Name, err)
		}
	})
	c.open(ctx)
	if err := platform.CreateCartTables(ctx, c.Pool); err != nil {
		tb.Fatal(err)
	}
	return c
}

func (c *CartDB) open(ctx context.Context) {
	c.tb.Helper()
	config, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		c.tb.Fatalf("read the cart's URL: %v", err)
	}
	config.MaxConns = 4
	config.ConnConfig.RuntimeParams["application_name"] = "testenv"
	config.ConnConfig.RuntimeParams["client_encoding"] = "UTF8"
	if c.Pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		c.tb.Fatalf("connect to database %s: %v", c.Name, err)
	}
	c.tb.Cleanup(c.Pool.Close)
}

// Role makes a role that may log in and has only the given rights, such as "SELECT ON product", besides those that
// PostgreSQL gives to everyone. It returns the database's URL for the role.
func (c *CartDB) Role(rights ...string) string {
	c.tb.Helper()
	name := randomName("role")
	const password = "only-for-this-test"
	c.Exec("CREATE ROLE " + name + " LOGIN PASSWORD '" + password + "'")
	c.tb.Cleanup(func() {
		// DROP OWNED takes the rights back that would keep the role from being dropped.
		ctx, cancel := cleanupContext(c.tb)
		defer cancel()
		if _, err := c.Pool.Exec(ctx, "DROP OWNED BY "+name+"; DROP ROLE "+name); err != nil {
			c.tb.Errorf("drop role %s: %v", name, err)
		}
	})
	for _, right := range rights {
		c.Exec("GRANT " + right + " TO " + name)
	}
	return c.urlFor(url.UserPassword(name, password))
}
