package source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/auth"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/description"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/ecom-micro/etl/internal/product"
)

// retry is the patience of one read: a few attempts with growing pauses.
type retry struct{ attempts int }

const (
	maxAttempts = 5
	firstPause  = 100 * time.Millisecond
)

// attempt reads until that succeeds, or until another attempt cannot help or enough
// were made. Each attempt begins where reads show what the primary has.
func attempt[T any](ctx context.Context, s *Source, read func() (T, error)) (result T, err error) {
	var patience retry
	for {
		if _, err = s.fresh(ctx); err == nil {
			result, err = read()
		}
		if err == nil {
			return result, nil
		}
		if err = patience.wait(ctx, err); err != nil {
			return result, err
		}
	}
}

// wait pauses before the next attempt after err. It returns the error to give up
// with, explained: err itself where another attempt cannot help or enough were made.
func (r *retry) wait(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.attempts++
	if r.attempts >= maxAttempts || !transient(err) {
		return explained(away(err))
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
	codeTimeLimit            = 50
	codeNoMajorityReads      = 148
)

// transient tells whether the same read may succeed a moment later: broken
// connections, vanished cursors and elections do; a server that cannot be found
// has been waited for already, and what the server refuses it refuses again.
func transient(err error) bool {
	var refused mongo.CommandError
	var pool driver.RetryablePoolError
	switch {
	case errors.As(err, new(topology.ServerSelectionError)), errors.As(err, new(*product.AwayError)):
		return false
	case mongo.IsNetworkError(err), mongo.IsTimeout(err), errors.Is(err, errNoPrimary):
		return true
	case errors.As(err, &pool):
		return pool.Retryable() // another read's connection broke, which ended all of the pool
	case errors.As(err, &refused):
		switch refused.Code {
		case 43, 237, // cursor not found, cursor killed
			134,                                                             // no majority is known yet
			6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436: // the codes that drivers retry reads on
			return true
		}
		return refused.HasErrorLabel("RetryableReadError")
	default:
		return false
	}
}

// away marks the errors which say that MongoDB does not answer at present, or not as
// one that may decide anything.
func away(err error) error {
	var refused mongo.CommandError
	var nobody topology.ServerSelectionError
	var absent bool
	switch {
	case errors.As(err, new(*laggingError)):
		absent = true
	case errors.As(err, &nobody):
		absent = untrusted(nobody) == nil && len(nobody.Desc.Servers) > 0
	case errors.As(err, &refused) && refused.Code == codeTimeLimit: // by a server that answers
	default:
		absent = transient(err)
	}
	if !absent {
		return err
	}
	return &product.AwayError{Server: "MongoDB", Err: err}
}

// untrusted is why a server's certificate is not accepted, which no wait changes.
func untrusted(e topology.ServerSelectionError) error {
	for _, server := range e.Desc.Servers {
		if errors.As(server.LastError, new(*tls.CertificateVerificationError)) {
			return server.LastError
		}
	}
	return nil
}

// explained adds the remedy to the errors that operators meet. An error that says that
// MongoDB is away goes on saying so.
func explained(err error) error {
	var absent *product.AwayError
	if errors.As(err, &absent) {
		return &product.AwayError{Server: absent.Server, Err: withRemedy(absent.Err)}
	}
	return withRemedy(err)
}

func withRemedy(err error) error {
	var refused mongo.CommandError
	var silence silent
	known := errors.As(err, &refused)
	switch {
	case errors.As(err, new(*auth.Error)) && !transient(err), known && refused.Code == codeAuthenticationFailed:
		return fmt.Errorf("authentication failed: check MONGO_USER, MONGO_PASSWORD and the authentication database (authSource) of PRODUCT_SERVICE_MONGODB_URL: %w", err)
	case known && refused.Code == codeUnauthorized:
		return fmt.Errorf("MONGO_USER may not do this: grant it the role read on the database: %w", err)
	case known && refused.Code == codeTimeLimit:
		return fmt.Errorf("the server's time limit ended the read: raise defaultMaxTimeMS there: %w", err)
	case known && refused.Code == codeNoMajorityReads:
		return fmt.Errorf("the server does not tell what a majority has: start it without enableMajorityReadConcern=false: %w", err)
	case errors.As(err, &silence.ServerSelectionError):
		return fmt.Errorf("%s: %w", silence.remedy(), silence)
	}
	return err
}

// silent says of each server why it does not answer, and leaves out what the driver
// knows of its topology.
type silent struct{ topology.ServerSelectionError }

func (e silent) remedy() string {
	switch {
	case len(e.Desc.Servers) == 0: // the driver drops the members of another one
		return "the servers are not of the replica set that PRODUCT_SERVICE_MONGODB_URL names: check its replicaSet"
	case untrusted(e.ServerSelectionError) != nil:
		return "the server's certificate is not trusted: check the host and tlsCAFile of PRODUCT_SERVICE_MONGODB_URL"
	}
	for _, server := range e.Desc.Servers {
		if server.LastError == nil && server.Kind.String() != description.UnknownStr {
			return "no server is the primary: one is being elected, or too many members of the replica set are away"
		}
	}
	return "no server answers: check the host of PRODUCT_SERVICE_MONGODB_URL and the network"
}

func (e silent) Error() string {
	var reasons []string
	for _, server := range e.Desc.Servers {
		reason := "no answer in time"
		switch {
		case server.LastError != nil:
			reason = server.LastError.Error()
		case server.Kind.String() != description.UnknownStr:
			reason = "is " + server.Kind.String()
		}
		reasons = append(reasons, server.Addr.String()+": "+reason)
	}
	if len(reasons) == 0 {
		return e.ServerSelectionError.Error()
	}
	return strings.Join(reasons, "; ")
}
