// Package postgres is what the rooms that speak to PostgreSQL share: reading an
// address without showing its secrets, knowing which errors pass, and saying what
// to do about the others.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ecom-micro/etl/internal/secret"
)

const (
	connectTimeout = 10 * time.Second
	// pingTimeout is for a connection that has rested, before it is used again.
	pingTimeout = 5 * time.Second
)

// PoolConfig reads an address that came from a variable: a pool of at least
// connections, which the server knows as application. The parser's own message may
// quote the address, so only its meaning is passed on.
func PoolConfig(address secret.URL, variable, application string, connections int32) (*pgxpool.Config, error) {
	if !strings.HasPrefix(address.Reveal(), "postgres://") && !strings.HasPrefix(address.Reveal(), "postgresql://") {
		return nil, fmt.Errorf("%s must begin with postgres:// or postgresql://", variable)
	}
	if _, err := url.Parse(withOneHost(address.Reveal())); err != nil {
		return nil, fmt.Errorf("%s %s is not a valid URL: percent-encode special characters in the user name and password", variable, address)
	}
	config, err := pgxpool.ParseConfig(address.Reveal())
	if err != nil {
		return nil, fmt.Errorf("%s %s is not a valid PostgreSQL URL: check its host, port, database and options", variable, address)
	}
	config.MaxConns = max(config.MaxConns, connections)
	if config.PingTimeout == 0 {
		config.PingTimeout = pingTimeout
	}
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

// withOneHost is an address with the first of its hosts alone: a list of them is no
// valid URL where the last has no port.
func withOneHost(address string) string {
	begin := strings.LastIndexByte(address, '@') + 1
	if begin == 0 {
		begin = strings.Index(address, "://") + len("://")
	}
	hosts, rest := address[begin:], ""
	if end := strings.IndexAny(hosts, "/?"); end >= 0 {
		hosts, rest = hosts[:end], hosts[end:]
	}
	first, _, _ := strings.Cut(hosts, ",")
	return address[:begin] + first + rest
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
	return Away(err) && !errors.As(err, new(silence)) && !errors.Is(err, context.DeadlineExceeded)
}

// Explained adds the remedy to the errors that operators meet. remedies are those
// for more codes; each is put behind the server's words. The text is one line.
func Explained(err error, variable string, remedies map[string]string) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch {
		case refused.Code == "28P01" || refused.Code == "28000":
			return fmt.Errorf("authentication failed: check user and password of %s: %s", variable, refused.Message)
		case refused.Code == "3D000":
			return fmt.Errorf("%s: check the database name of %s", refused.Message, variable)
		case isUnsupportedAtStart(refused):
			return fmt.Errorf("the connection pooler says: %s: remove it from %s, or name it in the pooler's ignore_startup_parameters", refused.Message, variable)
		case refused.Code == tooManyConnections:
			return fmt.Errorf("PostgreSQL takes no more connections from %s: %s: end some, or raise the limit (CONNECTION LIMIT of the role or the database, or max_connections)", variable, refused.Message)
		case refused.Code == queryCanceled:
			return fmt.Errorf("%s: PostgreSQL is busy, or a person ended the statement; another statement_timeout may be set in %s", refused.Message, variable)
		}
		if remedy, known := remedies[refused.Code]; known {
			return fmt.Errorf("%s: %s", refused.Message, remedy)
		}
	}
	var connect *pgconn.ConnectError
	switch {
	case closed(err):
		return fmt.Errorf("the connection broke, or no answer came in time: %w", err)
	case !errors.As(err, &connect):
		return err
	}
	cause := flat{err}
	if connect.Unwrap() != nil { // it names the address, and not the user and the database
		cause.error = connect.Unwrap()
	}
	var unfit *Unfit
	switch {
	case errors.As(err, &unfit) && !strings.Contains(cause.Error(), "; "):
		return unfit
	case refused != nil || unfit != nil:
		return cause
	}
	return fmt.Errorf("no server answers: check the host of %s and the network: %w", variable, cause)
}

// flat is an error in one line. Several servers, or addresses of one, have a line
// each, and two tries of one, with TLS and without, often the same.
type flat struct{ error }

func (f flat) Error() string {
	var reasons []string
	for line := range strings.Lines(f.error.Error()) {
		line = strings.Replace(strings.TrimSpace(line), "ValidateConnect failed: ", "", 1)
		if !slices.Contains(reasons, line) {
			reasons = append(reasons, line)
		}
	}
	return strings.Join(reasons, "; ")
}

func (f flat) Unwrap() error { return f.error }
