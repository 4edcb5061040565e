package reconcile_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// slack is what the watermark, the looks and the stores add to any wait.
const slack = 3 * time.Second

// acted runs set and returns how long after its begin each product was repaired.
func (s *shop) acted(t *testing.T, set setting) (map[product.ID]time.Duration, *run.Report) {
	t.Helper()
	begun := time.Now()
	report, err := s.do(t.Context(), t, set)
	if err != nil {
		t.Fatal(err)
	}
	after := make(map[product.ID]time.Duration)
	for id, acts := range s.audit.acts {
		after[id] = acts[0].when.Sub(begun)
	}
	return after, report
}

// The time to settle runs from a product's creation or update, and from our first
// sight where that is unknown or in the future. What is young is seen twice, some
// seconds apart.
func TestSettleRunsFromWhatIsKnown(t *testing.T) {
	t.Parallel()
	const twice = 6 * time.Second
	ago := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(-d) } }
	never := func() time.Time { return time.Time{} }
	tests := []struct {
		name  string
		kind  product.Kind
		stamp func() time.Time
		waits time.Duration
	}{
		{"created now", product.Missing, ago(0), settle},
		{"created 10 s ago", product.Missing, ago(10 * time.Second), settle - 10*time.Second},
		{"created 28 s ago", product.Missing, ago(settle - 2*time.Second), twice},
		{"created 2 minutes ago", product.Missing, ago(2 * time.Minute), twice},
		{"created before it is young", product.Missing, ago(settleMax), 0},
		{"created at an unknown time", product.Missing, never, settle},
		{"created in the future", product.Missing, ago(-time.Hour), settle},
		{"updated now", product.Stale, ago(0), settle},
		{"updated 10 s ago", product.Stale, ago(10 * time.Second), settle - 10*time.Second},
		{"updated 2 minutes ago", product.Stale, ago(2 * time.Minute), 0},
		{"updated at an unknown time", product.Stale, never, settle},
		{"updated in the future", product.Stale, ago(-time.Hour), settle},
		{"deleted at an unknown time", product.Orphaned, never, settle},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(40, none)
				p := newProduct(id(1))
				p.Key.Class = product.Strings // whose id says nothing of its creation
				s.ranges = append(s.ranges, product.Range{Class: product.Strings})
				switch test.kind {
				case product.Missing:
					p.Created = test.stamp()
					s.removeRow(id(1))
				case product.Stale:
					p.Updated = test.stamp()
					retitle(&p)
				}
				if s.add(p, false); test.kind == product.Orphaned {
					s.delete(id(1))
				}
				after, _ := s.acted(t, s.replay(test.kind))
				if got := after[id(1)]; got < test.waits || got > test.waits+slack {
					t.Errorf("it is repaired after %s, want %s", got, test.waits)
				}
			})
		})
	}
}

// An ObjectId tells the time of its creation.
func TestSettleRunsFromAnObjectID(t *testing.T) {
	t.Parallel()
	for age, waits := range map[time.Duration]time.Duration{time.Second: settle - time.Second, time.Hour: 0} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(40, none)
			p := newProduct(product.ID(fmt.Sprintf("%08x%016x", time.Now().Add(-age).Unix(), 1)))
			p.Created = time.Time{}
			s.add(p, false)
			after, _ := s.acted(t, s.replay())
			if got := after[p.ID()]; got < waits || got > waits+slack {
				t.Errorf("one that is %s old is repaired after %s, want %s", age, got, waits)
			}
		})
	}
}

// Each product moves on when its own time has come.
func TestAYoungProductDelaysNoOther(t *testing.T) {
	t.Parallel()
	for _, mode := range []run.Mode{run.Replay, run.Direct} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(40, first(10))
			p := newProduct(id(1))
			p.Created = time.Now()
			s.add(p, false)
			set := s.replay()
			if mode == run.Direct {
				set = s.direct()
			}
			set.options.MaxRepairs = 100
			after, _ := s.acted(t, set)
			for i := 2; i <= 10; i++ {
				if got := after[id(i)]; got == 0 || got > slack {
					t.Errorf("%s: product %d is repaired after %s", mode, i, got)
				}
			}
		})
	}
}

// standing is a ledger that knows open differences and gaps.
type standing struct {
	diary
	known    []run.Standing
	gap      time.Duration
	mu       sync.Mutex
	measured []time.Duration
	unkept   error // what Measured answers
}

func (l *standing) Known(_ context.Context, ids []product.ID) ([]run.Standing, error) {
	var known []run.Standing
	for _, k := range l.known {
		if slices.Contains(ids, k.ID) {
			known = append(known, k)
		}
	}
	return known, nil
}

func (l *standing) Open(_ context.Context, after run.Key, limit int) ([]run.Standing, error) {
	var open []run.Standing
	for _, k := range l.known {
		if k.ID > after.ID && len(open) < limit {
			open = append(open, k)
		}
	}
	return open, nil
}

func (l *standing) Gap(context.Context) (time.Duration, error) { return l.gap, nil }

func (l *standing) Measured(_ context.Context, gap time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.measured = append(l.measured, gap)
	return l.unkept
}

// opened is a difference that stands for so long.
func opened(id product.ID, kind product.Kind, ago time.Duration) run.Standing {
	return run.Standing{Key: run.Key{ID: id, Kind: kind}, State: run.Found, Opened: time.Now().Add(-ago)}
}

// What the ledger knows for longer than the settling time is not waited for again, in
// no mode.
func TestCaseE13KnownDifferencesAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		known func() []run.Standing
		waits time.Duration
	}{
		{"unknown", func() []run.Standing { return nil }, settle},
		{"known for days", func() []run.Standing { return []run.Standing{opened(id(1), product.Orphaned, 48*time.Hour)} }, 0},
		{"known since a moment", func() []run.Standing { return []run.Standing{opened(id(1), product.Orphaned, settle/2)} }, settle},
		{"known for days as another difference", func() []run.Standing { return []run.Standing{opened(id(1), product.Stale, 48*time.Hour)} }, settle},
		{"its event was consumed, and it is another difference", func() []run.Standing {
			known := opened(id(1), product.Missing, time.Second)
			known.Announced = true
			return []run.Standing{known}
		}, settle},
		{"another one is known", func() []run.Standing { return []run.Standing{opened(id(2), product.Orphaned, 48*time.Hour)} }, settle},
	}
	for _, test := range tests {
		for _, dry := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, dry %v", test.name, dry), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newShop(10, none)
					s.delete(id(1))
					set := s.replay(product.Orphaned)
					set.options.DryRun = dry
					set.Ledger = &standing{known: test.known()}
					begun := time.Now()
					after, report := s.acted(t, set)
					took := after[id(1)]
					if dry {
						took = time.Since(begun)
					}
					if took < test.waits || took > test.waits+slack || report.Found[product.Orphaned] != 1 {
						t.Errorf("after %s, want %s; %+v", took, test.waits, report)
					}
				})
			})
		}
	}
}

// What was announced, and consumed in vain, is on its way no more.
func TestAnAnnouncedProductIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for _, announced := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(10, none)
			p := newProduct(id(11))
			p.Created = time.Now()
			s.add(p, false)
			known := opened(id(11), product.Missing, time.Second)
			known.Announced = announced
			set := s.replay()
			set.Ledger = &standing{known: []run.Standing{known}}
			after, report := s.acted(t, set)
			want := settle
			if announced {
				want = 0
			}
			if took := after[id(11)]; took < want || took > want+slack || report.Acted != 1 {
				t.Errorf("announced %v: after %s, want %s; %+v", announced, took, want, report)
			}
		})
	}
}

// The watermark is never waived: an earlier run may have sent an event that is queued
// still.
func TestKnownDifferencesWaitForTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const stands = 20 * time.Second
		s := newShop(10, first(1))
		created := s.queues[product.Missing]
		created.stands = true
		created.put(event{row: s.rowOf(newProduct(id(1))), ours: true})
		time.AfterFunc(stands, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			created.goOn()
		})
		known := opened(id(1), product.Missing, 48*time.Hour)
		known.State, known.Acted = run.InFlight, time.Now().Add(-time.Minute)
		set := s.replay()
		set.Ledger = &standing{known: []run.Standing{known}}
		_, report := s.acted(t, set)
		if report.Acted != 0 || report.Resolved != 1 || report.Result != run.InSync {
			t.Errorf("%+v", report)
		}
	})
}

// What the ledger knows as open and is none any more is closed: met by the scan, or
// not met at all.
func TestWhatIsNoDifferenceAnyMoreIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(10, first(2))
		s.stale(id(6))
		kept := &closing{standing: standing{known: []run.Standing{
			opened(id(1), product.Missing, time.Hour), opened(id(2), product.Stale, time.Hour), opened(id(3), product.Missing, time.Hour),
			opened(id(6), product.Stale, time.Hour), opened(id(99), product.Orphaned, time.Hour),
		}}}
		set := s.replay()
		set.Ledger = kept
		if _, err := s.do(t.Context(), t, set); err != nil {
			t.Fatal(err)
		}
		want := []run.Key{{ID: id(2), Kind: product.Stale}, {ID: id(3), Kind: product.Missing}, {ID: id(99), Kind: product.Orphaned}}
		for _, key := range want {
			if !slices.Contains(kept.resolved, key) {
				t.Errorf("%v is not closed, but %v", key, kept.resolved)
			}
		}
		if slices.Contains(kept.resolved, run.Key{ID: id(6), Kind: product.Stale}) {
			t.Error("what stands is closed")
		}
	})
}

// closing is a ledger that keeps what was closed.
type closing struct {
	standing
	resolved []run.Key
}

func (c *closing) Settle(ctx context.Context, s run.Settlement) error {
	c.resolved = append(c.resolved, s.Resolved...)
	return c.standing.Settle(ctx, s)
}

// A direct write that meets the product's own event kills the cart's consumer: what is
// missing and young is spared, and that is no failure unless somebody named it.
func TestADirectRunSparesTheYoung(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		created func() time.Time
		opened  time.Duration // in the ledger
		event   bool          // its own was consumed, by the ledger
		named   bool
		spared  time.Duration // for how long still, 0 where it is not
		result  run.Result
	}{
		{name: "two minutes old", created: func() time.Time { return time.Now().Add(-2 * time.Minute) }, spared: settleMax - 2*time.Minute, result: run.Succeeded},
		{name: "two minutes old, and named", created: func() time.Time { return time.Now().Add(-2 * time.Minute) }, named: true, spared: settleMax - 2*time.Minute, result: run.Partial},
		{name: "of unknown age", created: func() time.Time { return time.Time{} }, spared: settleMax, result: run.Succeeded},
		{name: "of the future", created: func() time.Time { return time.Now().Add(time.Hour) }, spared: settleMax, result: run.Succeeded},
		{name: "old enough", created: func() time.Time { return time.Now().Add(-settleMax) }, result: run.Succeeded},
		{name: "of unknown age, and known for long", created: func() time.Time { return time.Time{} }, opened: settleMax, result: run.Succeeded},
		{name: "a moment old, and its event consumed", created: time.Now, opened: time.Second, event: true, result: run.Succeeded},
		{name: "of unknown age, and its event consumed", created: func() time.Time { return time.Time{} }, opened: time.Second, event: true, result: run.Succeeded},
		{name: "of unknown age, and known for not so long", created: func() time.Time { return time.Time{} }, opened: settleMax - time.Minute, spared: settleMax, result: run.Succeeded},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(40, first(1))
				p := newProduct(id(1))
				p.Key.Class, p.Created = product.Strings, test.created()
				s.add(p, false)
				s.ranges = append(s.ranges, product.Range{Class: product.Strings})
				set := s.direct()
				if test.opened > 0 {
					known := opened(id(1), product.Missing, test.opened)
					known.Announced = test.event
					set.Ledger = &standing{known: []run.Standing{known}}
				}
				if test.named {
					set.options.IDs = idsFrom(1, 1)
				}
				begun := time.Now()
				report, err := s.do(t.Context(), t, set)
				if err != nil || report.Result != test.result || time.Since(begun) > settle+slack {
					t.Errorf("%v after %s, %+v", err, time.Since(begun), report)
				}
				if test.spared == 0 {
					wantCounts(t, report, map[run.State]int64{run.Verified: 1})
					return
				}
				wantOutcome(t, report, product.Missing, run.InFlight, run.ReasonYoung)
				if until := report.Samples[0].Reason.Until; until.Sub(begun).Round(time.Second) != test.spared {
					t.Errorf("it is spared for %s, want %s", until.Sub(begun), test.spared)
				}
			})
		})
	}
}

// Nor does a fallback write what is young.
func TestAFallbackSparesTheYoung(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(40, first(2))
		p := newProduct(id(1))
		p.Created = time.Now().Add(-2 * time.Minute)
		s.add(p, false)
		set := s.replay()
		set.config.MaxRounds = 2
		set.Replay = &repairer{shop: s, fate: verifies()}
		set.Direct = &repairer{shop: s, direct: true}
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.ByKind[product.Missing][run.Verified] != 1 {
			t.Errorf("%v, %+v", err, report)
		}
		if len(report.Samples) != 1 || report.Samples[0].ID != id(1) || report.Samples[0].State != run.Lost {
			t.Errorf("%+v", report.Samples)
		}
	})
}

// live lets a product be created now, and its event arrive so much later.
func (s *shop) live(id product.ID, gap time.Duration) {
	p := newProduct(id)
	p.Created = time.Now()
	s.add(p, false)
	time.AfterFunc(gap, func() { s.arrive(s.rowOf(p)) })
}

// A product that arrives by itself shows how long others may be on their way: the time
// to settle becomes twice that.
func TestTheGapIsLearned(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"replay", "direct", "dry run"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(40, none)
				s.live(id(101), 28*time.Second)
				s.live(id(102), 45*time.Second) // later than SYNC_SETTLE, and not later than twice 23 s
				set := map[string]func(...product.Kind) setting{"replay": s.replay, "direct": s.direct, "dry run": s.dryRun}[mode]()
				kept := &standing{}
				set.Ledger = kept
				report, err := s.do(t.Context(), t, set)
				if err != nil || report.Acted != 0 || report.Resolved != 2 || report.Result != run.InSync {
					t.Errorf("%v, %+v", err, report)
				}
				if len(kept.measured) != 2 || !slices.IsSorted(kept.measured) || kept.measured[0] < 22*time.Second || kept.measured[0] > 28*time.Second ||
					kept.measured[1] < 39*time.Second || kept.measured[1] > 45*time.Second {
					t.Errorf("the gaps measured are %v", kept.measured)
				}
			})
		})
	}
}

// One that arrives right before it is judged counts too.
func TestTheGapOfTheLastMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(40, none)
		s.live(id(101), settle+1500*time.Millisecond) // the watermark has not passed it by then
		set := s.replay()
		kept := &standing{}
		set.Ledger = kept
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Resolved != 1 {
			t.Errorf("%v, %+v", err, report)
		}
		if len(kept.measured) != 1 || kept.measured[0] < settle-5*time.Second || kept.measured[0] > settle+1500*time.Millisecond {
			t.Errorf("the gaps measured are %v", kept.measured)
		}
	})
}

// What the ledger has of the last hour counts from the start, up to SYNC_SETTLE_MAX.
func TestTheGapOfTheLastHour(t *testing.T) {
	t.Parallel()
	for gap, waits := range map[time.Duration]time.Duration{
		10 * time.Second: settle, 15 * time.Second: settle, 20 * time.Second: 40 * time.Second,
		3 * time.Minute: 6 * time.Minute, 5 * time.Minute: settleMax, time.Hour: settleMax,
	} {
		t.Run(gap.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(40, first(2))
				p := newProduct(id(1))
				p.Created = time.Now()
				s.add(p, false)
				set := s.replay()
				set.options.MaxRepairs = 10
				kept := &standing{gap: gap}
				set.Ledger = kept
				after, _ := s.acted(t, set)
				if got := after[id(1)]; got < waits || got > waits+slack {
					t.Errorf("it is repaired after %s, want %s", got, waits)
				}
				if got := after[id(2)]; got > slack {
					t.Errorf("an old one is repaired after %s", got)
				}
				if len(kept.measured) > 0 {
					t.Errorf("gaps are measured: %v", kept.measured)
				}
			})
		})
	}
}

// What a run has acted on says nothing of how long products are on their way.
func TestNoGapIsLearnedFromARepair(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(40, none)
		s.live(id(101), 20*time.Second)
		known := opened(id(101), product.Missing, 0)
		known.Acted = time.Now()
		kept := &standing{known: []run.Standing{known}}
		set := s.replay()
		set.Ledger = kept
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Resolved != 1 || len(kept.measured) > 0 {
			t.Errorf("%v, measured %v, %+v", err, kept.measured, report)
		}
	})
}

// A ledger that does not take a gap does not end the run.
func TestAGapThatIsNotKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(40, none)
		s.live(id(101), 20*time.Second)
		set := s.replay()
		set.Ledger = &standing{unkept: errAway}
		report, err := s.do(t.Context(), t, set)
		if err != nil {
			t.Error(err)
		}
		wantNotes(t, report, run.Note{Code: run.NoteLedger, Detail: errAway.Error()})
	})
}

// What the learning looks at is bounded by the engine, and it never disturbs a run whose
// cart it cannot read.
func TestLearningSurvivesAFailedLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(40, none)
		s.live(id(101), 20*time.Second)
		s.fail(findRows, 2) // the sample is the first
		set := s.replay()
		kept := &standing{}
		set.Ledger = kept
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Resolved != 1 || len(kept.measured) != 1 {
			t.Errorf("%v, measured %v, %+v", err, kept.measured, report)
		}
	})
}
