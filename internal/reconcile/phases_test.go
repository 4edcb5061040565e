package reconcile_test

import (
	"context"
	"slices"
	"strings"

	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
)

// Whoever watches a run sees its phases one after the other: behind the scan nothing is
// compared any more.
func TestPhasesFollowEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(500, first(20))
		set := s.replay(product.Missing)
		watermarks, stop := s.open(t.Context())
		defer stop()
		set.Watermarks = watermarks
		engine, err := reconcile.New(set.Parts, set.config, set.options)
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancel(t.Context())
		var phases []run.Phase
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			for ctx.Err() == nil {
				if p := engine.Progress().Phase; p != "" && (len(phases) == 0 || phases[len(phases)-1] != p) {
					phases = append(phases, p)
				}
				_ = reconcile.SleepUntil(ctx, time.Now().Add(time.Millisecond))
			}
		}()
		if _, err := engine.Do(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		end()
		<-watched
		if n := len(phases); n < 3 || slices.Contains(phases[2:], run.PhaseComparing) || !slices.Contains(phases, run.PhaseProving) {
			t.Errorf("the phases are %q", phases)
		}
	})
}

// Products whose moment is one are dealt with, and named, in the order of their ids.
func TestSamplesAreInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(500, first(50))
		set := s.replay(product.Missing)
		set.options.DryRun = true
		report, err := s.do(t.Context(), t, set)
		if err != nil || len(report.Samples) != 50 || !slices.IsSortedFunc(report.Samples, func(a, b run.Outcome) int { return strings.Compare(string(a.ID), string(b.ID)) }) {
			t.Errorf("%v, %+v", err, report.Samples)
		}
	})
}
