package reconcile_test

import (
	"slices"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		arrange   func(s *shop)
		verdict   run.Verdict
		differing []string
		column    string
		reason    run.Reason
	}{
		{name: "in both", arrange: func(*shop) {}, verdict: run.VerdictInSync},
		{name: "not in the cart", arrange: func(s *shop) { s.removeRow(id(1)) }, verdict: run.VerdictMissing},
		{name: "just made", arrange: func(s *shop) {
			s.removeRow(id(1))
			s.change(id(1), func(p *product.Product) { p.Created = time.Now() })
		}, verdict: run.VerdictOnItsWay, reason: run.Reason{Code: run.ReasonSettling}},
		{name: "just made, and the cart cannot hold it", arrange: func(s *shop) {
			s.removeRow(id(1))
			s.change(id(1), func(p *product.Product) {
				p.Created = time.Now()
				p.Values[product.Price] = product.FloatValue(9.99)
			})
		}, verdict: run.VerdictBlocked, column: "price", reason: run.Reason{Code: run.ReasonMisfit, Detail: "9.99 has a fraction, and the column is integer"}},
		{name: "with a fraction", arrange: func(s *shop) {
			s.removeRow(id(1))
			s.change(id(1), func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
		}, verdict: run.VerdictBlocked, column: "price", reason: run.Reason{Code: run.ReasonMisfit, Detail: "9.99 has a fraction, and the column is integer"}},
		{name: "stale with a fraction", arrange: func(s *shop) {
			s.change(id(1), func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
		}, verdict: run.VerdictBlocked, differing: []string{"price"}, column: "price", reason: run.Reason{Code: run.ReasonMisfit, Detail: "9.99 has a fraction, and the column is integer"}},
		{name: "refused by a constraint", arrange: func(s *shop) {
			s.removeRow(id(1))
			s.refused[id(1)] = &product.Misfit{Column: "price", Reason: "violates price_check"}
		}, verdict: run.VerdictBlocked, column: "price", reason: run.Reason{Code: run.ReasonMisfit, Detail: "violates price_check"}},
		{name: "of another price", arrange: func(s *shop) {
			s.change(id(1), func(p *product.Product) { p.Values[product.Price] = product.IntegerValue(1) })
		}, verdict: run.VerdictStale, differing: []string{"price"}},
		{name: "of another seller", arrange: func(s *shop) {
			s.change(id(1), func(p *product.Product) { p.Values[product.SellerID] = product.TextValue("other") })
		}, verdict: run.VerdictStale, differing: []string{"sellerId"}, column: "sellerId", reason: run.Reason{Code: run.ReasonUseDirect, Detail: "sellerId"}},
		{name: "of another stock", arrange: func(s *shop) {
			s.change(id(1), func(p *product.Product) { p.Values[product.Quantity] = product.IntegerValue(1) })
		}, verdict: run.VerdictInSync},
		{name: "not in the source", arrange: func(s *shop) { s.delete(id(1)) }, verdict: run.VerdictOrphaned},
		{name: "not in the source, in a basket", arrange: func(s *shop) { s.delete(id(1)); s.references[id(1)] = "cart" },
			verdict: run.VerdictOrphaned, reason: run.Reason{Code: run.ReasonReferenced, Detail: "cart"}},
		{name: "nowhere", arrange: func(s *shop) { s.delete(id(1)); s.removeRow(id(1)) }, verdict: run.VerdictUnknown},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newShop(1, none)
			test.arrange(s)
			e, err := reconcile.Explain(t.Context(), s.source(), s.target(), s.replay().config, run.Replay, id(1))
			if err != nil {
				t.Fatal(err)
			}
			if until := e.Reason.Until; (e.Verdict == run.VerdictOnItsWay) != until.After(time.Now().Add(settle-time.Minute)) {
				t.Errorf("it is on its way until %s", until)
			}
			e.Reason.Until = time.Time{}
			if e.Verdict != test.verdict || e.Column != test.column || e.Reason != test.reason {
				t.Errorf("%s because of %s %+v, want %s because of %s %+v", e.Verdict, e.Column, e.Reason, test.verdict, test.column, test.reason)
			}
			var differing []string
			for _, f := range e.Differing() {
				differing = append(differing, f.Field)
			}
			if !slices.Equal(differing, test.differing) || len(e.Fields) != len(product.CartFields()) {
				t.Errorf("%v differ of %d fields, want %v", differing, len(e.Fields), test.differing)
			}
			for _, f := range e.Fields {
				if f.Compared == (f.Field == "quantity") || (f.Source != "") != e.InSource || (f.Cart != "") != e.InCart || f.Equal && f.Source != f.Cart {
					t.Errorf("field %+v of %+v", f, e)
				}
			}
		})
	}
}

func TestExplainForADirectRun(t *testing.T) {
	t.Parallel()
	s := newShop(1, none)
	s.change(id(1), func(p *product.Product) { p.Values[product.SellerID] = product.TextValue("other") })
	e, err := reconcile.Explain(t.Context(), s.source(), s.target(), s.replay().config, run.Direct, id(1))
	if err != nil || e.Verdict != run.VerdictStale || e.Reason != (run.Reason{}) {
		t.Errorf("%v, %+v", err, e)
	}
}

func TestExplainReturnsTheErrorsOfTheStores(t *testing.T) {
	t.Parallel()
	for _, o := range []operation{findProducts, findRows, checking, referencing} {
		s := newShop(1, all)
		if o == referencing {
			s.delete(id(1))
			s.arrive(s.rowOf(newProduct(id(1))))
		}
		s.fail(o, 1)
		if e, err := reconcile.Explain(t.Context(), s.source(), s.target(), s.replay().config, run.Replay, id(1)); err == nil {
			t.Errorf("%s fails, and the explanation is %+v", o, e)
		}
	}
}
