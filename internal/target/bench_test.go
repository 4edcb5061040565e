package target

import (
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

// BenchmarkWrite sets direct writes beside a raw CopyFrom of the same rows in one
// go, and beside the INSERT that takes over when a live consumer was quicker; and it
// updates and deletes them.
func BenchmarkWrite(b *testing.B) {
	const n = 50_000
	cart := testenv.Cart(b)
	t, err := Open(b.Context(), Config{URL: secret.URL(cart.URL), Schema: "public", Table: "product"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(t.Close)
	if err := t.Describe(b.Context()); err != nil {
		b.Fatal(err)
	}
	repairs := make([]product.Repair, n)
	for i := range repairs {
		row := product.Row{ID: product.ID(fmt.Sprintf("65f2a1b2c3d4e5f6%08x", i))}
		row.Values[product.Title] = product.TextValue("Größe 42, a title as products have them")
		row.Values[product.Price] = product.IntegerValue(int64(i))
		row.Values[product.Image] = product.TextValue("https://images.shop.example/products/65f2a1b2c3d4e5f6a7b8c9d0.jpg")
		row.Values[product.SellerID] = product.TextValue("65f2a1b2c3d4e5f6a7b8c9d0")
		row.Values[product.Quantity] = product.IntegerValue(5)
		repairs[i].Row = row
	}
	columns := []string{"id", "title", "price", "image", "sellerId", "quantity"}
	empty := func(b *testing.B) {
		b.StopTimer()
		cart.Exec("TRUNCATE product CASCADE")
		b.StartTimer()
	}
	values := func(rows []product.Repair) pgx.CopyFromSource {
		return pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			r := &rows[i].Row
			price, _ := r.Values[product.Price].Int()
			quantity, _ := r.Values[product.Quantity].Int()
			return []any{string(r.ID), r.Values[product.Title].String(), price, r.Values[product.Image].String(), r.Values[product.SellerID].String(), quantity}, nil
		})
	}
	b.Run("raw copy", func(b *testing.B) {
		for b.Loop() {
			empty(b)
			if _, err := t.pool.CopyFrom(b.Context(), pgx.Identifier{"product"}, columns, values(repairs)); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, n)
	})
	writer, err := t.Writer(product.Kinds())
	if err != nil {
		b.Fatal(err)
	}
	repair := func(b *testing.B, kind product.Kind, batch int, repairs []product.Repair) {
		for len(repairs) > 0 { // as a run does, that writes more than a batch at once
			n, err := writer.Reserve(b.Context(), kind, min(max(batch, product.Piece), len(repairs)), nil)
			if err != nil {
				b.Fatal(err)
			}
			results, err := writer.Repair(b.Context(), kind, 1, repairs[:n])
			if err != nil || results[0].Fate != product.Confirmed {
				b.Fatalf("%+v, %v", results[0], err)
			}
			repairs = repairs[n:]
		}
	}
	for _, batch := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("insert %d", batch), func(b *testing.B) {
			columns, changes := t.shape.columns(allFields()), changesOf(repairs)
			for b.Loop() {
				empty(b)
				for chunk := range slices.Chunk(changes, batch) {
					if err := writer.insertAbsent(b.Context(), columns, chunk); err != nil {
						b.Fatal(err)
					}
				}
			}
			perSecond(b, n)
		})
		b.Run(fmt.Sprintf("direct %d", batch), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				empty(b)
				repair(b, product.Missing, batch, repairs)
			}
			perSecond(b, n)
		})
		b.Run(fmt.Sprintf("update %d", batch), func(b *testing.B) {
			changed := slices.Clone(repairs)
			for i := range changed {
				changed[i].Fields = []product.Field{product.Title, product.Price}
			}
			for b.Loop() { // there and back
				for i := range changed {
					r := &changed[i]
					r.Was = r.Row
					r.Row.Values[product.Title] = product.TextValue("a new title, " + r.Was.Values[product.Title].String()[:20])
				}
				repair(b, product.Stale, batch, changed)
			}
			perSecond(b, n)
		})
		b.Run(fmt.Sprintf("delete %d", batch), func(b *testing.B) {
			for b.Loop() {
				empty(b)
				b.StopTimer()
				repair(b, product.Missing, n, repairs)
				b.StartTimer()
				repair(b, product.Orphaned, batch, repairs)
			}
			perSecond(b, n)
		})
	}
	b.Run("span", func(b *testing.B) {
		b.ReportAllocs()
		empty(b)
		repair(b, product.Missing, n, repairs)
		for b.Loop() {
			seen := 0
			for page, err := range t.Span(b.Context(), "", "", product.CartFields()) {
				if err != nil {
					b.Fatal(err)
				}
				seen += len(page)
			}
			if seen != n {
				b.Fatalf("%d rows", seen)
			}
		}
		perSecond(b, n)
	})
}

func perSecond(b *testing.B, products int) {
	b.ReportMetric(float64(products*b.N)/b.Elapsed().Seconds(), "products/s")
}
