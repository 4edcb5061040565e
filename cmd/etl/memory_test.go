package main

import (
	"testing"

	"github.com/ecom-micro/etl/internal/run"
)

// maxMemory is what a run may take at its peak, whatever the catalogue's size.
const maxMemory = 96 << 20

func TestMemoryStaysFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("seeds 700,000 products")
	}
	t.Parallel()
	for _, c := range []struct {
		name     string
		products int
		mode     run.Mode
	}{
		{"100,000 direct", 100_000, run.Direct},
		{"100,000 replay", 100_000, run.Replay},
		{"500,000 direct", 500_000, run.Direct},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShop(t, c.products, every(10))
			s.consumer()
			p := s.command(t.Context(), "sync", "--mode", string(c.mode), "--batch-size", "1000", "--output", "json")
			peak, err := p.runMeasured()
			if err != nil {
				t.Fatalf("%v\nstdout: %s\nstderr: %s", err, &p.stdout, &p.stderr)
			}
			report := p.report(t)
			if got, want := report.Outcomes[run.Verified], int64(c.products/10); got != want {
				t.Errorf("%d verified, want %d", got, want)
			}
			if peak == 0 || peak > maxMemory {
				t.Errorf("peak memory %d MiB, want at most %d MiB", peak>>20, maxMemory>>20)
			}
			t.Logf("peak memory %d MiB in %d ms", peak>>20, report.Duration)
		})
	}
}
