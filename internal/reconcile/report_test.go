package reconcile_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// A report names the first thousand outcomes and counts the others.
func TestSamplesAreBounded(t *testing.T) {
	t.Parallel()
	settings := map[string]func(*setting){
		"blocked":            func(set *setting) { set.options.MaxRepairs = 3000 },
		"skipped":            func(set *setting) { set.options.MaxRepairs = 1 },
		"stopped":            func(*setting) {},
		"dry run":            func(set *setting) { set.options.DryRun = true },
		"lost":               func(set *setting) { set.options.MaxRepairs = 3000 },
		"stale and orphaned": func(*setting) {},
	}
	for name, change := range settings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const n = 2500
				lost := all
				if name == "stale and orphaned" {
					lost = none
				}
				s := newShop(n, lost)
				s.page = 1000
				for i := 1; i <= n; i++ {
					switch {
					case name == "blocked":
						s.change(id(i), func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
					case name == "stale and orphaned" && i%2 == 0:
						s.change(id(i), retitle)
					case name == "stale and orphaned":
						s.delete(id(i))
					}
				}
				set := s.replay()
				set.window, set.options.BatchSize, set.config.MaxRounds = 10_000, 1000, 1
				set.Repairer = &repairer{shop: s, fate: verifies()}
				change(&set)
				report, err := s.do(t.Context(), t, set)
				if err != nil || len(report.Samples) != run.MaxSamples {
					t.Fatalf("%v, %d samples", err, len(report.Samples))
				}
				found := report.Found[product.Missing] + report.Found[product.Stale] + report.Found[product.Orphaned]
				if found != n || report.Unrepaired != report.Found[product.Missing] {
					t.Errorf("%d found, %d unrepaired, want %d", found, report.Unrepaired, n)
				}
			})
		})
	}
}

// A dry run names what is missing, and finds out what could not be repaired.
func TestADryRunNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(6, first(4))
		s.change(id(2), func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
		s.change(id(5), retitle)
		s.delete(id(6))
		s.before = func(_ context.Context, c call) error {
			if c.operation == findProducts && c.nth == 2 { // the confirmation is over
				s.delete(id(3))
			}
			return nil
		}
		set := s.dryRun()
		set.Repairer = nil
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Result != run.Partial || report.Unrepaired != 3 {
			t.Errorf("%v, %+v", err, report)
		}
		var got []string
		for _, o := range report.Samples {
			got = append(got, strings.TrimLeft(string(o.ID), "0")+" "+string(o.Kind)+" "+string(o.State)+" "+o.Reason)
		}
		slices.Sort(got)
		want := []string{
			"1 missing found ",
			"2 missing blocked 9.99 has a fraction, and the column is integer",
			"3 missing gone deleted in the source before its repair",
			"4 missing found ",
			"5 stale found title is New lamp in the source and Lamp in the cart",
			"6 orphaned found ",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// A result is about what the run is to repair; a dry run compares everything.
func TestResults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(s *shop)
		run    run.Result
		dry    run.Result
	}{
		{"nothing differs", func(*shop) {}, run.InSync, run.InSync},
		{"a product is missing", func(s *shop) { s.removeRow(id(1)) }, run.Succeeded, run.Partial},
		{"a product is stale", func(s *shop) { s.change(id(1), retitle) }, run.InSync, run.Partial},
		{"a row is orphaned", func(s *shop) { s.delete(id(1)) }, run.InSync, run.Partial},
		{"an id cannot be compared", func(s *shop) { s.unsupported = map[string]int64{"double": 1} }, run.Partial, run.Partial},
		{"a product is missing and deleted before its repair", func(s *shop) {
			s.removeRow(id(1))
			s.before = func(_ context.Context, c call) error {
				if c.operation == findProducts && c.nth == 2 {
					s.delete(id(1))
				}
				return nil
			}
		}, run.Succeeded, run.InSync},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, dry := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					s := newShop(3, none)
					test.change(s)
					set, want := s.replay(), test.run
					if dry {
						set, want = s.dryRun(), test.dry
					}
					report, err := s.do(t.Context(), t, set)
					if err != nil || report.Result != want {
						t.Errorf("%v, dry %v: the result is %q, want %q", err, dry, report.Result, want)
					}
				})
			}
		})
	}
}

// The report is an interface: programs read these names.
func TestReportAsJSON(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(2, first(1))
		s.change(id(1), func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
		report, err := s.do(t.Context(), t, s.replay())
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		const want = `{"run":"run","mode":"replay","dryRun":false,"result":"partial",` +
			`"startedAt":"2000-01-01T00:00:00Z","finishedAt":"2000-01-01T00:00:02.011Z","durationMs":2011,` +
			`"source":"shop.products","target":"cart.public.product","productsCompared":2,"rowsCompared":1,"unsupportedIds":null,` +
			`"suspects":1,"resolved":0,"found":{"missing":1},"acted":0,"rounds":1,"outcomes":{"blocked":1},` +
			`"samples":[{"id":"000000000000000000000001","kind":"missing","state":"blocked","column":"price",` +
			`"reason":"9.99 has a fraction, and the column is integer","remedy":"correct the product in the Product Service, then run again"}],` +
			`"notes":[],"unrepaired":1}`
		if string(got) != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}
