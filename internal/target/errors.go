package target

import (
	"context"
	"fmt"

	"github.com/ecom-micro/etl/internal/postgres"
	"github.com/ecom-micro/etl/internal/product"
)

// retried runs a read, again after a growing pause where the error is transient.
func retried[T any](ctx context.Context, read func() (T, error)) (T, error) {
	result, _, err := postgres.Retry(ctx, read)
	return result, err
}

// explained adds the remedy to the errors that operators meet. It is a
// *product.AwayError where the server does not answer at present; where ctx has
// ended, that is the reason.
func (t *Target) explained(ctx context.Context, err error) error {
	const changed = "the cart's table was changed meanwhile: see `etl doctor`, then run again"
	_, variable := t.config.address()
	explained := postgres.Explained(err, variable, map[string]string{
		"42501": "grant " + t.pool.Config().ConnConfig.User + " the right",
		"42P01": changed, "3F000": changed, "42703": changed,
		"25006": "look at default_transaction_read_only of the role, the database and the server",
	})
	if ctx.Err() != nil || !postgres.Away(err) {
		return explained
	}
	if postgres.Locked(err) {
		if reason, ok := t.lockReason(ctx); ok {
			explained = fmt.Errorf("%s: %w", reason, err)
		}
	}
	return &product.AwayError{Server: "PostgreSQL", Err: explained}
}
