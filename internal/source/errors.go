package source

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/auth"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
)

// retry is the patience of one read: a few attempts with growing pauses.
type retry struct{ attempts int }

const (
	maxAttempts = 5
	firstPause  = 100 * time.Millisecond
)

// wait pauses before the next attempt after err. It returns the error to give up
// with: err itself where another attempt cannot help or enough were made.
func (r *retry) wait(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.attempts++
	if r.attempts >= maxAttempts || !transient(err) {
		return err
	}
	pause := time.NewTimer(firstPause << r.attempts)
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Server error codes: https://www.mongodb.com/docs/manual/reference/error-codes/
const (
	codeUnauthorized         = 13
	codeAuthenticationFailed = 18
)

// transient tells whether the same read may succeed a moment later: broken
// connections, vanished cursors and elections do; a server that cannot be found
// has been waited for already, and what the server refuses it refuses again.
func transient(err error) bool {
	var refused mongo.CommandError
	var pool driver.RetryablePoolError
	switch {
	case errors.As(err, new(topology.ServerSelectionError)):
		return false
	case mongo.IsNetworkError(err), mongo.IsTimeout(err):
		return true
	case errors.As(err, &pool):
		return pool.Retryable() // another read's connection broke, which ended all of the pool
	case errors.As(err, &refused):
		switch refused.Code {
		case 43, 237, // cursor not found, cursor killed
			6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436: // the codes that drivers retry reads on
			return true
		}
		return refused.HasErrorLabel("RetryableReadError")
	default:
		return false
	}
}

// explained adds the remedy to the errors that operators meet.
func explained(err error) error {
	var refused mongo.CommandError
	var silence silent
	switch {
	case errors.As(err, new(*auth.Error)), errors.As(err, &refused) && refused.Code == codeAuthenticationFailed:
		return fmt.Errorf("authentication failed: check MONGO_USER, MONGO_PASSWORD and the authentication database (authSource) of PRODUCT_SERVICE_MONGODB_URL: %w", err)
	case errors.As(err, &refused) && refused.Code == codeUnauthorized:
		return fmt.Errorf("MONGO_USER may not do this: grant it the role read on the database: %w", err)
	case errors.As(err, &silence.ServerSelectionError):
		return fmt.Errorf("no server answers: check the host of PRODUCT_SERVICE_MONGODB_URL and the network: %w", silence)
	}
	return err
}

// silent says of each server why it does not answer, and leaves out what the driver
// knows of its topology.
type silent struct{ topology.ServerSelectionError }

func (e silent) Error() string {
	var reasons []string
	for _, server := range e.Desc.Servers {
		reason := "no answer in time"
		if server.LastError != nil {
			reason = server.LastError.Error()
		}
		reasons = append(reasons, server.Addr.String()+": "+reason)
	}
	if len(reasons) == 0 {
		return e.ServerSelectionError.Error()
	}
	return strings.Join(reasons, "; ")
}
