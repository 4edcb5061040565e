package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestRenderReport(t *testing.T) {
	t.Parallel()
	base := func(change func(*run.Report)) *run.Report {
		r := &run.Report{
			Mode: run.Replay, Repair: run.Kinds{product.Missing}, Duration: 12_345, Source: "product.products", Target: "cart.public.product",
			Products: 1_234_567, Rows: 1_234_000, Found: map[product.Kind]int64{}, Outcomes: map[run.State]int64{},
			ByKind: map[product.Kind]map[run.State]int64{product.Missing: {}, product.Stale: {}, product.Orphaned: {}},
		}
		change(r)
		return r
	}
	count := func(r *run.Report, kind product.Kind, state run.State, n int64) {
		r.Outcomes[state] += n
		r.ByKind[kind][state] += n
	}
	outcome := func(id product.ID, kind product.Kind, state run.State, reason run.Reason) run.Outcome {
		return run.Outcome{Key: run.Key{ID: id, Kind: kind}, State: state, Reason: reason}
	}
	for name, r := range map[string]*run.Report{
		"in-sync": base(func(r *run.Report) { r.Result = run.InSync }),
		"repaired-in-attempts": base(func(r *run.Report) {
			r.Result, r.Attempts, r.Acted, r.Resolved = run.Succeeded, 3, 1100, 7
			r.Found[product.Missing] = 560
			count(r, product.Missing, run.Verified, 560)
			r.Notes = []run.Note{{Code: run.NoteConsumed, Kind: product.Missing, Number: 540, Of: 1100, Detail: "queue product-created has 2 consumers, and each event reaches only one of them"}}
		}),
		"every-kind": base(func(r *run.Report) {
			r.Result, r.Attempts, r.Acted, r.Repair = run.Succeeded, 1, 23, run.Kinds{product.Missing, product.Stale, product.Orphaned}
			r.Found[product.Missing], r.Found[product.Stale], r.Found[product.Orphaned] = 10, 9, 5
			count(r, product.Missing, run.Verified, 10)
			count(r, product.Stale, run.Verified, 9)
			count(r, product.Orphaned, run.Verified, 4)
			count(r, product.Orphaned, run.Gone, 1)
			r.Notes = []run.Note{{Code: run.NoteStockSet, Kind: product.Stale, Number: 9}}
		}),
		"differences-remain": base(func(r *run.Report) {
			r.Result, r.Attempts, r.Acted, r.Unrepaired = run.Partial, 1, 20, 16
			r.Found[product.Missing], r.Found[product.Stale] = 36, 30
			count(r, product.Missing, run.Verified, 20)
			count(r, product.Missing, run.Blocked, 12)
			count(r, product.Missing, run.InFlight, 3)
			count(r, product.Missing, run.Lost, 1)
			count(r, product.Stale, run.Found, 30)
			image := run.FieldChange{Field: "image", Source: "https://images.example.com/" + strings.Repeat("x", 60) + "/0042.jpg", Cart: "https://images.example.com/" + strings.Repeat("x", 60) + "/0042.png"}
			for range 30 {
				r.Samples = append(r.Samples, run.Outcome{Key: run.Key{ID: "65f2a1b2c3d4e5f6a7b8c9d0", Kind: product.Stale}, State: run.Found, Fields: []run.FieldChange{image}})
			}
			for range 12 {
				o := outcome("odd id\n", product.Missing, run.Blocked, run.Reason{Code: run.ReasonMisfit, Detail: "9.99 has a fraction, and the column is integer"})
				o.Column = "price"
				r.Samples = append(r.Samples, o)
			}
			r.Samples = append(r.Samples, outcome("65f2a1b2c3d4e5f6a7b8c9d2", product.Missing, run.Lost, run.Reason{Code: run.ReasonConsumed, Number: 20}),
				outcome("65f2a1b2c3d4e5f6a7b8c9d3", product.Missing, run.InFlight, run.Reason{Code: run.ReasonQueue, Ready: 6, Queue: "product-created"}),
				outcome("65f2a1b2c3d4e5f6a7b8c9d4", product.Missing, run.Gone, run.Reason{Code: run.ReasonDeleted}))
			r.Notes = []run.Note{{Code: run.NoteHopeless, Kind: product.Missing, Number: 3, Of: 100}}
		}),
		"stopped": base(func(r *run.Report) {
			r.Result, r.Found[product.Missing] = run.Stopped, 500_000
			r.Notes = []run.Note{{Code: run.NoteTooMany, Kind: product.Missing, Number: 500_000, Of: 1_234_567, Detail: "246,913"}}
		}),
		"failed": base(func(r *run.Report) {
			r.Result, r.Error, r.Found[product.Missing] = run.Broken, "read source range objectId (start..end]: no server answers", 12
		}),
		"dry-run": base(func(r *run.Report) {
			r.Result, r.DryRun, r.Found[product.Missing], r.Found[product.Orphaned] = run.Partial, true, 5, 2
			r.Samples = []run.Outcome{outcome("65f2a1b2c3d4e5f6a7b8c9d5", product.Orphaned, run.Found, run.Reason{}), outcome("65f2a1b2c3d4e5f6a7b8c9d6", product.Missing, run.Found, run.Reason{})}
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

// However many products have one state, those of another are shown too.
func TestSamplesShowEachKindAndState(t *testing.T) {
	t.Parallel()
	r := &run.Report{}
	for range 900 {
		r.Samples = append(r.Samples, run.Outcome{Key: run.Key{ID: "o", Kind: product.Orphaned}, State: run.Found})
	}
	for range 50 {
		r.Samples = append(r.Samples, run.Outcome{Key: run.Key{ID: "l", Kind: product.Missing}, State: run.Lost})
	}
	r.Samples = append(r.Samples, run.Outcome{Key: run.Key{ID: "b", Kind: product.Missing}, State: run.Blocked}, run.Outcome{Key: run.Key{ID: "v"}, State: run.Verified})
	shown, all := samples(r)
	ids := ""
	for _, o := range shown {
		ids += string(o.ID)
	}
	if ids != "llllllbooo" || all != 951 {
		t.Errorf("%s of %d", ids, all)
	}
}
