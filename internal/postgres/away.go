package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Codes: https://www.postgresql.org/docs/15/errcodes-appendix.html
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	lockNotAvailable     = "55P03"
	queryCanceled        = "57014" // by a timeout, or by a person
	tooManyConnections   = "53300"
)

// Away tells whether an error says that the server does not answer at present: it
// cannot be reached, shuts down or starts, takes no more connections, or something
// is locked. What it refuses for good is no such error, nor is the end of the
// caller's own context.
func Away(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "57P01", "57P02", "57P03", // shut down, crashed, starting or in recovery
			"57P05", "25P03", // idle for too long
			tooManyConnections, lockNotAvailable, queryCanceled:
			return true
		}
		return strings.HasPrefix(refused.Code, "08") && !isUnsupportedAtStart(refused) // the connection broke, or a pooler's to the server
	}
	var unfit *Unfit
	if errors.As(err, &unfit) {
		return unfit.Passing
	}
	var network net.Error // a broken connection, DNS, and time that is over
	return errors.As(err, &network) || errors.As(err, new(silence)) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || closed(err)
}

// closed tells whether a connection broke under a statement without arguments, such as
// COMMIT. The driver drops the cause then, says that the connection was closed before,
// and calls it safe to try again.
func closed(err error) bool { return errors.Is(err, pgconn.ErrConnClosed) }

// Unanswered tells whether a statement was, or may have been, sent and its answer never
// came. A pooler that loses the server says so by an error of its own, of class 08.
func Unanswered(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return strings.HasPrefix(refused.Code, "08")
	}
	return err != nil && !errors.As(err, new(*pgconn.ConnectError)) && (!pgconn.SafeToRetry(err) || closed(err))
}

// isUnsupportedAtStart tells whether a pooler refuses a setting that the address asks
// for. PgBouncer has one code for all that it says, and no other languages.
func isUnsupportedAtStart(refused *pgconn.PgError) bool {
	return strings.HasPrefix(refused.Message, "unsupported startup parameter")
}

// Locked tells whether a statement waited in vain for a lock of another session.
func Locked(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == lockNotAvailable
}
