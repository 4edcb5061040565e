package memoryledger_test

import (
	"testing"

	"github.com/ecom-micro/etl/internal/testenv/ledgertest"
	"github.com/ecom-micro/etl/internal/testenv/memoryledger"
)

func TestLedger(t *testing.T) {
	t.Parallel()
	ledgertest.Test(t, func(*testing.T) ledgertest.Fixture {
		l := memoryledger.New()
		return ledgertest.Fixture{Ledger: l, Age: l.Age, Limit: func(outcomes, differences int) {
			l.MaxOutcomes, l.MaxDifferences = outcomes, differences
		}, Upgrade: func() { l.Reads++ }}
	})
}
