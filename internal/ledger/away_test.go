package ledger

import (
	"errors"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestCaseD13LedgerThatDoesNotAnswerAtPresent(t *testing.T) {
	t.Parallel()
	proxy, address := testenv.ProxyTo(t, fresh(t).pool.Config().ConnString())
	l := open(t, address, "products")
	record := submitted(t, l)
	proxy.Cut()
	_, runErr := l.Run(t.Context(), record.ID)
	_, claimErr := l.Claim(t.Context(), "worker", long)
	for _, err := range []error{runErr, claimErr, l.Migrate(t.Context())} {
		if !errors.As(err, new(*product.AwayError)) {
			t.Errorf("not told from what PostgreSQL refuses for good: %v", err)
		}
	}
	proxy.Restore()
	if _, err := l.Run(t.Context(), record.ID); err != nil {
		t.Error(err)
	}
	if _, err := l.Run(t.Context(), run.NewRunID()); err == nil || errors.As(err, new(*product.AwayError)) {
		t.Errorf("waiting does not help: %v", err)
	}
}
