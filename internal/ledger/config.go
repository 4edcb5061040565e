// Package ledger is what all processes of the service remember together: the runs
// that were asked for and what became of them, who executes which, the switch of
// the scheduler, and which differences between the stores are open. It lives in the
// schema etl_ledger of a PostgreSQL database, by default the cart's.
package ledger

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ecom-micro/etl/internal/postgres"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/text"
)

// Config says where the ledger is and what is kept in it.
type Config struct {
	URL       secret.URL    `env:"ETL_STATE_DB_URL"`               // empty: the cart's database
	Pipeline  string        `env:"ETL_PIPELINE, default=products"` // runs of different pipelines do not see each other
	Retention time.Duration `env:"ETL_RETENTION, default=720h"`    // what ended longer ago is removed
	// MaxRows is how many rows of finished runs, outcomes and closed differences are kept
	// at most; the oldest go first.
	MaxRows int64 `env:"ETL_LEDGER_MAX_ROWS, default=5000000"`
}

const (
	ownVariable  = "ETL_STATE_DB_URL"
	cartVariable = "CART_DB_WRITE_URL or CART_DB_URL"
)

// Validate reports every variable that is missing or wrong.
func (c *Config) Validate() error {
	var problems []error
	if c.URL != "" {
		if _, err := poolConfig(c.URL, ownVariable); err != nil {
			problems = append(problems, err)
		}
	}
	if c.Pipeline == "" || len(c.Pipeline) > maxText || text.Stored(c.Pipeline) != c.Pipeline {
		problems = append(problems, fmt.Errorf("ETL_PIPELINE must be a name of 1..%d bytes in UTF-8", maxText))
	}
	if c.Retention <= 0 {
		problems = append(problems, errors.New("ETL_RETENTION must be a duration above 0 such as 720h"))
	}
	if c.MaxRows < minRows {
		problems = append(problems, fmt.Errorf("ETL_LEDGER_MAX_ROWS is %d, it must be at least %d", c.MaxRows, minRows))
	}
	return errors.Join(problems...)
}

const (
	maxConnections = 8
	minRows        = 1000
)

// limits of the statements: some write thousands of rows, or wait for one that does. A
// process that is cut off in the middle of a transaction would keep its run locked
// until the server's keepalive notices, which takes hours.
var limits = postgres.Limits{Statement: 5 * time.Minute, InTransaction: 10 * time.Second}

func poolConfig(address secret.URL, variable string) (*pgxpool.Config, error) {
	config, err := postgres.PoolConfig(address, variable, "etl ledger", maxConnections)
	if err != nil {
		return nil, err
	}
	// Each statement is planned for the rows that it brings: a plan for any number of them
	// expects few, and takes minutes where they are thousands.
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	// What a database of another encoding has no character for must come back as it is.
	config.ConnConfig.AfterConnect = postgres.AsBytes()
	return config, nil
}
