package main

import (
	"testing"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

// After ETL_RETENTION was lowered a service that starts removes what is too old by then,
// while it works as ever.
func TestServiceForgetsWhatIsOld(t *testing.T) {
	t.Parallel()
	s := newShop(t, 20, every(4))
	s.consumer()
	s.mustSync(t.Context(), exitOK)
	s.cart.Exec("UPDATE etl_ledger.run SET finished_at = now() - interval '2 hours'")
	s.cart.Exec("UPDATE etl_ledger.difference SET opened_at = now() - interval '3 hours', closed_at = now() - interval '2 hours'")
	if n := s.number("SELECT count(*) FROM etl_ledger.outcome"); n != 5 {
		t.Fatalf("%d outcomes are kept", n)
	}
	service := s.serve(map[string]string{"ETL_RETENTION": "1h"}).ready()
	shown := service.ended(service.post("/api/etl/sync", `{"dryRun":true}`).ID)
	if shown.Status != run.StatusSucceeded {
		t.Errorf("%+v", shown)
	}
	testenv.Eventually(t, watchFor, func() bool {
		return s.number("SELECT (SELECT count(*) FROM etl_ledger.outcome) + (SELECT count(*) FROM etl_ledger.difference) + (SELECT count(*) FROM etl_ledger.run)") == 1
	}, "all but the last run to be removed")
}
