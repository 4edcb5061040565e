package reconcile_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
)

// A wrong URL must not replay a catalogue, whether its findings fit one window,
// which is repaired without a second scan, or several.
func TestSuspiciousFindingsAreNotRepaired(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		products int
		lost     func(i int) bool
		rows     int    // of nobody's
		stops    string // part of the note, empty where the run goes on
	}{
		{"a thousand", 1500, first(1000), 0, ""},
		{"more than a thousand, and than a fifth", 1500, first(1001), 0,
			"Nothing was repaired: 1001 of 1500 products are missing, which is more than 1000 (the larger of 1000 and 20 %). " +
				"Check that PRODUCT_SERVICE_MONGODB_URL and CART_DB_URL belong together; if they do, apply the findings with --max-repairs 1001."},
		{"more than a thousand, a fifth", 6000, first(1200), 0, ""},
		{"a little more than a fifth", 6000, first(1201), 0, "1201 of 6000 products are missing, which is more than 1200"},
		{"all of a few", 10, all, 0, ""},
		{"all of many, an empty cart", 1001, all, 0, "1001 of 1001 products are missing"},
		{"no shared product", 10, all, 3, "The two stores share no product (10 products, 3 rows). Check that"},
		{"one shared product", 10, first(9), 3, ""},
		{"nothing is missing", 10, none, 3, ""},
		{"an empty source", 0, none, 3, ""},
	}
	for _, test := range tests {
		for _, window := range []int{10_000, 4} {
			t.Run(fmt.Sprintf("%s, windows of %d", test.name, window), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newShop(test.products, test.lost)
					for i := range test.rows {
						s.arrive(s.rowOf(newProduct(id(100_000 + i))))
					}
					s.page = 1000
					set := s.replay()
					set.window, set.options.BatchSize = window, 1000
					report, err := s.do(t.Context(), t, set)
					if err != nil {
						t.Fatal(err)
					}
					stopped := report.Result == run.Stopped
					if stopped != (test.stops != "") || !strings.Contains(strings.Join(report.Notes, "\n"), test.stops) {
						t.Errorf("the run %s, its notes are %q, want %q", report.Result, report.Notes, test.stops)
					}
					missing := report.Found[product.Missing]
					if stopped && (report.Acted != 0 || report.Unrepaired != missing || len(report.Samples) == 0) {
						t.Errorf("%d repaired, %d unrepaired, %d named of %d missing", report.Acted, report.Unrepaired, len(report.Samples), missing)
					}
					if !stopped && report.Outcomes[run.Verified] != missing {
						t.Errorf("%d verified of %d missing", report.Outcomes[run.Verified], missing)
					}
				})
			})
		}
	}
}

// A person who says how many, or which, has judged the findings.
func TestTheGuardIsBypassed(t *testing.T) {
	t.Parallel()
	shop := func() *shop { // more than a thousand are missing, and nothing is shared
		s := newShop(1200, all)
		s.arrive(s.rowOf(newProduct(id(100_000))))
		s.page = 1000
		return s
	}
	tests := []struct {
		name    string
		options func(*reconcile.Options)
		want    map[run.State]int64
	}{
		{"by --max-repairs", func(o *reconcile.Options) { o.MaxRepairs = 1200 }, map[run.State]int64{run.Verified: 1200}},
		{"by a smaller --max-repairs", func(o *reconcile.Options) { o.MaxRepairs = 25 }, map[run.State]int64{run.Verified: 25, run.Skipped: 1175}},
		{"by --id", func(o *reconcile.Options) { o.IDs = []product.ID{id(3), id(4)} }, map[run.State]int64{run.Verified: 2}},
		{"by a dry run", func(o *reconcile.Options) { o.DryRun = true }, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := shop()
				set := s.replay()
				set.window, set.options.BatchSize = 10, 1000
				test.options(&set.options)
				report, err := s.do(t.Context(), t, set)
				if err != nil || report.Result == run.Stopped {
					t.Fatalf("%v, and the run %s", err, report.Result)
				}
				wantCounts(t, report, test.want)
			})
		})
	}
}

// Where the findings fill several windows the first pass only counts: nothing is
// acted on before the whole was looked at, and nothing is counted twice.
func TestSeveralWindowsAreCountedFirst(t *testing.T) {
	t.Parallel()
	for _, window := range []int{6, 19} {
		synctest.Test(t, func(t *testing.T) { checkCountedFirst(t, window) })
	}
}

func checkCountedFirst(t *testing.T, window int) {
	s := newShop(40, first(20))
	s.change(id(40), func(p *product.Product) { p.Values[product.Title] = product.TextValue("New lamp") })
	s.change(id(1), func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
	const pagesOfAScan = 10
	s.before = func(_ context.Context, c call) error {
		if scans := s.count(scanning); c.operation == reserving && scans <= pagesOfAScan {
			t.Errorf("something is repaired after %d pages of the first scan", scans)
		}
		return nil
	}
	set := s.replay()
	set.window = window
	report, err := s.do(t.Context(), t, set)
	if err != nil {
		t.Fatal(err)
	}
	if s.count(scanning) != 2*pagesOfAScan {
		t.Errorf("%d pages were read, want two scans of %d", s.count(scanning), pagesOfAScan)
	}
	if report.Found[product.Missing] != 20 || report.Found[product.Stale] != 1 || report.Suspects != 21 || report.Products != 40 || report.Rows != 20 {
		t.Errorf("the report counts something twice: %+v", report)
	}
	wantCounts(t, report, map[run.State]int64{run.Verified: 19, run.Blocked: 1})
}

// A product that a cursor returns twice, in two windows, is repaired once.
func TestACursorThatRepeatsItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(4, first(1))
		for i := 2; i <= 4; i++ {
			s.change(id(i), retitle)
		}
		s.repeats = true
		set := s.replay()
		set.window = 4 // a page
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Acted != 1 || report.Result != run.Succeeded {
			t.Errorf("%v, %+v", err, report)
		}
	})
}

// What is missing and fits one window is repaired without a second scan, however
// much is stale or orphaned beside it.
func TestOtherDifferencesNeedNoSecondScan(t *testing.T) {
	t.Parallel()
	for missing := range 4 {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(40, func(i int) bool { return i%10 == 5 && i/10 < missing })
			for i := range 20 {
				s.change(id(i*2+2), retitle)
			}
			set := s.replay()
			set.window = 3
			report, err := s.do(t.Context(), t, set)
			if err != nil || s.count(scanning) != 10 || report.Found[product.Stale] != 20 {
				t.Errorf("%d pages were read, %v, %+v", s.count(scanning), err, report)
			}
			wantCounts(t, report, map[run.State]int64{run.Verified: int64(missing)})
		})
	}
}

// One window is repaired after the whole was looked at too, without a second scan.
func TestOneWindowIsScannedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(40, func(i int) bool { return i <= 2 })
		s.before = func(_ context.Context, c call) error {
			if scans := s.count(scanning); c.operation == reserving && scans != 10 {
				t.Errorf("something is repaired after %d of 10 pages", scans)
			}
			return nil
		}
		set := s.replay()
		set.window = 2 // it is full long before the scan ends
		report, err := s.do(t.Context(), t, set)
		if err != nil || s.count(scanning) != 10 {
			t.Errorf("%d pages were read, %v", s.count(scanning), err)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 2})
	})
}

// --id and --since look at a part of the source only.
func TestScopes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		options  reconcile.Options
		verified []product.ID
		compared int64
		result   run.Result
		note     string
	}{
		{"all", reconcile.Options{}, []product.ID{id(1), id(2)}, 4, run.Partial, "3 products have an _id of a type that cannot be compared (bool: 1, double: 2): they were not looked at"},
		{"one that is missing", reconcile.Options{IDs: []product.ID{id(2)}}, []product.ID{id(2)}, 1, run.Succeeded, ""},
		{"one that is there", reconcile.Options{IDs: []product.ID{id(3)}}, nil, 1, run.InSync, ""},
		{"an orphaned row", reconcile.Options{IDs: []product.ID{id(9)}}, nil, 0, run.InSync, ""},
		{"one that is nowhere", reconcile.Options{IDs: []product.ID{id(2), "typo", id(9)}}, []product.ID{id(2)}, 1, run.Succeeded, "1 of the 3 products named are in neither store"},
		{"recent ones", reconcile.Options{Since: longAgo.Add(time.Hour)}, []product.ID{id(2)}, 1, run.Partial, "3 products have an _id"},
		{"more recent ones", reconcile.Options{Since: longAgo.AddDate(5, 0, 0)}, nil, 0, run.Partial, "3 products have an _id"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(4, first(2))
				s.unsupported = map[string]int64{"double": 2, "bool": 1}
				recent := newProduct(id(2))
				recent.Created = longAgo.AddDate(1, 0, 0)
				s.add(recent, false)
				s.arrive(s.rowOf(newProduct(id(9))))
				set := s.replay()
				set.options.IDs, set.options.Since = test.options.IDs, test.options.Since
				report, err := s.do(t.Context(), t, set)
				if err != nil || report.Result != test.result || report.Products != test.compared {
					t.Errorf("%v, the run %s after %d products, want %s after %d", err, report.Result, report.Products, test.result, test.compared)
				}
				for i := 1; i <= 2; i++ {
					_, there := s.rows[id(i)]
					if want := strings.Contains(fmt.Sprint(test.verified), string(id(i))); there != want {
						t.Errorf("%s is there: %v, want %v", id(i), there, want)
					}
				}
				if notes := strings.Join(report.Notes, "\n"); (test.note == "") != (notes == "") || !strings.Contains(notes, test.note) {
					t.Errorf("the notes are %q, want %q", notes, test.note)
				}
			})
		})
	}
}
