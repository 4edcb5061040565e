package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// wantCounts compares the outcomes of a report, by state.
func wantCounts(t *testing.T, report *run.Report, want map[run.State]int64) {
	t.Helper()
	for _, state := range run.States() {
		if got := report.Outcomes[state]; got != want[state] {
			t.Errorf("%d %s, want %d; %v", got, state, want[state], report.Outcomes)
		}
	}
}

// verifies is a cart in which so many more products arrive in each round, and all
// others vanish.
func verifies(arriving ...int) func(int, product.ID) fate {
	left := slices.Clone(arriving)
	return func(round int, _ product.ID) fate {
		if round > len(left) || left[round-1] == 0 {
			return vanishes
		}
		left[round-1]--
		return arrives
	}
}

func TestRoundsGoOnWhileTheyHelp(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		missing   int
		arriving  []int // in each round
		maxRounds int
		rounds    int
		lost      int64
	}{
		{"all arrive", 100, []int{100}, 20, 1, 0},
		{"a fifth arrives, then all", 100, []int{20, 80}, 20, 2, 0},
		{"less than a fifth arrives", 100, []int{19, 81}, 20, 1, 81},
		{"half arrive in each round", 64, []int{32, 16, 8, 4, 2, 1, 1}, 20, 7, 0},
		{"the rounds come to their end", 64, []int{32, 16, 8, 4, 2, 1, 1}, 3, 3, 8},
		{"one round", 64, []int{32, 32}, 1, 1, 32},
		{"many, and nothing arrives", 25, nil, 20, 1, 25},
		{"few, and nothing arrives", 24, nil, 20, 5, 24},
		{"few have bad luck four times", 24, []int{0, 0, 0, 0, 24}, 20, 5, 0},
		{"few, and bad luck between good rounds", 20, []int{0, 0, 0, 0, 4, 0, 0, 0, 0, 16}, 20, 10, 0},
		{"few, and always too few", 24, []int{4, 3, 3, 2, 2, 2}, 20, 5, 10},
		{"many become few, which get patience", 30, []int{6, 0, 0, 24}, 20, 4, 0},
		{"one, and one consumer of two", 1, []int{0, 1}, 20, 2, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(test.missing, all)
				set := s.replay()
				set.config.MaxRounds = test.maxRounds
				set.Repairer = &repairer{shop: s, fate: verifies(test.arriving...)}
				report, err := s.do(t.Context(), t, set)
				if err != nil {
					t.Fatal(err)
				}
				if report.Rounds != test.rounds {
					t.Errorf("%d rounds, want %d", report.Rounds, test.rounds)
				}
				wantCounts(t, report, map[run.State]int64{run.Lost: test.lost, run.Verified: int64(test.missing) - test.lost})
				want := run.Succeeded
				if test.lost > 0 {
					want = run.Partial
				}
				if report.Result != want {
					t.Errorf("the run %s, want %s", report.Result, want)
				}
			})
		})
	}
}

// What was deleted meanwhile is settled, and says nothing for another round.
func TestOnlyVerifiedProductsAreWorthAnotherRound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(100, all)
		set := s.replay()
		set.Repairer = &repairer{shop: s, fate: verifies(10, 90)}
		s.before = func(_ context.Context, c call) error {
			if c.operation == waiting && s.count(repairing) == 20 { // all are published
				for i := 81; i <= 100; i++ {
					s.delete(id(i))
				}
			}
			return nil
		}
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Rounds != 1 {
			t.Errorf("%d rounds, %v; want 1", report.Rounds, err)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 10, run.Gone: 20, run.Lost: 70})
	})
}

// Each window has its rounds; one that loses everything does not stop the next.
func TestWindowsHaveTheirOwnRounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(60, all)
		set := s.replay()
		set.window = 30
		set.Repairer = &repairer{shop: s, fate: func(_ int, p product.ID) fate {
			if p <= id(30) {
				return vanishes
			}
			return arrives
		}}
		report, err := s.do(t.Context(), t, set)
		if err != nil {
			t.Fatal(err)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 30, run.Lost: 30})
		// All windows' losses are told in one note.
		if len(report.Notes) != 1 || !strings.HasPrefix(report.Notes[0], "30 of 60 events of the first round were consumed and left no row") {
			t.Errorf("the notes are %q", report.Notes)
		}
	})
}

func TestNotesSayWhyRepairsWereLost(t *testing.T) {
	t.Parallel()
	const first = "2 of 4 events of the first round were consumed and left no row in the cart, so further rounds were needed: "
	tests := []struct {
		name     string
		diagnose func(context.Context) string
		want     string
	}{
		{"nothing is known", nil, first + "the cart's consumer did not store them"},
		{"nothing is found out", func(context.Context) string { return "" }, first + "the cart's consumer did not store them"},
		{"a thief", func(context.Context) string { return "the queue has 2 consumers" }, first + "the queue has 2 consumers"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(4, all)
				set := s.replay()
				set.Repairer = &repairer{shop: s, fate: verifies(2, 1, 1)}
				set.Diagnose = test.diagnose
				report, err := s.do(t.Context(), t, set)
				if err != nil || !slices.Equal(report.Notes, []string{test.want}) {
					t.Errorf("%v; the notes are %q, want %q", err, report.Notes, test.want)
				}
			})
		})
	}
	t.Run("rows were lost", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := newShop(4, all)
			set := s.direct()
			set.Repairer = &repairer{shop: s, direct: true, fate: verifies(2, 2)}
			if report, _ := s.do(t.Context(), t, set); report.Rounds != 2 || len(report.Notes) != 0 {
				t.Errorf("%d rounds; the notes of a direct run are %q", report.Rounds, report.Notes)
			}
		})
	})
	t.Run("nothing was lost", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := newShop(4, all)
			if report, _ := s.do(t.Context(), t, s.replay()); len(report.Notes) != 0 {
				t.Errorf("the notes are %q", report.Notes)
			}
		})
	})
}

func TestFallbackWritesWhatTheReplayLoses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(40, all)
		set := s.replay()
		set.config.MaxRounds = 2
		set.Repairer = &repairer{shop: s, fate: verifies(20, 10)}
		lostForGood := id(40)
		set.Fallback = &repairer{shop: s, direct: true, fate: func(_ int, p product.ID) fate {
			if p == lostForGood {
				return vanishes
			}
			return arrives
		}}
		report, err := s.do(t.Context(), t, set)
		if err != nil {
			t.Fatal(err)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 39, run.Lost: 1})
		if notes := strings.Join(report.Notes, "\n"); !strings.Contains(notes, "10 products that the replay lost were written directly (fallback)") {
			t.Errorf("the notes are %q", notes)
		}
		if report.Acted != 40+20+10 {
			t.Errorf("%d repairs, want 70", report.Acted)
		}
	})
}

// A fallback is for what rounds could not bring, not for a run that fails.
func TestNoFallbackAfterAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(10, all)
		set := s.replay()
		tried := 0
		set.Repairer = &repairer{shop: s, fate: verifies(4), breaks: func(product.ID) error {
			if tried++; tried > 7 {
				return errReset
			}
			return nil
		}}
		set.Fallback = &repairer{shop: s, direct: true, fate: func(int, product.ID) fate {
			t.Error("the fallback writes")
			return arrives
		}}
		report, err := s.do(t.Context(), t, set)
		if !errors.Is(err, errReset) {
			t.Error(err)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 4, run.Lost: 3, run.Failed: 3})
	})
}

// A fallback that fails leaves no product without an outcome.
func TestFallbackThatFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		before func(s *shop, stop context.CancelCauseFunc) func(c call) error
		breaks bool // after three products
		want   map[run.State]int64
	}{
		{
			name: "the database is away", breaks: true,
			want: map[run.State]int64{run.Verified: 2, run.Lost: 1, run.Failed: 7},
		},
		{
			name: "stopped before its proof",
			before: func(s *shop, stop context.CancelCauseFunc) func(call) error {
				return func(c call) error {
					if c.operation == waiting && s.count(repairing) == 4 { // two of the replay, two of the fallback
						stop(nil)
					}
					return nil
				}
			},
			want: map[run.State]int64{run.InFlight: 10},
		},
		{
			name: "the proof cannot be read",
			before: func(s *shop, _ context.CancelCauseFunc) func(call) error {
				return func(c call) error {
					if c.operation == findRows && s.count(repairing) == 4 {
						return errReset
					}
					return nil
				}
			},
			want: map[run.State]int64{run.InFlight: 10},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(10, all)
				ctx, stop := context.WithCancelCause(t.Context())
				defer stop(nil)
				set := s.replay()
				set.config.MaxRounds = 1
				set.Repairer = &repairer{shop: s, fate: verifies()}
				tried := 0
				set.Fallback = &repairer{shop: s, direct: true, breaks: func(product.ID) error {
					if tried++; test.breaks && tried > 3 {
						return errReset
					}
					return nil
				}, fate: func(int, product.ID) fate {
					if tried == 3 {
						return vanishes
					}
					return arrives
				}}
				if test.before != nil {
					before := test.before(s, stop)
					s.before = func(_ context.Context, c call) error { return before(c) }
				}
				report, err := s.do(ctx, t, set)
				if err == nil {
					t.Errorf("no error, and the run %s", report.Result)
				}
				wantCounts(t, report, test.want)
			})
		})
	}
}

// Products that a repairer did not try come again, after another look.
func TestWhatWasNotTriedIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(23, all)
		set := s.replay()
		refused := make(map[product.ID]int)
		set.Repairer = &repairer{shop: s, fate: func(_ int, p product.ID) fate {
			if refused[p]++; refused[p] < 3 {
				return untried
			}
			return arrives
		}}
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Rounds != 1 {
			t.Errorf("%d rounds, %v", report.Rounds, err)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 23})
	})
}

// Rows and events that a repairer refuses one by one do not end the run.
func TestRefusedProductsHaveTheirReasons(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(4, all)
		s.change(id(3), func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
		s.refused[id(4)] = &product.Misfit{Column: "price_positive", Reason: "the row violates the check constraint"}
		set := s.replay()
		set.Repairer = &repairer{shop: s, fate: func(_ int, p product.ID) fate {
			return map[product.ID]fate{id(1): misfits, id(2): fails}[p]
		}}
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Result != run.Partial || report.Acted != 0 {
			t.Errorf("%v, %+v", err, report)
		}
		var got []string
		for _, o := range report.Samples {
			got = append(got, fmt.Sprintf("%s %s %s: %s", strings.TrimLeft(string(o.ID), "0"), o.State, o.Column, o.Reason))
		}
		slices.Sort(got)
		want := []string{
			"1 blocked price: it has more digits than a JSON number keeps",
			"2 failed : " + errReturned.Error(),
			"3 blocked price: 9.99 has a fraction, and the column is integer",
			"4 blocked price_positive: the row violates the check constraint",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// The repairer that has to wait in vain ends the run; what it has published by
// then is proved all the same.
func TestAPauseEndsTheRunWithItsReason(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(12, all)
		s.before = func(_ context.Context, c call) error {
			if c.operation == reserving && c.nth == 3 {
				return &product.PausedError{Reason: "nobody consumes queue product-created", Waited: stallTimeout}
			}
			return nil
		}
		report, err := s.do(t.Context(), t, s.replay())
		if !errors.As(err, new(*product.PausedError)) || report.Result != run.Broken {
			t.Errorf("%v, and the run %s", err, report.Result)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 10, run.Failed: 2})
		if reason := report.Samples[0].Reason; reason != "not repaired: paused for 10m0s: nobody consumes queue product-created" {
			t.Errorf("the reason is %q", reason)
		}
	})
}
