package reconcile_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// differ lets products differ in all three ways: every sixth is missing, another sixth
// stale, another orphaned.
func differ(n int) *shop {
	s := newShop(n, func(i int) bool { return i%6 == 1 })
	for i := 1; i <= n; i++ {
		switch i % 6 {
		case 2:
			p, _ := s.product(id(i))
			p.Values[product.Title] = product.TextValue("New lamp")
			s.put(p)
		case 3:
			s.delete(id(i))
		}
	}
	return s
}

// All kinds at once, in both modes: afterwards the stores agree.
func TestEveryKindIsRepaired(t *testing.T) {
	t.Parallel()
	for _, mode := range []run.Mode{run.Replay, run.Direct} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := differ(60)
				set := s.replay(product.Kinds()...)
				if mode == run.Direct {
					set = s.direct(product.Kinds()...)
				}
				report, err := s.do(t.Context(), t, set)
				if err != nil || report.Result != run.Succeeded || report.Outcomes[run.Verified] != 30 || report.Acted != 30 {
					t.Errorf("%+v, %v", report, err)
				}
				s.wantAgreement(t)
			})
		})
	}
}

// Without being asked for, stale and orphaned rows are reported and left alone.
func TestOnlyMissingIsRepairedByDefault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := differ(60)
		report, err := s.do(t.Context(), t, s.replay())
		if err != nil || report.Result != run.Succeeded || report.Acted != 10 || report.ByKind[product.Stale][run.Found] != 10 || report.ByKind[product.Orphaned][run.Found] != 10 {
			t.Errorf("%+v, %v", report, err)
		}
	})
}

// wantAgreement compares the two stores.
func (s *shop) wantAgreement(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, p := range s.Products {
		id := key.ID
		row, there := s.Rows[id]
		if !there || len(s.Columns.Differing(&p, &row, product.ProofFields())) > 0 {
			t.Errorf("%s is in the cart: %v, as %v", id, there, row)
		}
	}
	for id := range s.Rows {
		if _, there := s.product(id); !there {
			t.Errorf("%s is in the cart only", id)
		}
	}
}

// A standing queue of a kind that is not repaired holds nobody up.
func TestAStandingQueueDelaysNoOtherKind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(6000, func(i int) bool { return i > 5900 })
		for i := 1; i <= 5000; i++ {
			s.change(id(i), func(p *product.Product) { p.Values[product.Title] = product.TextValue("New lamp") })
			p, _ := s.product(id(i))
			p.Updated = longAgo
			s.put(p)
		}
		s.page = 500
		s.queues[product.Stale].stands = true
		s.queues[product.Stale].waiting = []event{{}}
		set := s.direct()
		set.config.StallTimeout = 10 * time.Minute
		began := time.Now()
		var verified time.Duration
		set.Direct = &repairer{shop: s, direct: true, fate: func(int, product.ID) fate {
			verified = time.Since(began)
			return arrives
		}}
		report, err := s.do(t.Context(), t, set)
		if err != nil || report.ByKind[product.Missing][run.Verified] != 100 {
			t.Errorf("%+v, %v", report, err)
		}
		if verified > 10*time.Second {
			t.Errorf("the last missing product was repaired after %s", verified)
		}
	})
}

// A person's limit is one for all kinds together, orphaned rows included.
func TestALimitIsOneForAllKinds(t *testing.T) {
	t.Parallel()
	for _, kinds := range [][]product.Kind{product.Kinds(), {product.Orphaned}} {
		synctest.Test(t, func(t *testing.T) {
			s := differ(60)
			set := s.direct(kinds...)
			set.options.MaxRepairs = 7
			report, err := s.do(t.Context(), t, set)
			if beyond := int64(10*len(kinds) - 7); err != nil || report.Acted != 7 || report.Outcomes[run.Verified] != 7 || report.Outcomes[run.Skipped] != beyond {
				t.Errorf("%v of %v, %v", report.Outcomes, kinds, err)
			}
			for _, o := range report.Samples {
				if o.State == run.Skipped && o.Reason != (run.Reason{Code: run.ReasonLimit, Number: 7}) {
					t.Errorf("%+v", o)
				}
			}
		})
	}
}
