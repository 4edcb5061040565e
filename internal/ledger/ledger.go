package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ecom-micro/etl/internal/postgres"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/secret"
)

// Ledger is the ledger of one pipeline.
type Ledger struct {
	pool      *pgxpool.Pool
	variable  string // where the address came from
	pipeline  string
	newest    int64 // version of the schema that this program knows
	reads     int   // version of requests, likewise
	retention time.Duration
	maxRows   int64
	// At most so many outcomes of a run are kept, and open differences.
	maxOutcomes, maxDifferences int64
}

// maxDifferences is how many open differences of a pipeline are kept. A run only
// counts those beyond it.
const maxDifferences = 1_000_000

// Open prepares connections to the ledger's database, which is the fallback's where
// the configuration names none. It returns without waiting for the server.
func Open(ctx context.Context, config Config, fallback secret.URL) (*Ledger, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	address, variable := config.URL, ownVariable
	if address == "" {
		address, variable = fallback, cartVariable
	}
	if address == "" {
		return nil, errors.New(ownVariable + " is required where no address of the cart's database is set")
	}
	all, err := migrations()
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	poolConfig, err := poolConfig(address, variable)
	if err != nil {
		return nil, err
	}
	postgres.NewSession(variable, limits, true).Install(poolConfig.ConnConfig)
	pool, err := pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		return nil, fmt.Errorf("prepare connections to the ledger: %w", err)
	}
	return &Ledger{pool: pool, variable: variable, pipeline: config.Pipeline, newest: all[len(all)-1].version, reads: run.RequestVersion, retention: config.Retention, maxRows: config.MaxRows,
		maxOutcomes: run.MaxOutcomes, maxDifferences: maxDifferences}, nil
}

// Close ends the connections.
func (l *Ledger) Close() { l.pool.Close() }

func (l *Ledger) inTx(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, l.pool, do)
}

// querier is the pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// collect runs a query and reads all of its rows.
func collect[T any](ctx context.Context, q querier, scan pgx.RowToFunc[T], sql string, args pgx.NamedArgs) ([]T, error) {
	rows, err := q.Query(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// first is the first row of a query, nil where there is none.
func first[T any](ctx context.Context, q querier, scan pgx.RowToFunc[T], sql string, args pgx.NamedArgs) (*T, error) {
	all, err := collect(ctx, q, scan, sql, args)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}
