// Package postgres is what the rooms that speak to PostgreSQL share: reading an
// address without showing its secrets, knowing which errors pass, and saying what
// to do about the others.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ecom-micro/etl/internal/secret"
)

const connectTimeout = 10 * time.Second

// PoolConfig reads an address that came from a variable: a pool of at least
// connections, which the server knows as application. The parser's own message may
// quote the address, so only its meaning is passed on.
func PoolConfig(address secret.URL, variable, application string, connections int32) (*pgxpool.Config, error) {
	if !strings.HasPrefix(address.Reveal(), "postgres://") && !strings.HasPrefix(address.Reveal(), "postgresql://") {
		return nil, fmt.Errorf("%s must begin with postgres:// or postgresql://", variable)
	}
	if _, err := url.Parse(address.Reveal()); err != nil {
		return nil, fmt.Errorf("%s %s is not a valid URL: percent-encode special characters in the user name and password", variable, address)
	}
	config, err := pgxpool.ParseConfig(address.Reveal())
	if err != nil {
		return nil, fmt.Errorf("%s %s is not a valid PostgreSQL URL: check its host, port, database and options", variable, address)
	}
	config.MaxConns = max(config.MaxConns, connections)
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = application
	}
	// Text is UTF-8 on every connection, whatever the role's settings say.
	config.ConnConfig.RuntimeParams["client_encoding"] = "UTF8"
	return config, nil
}

const maxTries = 5

// Retry does what may be done twice, again after a growing pause where the error is
// transient. before is the error of the try before the last one.
func Retry[T any](ctx context.Context, do func() (T, error)) (result T, before, err error) {
	result, err = backoff.Retry(ctx, func() (T, error) {
		result, err := do()
		if err != nil && (ctx.Err() != nil || !transient(err)) {
			return result, backoff.Permanent(err)
		}
		before = err
		return result, err
	}, backoff.WithMaxTries(maxTries))
	return result, before, err
}

// transient tells whether the same statement may succeed a moment later. Where one
// was waited for in vain, no other will do better at once.
func transient(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case serializationFailure, deadlockDetected:
			return true
		case lockNotAvailable, queryCanceled:
			return false
		}
	}
	return Away(err) || errors.As(err, new(*pgconn.ConnectError))
}

// Explained adds the remedy to the errors that operators meet. remedies are those
// for more codes; each is put behind the server's words.
func Explained(err error, variable string, remedies map[string]string) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "28P01", "28000":
			return fmt.Errorf("authentication failed: check user and password of %s: %s", variable, refused.Message)
		case "3D000":
			return fmt.Errorf("%s: check the database name of %s", refused.Message, variable)
		}
		if remedy, known := remedies[refused.Code]; known {
			return fmt.Errorf("%s: %s", refused.Message, remedy)
		}
		return err
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		cause := err
		if connect.Unwrap() != nil { // it names the address, and not the user and the database
			cause = connect.Unwrap()
		}
		return fmt.Errorf("no server answers: check the host of %s and the network: %w", variable, cause)
	}
	return err
}
