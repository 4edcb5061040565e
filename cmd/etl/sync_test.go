package main

import (
	"testing"

	"github.com/ecom-micro/etl/internal/reconcile"
)

func TestSyncDirectWritesWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := newShop(t, 3000, every(10))
	report := s.mustSync(t.Context(), exitOK, "--mode", "direct")
	if got := report.Outcomes[reconcile.Verified]; got != 300 {
		t.Errorf("%d verified, want 300: %+v", got, report)
	}
	s.wantComplete()
	again := s.mustSync(t.Context(), exitOK, "--mode", "direct")
	if again.Result != reconcile.InSync || again.Acted != 0 {
		t.Errorf("a second run is %s with %d repairs, want in sync with none", again.Result, again.Acted)
	}
}
