package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ecom-micro/etl/internal/reconcile"
)

const maxTries = 5

// retried does something that may be done twice, again after a growing pause where
// the error is transient. what says what it was, for the error.
func retried[T any](ctx context.Context, l *Ledger, what string, do func() (T, error)) (T, error) {
	var before error
	result, err := backoff.Retry(ctx, func() (T, error) {
		result, err := do()
		if err != nil && (ctx.Err() != nil || !transient(err)) {
			return result, backoff.Permanent(err)
		}
		before = err
		return result, err
	}, backoff.WithMaxTries(maxTries))
	switch {
	case err == nil || errors.Is(err, reconcile.ErrFenced):
	case ctx.Err() != nil && before != nil: // the reason for the time that it took
		err = fmt.Errorf("%s: %w: %w", what, ctx.Err(), l.explained(before))
	default:
		err = fmt.Errorf("%s: %w", what, l.explained(err))
	}
	return result, err
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

// explained adds the remedy to the errors that operators meet.
func (l *Ledger) explained(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "28P01", "28000":
			return fmt.Errorf("authentication failed: check user and password of %s: %s", l.variable, refused.Message)
		case "3D000":
			return fmt.Errorf("%s: check the database name of %s", refused.Message, l.variable)
		case "42501":
			return fmt.Errorf("%s: grant %s what `etl migrate --print-sql` names", refused.Message, l.role())
		case "42P01", "3F000", "42703":
			return fmt.Errorf("%s: the ledger's tables are not those of this version: run `etl migrate`", refused.Message)
		case "25006":
			return fmt.Errorf("%s: %s must name the primary server, not a read-only one", refused.Message, l.variable)
		}
		return err
	}
	if errors.As(err, new(*pgconn.ConnectError)) {
		return fmt.Errorf("no server answers: check the host of %s and the network: %w", l.variable, unwrapConnect(err))
	}
	return err
}

func (l *Ledger) role() string { return l.pool.Config().ConnConfig.User }

// unwrapConnect keeps the cause of a failed connection, which names the address,
// and drops the user and the database around it.
func unwrapConnect(err error) error {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) && connect.Unwrap() != nil {
		return connect.Unwrap()
	}
	return err
}
