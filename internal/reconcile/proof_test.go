package reconcile_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// sole is a shop with one product, which the cart lacks, and a run that calls back
// once its event is published and the cart has not consumed it.
func sole(published func(s *shop)) (*shop, setting) {
	s := newShop(1, all)
	done := false
	s.before = func(_ context.Context, c call) error {
		if c.operation == waiting && s.audit.acted > 0 && !done {
			done = true
			published(s)
		}
		return nil
	}
	return s, s.replay()
}

func retitle(p *product.Product) { p.Values[product.Title] = product.TextValue("New lamp") }

// A product that changes while its event is in the queue arrives as it was. It has
// the time to settle that any change has, then it is looked at again.
func TestAProductThatChangesMeanwhileIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	arrivesLater := func(s *shop) {
		p := s.change(id(1), retitle)
		time.AfterFunc(settle-time.Second, func() { s.enqueue(event{kind: product.Stale, row: s.rowOf(p)}) })
	}
	tests := []struct {
		name      string
		published func(s *shop)
		state     run.State
		reason    string
	}{
		{"and its update arrives", arrivesLater, run.Verified, ""},
		{"and its update never arrives", func(s *shop) { s.change(id(1), retitle) }, run.Failed,
			"it arrived, and its row differs from the source: title is New lamp in the source and Lamp in the cart"},
		{"and is deleted with its row", func(s *shop) {
			s.change(id(1), retitle)
			time.AfterFunc(settle-time.Second, func() { s.delete(id(1)); s.removeRow(id(1)) })
		}, run.Gone, "deleted in the source meanwhile"},
		{"and its row is removed, to come again", func(s *shop) {
			s.change(id(1), retitle)
			time.AfterFunc(settle-time.Second, func() { s.removeRow(id(1)) })
		}, run.Verified, ""},
		{"and the cart cannot hold it any more", func(s *shop) {
			s.change(id(1), func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
		}, run.Failed, "it arrived, and its row differs from the source: price is 9.99 in the source and 777 in the cart"},
		{"by its quantity, which orders lower", func(s *shop) {
			s.change(id(1), func(p *product.Product) { p.Values[product.Quantity] = product.IntegerValue(4) })
		}, run.Verified, ""},
		{"and names no time of its change", func(s *shop) {
			p := s.change(id(1), retitle)
			s.products[id(1)] = func() product.Product { p.Updated = time.Time{}; return p }()
			time.AfterFunc(settle-time.Second, func() { s.update(s.rowOf(p)) })
		}, run.Verified, ""},
		{"in the future", func(s *shop) {
			p := s.change(id(1), retitle)
			s.products[id(1)] = func() product.Product { p.Updated = time.Now().Add(time.Hour); return p }()
			time.AfterFunc(settle-time.Second, func() { s.update(s.rowOf(p)) })
		}, run.Verified, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, set := sole(test.published)
				begun := time.Now()
				report, err := s.do(t.Context(), t, set)
				if err != nil || report.Outcomes[test.state] != 1 {
					t.Fatalf("%v, %+v; want %s", err, report, test.state)
				}
				if test.reason != "" && report.Samples[0].Reason != test.reason {
					t.Errorf("the reason is %q, want %q", report.Samples[0].Reason, test.reason)
				}
				if took := time.Since(begun); took > 2*settle+time.Minute {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// Of several that changed, the last one to settle is waited for.
func TestAllThatChangedSettle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(3, all)
		proofs := 0
		s.before = func(_ context.Context, c call) error {
			if c.operation == findRows && s.audit.acted == 3 {
				if proofs++; proofs > 1 {
					return nil
				}
				for i, age := range map[int]time.Duration{1: time.Hour, 2: 0, 3: time.Minute} {
					p := s.change(id(i), retitle)
					p.Updated = time.Now().Add(-age)
					s.products[id(i)] = p
					time.AfterFunc(settle-time.Second, func() { s.update(s.rowOf(p)) })
				}
			}
			return nil
		}
		report, err := s.do(t.Context(), t, s.replay())
		if err != nil || report.Outcomes[run.Verified] != 3 || proofs != 2 {
			t.Errorf("%v after %d looks, %+v", err, proofs, report)
		}
	})
}

// A report holds a thousand reasons, and an image may be there as its content.
func TestReasonsAreShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		content := product.TextValue("data:image/png;base64," + strings.Repeat("ä", 1<<20))
		s, set := sole(func(s *shop) {
			s.change(id(1), func(p *product.Product) { p.Values[product.Image] = content })
		})
		stale := newProduct(id(2))
		s.add(stale, true)
		s.change(id(2), func(p *product.Product) { p.Values[product.Image] = content })
		report, err := s.do(t.Context(), t, set)
		if err != nil || len(report.Samples) != 2 {
			t.Fatalf("%v, %+v", err, report)
		}
		for _, o := range report.Samples {
			if want := "image is data:image/png;base64,äääääääääääääääääää… in the source and lamp.png in the cart"; !strings.HasSuffix(o.Reason, want) {
				t.Errorf("the reason is %.200q, want %q", o.Reason, want)
			}
		}
	})
}

// The cart that does not consume its queue leaves in the dark what was published;
// what was not goes on.
func TestAStalledProofLeavesProductsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(20, all)
		set := s.replay()
		set.window, set.options.MaxRepairs = 10, 20
		stalls := 0
		set.Barriers = &watch{shop: s, stalls: func(product.Kind) bool {
			stalls++
			return stalls == 2 // the first proof; the first wait is a confirmation
		}}
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Result != run.Partial {
			t.Errorf("%v, and the run %s", err, report.Result)
		}
		wantCounts(t, report, map[run.State]int64{run.InFlight: 10, run.Verified: 10})
		if reason := report.Samples[0].Reason; !strings.Contains(reason, "5 messages still queued in product-created after 10m0s") {
			t.Errorf("the reason is %q", reason)
		}
	})
}

// After a proof that stalled our events may still be queued. Until they are
// consumed nothing more is published: a cursor may have returned a product twice.
func TestNothingIsPublishedBehindAStalledProof(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		stalls   int // so many waits, from the first proof on
		repeated bool
		acted    int64
		want     map[run.State]int64
	}{
		{"the cart consumes again", 1, false, 8, map[run.State]int64{run.InFlight: 4, run.Verified: 4}},
		{"it does not", 100, false, 4, map[run.State]int64{run.InFlight: 8}},
		{"the next window has the same products, which have arrived", 1, true, 4, map[run.State]int64{run.InFlight: 4}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShop(8, all)
				if test.repeated {
					s = newShop(4, all)
					s.repeats = true
				}
				s.before = func(_ context.Context, c call) error {
					if c.operation == waiting {
						time.Sleep(time.Second) // both windows have been seen by then
					}
					return nil
				}
				set := s.replay()
				set.window, set.options.MaxRepairs = 4, 20 // a window is a page
				waits := 0
				set.Barriers = &watch{shop: s, stalls: func(product.Kind) bool {
					waits++
					return waits > 1 && waits <= 1+test.stalls // the first is a confirmation
				}}
				report, err := s.do(t.Context(), t, set)
				if err != nil || report.Acted != test.acted {
					t.Errorf("%v, and %d were published, want %d", err, report.Acted, test.acted)
				}
				wantCounts(t, report, test.want)
			})
		})
	}
}

// A proof that cannot be read says nothing of what it has not seen, and ends the
// run: what follows could not be proved either.
func TestAProofThatCannotBeReadEndsTheRun(t *testing.T) {
	t.Parallel()
	for _, side := range []operation{findRows, findProducts} {
		t.Run(string(side), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const missing, window, batch = 4000, 2500, run.MaxBatchSize
				s := newShop(missing, all)
				s.page = batch
				proofs := 0
				s.before = func(_ context.Context, c call) error {
					if s.audit.acted < window {
						return nil
					}
					if c.operation == findRows && proofs == 0 { // the first of three batches
						s.delete(c.ids[0])
						s.delete(c.ids[1])
						s.removeRow(c.ids[1])
						s.removeRow(c.ids[2])
						s.change(c.ids[3], retitle)
					}
					if c.operation == side {
						proofs++
						if proofs == 2 {
							return errReset
						}
					}
					return nil
				}
				set := s.direct()
				set.window, set.options.MaxRepairs, set.options.BatchSize = window, missing, batch
				report, err := s.do(t.Context(), t, set)
				if !errors.Is(err, errReset) || report.Acted != window {
					t.Errorf("%v after %d repairs, want an error after %d", err, report.Acted, window)
				}
				wantCounts(t, report, map[run.State]int64{
					run.Verified: batch - 4, run.Undone: 1, run.Gone: 1, run.Lost: 1, run.InFlight: 1 + window - batch,
				})
				if report.Unrepaired != 2+window-batch {
					t.Errorf("%d unrepaired", report.Unrepaired)
				}
			})
		})
	}
}

func TestWhatIsDeletedMeanwhileIsTakenBack(t *testing.T) {
	t.Parallel()
	deleted := func(s *shop) { s.delete(id(1)) }
	const cannot = "deleted in the source while it was repaired, and its row could not be taken back: "
	tests := []struct {
		name      string
		published func(s *shop)
		change    func(s *shop, set *setting)
		state     run.State
		reason    string
		rowStays  bool
	}{
		{name: "by an event", published: deleted, state: run.Undone,
			reason: "deleted in the source while it was repaired; its row was taken back"},
		{name: "by a delete", published: deleted, state: run.Undone,
			change: func(s *shop, set *setting) { set.Repairer = &repairer{shop: s, direct: true} },
			reason: "deleted in the source while it was repaired; its row was taken back"},
		{name: "and its row never came", published: deleted, state: run.Gone,
			change: func(s *shop, set *setting) {
				set.Repairer = &repairer{shop: s, fate: func(int, product.ID) fate { return vanishes }}
			},
			reason: "deleted in the source meanwhile"},
		{name: "but another table refers to it", published: func(s *shop) { s.delete(id(1)); s.references[id(1)] = "public.cart" },
			state: run.Blocked, reason: cannot + "it is referenced by public.cart", rowStays: true},
		{name: "but the database refuses", published: deleted, state: run.Failed,
			change: func(s *shop, set *setting) {
				set.Repairer = &repairer{shop: s, direct: true, keeps: func(product.ID) error { return errors.New("permission denied") }}
			},
			reason: cannot + "permission denied", rowStays: true},
		{name: "but the event is lost", published: deleted, state: run.Failed,
			change: func(s *shop, _ *setting) {
				s.intercept(func(_ context.Context, c call) error {
					if c.operation == waiting && c.kind == product.Orphaned {
						s.queue = nil // a thief takes it
					}
					return nil
				})
			},
			reason: cannot + "it is still there", rowStays: true},
		{name: "but the queue of deletions stalls", published: deleted, state: run.Failed,
			change: func(s *shop, set *setting) {
				set.Barriers = &watch{shop: s, stalls: func(kind product.Kind) bool { return kind == product.Orphaned }}
			},
			reason: cannot + "5 messages still queued in product-created after 10m0s", rowStays: true},
		{name: "but references cannot be read", published: deleted, state: run.Failed,
			change: func(s *shop, _ *setting) { s.fail(referencing, 1) }, reason: cannot + errReset.Error(), rowStays: true},
		{name: "but the broker is away", published: deleted, state: run.Failed,
			change: func(s *shop, _ *setting) { s.fail(removing, 1) }, reason: cannot + errReset.Error(), rowStays: true},
		{name: "but the cart cannot be read after it", published: deleted, state: run.Failed,
			change: func(s *shop, _ *setting) { s.fail(findRows, 3) }, reason: cannot + errReset.Error()},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, set := sole(test.published)
				bystander := newProduct(id(2))
				s.add(bystander, true)
				if test.change != nil {
					test.change(s, &set)
				}
				report, err := s.do(t.Context(), t, set)
				if err != nil || report.Outcomes[test.state] != 1 || report.Samples[0].Reason != test.reason {
					t.Errorf("%v, %+v; want %s: %s", err, report, test.state, test.reason)
				}
				if _, there := s.rows[id(1)]; there != test.rowStays {
					t.Errorf("the row is there: %v", there)
				}
				if _, there := s.rows[id(2)]; !there {
					t.Error("another product's row is gone")
				}
			})
		})
	}
}

// Of several that were deleted, each that can be taken back is.
func TestOneReferenceKeepsOneRow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(5, all)
		s.before = func(_ context.Context, c call) error {
			if c.operation == waiting && s.audit.acted == 5 {
				s.delete(id(1))
				s.delete(id(2))
				s.delete(id(3))
				s.references[id(2)] = "public.cart"
			}
			return nil
		}
		report, err := s.do(t.Context(), t, s.replay())
		if err != nil || len(s.rows) != 3 {
			t.Errorf("%v, %d rows", err, len(s.rows))
		}
		wantCounts(t, report, map[run.State]int64{run.Undone: 2, run.Blocked: 1, run.Verified: 2})
	})
}

// Only the cart's loss is a loss: nothing is published twice for a product that a
// live event brought meanwhile.
func TestWhatArrivesByItselfIsNotRepaired(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(6, all)
		s.before = func(_ context.Context, c call) error {
			if c.operation == waiting && c.nth == 1 { // before the first confirmation
				for i := 1; i <= 4; i++ {
					s.arrive(s.rowOf(newProduct(id(i))))
				}
				s.delete(id(5))
			}
			return nil
		}
		report, err := s.do(t.Context(), t, s.replay())
		if err != nil || report.Resolved != 5 || report.Acted != 1 || report.Result != run.Succeeded {
			t.Errorf("%v, %+v", err, report)
		}
	})
}

// Without a sight of the queues a run settles and proves all the same.
func TestWithoutBroker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(6, all)
		set := s.direct()
		set.Barriers = nil
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.Result != run.Succeeded {
			t.Errorf("%v, %+v", err, report)
		}
	})
}
