package reconcile_test

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
)

// A run says at any time what it is doing, and how far it is.
func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(40, first(8))
		set := s.replay()
		set.Repairer = &repairer{shop: s, fate: verifies(4, 4)}
		engine, err := reconcile.NewWithWindow(set.Parts, set.config, set.options, set.window)
		if err != nil {
			t.Fatal(err)
		}
		phases := map[operation][]run.Phase{
			planning:     {run.PhasePlanning},
			findRows:     {run.PhaseConfirming, run.PhaseProving},
			findProducts: {run.PhaseConfirming, run.PhaseRepairing, run.PhaseProving},
			waiting:      {run.PhaseConfirming, run.PhaseProving},
			repairing:    {run.PhaseRepairing},
		}
		var last run.Progress
		s.before = func(_ context.Context, c call) error {
			p := engine.Progress()
			allowed := phases[c.operation] == nil
			for _, phase := range phases[c.operation] {
				allowed = allowed || p.Phase == phase
			}
			if !allowed {
				t.Errorf("%s in phase %q", c.operation, p.Phase)
			}
			if p.Compared < last.Compared || p.Acted < last.Acted || p.Verified < last.Verified || p.Round < last.Round {
				t.Errorf("from %+v to %+v", last, p)
			}
			if s.audit.acted > 0 && !p.Scanned {
				t.Error("it repairs, and the comparison is not complete")
			}
			last = p
			return nil
		}
		begun := time.Now()
		if _, err := engine.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := run.Progress{Phase: run.PhaseDone, Compared: 40, Total: 40, Scanned: true, Acted: 12, Verified: 8, Round: 2, Ranges: 1, RangesDone: 1,
			Suspects: map[product.Kind]int64{product.Missing: 8, product.Stale: 0, product.Orphaned: 0}}
		got := engine.Progress()
		var entered []run.Phase
		var took int64
		for _, p := range got.Phases {
			entered, took = append(entered, p.Phase), took+p.Milliseconds
		}
		wantPhases := []run.Phase{run.PhasePlanning, run.PhaseComparing, run.PhaseConfirming, run.PhaseRepairing, run.PhaseProving, run.PhaseDone}
		if !slices.Equal(entered, wantPhases) || took != time.Since(begun).Milliseconds() {
			t.Errorf("phases %v, together %d ms of %s", got.Phases, took, time.Since(begun))
		}
		got.Phases = nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("in the end %+v, want %+v", got, want)
		}
	})
}

// The second pass of a run begins anew, and what is expected depends on the scope.
func TestProgressOfOtherScopes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		options reconcile.Options
		total   int64
	}{
		{"named products", reconcile.Options{IDs: []product.ID{id(1), id(2)}}, 2},
		{"recent products", reconcile.Options{Since: longAgo.Add(-time.Hour)}, 0},
		{"several windows", reconcile.Options{}, 40},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(40, first(20))
				set := s.replay()
				set.options.IDs, set.options.Since = test.options.IDs, test.options.Since
				engine, err := reconcile.NewWithWindow(set.Parts, set.config, set.options, 3)
				if err != nil {
					t.Fatal(err)
				}
				s.intercept(func(_ context.Context, c call) error {
					p := engine.Progress()
					if c.operation == scanning && p.Scanned {
						t.Errorf("page %d is scanned when all is", c.nth)
					}
					if p.Phase != run.PhasePlanning && p.Total != test.total {
						t.Errorf("the total is %d, want %d", p.Total, test.total)
					}
					return nil
				})
				if _, err := engine.Do(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
