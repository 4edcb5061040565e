package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
)

// sole is a shop with one product, which the cart lacks, and calls back when the proof
// of its repair has read the cart and not yet the source.
func sole(proving func(s *shop)) *shop {
	s := newShop(1, all)
	s.onceActed(1, func() { proving(s) })
	return s
}

// wantOutcome wants one product to be named, as it is, and no other.
func wantOutcome(t *testing.T, report *run.Report, kind product.Kind, state run.State, code run.Code) {
	t.Helper()
	if report.ByKind[kind][state] != 1 || state != run.Verified && (len(report.Samples) != 1 || report.Samples[0].Reason.Code != code) {
		t.Errorf("%+v, %v; want it %s as %s: %s", report.Samples, report.ByKind, state, kind, code)
	}
}

// overtaken is what happens to one product before its repair is proved, and what becomes
// of it where some kinds are repaired.
type overtaken struct {
	name    string
	proving func(s *shop)
	repair  []product.Kind
	kind    product.Kind
	state   run.State
	code    run.Code
	acted   int64
}

// A product that changes while its event is queued arrives as it was. It has the time
// to settle that any change has; then it is stale, and is repaired where that is asked
// for.
func TestCaseF3AProductThatChangesMeanwhileIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	later := func(do func()) { time.AfterFunc(settle-time.Second, do) }
	updates := func(s *shop, p product.Product) { s.queues[product.Stale].put(event{row: s.rowOf(p)}) }
	both := []product.Kind{product.Missing, product.Stale}
	missing := both[:1]
	tests := []overtaken{
		{"and its update arrives", func(s *shop) { p := s.change(id(1), retitle); later(func() { updates(s, p) }) },
			both, product.Missing, run.Verified, "", 1},
		{"and its update never arrives", func(s *shop) { s.change(id(1), retitle) }, both, product.Stale, run.Verified, "", 2},
		{"and its update never arrives, and it is not asked for", func(s *shop) { s.change(id(1), retitle) }, missing, product.Stale, run.Found, "", 1},
		{"and is deleted with its row", func(s *shop) {
			s.change(id(1), retitle)
			later(func() { s.delete(id(1)); s.removeRow(id(1)) })
		}, both, product.Missing, run.Gone, run.ReasonDeleted, 1},
		{"and is deleted, and its row stays", func(s *shop) {
			s.change(id(1), retitle)
			later(func() { s.delete(id(1)) })
		}, both, product.Missing, run.Undone, run.ReasonRevived, 2},
		{"and its row is removed, to come again", func(s *shop) {
			s.change(id(1), retitle)
			later(func() { s.removeRow(id(1)) })
		}, both, product.Missing, run.Verified, "", 2},
		{"and the cart cannot hold it any more", func(s *shop) {
			s.change(id(1), func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
		}, both, product.Stale, run.Blocked, run.ReasonMisfit, 1},
		{"by its quantity, which orders lower", func(s *shop) {
			s.change(id(1), func(p *product.Product) { p.Values[product.Quantity] = product.IntegerValue(4) })
		}, both, product.Missing, run.Verified, "", 1},
		{"and names no time of its change", func(s *shop) {
			p := s.change(id(1), retitle)
			p.Updated = time.Time{}
			s.add(p, false)
			later(func() { updates(s, p) })
		}, both, product.Missing, run.Verified, "", 1},
		{"in the future", func(s *shop) {
			p := s.change(id(1), retitle)
			p.Updated = time.Now().Add(time.Hour)
			s.add(p, false)
			later(func() { updates(s, p) })
		}, both, product.Missing, run.Verified, "", 1},
	}
	for _, test := range tests {
		for _, mode := range []run.Mode{run.Replay, run.Direct} {
			t.Run(test.name+", "+string(mode), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := sole(test.proving)
					set := s.replay(test.repair...)
					if mode == run.Direct {
						set = s.direct(test.repair...)
					}
					begun := time.Now()
					report, err := s.do(t.Context(), t, set)
					if err != nil || report.Acted != test.acted {
						t.Errorf("%d repairs, want %d; %v", report.Acted, test.acted, err)
					}
					wantOutcome(t, report, test.kind, test.state, test.code)
					if took := time.Since(begun); took > 2*settle+time.Minute {
						t.Errorf("it took %s", took)
					}
				})
			})
		}
	}
}

// One product that changes again and again delays itself only, and not for ever.
func TestAHotProductDelaysItselfOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(20, first(10))
		s.before = func(_ context.Context, c call) error {
			if c.operation == findProducts && s.hasActed(10) {
				s.change(id(1), func(p *product.Product) { p.Values[product.Title] = product.TextValue(time.Now().String()) })
			}
			return nil
		}
		set := s.replay(product.Missing, product.Stale)
		begun := time.Now()
		others := &diary{}
		set.Ledger = others
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Result != run.Partial {
			t.Errorf("%v, %+v", err, report)
		}
		if report.ByKind[product.Missing][run.Verified] != 9 || time.Since(begun) > 3*settle {
			t.Errorf("%v after %s", report.ByKind, time.Since(begun))
		}
		wantOutcome(t, report, product.Stale, run.InFlight, run.ReasonChanging)
		for _, e := range others.entries {
			if e.ID != id(1) && e.when.Sub(begun) > 10*time.Second {
				t.Errorf("%s was recorded after %s", e.ID, e.when.Sub(begun))
			}
		}
	})
}

// diary is a ledger that keeps when each outcome was recorded, and what is in hand.
type diary struct {
	reconcile.NoLedger
	mu      sync.Mutex
	entries []entry
	inHand  map[run.Key]bool
	settled int
}

// count is how often it was written to.
func (d *diary) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.settled
}

type entry struct {
	run.Outcome
	when time.Time
}

func (d *diary) Begin(_ context.Context, hands []run.Hand) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inHand == nil {
		d.inHand = make(map[run.Key]bool)
	}
	for _, h := range hands {
		d.inHand[h.Key] = true
	}
	return nil
}

func (d *diary) Settle(_ context.Context, s run.Settlement) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settled++
	for _, o := range s.Outcomes {
		d.entries = append(d.entries, entry{o, time.Now()})
		delete(d.inHand, o.Key)
	}
	for _, key := range s.Resolved {
		delete(d.inHand, key)
	}
	return nil
}

// What the ledger is told in the end is what the report says, and nothing is left in
// hand.
func TestTheLedgerHasEveryOutcome(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"repaired", "refused", "deleted", "overtaken", "undone", "failed"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := differ(30)
				set := s.replay(product.Kinds()...)
				switch name {
				case "refused":
					set.options.MaxDeletes = 1
				case "deleted":
					s.onceActed(10, func() { s.delete(id(2)) }) // stale, and orphaned by now
				case "overtaken":
					s.onceActed(10, func() {
						s.change(id(1), func(p *product.Product) { p.Values[product.Price] = product.IntegerValue(1) })
					})
				case "undone":
					s.onceActed(10, func() { s.delete(id(1)) })
				case "failed":
					s.fail(repairing, 3)
				}
				kept := &diary{}
				set.Ledger = kept
				report, _ := s.do(t.Context(), t, set)
				counts := make(map[run.State]int64)
				for _, e := range kept.entries {
					counts[e.State]++
				}
				if fmt.Sprint(counts) != fmt.Sprint(report.Outcomes) {
					t.Errorf("the ledger has %v, the report %v", counts, report.Outcomes)
				}
				if len(kept.inHand) > 0 {
					t.Errorf("in hand are %v", kept.inHand)
				}
			})
		})
	}
}

// The cart that does not consume its queue leaves in the dark what was published.
func TestAStalledProofLeavesProductsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(20, first(10))
		s.once(func(c call) bool { return c.operation == repairing }, func() { s.queues[product.Missing].stands = true })
		begun := time.Now()
		report, err := s.do(t.Context(), t, s.replay())
		if err != nil || report.Result != run.Partial || report.Acted != 10 {
			t.Errorf("%v, and the run %s", err, report.Result)
		}
		wantCounts(t, report, map[run.State]int64{run.InFlight: 10})
		if took := time.Since(begun); took < stallTimeout || took > stallTimeout+time.Minute {
			t.Errorf("it took %s", took)
		}
		for _, o := range report.Samples {
			if r := o.Reason; r.Code != run.ReasonQueue || r.Queue != "product-created" || r.Ready != 10 || r.Consumers != 1 || r.Since.Before(begun) {
				t.Errorf("%+v", o)
			}
		}
	})
}

// Where products stand in the way of others, those whose queue stands leave the
// engine. Their events may be queued still: nothing is published again before the cart
// has consumed them, although a cursor returns the products twice.
func TestNothingIsPublishedBehindAStalledProof(t *testing.T) {
	t.Parallel()
	for _, resumes := range []time.Duration{5 * time.Minute, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(8, all)
			s.repeats = true
			created := s.queues[product.Missing]
			s.once(func(c call) bool { return c.operation == repairing }, func() {
				created.stands = true
				time.AfterFunc(resumes, func() {
					s.mu.Lock()
					defer s.mu.Unlock()
					created.goOn()
				})
			})
			set := s.replay()
			set.options.MaxRepairs, set.capacity = 100, 3 // one product at a time
			engine, stop := s.begin(t, set)
			defer stop()
			report, err := engine.Do(t.Context())
			if err != nil || report.Acted == 0 || report.Acted != int64(len(s.audit.acts)) || len(s.audit.problems) > 0 {
				t.Errorf("%v, and %d events of %d products were published: %v", err, report.Acted, len(s.audit.acts), s.audit.problems)
			}
			for _, o := range report.Samples {
				if o.State != run.InFlight || o.Reason.Code != run.ReasonCrowded && o.Reason.Code != run.ReasonQueue {
					t.Errorf("%+v", o)
				}
			}
		})
	}
}

// begin makes a run without doing it, for a test that looks into it meanwhile.
func (s *shop) begin(t *testing.T, set setting) (engine *reconcile.Run, stop func()) {
	t.Helper()
	watermarks, stop := s.open(t.Context())
	if !set.blind {
		set.Watermarks = watermarks
	}
	engine, err := reconcile.NewWithCapacity(set.Parts, set.config, set.options, set.capacity)
	if err != nil {
		t.Fatal(err)
	}
	return engine, stop
}

// A proof that cannot be read says nothing of what it has not seen, and ends the run.
func TestAProofThatCannotBeReadEndsTheRun(t *testing.T) {
	t.Parallel()
	for _, side := range []operation{findRows, findProducts} {
		t.Run(string(side), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(10, all)
				s.before = func(_ context.Context, c call) error {
					if c.operation == side && s.hasActed(10) {
						return errReset
					}
					return nil
				}
				report, err := s.do(t.Context(), t, s.replay())
				if !errors.Is(err, errReset) || report.Unrepaired != 10 {
					t.Errorf("%v, %d unrepaired", err, report.Unrepaired)
				}
				wantCounts(t, report, map[run.State]int64{run.InFlight: 10})
				if report.Samples[0].Reason.Code != run.ReasonUnproved {
					t.Errorf("%+v", report.Samples[0])
				}
			})
		})
	}
}

// A row whose product was deleted while it was repaired is taken back: exactly that
// one.
func TestWhatIsDeletedMeanwhileIsTakenBack(t *testing.T) {
	t.Parallel()
	// removal gives the taking back a fate of its own.
	removal := func(f fate) func(int, product.ID) fate {
		tried := 0
		return func(int, product.ID) fate {
			if tried++; tried > 1 {
				return f
			}
			return arrives
		}
	}
	tests := []struct {
		name     string
		change   func(s *shop, set *setting)
		state    run.State
		reason   run.Reason
		rowStays bool
		err      error
	}{
		{name: "by an event", state: run.Undone, reason: run.Reason{Code: run.ReasonRevived}},
		{name: "by a delete", state: run.Undone, reason: run.Reason{Code: run.ReasonRevived},
			change: func(s *shop, set *setting) { *set = s.direct() }},
		{name: "by a delete of a replay", state: run.Undone, reason: run.Reason{Code: run.ReasonRevived},
			change: func(s *shop, set *setting) {
				s.queues[product.Orphaned].stands = true
				set.Undo = &repairer{shop: s, direct: true}
			}},
		{name: "and its row never came", state: run.Gone, reason: run.Reason{Code: run.ReasonDeleted},
			change: func(s *shop, set *setting) {
				set.Replay = &repairer{shop: s, fate: func(int, product.ID) fate { return vanishes }}
			}},
		{name: "but another table refers to it", state: run.Blocked, reason: run.Reason{Code: run.ReasonReferenced, Detail: "public.cart"},
			change: func(s *shop, set *setting) { s.references[id(1)] = "public.cart" }, rowStays: true},
		{name: "but the database refuses", state: run.Failed, reason: run.Reason{Code: run.ReasonService, Detail: errReturned.Error()},
			change: func(s *shop, set *setting) {
				*set = s.direct()
				set.Direct = &repairer{shop: s, direct: true, fate: removal(fails)}
			}, rowStays: true},
		{name: "but the event is lost", state: run.Failed, reason: run.Reason{Code: run.ReasonKept},
			change: func(s *shop, set *setting) { set.Replay = &repairer{shop: s, fate: removal(vanishes)} }, rowStays: true},
		{name: "but the queue of deletions stalls", state: run.InFlight, reason: run.Reason{Code: run.ReasonQueue},
			change: func(s *shop, _ *setting) { s.queues[product.Orphaned].stands = true }, rowStays: true},
		{name: "but references cannot be read", state: run.Failed, reason: run.Reason{Code: run.ReasonService, Detail: errReset.Error()},
			change: func(s *shop, _ *setting) { s.fail(referencing, 1) }, rowStays: true, err: errReset},
		{name: "but the broker is away", state: run.Failed, reason: run.Reason{Code: run.ReasonService, Detail: errReset.Error()},
			change: func(s *shop, _ *setting) { s.fail(repairing, 2) }, rowStays: true, err: errReset},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := sole(func(s *shop) { s.delete(id(1)) })
				s.add(newProduct(id(2)), true)
				set := s.replay()
				if test.change != nil {
					test.change(s, &set)
				}
				report, err := s.do(t.Context(), t, set)
				if !errors.Is(err, test.err) || report.ByKind[product.Missing][test.state] != 1 || len(report.Samples) != 1 {
					t.Fatalf("%v, %+v; want %s", err, report, test.state)
				}
				got := report.Samples[0].Reason
				if got.Code != test.reason.Code || got.Detail != test.reason.Detail {
					t.Errorf("%+v, want %+v", got, test.reason)
				}
				if _, there := s.Rows[id(1)]; there != test.rowStays {
					t.Errorf("the row is there: %v", there)
				}
				if _, there := s.Rows[id(2)]; !there {
					t.Error("another product's row is gone")
				}
			})
		})
	}
}

// A product that is in the source again by the time that its row is to be taken back
// keeps it.
func TestWhatIsThereAgainIsNotTakenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := sole(func(s *shop) {
			s.delete(id(1))
			s.once(func(c call) bool { return c.operation == findProducts }, func() { s.add(newProduct(id(1)), false) })
		})
		report, err := s.do(t.Context(), t, s.replay())
		if err != nil || len(s.Rows) != 1 || report.Acted != 1 || report.ByKind[product.Missing][run.Verified] != 1 {
			t.Errorf("%v, %d rows, %+v", err, len(s.Rows), report)
		}
	})
}

// Of several that were deleted, each that can be taken back is.
func TestOneReferenceKeepsOneRow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(5, all)
		s.onceActed(5, func() {
			s.orphan(idsFrom(1, 3)...)
			s.references[id(2)] = "public.cart"
		})
		report, err := s.do(t.Context(), t, s.replay())
		if err != nil || len(s.Rows) != 3 {
			t.Errorf("%v, %d rows", err, len(s.Rows))
		}
		wantCounts(t, report, map[run.State]int64{run.Undone: 2, run.Blocked: 1, run.Verified: 2})
	})
}

// No more rows are taken back than a run may delete.
func TestOnlySoManyAreTakenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(8, all)
		s.onceActed(8, func() { s.orphan(idsFrom(1, 5)...) })
		set := s.replay()
		set.options.MaxDeletes = 2
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Result != run.Stopped || len(s.Rows) != 6 {
			t.Errorf("%v, %d rows, %+v", err, len(s.Rows), report)
		}
		wantCounts(t, report, map[run.State]int64{run.Undone: 2, run.Failed: 3, run.Verified: 3})
		wantNotes(t, report, run.Note{Code: run.NoteVanishing, Number: 5})
		for _, o := range report.Samples {
			if o.State == run.Failed && o.Reason != (run.Reason{Code: run.ReasonDeletes, Number: 2}) {
				t.Errorf("%+v", o)
			}
		}
	})
}

// Where many products vanish at once something else is wrong: the run stops, and takes
// nothing back.
func TestManyThatVanishStopTheRun(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		vanish, of int
		stops      bool
	}{{19, 19, false}, {20, 20, true}, {20, 40, true}, {20, 41, false}, {50, 100, true}} {
		for _, kind := range []product.Kind{product.Missing, product.Stale} {
			t.Run(fmt.Sprintf("%d of %d %s", test.vanish, test.of, kind), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newShop(test.of, func(int) bool { return kind == product.Missing })
					if kind == product.Stale {
						s.stale(idsFrom(1, test.of)...)
					}
					s.onceActed(test.of, func() { s.orphan(idsFrom(1, test.vanish)...) })
					report, err := s.do(t.Context(), t, s.replay(kind))
					if err != nil || (report.Result == run.Stopped) != test.stops {
						t.Fatalf("%v, %+v", err, report)
					}
					rows := int64(len(s.Rows))
					switch {
					case test.stops:
						wantCounts(t, report, map[run.State]int64{run.InFlight: int64(test.of)})
						if note := (run.Note{Code: run.NoteVanishing, Number: int64(test.vanish), Of: int64(test.of)}); report.Notes[0] != note || rows != int64(test.of) {
							t.Errorf("%d rows, notes %+v", rows, report.Notes)
						}
					case kind == product.Missing:
						wantCounts(t, report, map[run.State]int64{run.Undone: int64(test.vanish), run.Verified: int64(test.of - test.vanish)})
					default: // left alone: it was there before
						wantCounts(t, report, map[run.State]int64{run.Found: int64(test.vanish), run.Verified: int64(test.of - test.vanish)})
					}
				})
			})
		}
	}
}

// Only the cart's loss is a loss: nothing is published for a product that a live event
// brought meanwhile.
func TestWhatArrivesByItselfIsNotRepaired(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(6, all)
		s.once(func(c call) bool { return c.operation == findProducts }, func() { // of the judgement
			for i := 1; i <= 4; i++ {
				s.arrive(s.rowOf(newProduct(id(i))))
			}
			s.delete(id(5))
		})
		report, err := s.do(t.Context(), t, s.replay())
		if err != nil || report.Resolved != 5 || report.Acted != 1 || report.Result != run.Succeeded {
			t.Errorf("%v, %+v", err, report)
		}
	})
}

// Without a sight of the queues a direct run proves all the same.
func TestWithoutBroker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := differ(30)
		set := s.direct(product.Kinds()...)
		set.blind = true
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Result != run.Succeeded || report.Outcomes[run.Verified] != 15 {
			t.Errorf("%v, %+v", err, report)
		}
	})
}

// What else may become of a stale row while it is repaired.
func TestAStaleRowThatChangesMeanwhile(t *testing.T) {
	t.Parallel()
	tests := []overtaken{
		{"its product is deleted", func(s *shop) { s.delete(id(1)) }, []product.Kind{product.Stale}, product.Orphaned, run.Found, "", 1},
		{"its product is deleted, and orphans are asked for", func(s *shop) { s.delete(id(1)) },
			[]product.Kind{product.Stale, product.Orphaned}, product.Orphaned, run.Skipped, run.ReasonCeiling, 1},
		{"its product is deleted with the row", func(s *shop) { s.delete(id(1)); s.removeRow(id(1)) }, []product.Kind{product.Stale}, product.Stale, run.Gone, run.ReasonDeleted, 1},
		{"it is removed", func(s *shop) { s.removeRow(id(1)) }, []product.Kind{product.Stale}, product.Missing, run.Found, "", 1},
		{"it is removed, and missing ones are asked for", func(s *shop) { s.removeRow(id(1)) },
			[]product.Kind{product.Missing, product.Stale}, product.Missing, run.Verified, "", 2},
		{"its product changes once more", func(s *shop) {
			s.change(id(1), func(p *product.Product) { p.Values[product.Price] = product.IntegerValue(1) })
		}, []product.Kind{product.Stale}, product.Stale, run.Verified, "", 2},
	}
	for _, test := range tests {
		for _, mode := range []run.Mode{run.Replay, run.Direct} {
			t.Run(test.name+", "+string(mode), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newShop(3, none)
					s.stale(id(1))
					// Before the cart is read, which comes first.
					s.once(func(c call) bool { return c.operation == findRows && s.hasActed(1) && s.consumed() }, func() { test.proving(s) })
					set := s.replay(test.repair...)
					if mode == run.Direct {
						set = s.direct(test.repair...)
					}
					report, err := s.do(t.Context(), t, set)
					if err != nil || report.Acted != test.acted {
						t.Errorf("%d repairs, want %d; %v", report.Acted, test.acted, err)
					}
					wantOutcome(t, report, test.kind, test.state, test.code)
				})
			})
		}
	}
}

// consumed tells whether no event of ours waits for the cart.
func (s *shop) consumed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queues {
		if len(q.waiting) > 0 || q.held != nil {
			return false
		}
	}
	return true
}

// A stale row that somebody else changes right before it is written is left to
// another attempt, which sees what it is by then.
func TestADirectUpdateThatMeetsAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(3, none)
		s.stale(id(1))
		s.once(func(c call) bool { return c.operation == repairing }, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			row := s.Rows[id(1)]
			row.Values[product.Title] = product.TextValue("Other lamp")
			s.Rows[id(1)] = row
		})
		report, err := s.do(t.Context(), t, s.direct(product.Stale))
		if err != nil || report.Attempts != 2 {
			t.Errorf("%d attempts, %v", report.Attempts, err)
		}
		wantCounts(t, report, map[run.State]int64{run.Verified: 1})
		wantNotes(t, report)
	})
}

// No event changes the seller of a row that is there.
func TestAnotherSellerNeedsADirectWrite(t *testing.T) {
	t.Parallel()
	seller := func(p *product.Product) { p.Values[product.SellerID] = product.TextValue("other") }
	for _, test := range []struct {
		name   string
		change func(*product.Product)
		acted  int64
	}{
		{"only the seller", seller, 0},
		{"the title too", func(p *product.Product) { seller(p); retitle(p) }, 1},
	} {
		for _, mode := range []run.Mode{run.Replay, run.Direct} {
			t.Run(test.name+", "+string(mode), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newShop(3, none)
					p := s.change(id(1), test.change)
					p.Updated = longAgo
					s.add(p, false)
					if mode == run.Direct {
						report, err := s.do(t.Context(), t, s.direct(product.Stale))
						if err != nil || report.Acted != 1 {
							t.Errorf("%v, %+v", err, report)
						}
						wantOutcome(t, report, product.Stale, run.Verified, "")
						return
					}
					set := s.replay(product.Stale)
					set.Losing = func(product.Kind) { t.Error("it says that an event was lost") }
					report, err := s.do(t.Context(), t, set)
					if err != nil || report.Acted != test.acted {
						t.Errorf("%d repairs, want %d; %v", report.Acted, test.acted, err)
					}
					wantOutcome(t, report, product.Stale, run.Blocked, run.ReasonUseDirect)
					if fields := report.Samples[0].Fields; len(fields) != 1 || fields[0].Field != "sellerId" {
						t.Errorf("%+v", report.Samples[0])
					}
				})
			})
		}
	}
}

// A deleted row whose product comes back is missing, and is brought again where that
// is asked for.
func TestADeletedRowWhoseProductComesBack(t *testing.T) {
	t.Parallel()
	for _, asked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(3, none)
			s.delete(id(1))
			s.onceActed(1, func() { s.add(newProduct(id(1)), false) })
			set := s.replay(product.Orphaned)
			state := run.Found
			if asked {
				set, state = s.replay(product.Kinds()...), run.Verified
			}
			report, err := s.do(t.Context(), t, set)
			if err != nil {
				t.Error(err)
			}
			wantOutcome(t, report, product.Missing, state, "")
		})
	}
}
