package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
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
			got := renderReport(r, screen{})
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

// Products with one cause are one line with their number, however much differs in what is
// said of each; and however many have one, each other cause is shown too.
func TestCaseE5CausesAreShownOnce(t *testing.T) {
	t.Parallel()
	id := func(prefix string, i int) product.ID { return product.ID(fmt.Sprintf("%s%d", prefix, i)) }
	r := &run.Report{ByKind: map[product.Kind]map[run.State]int64{
		product.Missing: {run.Blocked: 503, run.Lost: 1}, product.Orphaned: {run.Found: 40_000}, product.Stale: {run.Found: 2},
	}}
	add := func(id product.ID, kind product.Kind, state run.State, column string, reason run.Reason) {
		r.Samples = append(r.Samples, run.Outcome{Key: run.Key{ID: id, Kind: kind}, State: state, Column: column, Reason: reason})
	}
	for i := range 400 {
		add(id("o", i), product.Orphaned, run.Found, "", run.Reason{})
	}
	for i := range 500 {
		add(id("b", i), product.Missing, run.Blocked, "title", run.Reason{Code: run.ReasonMisfit, Detail: fmt.Sprintf("has %d characters, and 20 fit", 30+i)})
	}
	for i := range 3 {
		add(id("p", i), product.Missing, run.Blocked, "price", run.Reason{Code: run.ReasonMisfit, Detail: "is negative"})
	}
	r.Samples[len(r.Samples)-2].Title = "Mug \x1b[31m" + strings.Repeat("m", 100)
	add("l", product.Missing, run.Lost, "", run.Reason{Code: run.ReasonSilent})
	add("v", product.Missing, run.Verified, "", run.Reason{})
	for i := range 2 {
		add(id("s", i), product.Stale, run.Found, "", run.Reason{})
		r.Samples[len(r.Samples)-1].Fields = []run.FieldChange{{Field: "price", Source: fmt.Sprint(i), Cart: "9"}, {Field: "title", Source: "a", Cart: "b"}}
	}
	got, remedies, _ := strings.Cut(causeText(r), "missing lost: ")
	want := `l  missing lost  ` + words.Reason(r.Samples[903], words.CLI) + `
500 × missing blocked
    b0  title: has 30 characters, and 20 fit
    b1  title: has 31 characters, and 20 fit
    b2  title: has 32 characters, and 20 fit
    … and 497 more
3 × missing blocked  price: is negative
    p0
    p1 "Mug \x1b[31m` + strings.Repeat("m", 40-len("Mug \x1b[31m…")) + `…"
    p2
2 × stale  in price, title
    s0  ` + words.Reason(r.Samples[905], words.CLI) + `
    s1  ` + words.Reason(r.Samples[906], words.CLI) + `
400 or more × orphaned
    o0
    o1
    o2
    … and 397 more
`
	if got != want || strings.Count(remedies, "missing blocked: ") != 1 {
		t.Errorf("got\n%s%s\nwant\n%s", got, remedies, want)
	}
}

// A table fits the screen that it is shown on, as far as anything can, and is not wrapped in a file.
func TestCaseE7TablesFit(t *testing.T) {
	t.Parallel()
	r := &run.Report{Source: "a_database_with_a_long_name.products", Target: "another_database.a_schema.product", Products: 1_234_567, Rows: 1_234_000,
		Found: map[product.Kind]int64{product.Missing: 567}, Outcomes: map[run.State]int64{run.Blocked: 567}}
	for _, width := range []int{40, 60, 80, 200, 0} {
		rendered := countsTable(r, screen{width: width}).Render()
		for _, line := range strings.Split(rendered, "\n") {
			if n := utf8.RuneCountInString(line); width > 0 && n > width {
				t.Errorf("%d columns of %d: %s", n, width, line)
			}
		}
		for _, what := range []string{"1,234,567", "blocked", "must"} {
			if !strings.Contains(rendered, what) {
				t.Errorf("%d columns lack %q:\n%s", width, what, rendered)
			}
		}
	}
}
