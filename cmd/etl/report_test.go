package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestRenderReport(t *testing.T) {
	t.Parallel()
	base := func(change func(*run.Report)) *run.Report {
		r := &run.Report{
			Mode: run.Replay, Duration: 12_345, Source: "product.products", Target: "cart.public.product",
			Products: 1_234_567, Rows: 1_234_000, Found: map[product.Kind]int64{}, Outcomes: map[run.State]int64{},
		}
		change(r)
		return r
	}
	for name, r := range map[string]*run.Report{
		"in-sync": base(func(r *run.Report) { r.Result = run.InSync }),
		"repaired-in-rounds": base(func(r *run.Report) {
			r.Result, r.Rounds, r.Acted, r.Resolved = run.Succeeded, 3, 1100, 7
			r.Found[product.Missing], r.Outcomes[run.Verified] = 560, 560
			r.Notes = []string{"540 of 560 events of the first round were consumed and left no row in the cart, so further rounds were needed: the cart's consumer did not store them"}
		}),
		"differences-remain": base(func(r *run.Report) {
			r.Result, r.Rounds, r.Acted, r.Unrepaired = run.Partial, 1, 20, 15
			r.Found[product.Missing], r.Found[product.Stale] = 35, 1
			r.Outcomes[run.Verified], r.Outcomes[run.Blocked], r.Outcomes[run.InFlight] = 20, 12, 3
			r.Samples = []run.Outcome{{ID: "65f2a1b2c3d4e5f6a7b8c9d0", Kind: product.Stale, State: run.Found, Reason: "price is 5 in the source and 4 in the cart"}}
			for range 12 {
				r.Samples = append(r.Samples, run.Outcome{ID: "65f2a1b2c3d4e5f6a7b8c9d1", Kind: product.Missing, State: run.Blocked, Column: "price", Reason: "9.99 has a fraction, and the column is integer"})
			}
		}),
		"stopped": base(func(r *run.Report) {
			r.Result, r.Found[product.Missing] = run.Stopped, 500_000
			r.Notes = []string{"Nothing was repaired: too many"}
		}),
		"failed": base(func(r *run.Report) {
			r.Result, r.Error, r.Found[product.Missing] = run.Broken, "read source range objectId (start..end]: no server answers", 12
		}),
		"dry-run": base(func(r *run.Report) {
			r.Result, r.DryRun, r.Found[product.Missing], r.Found[product.Orphaned] = run.Partial, true, 5, 2
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := renderReport(r, false)
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := read(t, golden); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}
