package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/ecom-micro/etl/internal/postgres"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// retried does something that may be done twice, again after a growing pause where
// the error is transient. what says what it was, for the error.
func retried[T any](ctx context.Context, l *Ledger, what string, do func() (T, error)) (T, error) {
	result, before, err := postgres.Retry(ctx, do)
	switch {
	case err == nil || errors.Is(err, run.ErrFenced):
	case ctx.Err() != nil && before != nil: // the reason for the time that it took
		err = fmt.Errorf("%s: %w: %w", what, ctx.Err(), l.explained(ctx, before))
	default:
		err = fmt.Errorf("%s: %w", what, l.explained(ctx, err))
	}
	return result, err
}

// explained adds the remedy to the errors that operators meet. It is a
// *product.AwayError where the server does not answer at present; where ctx has
// ended, that is the reason.
func (l *Ledger) explained(ctx context.Context, err error) error {
	const otherTables = "the ledger's tables are not those of this version: run `etl migrate`"
	explained := postgres.Explained(err, l.variable, map[string]string{
		"42501": "grant " + l.role() + " what `etl migrate --print-sql` names",
		"42P01": otherTables, "3F000": otherTables, "42703": otherTables,
		"25006": l.variable + " must name the primary server, not a read-only one",
	})
	if ctx.Err() == nil && postgres.Away(err) {
		return &product.AwayError{Server: "the ledger's PostgreSQL", Err: explained}
	}
	return explained
}

func (l *Ledger) role() string { return l.pool.Config().ConnConfig.User }
