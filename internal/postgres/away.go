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
			"53300", // too many connections
			lockNotAvailable, queryCanceled:
			return true
		}
		return strings.HasPrefix(refused.Code, "08") // the connection broke, or a pooler's to the server
	}
	var network net.Error // a broken connection, DNS, and time that is over
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded)
}
