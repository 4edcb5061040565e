package main

import (
	"strconv"
	"testing"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

// maxMemory is what a run may take at its peak, whatever the catalogue's size.
const maxMemory = 96 << 20

func TestMemoryStaysFlat(t *testing.T) {
	t.Parallel()
	for _, mode := range []run.Mode{run.Direct, run.Replay} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			checkMemory(t, 100_000, mode)
		})
	}
}

func TestLongMemoryStaysFlat(t *testing.T) {
	testenv.Long(t)
	t.Parallel()
	checkMemory(t, 1_000_000, run.Direct)
}

// checkMemory repairs a tenth of the products with the real binary.
func checkMemory(t *testing.T, products int, mode run.Mode) {
	t.Helper()
	s := newShop(t, products, every(10))
	s.consumer()
	p := s.command(t.Context(), "sync", "--mode", string(mode), "--batch-size", "1000", "--max-repairs", strconv.Itoa(products/10), "--output", "json")
	peak, err := p.runMeasured()
	if err != nil {
		t.Fatalf("%v\nstdout: %s\nstderr: %s", err, &p.stdout, &p.stderr)
	}
	report := p.report(t)
	if got, want := report.Outcomes[run.Verified], int64(products/10); got != want {
		t.Errorf("%d verified, want %d", got, want)
	}
	wantPeak(t, peak, maxMemory)
}
