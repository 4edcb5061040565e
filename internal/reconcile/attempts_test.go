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

// verifies is a cart in which so many more products arrive with each attempt, and all
// others vanish.
func verifies(arriving ...int) func(int, product.ID) fate {
	left := slices.Clone(arriving)
	return func(attempt int, _ product.ID) fate {
		if attempt > len(left) || left[attempt-1] == 0 {
			return vanishes
		}
		left[attempt-1]--
		return arrives
	}
}

// these have a fate, all others arrive.
func these(f fate, ids ...product.ID) func(int, product.ID) fate {
	return func(_ int, p product.ID) fate {
		if slices.Contains(ids, p) {
			return f
		}
		return arrives
	}
}

// Attempts go on while a fifth of the last hundred repairs arrived; fewer than 25
// repairs prove nothing, so that each product has up to five attempts meanwhile.
func TestAttemptsGoOnWhileTheyHelp(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		missing  int
		arriving []int // with each attempt
		most     int
		attempts int
		lost     int64
	}{
		{"all arrive", 100, []int{100}, 20, 1, 0},
		{"a fifth arrives, then all", 100, []int{20, 80}, 20, 2, 0},
		{"less than a fifth arrives", 100, []int{19, 81}, 20, 1, 81},
		{"half arrive each time", 64, []int{32, 16, 8, 4, 2, 1, 1}, 20, 7, 0},
		{"the attempts come to their end", 64, []int{32, 16, 8, 4, 2, 1, 1}, 3, 3, 8},
		{"one attempt", 64, []int{32, 32}, 1, 1, 32},
		{"many, and nothing arrives", 25, nil, 20, 1, 25},
		{"few, and nothing arrives", 24, nil, 20, 2, 24},
		{"five, and nothing arrives", 5, nil, 20, 5, 5},
		{"one, and nothing arrives", 1, nil, 20, 5, 1},
		{"one, and only three attempts are allowed", 1, nil, 3, 3, 1},
		{"five have bad luck four times", 5, []int{0, 0, 0, 0, 5}, 20, 5, 0},
		{"one, and one consumer of two", 1, []int{0, 1}, 20, 2, 0},
		{"bad luck between good attempts", 20, []int{10, 0, 0, 0, 10}, 20, 5, 0},
		{"too much of it", 20, []int{10, 0, 0, 0, 0, 10}, 20, 5, 10},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(test.missing, all)
				set := s.replay()
				set.config.MaxRounds, set.options.BatchSize = test.most, 1000
				set.Replay = &repairer{shop: s, fate: verifies(test.arriving...)}
				report, err := s.do(t.Context(), t, set)
				if err != nil {
					t.Fatal(err)
				}
				if report.Attempts != test.attempts {
					t.Errorf("%d attempts, want %d", report.Attempts, test.attempts)
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

// What is proved at one time is judged together: it does not matter which products of
// a batch arrived.
func TestTheOrderOfABatchDoesNotMatter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(100, all)
		set := s.replay()
		set.Replay = &repairer{shop: s, fate: func(attempt int, p product.ID) fate {
			if attempt == 1 && p <= id(50) {
				return vanishes
			}
			return arrives
		}}
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Attempts != 2 {
			t.Errorf("%d attempts, %v", report.Attempts, err)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 100})
		wantNotes(t, report, run.Note{Code: run.NoteConsumed, Kind: product.Missing, Number: 50, Of: 100})
	})
}

// One product has an end of its own, however well the others fare.
func TestOneProductHasSoManyAttempts(t *testing.T) {
	t.Parallel()
	for _, mode := range []run.Mode{run.Replay, run.Direct} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(100, all)
				set := s.replay()
				r := &repairer{shop: s, fate: these(vanishes, id(1)), direct: mode == run.Direct}
				if set.Replay = r; mode == run.Direct {
					set = s.direct()
					set.Direct = r
				}
				set.config.MaxRounds = 7
				report, err := s.do(t.Context(), t, set)
				if err != nil || report.Attempts != 7 || report.Acted != 99+7 {
					t.Errorf("%d attempts, %d repairs, %v", report.Attempts, report.Acted, err)
				}
				wantCounts(t, report, map[run.State]int64{run.Verified: 99, run.Lost: 1})
				if o := report.Samples[0]; o.ID != id(1) || o.Attempts != 7 {
					t.Errorf("%+v", o)
				}
			})
		})
	}
}

// What was deleted meanwhile says nothing for or against another attempt.
func TestOnlyWhatArrivesIsWorthAnotherAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(100, all)
		set := s.replay()
		set.Replay = &repairer{shop: s, fate: verifies(10, 90)}
		s.onceActed(100, func() {
			for i := 81; i <= 99; i++ { // one more would be suspicious
				s.delete(id(i))
			}
		})
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Attempts != 1 {
			t.Errorf("%d attempts, %v; want 1", report.Attempts, err)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 10, run.Gone: 19, run.Lost: 71})
		wantNotes(t, report, run.Note{Code: run.NoteConsumed, Kind: product.Missing, Number: 71, Of: 100}, run.Note{Code: run.NoteHopeless, Kind: product.Missing, Number: 10, Of: 81})
	})
}

// onceActed calls do before the first read of the source behind so many repairs: what
// do changes, a proof sees.
func (s *shop) onceActed(repairs int, do func()) {
	s.once(func(c call) bool { return c.operation == findProducts && s.hasActed(repairs) }, do)
}

// onceProved calls do when the proof of a product's repair has read the cart and not yet
// the source.
func (s *shop) onceProved(id product.ID, do func()) {
	s.once(func(c call) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return c.operation == findProducts && slices.Contains(c.ids, id) && len(s.audit.acts[id]) > 0
	}, do)
}

func (s *shop) hasActed(repairs int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.audit.acted >= repairs
}

// Each product's reason says all that was seen of its events, and no more.
func TestLostProductsHaveTheirReasons(t *testing.T) {
	t.Parallel()
	const most = 3
	tests := []struct {
		name   string
		fate   func(int, product.ID) fate
		silent bool // the broker never answers
		reason run.Reason
		acted  int64
		heard  int // losses
		notes  []run.Note
	}{
		{"consumed in vain", these(vanishes, id(1)), false, run.Reason{Code: run.ReasonConsumed, Number: most}, most, most,
			[]run.Note{{Code: run.NoteConsumed, Kind: product.Missing, Number: 1, Of: 4}}},
		{"refused by the broker", these(nacked, id(1)), false, run.Reason{Code: run.ReasonNacked, Number: most}, 0, 0,
			[]run.Note{{Code: run.NoteNacked, Number: most}}},
		{"never answered", these(vanishes, id(1)), true, run.Reason{Code: run.ReasonSilent, Number: most}, most, 0,
			[]run.Note{{Code: run.NoteUnanswered, Number: most + 3}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(4, all)
				set := s.replay()
				set.config.MaxRounds = most
				r := &repairer{shop: s, fate: test.fate, depth: 200}
				set.Replay = r
				if test.silent {
					set.Replay = silent{r}
				}
				heard := 0
				set.Losing = func(kind product.Kind) {
					heard++
					if kind != product.Missing {
						t.Errorf("it hears of a %s product", kind)
					}
				}
				report, err := s.do(t.Context(), t, set)
				if err != nil || report.Acted != 3+test.acted {
					t.Errorf("%d repairs, %v", report.Acted, err)
				}
				wantCounts(t, report, map[run.State]int64{run.Verified: 3, run.Lost: 1})
				if len(report.Samples) != 1 || report.Samples[0].Reason != test.reason {
					t.Errorf("%+v, want %+v", report.Samples, test.reason)
				}
				wantNotes(t, report, test.notes...)
				if heard != test.heard {
					t.Errorf("it hears of %d losses, want %d", heard, test.heard)
				}
			})
		})
	}
}

// silent is a broker that takes events and never answers.
type silent struct{ *repairer }

func (r silent) Repair(ctx context.Context, kind product.Kind, attempt int, repairs []product.Repair) ([]product.Result, error) {
	results, err := r.repairer.Repair(ctx, kind, attempt, repairs)
	for i := range results {
		if results[i].Fate == product.Confirmed {
			results[i].Fate = product.Unknown
		}
	}
	return results, err
}

// A refused event is not there: it is sent again at once, and that is no new attempt.
func TestWhatTheBrokerRefusesIsSentAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(30, all)
		set := s.replay()
		refused := make(map[product.ID]int)
		set.Replay = &repairer{shop: s, depth: 200, fate: func(_ int, p product.ID) fate {
			if refused[p]++; refused[p] <= 3 && p <= id(20) {
				return nacked
			}
			return arrives
		}}
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Attempts != 1 || report.Acted != 30 {
			t.Errorf("%v, %+v", err, report)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 30})
		wantNotes(t, report, run.Note{Code: run.NoteNacked, Number: 60})
	})
}

// What a consumer takes is told once, with what is known of it.
func TestNotesSayWhyEventsWereLost(t *testing.T) {
	t.Parallel()
	for _, why := range []string{"", "the queue has 2 consumers"} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(4, all)
			set := s.replay()
			set.Replay = &repairer{shop: s, fate: verifies(2, 1, 1)}
			set.Diagnose = func(context.Context) string { return why }
			report, err := s.do(t.Context(), t, set)
			if err != nil || report.Result != run.Succeeded {
				t.Errorf("%v, %+v", err, report)
			}
			wantNotes(t, report, run.Note{Code: run.NoteConsumed, Kind: product.Missing, Number: 2, Of: 4, Detail: why})
		})
	}
}

// A written row is no event: that it is not there says nothing of consumers.
func TestADirectWriteThatHasNoEffect(t *testing.T) {
	t.Parallel()
	for kept, want := range map[int]map[run.State]int64{1: {run.Verified: 4}, 100: {run.Verified: 2, run.Lost: 2}} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(4, all)
			set := s.direct()
			set.config.MaxRounds = 3
			set.Diagnose = func(context.Context) string { t.Error("it asks who consumes"); return "" }
			set.Losing = func(product.Kind) { t.Error("it says that an event was lost") }
			set.Direct = &repairer{shop: s, direct: true, fate: func(attempt int, p product.ID) fate {
				if attempt <= kept && p <= id(2) {
					return vanishes
				}
				return arrives
			}}
			report, err := s.do(t.Context(), t, set)
			if err != nil || report.Attempts != min(kept+1, 3) {
				t.Errorf("%d attempts, %v", report.Attempts, err)
			}
			wantCounts(t, report, want)
			wantNotes(t, report)
			for _, o := range report.Samples {
				if o.Reason != (run.Reason{Code: run.ReasonDiffers}) {
					t.Errorf("%+v", o)
				}
			}
		})
	}
}

func TestFallbackWritesWhatTheReplayLoses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(40, all)
		set := s.replay()
		set.config.MaxRounds = 2
		set.Replay = &repairer{shop: s, fate: verifies(20, 10)}
		written := 0
		set.Direct = &repairer{shop: s, direct: true, fate: func(int, product.ID) fate {
			if written++; written == 1 {
				return vanishes
			}
			return arrives
		}}
		report, err := s.do(t.Context(), t, set)
		if err != nil {
			t.Fatal(err)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 39, run.Lost: 1})
		wantNotes(t, report, run.Note{Code: run.NoteConsumed, Kind: product.Missing, Number: 20, Of: 40}, run.Note{Code: run.NoteFallback, Number: 9})
		if report.Acted != 40+20+10 {
			t.Errorf("%d repairs, want 70", report.Acted)
		}
	})
}

// What the fallback writes says nothing of the replay: that ends as it would without.
func TestFallbackDoesNotKeepAReplayGoing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(300, all)
		set := s.replay()
		set.options.BatchSize = 20
		set.Replay = &repairer{shop: s, depth: 20, fate: func(int, product.ID) fate { return vanishes }}
		set.Direct = &repairer{shop: s, direct: true}
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Acted > 300+25+300 {
			t.Errorf("%d repairs of 300 products, up to %d of one: %v", report.Acted, report.Attempts, err)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 300})
		wantNotes(t, report, run.Note{Code: run.NoteConsumed, Kind: product.Missing, Number: 300, Of: 300}, run.Note{Code: run.NoteFallback, Number: 300})
	})
}

// A run that gives up says so, and how the last repairs ended.
func TestCaseE15ARunThatGivesUpSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(300, all)
		set := s.replay()
		set.options.BatchSize = 1000
		set.Replay = &repairer{shop: s, fate: verifies()}
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Attempts != 1 {
			t.Errorf("%d attempts, %v", report.Attempts, err)
		}
		wantCounts(t, report, map[run.State]int64{run.Lost: 300})
		wantNotes(t, report, run.Note{Code: run.NoteConsumed, Kind: product.Missing, Number: 300, Of: 300}, run.Note{Code: run.NoteHopeless, Kind: product.Missing, Of: 300})
	})
}

// behind breaks a repairer down behind n products.
func behind(n int) func(product.ID) error {
	tried := 0
	return func(product.ID) error {
		if tried++; tried > n {
			return errReset
		}
		return nil
	}
}

// A fallback is for what attempts could not bring, not for a run that fails.
func TestNoFallbackAfterAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(10, all)
		set := s.replay()
		set.Replay = &repairer{shop: s, fate: verifies(4), breaks: behind(7)}
		set.Direct = &repairer{shop: s, direct: true, fate: func(int, product.ID) fate {
			t.Error("the fallback writes")
			return arrives
		}}
		report, err := s.do(t.Context(), t, set)
		if !errors.Is(err, errReset) {
			t.Error(err)
		}
		wantCounts(t, report, map[run.State]int64{run.InFlight: 7, run.Failed: 3})
	})
}

// A fallback that fails leaves no product without an outcome.
func TestAFallbackThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(10, all)
		set := s.replay()
		set.config.MaxRounds = 1
		set.Replay = &repairer{shop: s, fate: verifies()}
		set.Direct = &repairer{shop: s, direct: true, breaks: behind(3)}
		report, err := s.do(t.Context(), t, set)
		if !errors.Is(err, errReset) {
			t.Error(err)
		}
		wantCounts(t, report, map[run.State]int64{run.InFlight: 3, run.Lost: 7})
	})
}

// Products that a repairer did not try come again, after another look.
func TestWhatWasNotTriedIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(23, all)
		set := s.replay()
		refused := make(map[product.ID]int)
		set.Replay = &repairer{shop: s, fate: func(_ int, p product.ID) fate {
			if refused[p]++; refused[p] < 3 {
				return untried
			}
			return arrives
		}}
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Attempts != 1 {
			t.Errorf("%d attempts, %v", report.Attempts, err)
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
		set.Replay = &repairer{shop: s, fate: func(_ int, p product.ID) fate {
			return map[product.ID]fate{id(1): misfits, id(2): fails}[p]
		}}
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Result != run.Partial || report.Acted != 0 {
			t.Errorf("%v, %+v", err, report)
		}
		var got []string
		for _, o := range report.Samples {
			got = append(got, fmt.Sprintf("%s %s %s %s: %s", strings.TrimLeft(string(o.ID), "0"), o.State, o.Column, o.Reason.Code, o.Reason.Detail))
		}
		slices.Sort(got)
		want := []string{
			"1 blocked price misfit: it has more digits than a JSON number keeps",
			"2 failed  service: " + errReturned.Error(),
			"3 blocked price misfit: 9.99 has a fraction, and the column is integer",
			"4 blocked price_positive misfit: the row violates the check constraint",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}
