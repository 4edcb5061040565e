package ledger

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/ecom-micro/etl/internal/postgres"
)

//go:embed migrations/*.sql
var files embed.FS

// migrationLock is the name of the advisory lock under which the schema changes.
const migrationLock = 0x65746c // "etl"

// migration is one step of the schema.
type migration struct {
	version int64
	sql     string
}

// migrations are all steps, in their order.
func migrations() ([]migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	all := make([]migration, len(names))
	for i, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if all[i].version, err = goose.NumericComponent(name); err != nil {
			return nil, err
		}
		all[i].sql = strings.TrimSpace(strings.TrimPrefix(string(text), "-- +goose Up\n"))
	}
	return all, nil
}

// Migrate brings the schema to the version of this program. Several processes may
// do so at once. Where nothing is to be done, no right to change anything is needed.
func (l *Ledger) Migrate(ctx context.Context) error {
	current, err := l.compare(ctx)
	if err != nil || current {
		return err
	}
	// Connections of its own: the pool's may all be taken, and one waits for the lock. A
	// large table may take its time.
	db := stdlib.OpenDB(*l.pool.Config().ConnConfig, stdlib.OptionAfterConnect(postgres.Unbounded))
	defer func() { _ = db.Close() }()
	if err := l.migrate(ctx, db); err != nil {
		return fmt.Errorf("migrate schema %s: %w", schema, l.explainedMigration(ctx, err))
	}
	return nil
}

// Check tells whether this program can use the schema as it is. Where it cannot and
// Migrate may not change that, the error is the one of Migrate. Nothing is changed.
func (l *Ledger) Check(ctx context.Context) (current bool, err error) {
	current, err = l.compare(ctx)
	if err != nil || current {
		return current, err
	}
	if _, err := mayCreate(l.pool.QueryRow(ctx, lookForRights)); err != nil {
		return false, fmt.Errorf("migrate schema %s: %w", schema, l.explainedMigration(ctx, err))
	}
	return false, nil
}

// compare tells whether this program can use the schema as it is. A newer schema says
// itself which programs can.
func (l *Ledger) compare(ctx context.Context) (current bool, err error) {
	version, err := retried(ctx, l, "read the version of schema "+schema, func() (int64, error) { return l.version(ctx) })
	if err != nil || version <= l.newest {
		return version == l.newest, err
	}
	since, err := retried(ctx, l, "read which programs can use schema "+schema, func() (int64, error) { return l.compatibleSince(ctx, version) })
	if err == nil && since > l.newest {
		err = fmt.Errorf("schema %s of %s is of version %d and can be used by programs that know version %d or later; this one knows %d: run the newer program",
			schema, l.variable, version, since, l.newest)
	}
	return err == nil, err
}

// compatibleSince is the version that a program must know to use the schema of a newer
// one.
func (l *Ledger) compatibleSince(ctx context.Context, version int64) (since int64, err error) {
	const look = "SELECT coalesce((SELECT since FROM " + compatibilityTable + " WHERE version = $1), $1)"
	err = l.pool.QueryRow(ctx, look, version).Scan(&since)
	return since, err
}

func (l *Ledger) migrate(ctx context.Context, db *sql.DB) error {
	lock, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Rollback() }()
	if _, err := lock.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", migrationLock); err != nil {
		return err
	}
	// Another process may have migrated meanwhile.
	if version, err := l.version(ctx); err != nil || version >= l.newest {
		return err
	}
	if err := ensureSchema(ctx, db); err != nil {
		return err
	}
	steps, err := fs.Sub(files, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, steps, goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// errNoRight is a refusal that is known before it is met.
var errNoRight = errors.New("the right to create is missing")

const lookForRights = `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = '` + schema + `'),
	coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = '` + schema + `'), has_database_privilege(current_database(), 'CREATE'))`

// mayCreate reads what lookForRights returns; errNoRight where nothing may be created.
func mayCreate(row interface{ Scan(...any) error }) (schemaExists bool, err error) {
	var may bool
	if err := row.Scan(&schemaExists, &may); err != nil {
		return false, err
	}
	if !may {
		return schemaExists, errNoRight
	}
	return schemaExists, nil
}

// ensureSchema creates the schema where it is absent. CREATE SCHEMA IF NOT EXISTS
// needs the right to create even where there is nothing to create. Rights are asked
// for beforehand, because goose tries for seconds.
func ensureSchema(ctx context.Context, db *sql.DB) error {
	exists, err := mayCreate(db.QueryRowContext(ctx, lookForRights))
	if err != nil || exists {
		return err
	}
	_, err = db.ExecContext(ctx, "CREATE SCHEMA "+schema)
	return err
}

// version is the schema's, 0 where there is none.
func (l *Ledger) version(ctx context.Context) (version int64, err error) {
	var exists bool
	const look = `SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = '` + schema + `' AND tablename = 'goose_db_version')`
	if err := l.pool.QueryRow(ctx, look).Scan(&exists); err != nil || !exists {
		return 0, err
	}
	err = l.pool.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM "+versionTable+" WHERE is_applied").Scan(&version)
	return version, err
}

// explainedMigration says what to do where the role may not create what is missing.
func (l *Ledger) explainedMigration(ctx context.Context, err error) error {
	var refused *pgconn.PgError
	if errors.Is(err, errNoRight) || errors.As(err, &refused) && refused.Code == "42501" {
		return fmt.Errorf("role %s of %s may not create or change it: run the output of `etl migrate --print-sql` as the owner of database %s, "+
			"and grant the role USAGE on schema %s and SELECT, INSERT, UPDATE, DELETE on its tables", l.role(), l.variable, l.pool.Config().ConnConfig.Database, schema)
	}
	return l.explained(ctx, err)
}

const scriptHead = `-- The schema ` + schema + `, in which the ETL service remembers its runs.
-- Run it in the service's state database (ETL_STATE_DB_URL, by default the cart's) as
-- a role that may create schemas there: psql -v ON_ERROR_STOP=1 -f FILE URL
-- It may be run again, and brings an older schema up to date.
--
-- Then give the service's role what it needs, again after each new version:
--   GRANT USAGE ON SCHEMA ` + schema + ` TO etl_service;
--   GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ` + schema + ` TO etl_service;
-- In the cart's database it also needs, to compare and to replay:
--   GRANT SELECT ON product TO etl_service;
-- and to write without the cart's consumer (mode direct):
--   GRANT INSERT, UPDATE, DELETE ON product TO etl_service;

BEGIN;
SELECT pg_advisory_xact_lock(%d);
CREATE SCHEMA IF NOT EXISTS ` + schema + `;
-- The versions, as github.com/pressly/goose keeps them.
CREATE TABLE IF NOT EXISTS %s (
    id         integer   PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,
    version_id bigint    NOT NULL,
    is_applied boolean   NOT NULL,
    tstamp     timestamp NOT NULL DEFAULT now()
);
INSERT INTO %[2]s (version_id, is_applied) SELECT 0, true WHERE NOT EXISTS (SELECT FROM %[2]s);
`

const scriptStep = `
DO $migration$ BEGIN
IF NOT EXISTS (SELECT FROM %s WHERE version_id = %d AND is_applied) THEN

%s

INSERT INTO %[1]s (version_id, is_applied) VALUES (%[2]d, true);
END IF;
END $migration$;
`

// Script is all of the schema as SQL, for whoever may create it where the service's
// role may not. Afterwards Migrate finds nothing to do.
func Script() (string, error) {
	all, err := migrations()
	if err != nil {
		return "", fmt.Errorf("read the migrations: %w", err)
	}
	var script strings.Builder
	fmt.Fprintf(&script, scriptHead, migrationLock, versionTable)
	for _, m := range all {
		fmt.Fprintf(&script, scriptStep, versionTable, m.version, m.sql)
	}
	script.WriteString("\nCOMMIT;\n")
	return script.String(), nil
}
