// Package target is the cart's side: the product table of the Cart Service's
// PostgreSQL database. It reads the table, says what its columns can hold, and
// writes to it where a run repairs directly. It changes nothing but rows of that
// one table.
package target

import (
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ecom-micro/etl/internal/postgres"
	"github.com/ecom-micro/etl/internal/secret"
)

// Config says where the cart's product table is.
type Config struct {
	URL      secret.URL `env:"CART_DB_URL"`
	WriteURL secret.URL `env:"CART_DB_WRITE_URL"`
	Schema   string     `env:"CART_SCHEMA, default=public"`
	Table    string     `env:"CART_TABLE, default=product"`
}

// address is the URL in use and the variable it came from. The cart's own service
// prefers the write URL too; a read replica would show rows late.
func (c *Config) address() (secret.URL, string) {
	if c.WriteURL != "" {
		return c.WriteURL, "CART_DB_WRITE_URL"
	}
	return c.URL, "CART_DB_URL"
}

// Address is the URL in use.
func (c *Config) Address() secret.URL {
	address, _ := c.address()
	return address
}

// Validate reports every variable that is missing or wrong.
func (c *Config) Validate() error {
	var problems []error
	if address, _ := c.address(); address == "" {
		problems = append(problems, errors.New("CART_DB_URL is required: the PostgreSQL connection URL of the Cart Service (CART_DB_WRITE_URL serves as well)"))
	} else if _, err := c.poolConfig(); err != nil {
		problems = append(problems, err)
	}
	if c.Schema == "" {
		problems = append(problems, errors.New("CART_SCHEMA is empty: name the schema of the cart's product table"))
	}
	if c.Table == "" {
		problems = append(problems, errors.New("CART_TABLE is empty: name the cart's product table"))
	}
	return errors.Join(problems...)
}

const maxConnections = 4

// limits of the statements: all of them are short, but for an exact count.
var limits = postgres.Limits{Statement: time.Minute, Lock: 5 * time.Second, InTransaction: 10 * time.Second}

func (c *Config) poolConfig() (*pgxpool.Config, error) {
	address, variable := c.address()
	return postgres.PoolConfig(address, variable, "etl", maxConnections)
}
