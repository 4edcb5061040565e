package reconcile_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// A report names the first thousand outcomes and counts the others.
func TestSamplesAreBounded(t *testing.T) {
	t.Parallel()
	const n = 2500
	tests := map[string]struct {
		change func(s *shop, set *setting)
		want   map[run.State]int64
	}{
		"blocked": {func(s *shop, set *setting) {
			set.options.MaxRepairs = n
			for i := 1; i <= n; i++ {
				s.change(id(i), func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
			}
		}, map[run.State]int64{run.Blocked: n}},
		"skipped": {func(_ *shop, set *setting) { set.options.MaxRepairs = 1 }, map[run.State]int64{run.Lost: 1, run.Skipped: n - 1}},
		"stopped": {func(*shop, *setting) {}, map[run.State]int64{run.Found: n}},
		"dry run": {func(_ *shop, set *setting) { set.options.DryRun = true }, map[run.State]int64{run.Found: n}},
		"lost":    {func(_ *shop, set *setting) { set.options.MaxRepairs = n }, map[run.State]int64{run.Lost: n}},
		"stale and orphaned": {func(s *shop, _ *setting) {
			for i := 1; i <= n; i++ {
				s.arrive(s.rowOf(newProduct(id(i))))
				if i%2 == 0 {
					s.stale(id(i))
				} else {
					s.delete(id(i))
				}
			}
		}, map[run.State]int64{run.Found: n}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(n, all)
				s.page = 1000
				set := s.replay()
				set.options.BatchSize, set.config.MaxRounds = 1000, 1
				set.Replay = &repairer{shop: s, fate: verifies()}
				test.change(s, &set)
				report, err := s.do(t.Context(), t, set)
				if err != nil || len(report.Samples) != run.MaxSamples {
					t.Fatalf("%v, %d samples", err, len(report.Samples))
				}
				wantCounts(t, report, test.want)
				found := report.Found[product.Missing] + report.Found[product.Stale] + report.Found[product.Orphaned]
				if found != n || report.Unrepaired != report.Found[product.Missing] {
					t.Errorf("%d found, %d unrepaired, want %d", found, report.Unrepaired, n)
				}
			})
		})
	}
}

// The one product that needs a person is named among a thousand that do not, and what
// needs action comes first.
func TestCaseE12WhatNeedsActionIsNamedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const orphans = 1271
		s := newShop(orphans+20, func(i int) bool { return i > orphans+10 })
		s.page = 500
		s.orphan(idsFrom(1, orphans)...)
		s.stale(id(orphans + 1))
		blocked, lost, failed := id(orphans+11), id(orphans+12), id(orphans+13)
		s.change(blocked, func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
		set := s.replay()
		set.config.MaxRounds = 1
		set.Replay = &repairer{shop: s, fate: func(_ int, p product.ID) fate {
			return map[product.ID]fate{lost: vanishes, failed: fails}[p]
		}}
		report, err := s.do(t.Context(), t, set)
		if err != nil || len(report.Samples) != run.MaxSamples {
			t.Fatalf("%v, %d samples", err, len(report.Samples))
		}
		type named struct {
			product.ID
			product.Kind
			run.State
		}
		want := []named{
			{lost, product.Missing, run.Lost}, {failed, product.Missing, run.Failed}, {blocked, product.Missing, run.Blocked},
			{id(orphans + 1), product.Stale, run.Found},
		}
		var got []named
		for _, o := range report.Samples[:len(want)] {
			got = append(got, named{o.ID, o.Kind, o.State})
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		for _, o := range report.Samples[len(want):] {
			if o.Kind != product.Orphaned || o.State != run.Found {
				t.Errorf("%+v", o)
			}
		}
	})
}

// Each state of each kind has room of its own, up to a hundred, whatever came before.
func TestEveryKindHasItsSamples(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const each = 1500
		s := newShop(3*each, func(i int) bool { return i > 2*each })
		s.page = 500
		s.orphan(idsFrom(1, each)...)
		s.stale(idsFrom(each+1, 2*each)...)
		report, err := s.do(t.Context(), t, s.dryRun(product.Kinds()...))
		if err != nil || len(report.Samples) != run.MaxSamples {
			t.Fatalf("%v, %d samples", err, len(report.Samples))
		}
		var order []product.Kind
		counts := make(map[product.Kind]int)
		for _, o := range report.Samples {
			if counts[o.Kind]++; counts[o.Kind] == 1 {
				order = append(order, o.Kind)
			}
		}
		if !slices.Equal(order, product.Kinds()) {
			t.Errorf("the order is %v", order)
		}
		for _, kind := range product.Kinds() {
			if counts[kind] < run.SampleQuota {
				t.Errorf("%d of %d %s products are named", counts[kind], each, kind)
			}
		}
	})
}
