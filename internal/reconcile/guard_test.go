package reconcile_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv/memoryledger"
)

// wantCounts compares the outcomes of a report, by state.
func wantCounts(t *testing.T, report *run.Report, want map[run.State]int64) {
	t.Helper()
	for _, rule := range run.States() {
		if got := report.Outcomes[rule.State]; got != want[rule.State] {
			t.Errorf("%d %s, want %d; %v", got, rule.State, want[rule.State], report.ByKind)
		}
	}
}

// wantNotes compares the notes of a report, in any order.
func wantNotes(t *testing.T, report *run.Report, want ...run.Note) {
	t.Helper()
	left := slices.Clone(report.Notes)
	for _, note := range want {
		i := slices.Index(left, note)
		if i < 0 {
			t.Errorf("the notes are %+v, want %+v", report.Notes, want)
			return
		}
		left = slices.Delete(left, i, i+1)
	}
	if len(left) > 0 {
		t.Errorf("the notes are %+v, want %+v", report.Notes, want)
	}
}

func retitle(p *product.Product) { p.Values[product.Title] = product.TextValue("New lamp") }

// stale gives products another title, which they have had for long.
func (s *shop) stale(ids ...product.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		p, _ := s.product(id)
		retitle(&p)
		s.put(p)
	}
}

// orphan deletes products and leaves their rows.
func (s *shop) orphan(ids ...product.ID) {
	for _, id := range ids {
		s.delete(id)
	}
}

// idsFrom are those of the products first to last.
func idsFrom(first, last int) (ids []product.ID) {
	for i := first; i <= last; i++ {
		ids = append(ids, id(i))
	}
	return ids
}

// capacities of an engine that keeps everything it judges, and of one that does not,
// so that a second pass repairs it.
var capacities = []int{reconcile.Capacity, 64}

// A wrong URL must not replay a catalogue.
func TestSuspiciousFindingsAreNotRepaired(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		products int
		lost     func(i int) bool
		rows     int // of nobody's
		note     run.Note
	}{
		{name: "a thousand", products: 1500, lost: first(1000)},
		{name: "more than a thousand, and than a fifth", products: 1500, lost: first(1001),
			note: run.Note{Code: run.NoteTooMany, Kind: product.Missing, Number: 1001, Of: 1500, Detail: "1000"}},
		{name: "more than a thousand, a fifth", products: 6000, lost: first(1200)},
		{name: "a little more than a fifth", products: 6000, lost: first(1201),
			note: run.Note{Code: run.NoteTooMany, Kind: product.Missing, Number: 1201, Of: 6000, Detail: "1200"}},
		{name: "all of a few", products: 10, lost: all},
		{name: "all of many, an empty cart", products: 1001, lost: all,
			note: run.Note{Code: run.NoteTooMany, Kind: product.Missing, Number: 1001, Of: 1001, Detail: "1000"}},
		{name: "no shared product", products: 10, lost: all, rows: 3,
			note: run.Note{Code: run.NoteNoneShared, Kind: product.Missing, Number: 10, Of: 3}},
		{name: "no shared product of many", products: 100, lost: all, rows: 3,
			note: run.Note{Code: run.NoteNoneShared, Kind: product.Missing, Number: 100, Of: 3}},
		{name: "one shared product", products: 10, lost: first(9), rows: 3},
		{name: "one shared product of many", products: 100, lost: first(99), rows: 3},
		{name: "nothing is missing", products: 10, lost: none, rows: 3},
		{name: "an empty source", products: 0, lost: none, rows: 3},
	}
	for _, test := range tests {
		for _, capacity := range capacities {
			t.Run(fmt.Sprintf("%s, capacity %d", test.name, capacity), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newShop(test.products, test.lost)
					for i := range test.rows {
						s.arrive(s.rowOf(newProduct(id(100_000 + i))))
					}
					s.page = 1000
					set := s.replay()
					set.capacity, set.options.BatchSize = capacity, 1000
					report, err := s.do(t.Context(), t, set)
					if err != nil {
						t.Fatal(err)
					}
					missing := report.Found[product.Missing]
					if test.note == (run.Note{}) {
						wantNotes(t, report)
						wantCounts(t, report, map[run.State]int64{run.Verified: missing, run.Found: int64(test.rows)})
						return
					}
					wantNotes(t, report, test.note)
					if report.Result != run.Stopped || report.Acted != 0 || report.Unrepaired != missing || len(report.Samples) == 0 || missing == 0 {
						t.Errorf("the run %s, %d repaired, %d unrepaired, %d named of %d missing", report.Result, report.Acted, report.Unrepaired, len(report.Samples), missing)
					}
				})
			})
		}
	}
}

// Each kind has the limit for itself: what is suspicious of one kind keeps no other
// from being repaired.
func TestEachKindHasItsLimit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		missing, stale int
		verified       int64
		notes          []run.Note
	}{
		{"neither is suspicious", 1000, 1000, 2000, nil},
		{"stale are", 1000, 1001, 1000, []run.Note{{Code: run.NoteTooMany, Kind: product.Stale, Number: 1001, Of: 2500, Detail: "1000"}}},
		{"missing are", 1001, 1000, 1000, []run.Note{{Code: run.NoteTooMany, Kind: product.Missing, Number: 1001, Of: 2500, Detail: "1000"}}},
		{"both are", 1001, 1001, 0, []run.Note{
			{Code: run.NoteTooMany, Kind: product.Missing, Number: 1001, Of: 2500, Detail: "1000"},
			{Code: run.NoteTooMany, Kind: product.Stale, Number: 1001, Of: 2500, Detail: "1000"},
		}},
	} {
		for _, capacity := range capacities {
			t.Run(fmt.Sprintf("%s, capacity %d", test.name, capacity), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newShop(2500, first(test.missing))
					s.stale(idsFrom(test.missing+1, test.missing+test.stale)...)
					s.page = 1000
					set := s.replay(product.Missing, product.Stale)
					set.capacity, set.options.BatchSize = capacity, 1000
					report, err := s.do(t.Context(), t, set)
					if err != nil || (report.Result == run.Stopped) != (len(test.notes) > 0) {
						t.Errorf("the run %s, %v", report.Result, err)
					}
					notes := test.notes
					if report.ByKind[product.Stale][run.Verified] > 0 { // said of every replayed update
						notes = append(slices.Clone(notes), run.Note{Code: run.NoteStockSet, Number: int64(test.stale)})
					}
					wantNotes(t, report, notes...)
					wantCounts(t, report, map[run.State]int64{run.Verified: test.verified, run.Found: int64(test.missing+test.stale) - test.verified})
				})
			})
		}
	}
}

// A person who says how many, or which, has judged the findings.
func TestTheGuardIsBypassed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		options func(*reconcile.Options)
		want    map[run.State]int64
	}{
		{"by --max-repairs", func(o *reconcile.Options) { o.MaxRepairs = 1200 }, map[run.State]int64{run.Verified: 1200, run.Found: 1}},
		{"by a smaller --max-repairs", func(o *reconcile.Options) { o.MaxRepairs = 25 }, map[run.State]int64{run.Verified: 25, run.Skipped: 1175, run.Found: 1}},
		{"by --id", func(o *reconcile.Options) { o.IDs = []product.ID{id(3), id(4)} }, map[run.State]int64{run.Verified: 2}},
		{"by a dry run", func(o *reconcile.Options) { o.DryRun = true }, map[run.State]int64{run.Found: 1201}},
	}
	for _, test := range tests {
		for _, capacity := range capacities {
			t.Run(fmt.Sprintf("%s, capacity %d", test.name, capacity), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newShop(1200, all) // more than a thousand are missing, and nothing is shared
					s.arrive(s.rowOf(newProduct(id(100_000))))
					s.page = 1000
					set := s.replay()
					set.capacity, set.options.BatchSize = capacity, 1000
					test.options(&set.options)
					report, err := s.do(t.Context(), t, set)
					if err != nil || report.Result == run.Stopped {
						t.Fatalf("%v, and the run %s", err, report.Result)
					}
					wantNotes(t, report)
					wantCounts(t, report, test.want)
				})
			})
		}
	}
}

// A person's limit is one for all kinds together.
func TestTheLimitIsOneForAllKinds(t *testing.T) {
	t.Parallel()
	for _, most := range []int{1, 4, 5, 9, 10, 12, 15, 20} {
		for _, mode := range []run.Mode{run.Replay, run.Direct} {
			t.Run(fmt.Sprintf("%d %s", most, mode), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := differ(30) // five of each kind
					set := s.replay(product.Kinds()...)
					if mode == run.Direct {
						set = s.direct(product.Kinds()...)
					}
					set.options.MaxRepairs = most
					report, err := s.do(t.Context(), t, set)
					if err != nil {
						t.Fatal(err)
					}
					repaired := int64(min(most, 15))
					wantCounts(t, report, map[run.State]int64{run.Verified: repaired, run.Skipped: 15 - repaired})
					for _, o := range report.Samples {
						if want := (run.Reason{Code: run.ReasonLimit, Number: int64(most)}); o.Reason != want {
							t.Errorf("%+v, want %+v", o, want)
						}
					}
				})
			})
		}
	}
}

// Where more is found than is kept in memory the first pass only counts: nothing is
// acted on before the whole was looked at, and nothing is counted twice.
func TestOverflowingFindingsAreCountedFirst(t *testing.T) {
	t.Parallel()
	for _, capacity := range []int{3, 6, 19} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(40, first(20))
			s.stale(id(40))
			s.change(id(1), func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
			const pagesOfAScan = 10
			s.before = func(_ context.Context, c call) error {
				if scans := s.count(scanning); c.operation == reserving && scans <= pagesOfAScan {
					t.Errorf("something is repaired after %d pages of the first scan", scans)
				}
				return nil
			}
			set := s.replay()
			set.capacity = capacity
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
			wantCounts(t, report, map[run.State]int64{run.Verified: 19, run.Blocked: 1, run.Found: 1})
		})
	}
}

// A kind that is repaired as it is found, and loses something, beside one that needs
// a second pass: what was lost is found again, and counts once.
func TestWhatIsLostBeforeASecondPassCountsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(400, first(3))
		s.stale(idsFrom(100, 160)...)
		s.page = 100
		set := s.replay(product.Missing, product.Stale)
		set.capacity, set.config.MaxRounds = 32, 1
		set.Replay = &repairer{shop: s, fate: func(_ int, p product.ID) fate {
			if p == id(1) {
				return vanishes
			}
			return arrives
		}}
		report, err := s.do(t.Context(), t, set)
		if err != nil || s.count(scanning) != 8 {
			t.Errorf("%d pages were read, %v", s.count(scanning), err)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 63, run.Lost: 1})
		if report.Found[product.Missing] != 3 {
			t.Errorf("%d are found missing, want 3", report.Found[product.Missing])
		}
	})
}

// What was lost before a second pass is tried there under a new number, and takes
// nobody's place among those that may be repaired.
func TestASecondPassGoesOnCounting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const missing, orphaned = 3, 20
		s := newShop(100, first(missing))
		for _, id := range idsFrom(50, 50+orphaned-1) {
			s.delete(id)
		}
		set := s.replay(product.Missing, product.Orphaned)
		set.capacity, set.config.MaxRounds, set.options.MaxRepairs = 8, 2, missing+orphaned
		set.Ledger = begin(t.Context(), t, memoryledger.New())
		var attempts []int
		set.Replay = &repairer{shop: s, fate: func(attempt int, p product.ID) fate {
			if p != id(1) {
				return arrives
			}
			attempts = append(attempts, attempt)
			return vanishes
		}}
		report, err := s.do(t.Context(), t, set)
		if err != nil || !slices.Equal(attempts, []int{1, 2, 3}) {
			t.Errorf("the attempts are %v, %v", attempts, err)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: missing - 1 + orphaned, run.Lost: 1})
	})
}

// A product that becomes another difference, and passes a second gate, counts once
// among those that may be repaired.
func TestTwoGatesCountAProductOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(20, none)
		s.stale(id(1))
		s.delete(id(2))
		s.once(func(c call) bool { return c.operation == repairing && c.kind == product.Stale }, func() { s.delete(id(1)) })
		set := s.direct(product.Stale, product.Orphaned)
		set.options.MaxRepairs = 2
		report, err := s.do(t.Context(), t, set)
		if err != nil {
			t.Error(err)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 2})
	})
}

// A product that a cursor returns twice is repaired once.
func TestACursorThatRepeatsItself(t *testing.T) {
	t.Parallel()
	for _, capacity := range []int{reconcile.Capacity, 4} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(4, first(1))
			s.repeats = true
			set := s.replay()
			set.capacity = capacity
			report, err := s.do(t.Context(), t, set)
			if err != nil || report.Acted != 1 || report.Result != run.Succeeded {
				t.Errorf("%v, %+v", err, report)
			}
		})
	}
}

// What is to be repaired and fits the engine needs no second scan, however much is
// stale or orphaned beside it.
func TestOtherDifferencesNeedNoSecondScan(t *testing.T) {
	t.Parallel()
	for missing := range 4 {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(40, func(i int) bool { return i%10 == 5 && i/10 < missing })
			for i := range 20 {
				s.stale(id(i*2 + 2))
			}
			set := s.replay()
			set.capacity = 3
			report, err := s.do(t.Context(), t, set)
			if err != nil || s.count(scanning) != 10 || report.Found[product.Stale] != 20 {
				t.Errorf("%d pages were read, %v, %+v", s.count(scanning), err, report)
			}
			wantCounts(t, report, map[run.State]int64{run.Verified: int64(missing), run.Found: 20})
		})
	}
}

// What is held back is repaired after the whole was looked at, and what a sample has
// shown to be little is repaired as it is found.
func TestASampleShowsWhatNeedsNoWait(t *testing.T) {
	t.Parallel()
	for missing, waits := range map[int]bool{4: false, 5: true} { // of 40: up to a tenth
		synctest.Test(t, func(t *testing.T) {
			s := newShop(40, first(missing))
			s.page = 1
			waited := true
			s.before = func(_ context.Context, c call) error {
				if c.operation == repairing && s.count(scanning) < 40 {
					waited = false
				}
				return nil
			}
			set := s.direct()
			set.blind = true // nothing else is waited for
			report, err := s.do(t.Context(), t, set)
			if err != nil || s.count(scanning) != 40 || waited != waits {
				t.Errorf("%d missing: %d pages were read, waited for them: %v, %v", missing, s.count(scanning), waited, err)
			}
			wantCounts(t, report, map[run.State]int64{run.Verified: int64(missing)})
		})
	}
}

// A sample that shows no shared product, or nothing at all, shows nothing.
func TestASampleOfAnotherCatalogue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(1, all)
		s.arrive(s.rowOf(newProduct(id(100_000))))
		report, err := s.do(t.Context(), t, s.replay())
		if err != nil || report.Result != run.Stopped {
			t.Errorf("%v, %+v", err, report)
		}
		wantNotes(t, report, run.Note{Code: run.NoteNoneShared, Kind: product.Missing, Number: 1, Of: 1})
	})
}

// once calls do before the first operation that is.
func (s *shop) once(is func(call) bool, do func()) {
	done := false
	s.intercept(func(_ context.Context, c call) error {
		if !done && is(c) {
			done = true
			do()
		}
		return nil
	})
}

// What was judged is a ceiling: rows that vanish between the two passes are for a
// later run.
func TestTheCeilingOfTheSecondPass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(200, first(80))
		s.page = 50
		s.once(func(c call) bool { return c.operation == scanning && c.nth == 5 }, func() {
			for i := 150; i < 170; i++ {
				s.removeRow(id(i))
			}
			s.Look() // the second scan has begun by then
		})
		set := s.replay()
		set.capacity = 64
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Result != run.Partial {
			t.Errorf("%v, %+v", err, report)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 80, run.Skipped: 20})
		wantNotes(t, report, run.Note{Code: run.NoteCeiling, Kind: product.Missing, Number: 80})
		for _, o := range report.Samples {
			if want := (run.Reason{Code: run.ReasonCeiling, Number: 80}); o.Reason != want {
				t.Errorf("%+v, want %+v", o, want)
			}
		}
	})
}

// A second pass looks at what the first one has looked at, and at nothing else.
func TestTheSecondPassHasTheSameScope(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		repair  product.Kind
		options reconcile.Options
		rows    int // at the end, of 40
		want    map[run.State]int64
	}{
		{"recent products", product.Missing, reconcile.Options{Since: longAgo.Add(time.Hour)}, 30, map[run.State]int64{run.Verified: 10}},
		{"named rows", product.Orphaned, reconcile.Options{IDs: idsFrom(31, 40)}, 30, map[run.State]int64{run.Verified: 10}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(40, func(i int) bool { return test.repair == product.Missing && i <= 20 })
				for i := 1; i <= 10; i++ {
					p, _ := s.product(id(i))
					p.Created = longAgo.AddDate(1, 0, 0)
					s.add(p, false)
				}
				if test.repair == product.Orphaned {
					s.orphan(idsFrom(21, 40)...)
				}
				set := s.replay(test.repair)
				set.options.IDs, set.options.Since, set.capacity = test.options.IDs, test.options.Since, 4
				report, err := s.do(t.Context(), t, set)
				if err != nil || len(s.Rows) != test.rows {
					t.Errorf("%v, %d rows, want %d", err, len(s.Rows), test.rows)
				}
				wantCounts(t, report, test.want)
			})
		})
	}
}

// Behind a good sample products are repaired as they are found, up to the number
// above which a person decides.
func TestTheRunningCeiling(t *testing.T) {
	t.Parallel()
	for _, capacity := range capacities {
		for _, vanished := range []int{1000, 1001, 1100} {
			t.Run(fmt.Sprintf("%d, capacity %d", vanished, capacity), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newShop(2000, none)
					s.page = 500
					s.once(func(c call) bool { return c.operation == scanning }, func() { // behind the sample
						for i := 1; i <= vanished; i++ {
							s.removeRow(id(i))
						}
						s.Look()
					})
					set := s.replay()
					set.capacity = capacity
					report, err := s.do(t.Context(), t, set)
					if err != nil {
						t.Fatal(err)
					}
					skipped := int64(vanished - 1000)
					wantCounts(t, report, map[run.State]int64{run.Verified: 1000, run.Skipped: skipped})
					if (report.Result == run.Stopped) != (skipped > 0) || report.Unrepaired != skipped {
						t.Errorf("the run %s, %d unrepaired", report.Result, report.Unrepaired)
					}
					if len(report.Samples) > 0 {
						wantNotes(t, report, run.Note{Code: run.NoteTooMany, Kind: product.Missing, Number: int64(vanished), Of: 2000, Detail: "1000"})
						if want := (run.Reason{Code: run.ReasonGuard, Number: 1000}); report.Samples[0].Reason != want {
							t.Errorf("%+v, want %+v", report.Samples[0], want)
						}
					}
				})
			})
		}
	}
}

// memorable is a ledger that knows the last complete comparison.
type memorable struct {
	reconcile.NoLedger
	last run.Look
}

func (m memorable) LastLook(context.Context) (run.Look, error) { return m.last, nil }

// Nothing is deleted where the source does not look like all of it, or where there is
// more to delete than the limit.
func TestOrphansAreDeletedWithCare(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		products int // that are left
		orphans  int
		last     int64 // products at the last complete comparison
		deletes  int   // the limit
		named    bool  // the orphans, by id
		note     run.Note
		skipped  int64
	}{
		{name: "few", products: 10, orphans: 3},
		{name: "as many as the limit", products: 10, orphans: 100},
		{name: "more than the limit", products: 10, orphans: 101,
			note: run.Note{Code: run.NoteTooMany, Kind: product.Orphaned, Number: 101, Of: 111, Detail: "100"}},
		{name: "more than a limit of one's own", products: 10, orphans: 3, deletes: 2,
			note: run.Note{Code: run.NoteTooMany, Kind: product.Orphaned, Number: 3, Of: 13, Detail: "2"}},
		{name: "a larger limit of one's own", products: 10, orphans: 101, deletes: 101},
		{name: "an empty source", products: 0, orphans: 3,
			note: run.Note{Code: run.NoteShrunken, Kind: product.Orphaned}},
		{name: "an empty source that was none", products: 0, orphans: 3, last: 3,
			note: run.Note{Code: run.NoteShrunken, Kind: product.Orphaned, Of: 3}},
		{name: "a fifth less than last time", products: 80, orphans: 20, last: 100},
		{name: "more than a fifth less than last time", products: 79, orphans: 21, last: 100,
			note: run.Note{Code: run.NoteShrunken, Kind: product.Orphaned, Number: 79, Of: 100}},
		{name: "named", products: 10, orphans: 3, named: true},
		{name: "named, in a shrunken source", products: 79, orphans: 3, last: 100, named: true,
			note: run.Note{Code: run.NoteShrunken, Kind: product.Orphaned, Number: 79, Of: 100}},
		{name: "named, in an empty source", products: 0, orphans: 3, named: true,
			note: run.Note{Code: run.NoteShrunken, Kind: product.Orphaned}},
	}
	for _, test := range tests {
		for _, capacity := range capacities {
			for _, mode := range []run.Mode{run.Replay, run.Direct} {
				t.Run(fmt.Sprintf("%s, capacity %d, %s", test.name, capacity, mode), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						n := test.products + test.orphans
						s := newShop(n, none)
						orphans := idsFrom(test.products+1, n)
						s.orphan(orphans...)
						s.page = 100
						set := s.replay(product.Orphaned)
						if mode == run.Direct {
							set = s.direct(product.Orphaned)
						}
						set.capacity, set.options.MaxDeletes = capacity, test.deletes
						set.Ledger = memorable{last: run.Look{Products: test.last}}
						if test.named {
							set.options.IDs = orphans
						}
						report, err := s.do(t.Context(), t, set)
						if err != nil {
							t.Fatal(err)
						}
						rows, want := test.products, map[run.State]int64{run.Verified: int64(test.orphans)}
						if test.note == (run.Note{}) {
							wantNotes(t, report)
						} else {
							wantNotes(t, report, test.note)
							rows, want = n, map[run.State]int64{run.Found: int64(test.orphans)}
						}
						wantCounts(t, report, want)
						if len(s.Rows) != rows || (report.Result == run.Stopped) != (rows == n) {
							t.Errorf("the run %s and leaves %d rows, want %d", report.Result, len(s.Rows), rows)
						}
					})
				})
			}
		}
	}
}

// A scan that fails has not read the source completely: nothing is deleted.
func TestNothingIsDeletedBehindAFailedScan(t *testing.T) {
	t.Parallel()
	for _, side := range []operation{scanning, spanning} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(40, none)
			s.orphan(idsFrom(1, 3)...)
			s.fail(side, 6)
			report, err := s.do(t.Context(), t, s.replay(product.Orphaned))
			if err == nil || report.Acted != 0 || len(s.Rows) != 40 {
				t.Errorf("%v, %+v", err, report)
			}
			wantCounts(t, report, map[run.State]int64{run.Found: 3})
		})
	}
}

// --id and --since look at a part of the source only.
func TestScopes(t *testing.T) {
	t.Parallel()
	unsupported := run.Note{Code: run.NoteUnsupported, Number: 3, Detail: "bool: 1, double: 2"}
	tests := []struct {
		name     string
		options  reconcile.Options
		verified []product.ID
		compared int64
		result   run.Result
		notes    []run.Note
	}{
		{"all", reconcile.Options{}, idsFrom(1, 2), 4, run.Partial, []run.Note{unsupported}},
		{"one that is missing", reconcile.Options{IDs: []product.ID{id(2)}}, idsFrom(2, 2), 1, run.Succeeded, nil},
		{"one that is there", reconcile.Options{IDs: []product.ID{id(3)}}, nil, 1, run.InSync, nil},
		{"an orphaned row", reconcile.Options{IDs: []product.ID{id(9)}}, nil, 0, run.Succeeded, nil},
		{"one that is nowhere", reconcile.Options{IDs: []product.ID{"typo"}}, nil, 0, run.Partial,
			[]run.Note{{Code: run.NoteUnknownIDs, Number: 1, Of: 1, Detail: "typo"}}},
		{"some of whom one is nowhere", reconcile.Options{IDs: []product.ID{id(2), "typo", id(9), id(3)}}, idsFrom(2, 2), 2, run.Partial,
			[]run.Note{{Code: run.NoteUnknownIDs, Number: 1, Of: 4, Detail: "typo"}}},
		{"recent ones", reconcile.Options{Since: longAgo.Add(time.Hour)}, idsFrom(2, 2), 1, run.Partial, []run.Note{unsupported}},
		{"more recent ones", reconcile.Options{Since: longAgo.AddDate(5, 0, 0)}, nil, 0, run.Partial, []run.Note{unsupported}},
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
				if there := slices.DeleteFunc(slices.Sorted(maps.Keys(s.Rows)), func(p product.ID) bool { return p > id(2) }); !slices.Equal(there, test.verified) {
					t.Errorf("repaired are %v, want %v", there, test.verified)
				}
				wantNotes(t, report, test.notes...)
			})
		})
	}
}
