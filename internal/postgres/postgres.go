// Package postgres is what the rooms that speak to PostgreSQL share: reading an
// address without showing its secrets, knowing which errors pass, and saying what
// to do about the others.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
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
	config.ConnConfig.AfterConnect = AsBytes("SQL_ASCII")
	return config, nil
}

// AsBytes has texts pass between us and a database of one of these encodings as the
// bytes that they are; of any encoding but UTF-8 where none is named. SQL_ASCII is an
// encoding of anything: nothing can be converted, and the server would refuse to show
// a text that is no UTF-8.
// https://www.postgresql.org/docs/15/multibyte.html#MULTIBYTE-CHARSET-SUPPORTED
func AsBytes(encodings ...string) pgconn.AfterConnectFunc {
	return func(ctx context.Context, conn *pgconn.PgConn) error {
		encoding := conn.ParameterStatus("server_encoding")
		if encoding == "UTF8" || len(encodings) > 0 && !slices.Contains(encodings, encoding) {
			return nil
		}
		return conn.Exec(ctx, "SET client_encoding = 'SQL_ASCII'").Close()
	}
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

// transient tells whether the same statement may succeed a moment later.
// Codes: https://www.postgresql.org/docs/15/errcodes-appendix.html
func transient(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "57P01", "57P02", "57P03", "53300", "40001", "40P01", "25P03":
			return true // shut down, crashed, starting, too many connections, serialization, deadlock, idle for too long
		}
		return strings.HasPrefix(refused.Code, "08")
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.As(err, new(*pgconn.ConnectError))
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
