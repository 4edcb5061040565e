package reconcile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		arrange func(s *shop)
		verdict run.Verdict
		why     string
	}{
		{"in both", func(*shop) {}, run.VerdictInSync, "title, price, image, sellerId"},
		{"not in the cart", func(s *shop) { s.removeRow(id(1)) }, run.VerdictMissing, "the cart does not"},
		{"just made", func(s *shop) {
			s.removeRow(id(1))
			s.change(id(1), func(p *product.Product) { p.Created = time.Now() })
		}, run.VerdictOnItsWay, "SYNC_SETTLE (30s)"},
		{"with a fraction", func(s *shop) {
			s.removeRow(id(1))
			s.change(id(1), func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) })
		}, run.VerdictBlocked, "price: 9.99"},
		{"refused by a constraint", func(s *shop) {
			s.removeRow(id(1))
			s.refused[id(1)] = &product.Misfit{Column: "price", Reason: "violates price_check"}
		}, run.VerdictBlocked, "price_check"},
		{"of another price", func(s *shop) {
			s.change(id(1), func(p *product.Product) { p.Values[product.Price] = product.IntegerValue(1) })
		}, run.VerdictStale, "differs in price"},
		{"of another stock", func(s *shop) {
			s.change(id(1), func(p *product.Product) { p.Values[product.Quantity] = product.IntegerValue(1) })
		}, run.VerdictInSync, "both sides agree"},
		{"not in the source", func(s *shop) { s.delete(id(1)) }, run.VerdictOrphaned, "the source does not"},
		{"not in the source, in a basket", func(s *shop) { s.delete(id(1)); s.references[id(1)] = "cart" }, run.VerdictOrphaned, "rows of cart refer"},
		{"nowhere", func(s *shop) { s.delete(id(1)); s.removeRow(id(1)) }, run.VerdictUnknown, "neither"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newShop(1, none)
			test.arrange(s)
			e, err := reconcile.Explain(t.Context(), source{s}, target{s}, s.replay().config, id(1))
			if err != nil {
				t.Fatal(err)
			}
			if e.Verdict != test.verdict || !strings.Contains(e.Why, test.why) || (e.Next == "") != (e.Verdict == run.VerdictInSync) {
				t.Errorf("%+v, want %q because of %q", e, test.verdict, test.why)
			}
			if len(e.Fields) != len(product.CartFields()) {
				t.Errorf("%d fields", len(e.Fields))
			}
			for _, f := range e.Fields {
				if f.Compared == (f.Field == "quantity") || (f.Source != "") != e.InSource || (f.Cart != "") != e.InCart || f.Equal && f.Source != f.Cart {
					t.Errorf("field %+v of %+v", f, e)
				}
			}
		})
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
		if e, err := reconcile.Explain(t.Context(), source{s}, target{s}, s.replay().config, id(1)); err == nil {
			t.Errorf("%s fails, and the explanation is %+v", o, e)
		}
	}
}
