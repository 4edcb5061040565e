package main

import (
	"testing"

	"github.com/ecom-micro/etl/internal/run"
)

// BenchmarkRun measures whole runs as a user sees them, the waits included: with
// the least grace, since that wait is not work.
func BenchmarkRun(b *testing.B) {
	const products, missing = 200_000, 20_000
	s := newShop(b, products, func(i int) bool { return i < missing })
	s.consumer()
	lose := func(b *testing.B) {
		b.StopTimer()
		s.cart.Exec("DELETE FROM product WHERE id <= $1", s.products.Key(missing-1))
		b.StartTimer()
	}
	b.Run("compare", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			s.cart.Fill(s.products.Where(func(i int) bool { return i < missing }))
			b.StartTimer()
			if report := s.mustSync(b.Context(), exitOK, "--dry-run"); report.Products != products {
				b.Fatalf("%d compared", report.Products)
			}
			lose(b)
		}
		perSecond(b, products)
	})
	for _, mode := range []run.Mode{run.Direct, run.Replay} {
		b.Run(string(mode), func(b *testing.B) {
			for b.Loop() {
				lose(b)
				report := s.mustSync(b.Context(), exitOK, "--mode", string(mode), "--batch-size", "1000", "--max-repairs", "100000")
				if report.Outcomes[run.Verified] != missing {
					b.Fatalf("%v", report.Outcomes)
				}
			}
			perSecond(b, missing)
		})
	}
}

func perSecond(b *testing.B, products int) {
	b.ReportMetric(float64(products*b.N)/b.Elapsed().Seconds(), "products/s")
}
