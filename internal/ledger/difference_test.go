package ledger

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// stale are outcomes of n stale products that are as before.
func stale(n int, since time.Time) []run.Outcome {
	all := make([]run.Outcome, n)
	for i := range all {
		all[i] = run.Outcome{Key: run.Key{ID: product.ID(fmt.Sprintf("65f2a1b2c3d4e5f6%08x", i)), Kind: product.Stale}, State: run.Found,
			Reason: run.Reason{Code: run.ReasonGuard, Since: since, Until: since.Add(time.Hour)},
			Fields: []run.FieldChange{{Field: "title", Source: "\x00 new", Cart: "old"}}}
	}
	return all
}

// versions are the tables, each with the versions of its rows: a row that is written is
// another version.
func versions(t *testing.T, l *Ledger) map[string]string {
	t.Helper()
	const tables = "SELECT tablename FROM pg_tables WHERE schemaname = $1"
	rows, err := l.pool.Query(t.Context(), tables, schema)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string, len(names))
	for _, name := range names {
		var versions string
		read := "SELECT coalesce(string_agg(ctid::text || xmin || xmax, ' ' ORDER BY ctid), '') FROM " + schema + "." + name
		if err := l.pool.QueryRow(t.Context(), read).Scan(&versions); err != nil {
			t.Fatal(err)
		}
		all[schema+"."+name] = versions
	}
	return all
}

// A tick that finds the differences of the tick before writes nothing but its own run
// and the pipeline, nor does the ledger grow.
func TestCaseE9WhatStandsIsNotWrittenAgain(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	const products = 1000
	var before map[string]string
	for tick := range 5 {
		lease := begun(t, l, long)
		settle(t, lease, run.Settlement{Outcomes: stale(products, time.Now().Add(time.Duration(tick)*time.Hour))})
		now := versions(t, l)
		if tick == 0 {
			before = now
		}
		for table := range now {
			if now[table] != before[table] && table != runTable && table != pipelineTable {
				t.Errorf("tick %d has written into %s", tick, table)
			}
		}
		if err := lease.Finish(t.Context(), run.StatusPartial, nil, ""); err != nil {
			t.Fatal(err)
		}
	}
	for from, want := range map[string]int{differenceTable: products, outcomeTable: 0, handTable: 0, runTable: 5, pipelineTable: 1} {
		if n := count(t, l, from); n != want {
			t.Errorf("%d rows of %s, want %d", n, from, want)
		}
	}
	if now := versions(t, l); now[differenceTable] != before[differenceTable] {
		t.Error("the end of a run has written differences that stand")
	}
	// Whatever is new about one is written.
	lease := begun(t, l, long)
	for name, change := range map[string]func(*run.Outcome){
		"state":    func(o *run.Outcome) { o.State = run.Blocked },
		"column":   func(o *run.Outcome) { o.Column = "price" },
		"code":     func(o *run.Outcome) { o.Reason.Code = run.ReasonMisfit },
		"number":   func(o *run.Outcome) { o.Reason.Number++ },
		"fields":   func(o *run.Outcome) { o.Fields[0].Cart = "older" },
		"field":    func(o *run.Outcome) { o.Fields = nil },
		"attempts": func(o *run.Outcome) { o.Attempts = 1 },
	} {
		o := stale(1, time.Now())
		settle(t, lease, run.Settlement{Outcomes: o})
		before := versions(t, l)[differenceTable]
		change(&o[0])
		settle(t, lease, run.Settlement{Outcomes: o})
		if versions(t, l)[differenceTable] == before {
			t.Errorf("another %s is not written", name)
		}
		if o := stale(1, time.Now()); name != "attempts" {
			settle(t, lease, run.Settlement{Outcomes: o})
		}
	}
}

// However often a statement runs, it is planned for the rows that it brings: a plan for
// any number of them compares each with each.
func TestStatementsArePlannedEachTime(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	lease := begun(t, l, long)
	for range 7 { // from the sixth time on the server would keep a plan
		inHand(t, lease, "a", "b")
		settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Lost, "a", "b")})
		if _, err := lease.Known(t.Context(), []product.ID{"a"}); err != nil {
			t.Fatal(err)
		}
	}
	connections := l.pool.AcquireAllIdle(t.Context())
	if len(connections) == 0 {
		t.Error("no connection is left to look at")
	}
	for _, c := range connections {
		defer c.Release()
		var prepared int
		if err := c.QueryRow(t.Context(), "SELECT count(*) FROM pg_prepared_statements").Scan(&prepared); err != nil || prepared > 0 {
			t.Errorf("%d statements are prepared, %v", prepared, err)
		}
	}
}

// What statements carry is bounded, whatever the fields hold.
func TestLargeFieldsGoInBatches(t *testing.T) {
	t.Parallel()
	image := strings.Repeat("x", batchBytes/3)
	outcomes := stale(7, time.Now())
	for i := range outcomes {
		outcomes[i].Fields[0].Source = image
	}
	rows, err := outcomeRows(outcomes)
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for batch := range batches(rows) {
		sizes = append(sizes, len(batch))
	}
	if fmt.Sprint(sizes) != "[2 2 2 1]" {
		t.Errorf("batches of %v rows", sizes)
	}
	l := fresh(t)
	lease := begun(t, l, long)
	settle(t, lease, run.Settlement{Outcomes: outcomes})
	page, err := l.Outcomes(t.Context(), lease.Record().ID, run.OutcomeFilter{})
	if err != nil || len(page.Outcomes) != 7 || page.Outcomes[6].Fields[0].Source != image {
		t.Errorf("%d outcomes, %v", len(page.Outcomes), err)
	}
}

// A reason that nobody could write down is written down as far as it can be.
func TestReasonsThatCannotBeSaid(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	lease := begun(t, l, long)
	o := run.Outcome{Key: run.Key{ID: "a", Kind: product.Missing}, State: run.Blocked,
		Reason: run.Reason{Code: run.ReasonMisfit, Detail: "9.99 \x00 \xff", Queue: "\x00", Since: time.Date(292277026, 1, 1, 0, 0, 0, 0, time.UTC)}}
	settle(t, lease, run.Settlement{Outcomes: []run.Outcome{o}})
	got := outcomes(t, l, lease.Record().ID, run.OutcomeFilter{})
	if want := (run.Reason{Code: run.ReasonMisfit, Detail: "9.99 \uFFFD \uFFFD", Queue: "\uFFFD"}); len(got) != 1 || got[0].Reason != want {
		t.Errorf("it is %+v, want %+v", got, want)
	}
}

// Gaps of earlier hours are not kept.
func TestOldGapsAreForgotten(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	lease := begun(t, l, long)
	execute(t, l, "INSERT INTO "+gapTable+" SELECT 'products', date_trunc('minute', now()) - n * interval '1 minute', '1 s' FROM generate_series(1, 1000) AS n")
	for range 2 {
		if err := lease.Measured(t.Context(), time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, l, gapTable); n < 100 || n > 130 {
		t.Errorf("%d minutes are kept", n)
	}
}
