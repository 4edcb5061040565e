package diff_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
)

// move is one change of the stores: a product or a row comes, changes or goes.
type move struct {
	key    product.Key
	inCart bool
	title  string // empty: it goes
}

func (m move) apply(s *stores) {
	if m.inCart {
		delete(s.Rows, m.key.ID)
		if m.title != "" {
			row := newRow(m.key.ID)
			row.Values[product.Title] = product.TextValue(m.title)
			s.putRows(row)
		}
		return
	}
	delete(s.Products, m.key)
	if m.title != "" {
		p := newProduct(m.key.Class, m.key.ID)
		p.Values[product.Title] = product.TextValue(m.title)
		s.put(p)
	}
}

// drawMoves draws changes of some of the stores' products and of new ones.
func (s *stores) drawMoves(t *rapid.T) []move {
	keys := []product.Key{{Class: product.Strings, ID: "b new"}, {Class: product.ObjectIDs, ID: "64b7f0c2a1d3e4f5a6b7c8aa"}, {Class: product.Integers, ID: "7777"}}
	products, rows := s.Look()
	for _, p := range products {
		keys = append(keys, p.Key)
	}
	for _, row := range rows {
		if !slices.ContainsFunc(keys, func(k product.Key) bool { return k.ID == row.ID }) {
			keys = append(keys, product.Key{Class: product.Strings, ID: row.ID})
		}
	}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) move {
		return move{
			key:    rapid.SampledFrom(keys).Draw(t, "key"),
			inCart: rapid.Bool().Draw(t, "in the cart"),
			title:  rapid.SampledFrom([]string{"", "Lamp", "New lamp"}).Draw(t, "title"),
		}
	}), 0, 20).Draw(t, "moves")
}

// Two live stores change while they are read, page by page. What does not change is
// judged as if nothing did: each difference is found once, and nothing else suspected.
func TestAScanOfMovingStores(t *testing.T) {
	t.Parallel()
	eachOrder(t, func(t *rapid.T, s *stores) {
		s.overlap = []int{0} // a repeated page makes orphans of rows that are none
		s.dropOddIDs()
		scope := diff.Scope{Ranges: s.drawRanges(t), Parallel: rapid.IntRange(1, 3).Draw(t, "parallel")}
		config := drawConfig(t)
		want := s.oracle(scope)
		moves := s.drawMoves(t)
		moving := make(map[product.ID]bool)
		for _, m := range moves {
			moving[m.key.ID] = true
		}
		var reads atomic.Int64
		s.onRead = func(context.Context, read) error {
			if n := int(reads.Add(1)); n <= len(moves) {
				s.change(moves[n-1].apply)
			}
			return nil
		}
		found := run(t.Context(), t, s, config, scope)
		if found.err != nil {
			t.Fatal(found.err)
		}
		for f, times := range found.suspected {
			if !moving[f.id] && (want[f] == 0 || times != 1) {
				t.Fatalf("%q, which did not change, was suspected as %s %d times", f.id, f.kind, times)
			}
		}
		for f := range want {
			if !moving[f.id] && found.suspected[f] == 0 {
				t.Fatalf("%q is %s all the time, and was not suspected", f.id, f.kind)
			}
		}
	})
}
