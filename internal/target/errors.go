package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const maxTries = 5

// retried runs a read, again after a growing pause where the error is transient.
func retried[T any](ctx context.Context, read func() (T, error)) (T, error) {
	return backoff.Retry(ctx, func() (T, error) {
		result, err := read()
		if err != nil && (ctx.Err() != nil || !transient(err)) {
			return result, backoff.Permanent(err)
		}
		return result, err
	}, backoff.WithMaxTries(maxTries))
}

// transient tells whether the same statement may succeed a moment later.
// Codes: https://www.postgresql.org/docs/15/errcodes-appendix.html
func transient(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "57P01", "57P02", "57P03", "53300", "40001", "40P01":
			return true // shut down, crashed, starting, too many connections, serialization, deadlock
		}
		return strings.HasPrefix(refused.Code, "08")
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.As(err, new(*pgconn.ConnectError))
}

// explained adds the remedy to the errors that operators meet.
func (t *Target) explained(err error) error {
	_, variable := t.config.address()
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "28P01", "28000":
			return fmt.Errorf("authentication failed: check user and password of %s: %s", variable, refused.Message)
		case "3D000":
			return fmt.Errorf("%s: check the database name of %s", refused.Message, variable)
		case "42501":
			return fmt.Errorf("%s: grant %s the right", refused.Message, t.pool.Config().ConnConfig.User)
		}
		return err
	}
	if errors.As(err, new(*pgconn.ConnectError)) {
		return fmt.Errorf("no server answers: check the host of %s and the network: %w", variable, unwrapConnect(err))
	}
	return err
}

// unwrapConnect keeps the cause of a failed connection, which names the address,
// and drops the user and the database around it.
func unwrapConnect(err error) error {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) && connect.Unwrap() != nil {
		return connect.Unwrap()
	}
	return err
}
