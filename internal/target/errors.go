package target

import (
	"context"

	"github.com/ecom-micro/etl/internal/postgres"
)

// retried runs a read, again after a growing pause where the error is transient.
func retried[T any](ctx context.Context, read func() (T, error)) (T, error) {
	result, _, err := postgres.Retry(ctx, read)
	return result, err
}

// explained adds the remedy to the errors that operators meet.
func (t *Target) explained(err error) error {
	_, variable := t.config.address()
	return postgres.Explained(err, variable, map[string]string{"42501": "grant " + t.pool.Config().ConnConfig.User + " the right"})
}
