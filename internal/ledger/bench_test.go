package ledger

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// BenchmarkRuns asks a ledger of 10,000 finished runs what the API and the worker
// ask it all the time.
func BenchmarkRuns(b *testing.B) {
	l := fresh(b)
	lease := begun(b, l, long)
	settle(b, lease, run.Settlement{Report: &run.Report{Notes: []run.Note{{Code: run.NoteNacked}}}, Outcomes: outcomesOf(run.Lost, "a")})
	if _, err := lease.Beat(b.Context(), run.StatusRunning, run.Progress{}); err != nil {
		b.Fatal(err)
	}
	if err := lease.Finish(b.Context(), run.StatusPartial, nil, ""); err != nil {
		b.Fatal(err)
	}
	execute(b, l, `
INSERT INTO etl_ledger.run (id, pipeline, slot, status, request, key, trigger, mode, dry_run, whole, requested_at, started_at, finished_at, progress, report)
SELECT gen_random_uuid(), pipeline, slot, CASE WHEN n % 10 = 0 THEN 'partial' ELSE 'skipped' END, request, 'key ' || n, trigger, mode, dry_run, whole,
	requested_at - n * interval '1 minute', started_at, finished_at - n * interval '1 second', progress, report
FROM etl_ledger.run, generate_series(1, 10000) AS n`)
	execute(b, l, "INSERT INTO etl_ledger.outcome (run, product, kind, state, column_name, reason, attempts) SELECT id, 'a', 'missing', 'lost', '', '{}', 1 FROM etl_ledger.run ON CONFLICT DO NOTHING")
	execute(b, l, "ANALYZE etl_ledger.run, etl_ledger.outcome")
	submitted(b, l)
	page, err := l.Runs(b.Context(), run.Filter{Limit: run.MaxPage})
	if err != nil {
		b.Fatal(err)
	}
	for name, ask := range map[string]func() error{
		"first page":  func() error { _, err := l.Runs(b.Context(), run.Filter{}); return err },
		"second page": func() error { _, err := l.Runs(b.Context(), run.Filter{Before: page.Next}); return err },
		"rare status": func() error {
			_, err := l.Runs(b.Context(), run.Filter{Status: []run.Status{run.StatusFailed}})
			return err
		},
		"active": func() error { _, err := l.Active(b.Context(), run.RepairSlot); return err },
		"latest": func() error { _, err := l.Latest(b.Context(), run.RepairSlot); return err },
		"run":    func() error { _, err := l.Run(b.Context(), lease.Record().ID); return err },
		"submit": func() error {
			_, _, err := l.enter(b.Context(), wanting(b), entry{status: run.StatusQueued})
			return err
		},
		"claim":   func() error { _, err := l.Claim(b.Context(), "worker", long); return err },
		"sweep":   func() error { _, err := l.Sweep(b.Context()); return err },
		"history": func() error { _, err := l.History(b.Context(), "a", 50); return err },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := ask(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSettle keeps whole windows of outcomes.
func BenchmarkSettle(b *testing.B) {
	l := fresh(b)
	lease := begun(b, l, long)
	all := stale(run.MaxWindow, time.Now())
	in := func(state run.State, attempts int) run.Settlement {
		outcomes := slices.Clone(all)
		for i := range outcomes {
			outcomes[i].State, outcomes[i].Attempts = state, attempts
		}
		return run.Settlement{Stage: run.Repairing, Memory: json.RawMessage("{}"), Outcomes: outcomes}
	}
	hands := make([]run.Hand, len(all))
	for i := range all {
		hands[i] = run.Hand{Key: all[i].Key, Attempt: 1}
	}
	ids := make([]product.ID, len(all))
	for i := range all {
		ids[i] = all[i].ID
	}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"opened and closed", func() {
			settle(b, lease, in(run.Found, 0))
			settle(b, lease, in(run.Gone, 0))
		}},
		{"standing", func() { settle(b, lease, in(run.Found, 0)) }},
		{"known", func() {
			if known, err := lease.Known(b.Context(), ids); err != nil || len(known) != len(ids) {
				b.Fatal(len(known), err)
			}
		}},
		{"begin", func() {
			if err := lease.Begin(b.Context(), hands); err != nil {
				b.Fatal(err)
			}
		}},
		{"lost", func() { settle(b, lease, in(run.Lost, 1)) }},
	} {
		b.Run(step.name, func(b *testing.B) {
			for b.Loop() {
				step.do()
			}
		})
	}
}

// BenchmarkRepair takes products in hand and settles them as verified, in a pipeline
// without open differences and in one where others stand.
func BenchmarkRepair(b *testing.B) {
	for _, open := range []int{0, 10_000} {
		l := fresh(b)
		lease := begun(b, l, long)
		settle(b, lease, run.Settlement{Outcomes: stale(open, time.Now())})
		execute(b, l, "VACUUM ANALYZE "+differenceTable)
		begin := 0
		hands := func(n int) []run.Hand {
			hands := make([]run.Hand, n)
			for i := range hands {
				hands[i] = run.Hand{Key: run.Key{ID: product.ID(fmt.Sprintf("75f2a1b2c3d4e5f6%08x", begin+i)), Kind: product.Missing}, Attempt: 1}
			}
			begin += n
			return hands
		}
		begun := func(hands []run.Hand) {
			if err := lease.Begin(b.Context(), hands); err != nil {
				b.Fatal(err)
			}
		}
		verified := func(hands []run.Hand) {
			outcomes := make([]run.Outcome, len(hands))
			for i, h := range hands {
				outcomes[i] = run.Outcome{Key: h.Key, State: run.Verified, Attempts: 1}
			}
			settle(b, lease, run.Settlement{Memory: json.RawMessage("{}"), Outcomes: outcomes})
		}
		for _, n := range []int{100, 1000, 10_000} {
			b.Run(fmt.Sprintf("begin/open=%d/n=%d", open, n), func(b *testing.B) {
				for b.Loop() {
					begun(hands(n))
				}
			})
			execute(b, l, "DELETE FROM "+handTable)
			b.Run(fmt.Sprintf("verified/open=%d/n=%d", open, n), func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					taken := hands(n)
					begun(taken)
					settle(b, lease, run.Settlement{Restart: true})
					b.StartTimer()
					verified(taken)
				}
			})
		}
	}
}

// BenchmarkOutcomes asks for pages of a run over a catalogue with 1,000,000 open
// differences.
func BenchmarkOutcomes(b *testing.B) {
	l := fresh(b)
	lease := begun(b, l, long, look)
	settle(b, lease, run.Settlement{Outcomes: outcomesOf(run.Found, "a")})
	execute(b, l, `
INSERT INTO `+differenceTable+` (pipeline, product, kind, state, column_name, reason, fields, opened_at, opened_by, changed_at, changed_by)
SELECT pipeline, '65f2a1b2c3d4e5f6' || lpad(to_hex(n), 8, '0'), (ARRAY['missing', 'stale', 'orphaned'])[1 + n % 3],
	CASE WHEN n = 900000 THEN 'lost' ELSE 'found' END, '', reason, fields, opened_at, opened_by, changed_at, changed_by
FROM `+differenceTable+`, generate_series(1, 1000000) AS n`)
	execute(b, l, "VACUUM ANALYZE "+differenceTable)
	if err := lease.Finish(b.Context(), run.StatusPartial, nil, ""); err != nil {
		b.Fatal(err)
	}
	later := begun(b, l, long)
	id, next := lease.Record().ID, later.Record().ID
	settle(b, later, run.Settlement{Outcomes: outcomesOf(run.Failed, slices.Collect(func(yield func(product.ID) bool) {
		for n := 3; n < 100_000 && yield(product.ID(fmt.Sprintf("65f2a1b2c3d4e5f6%08x", n))); n += 3 {
		}
	})...)})
	first, err := l.Outcomes(b.Context(), id, run.OutcomeFilter{Limit: run.MaxPage})
	if err != nil {
		b.Fatal(err)
	}
	for name, ask := range map[string]func() error{
		"first page":  func() error { _, err := l.Outcomes(b.Context(), id, run.OutcomeFilter{}); return err },
		"second page": func() error { _, err := l.Outcomes(b.Context(), id, run.OutcomeFilter{After: first.Next}); return err },
		"rare state": func() error {
			page, err := l.Outcomes(b.Context(), id, run.OutcomeFilter{State: []run.State{run.Lost}})
			if len(page.Outcomes) != 1 {
				b.Errorf("%d are lost", len(page.Outcomes))
			}
			return err
		},
		"one kind": func() error {
			_, err := l.Outcomes(b.Context(), id, run.OutcomeFilter{Kind: []product.Kind{product.Orphaned}})
			return err
		},
		"own outcomes": func() error {
			_, err := l.Outcomes(b.Context(), next, run.OutcomeFilter{State: []run.State{run.Failed}})
			return err
		},
		"open": func() error { _, err := later.Open(b.Context(), run.Key{}, 1000); return err },
		"findings": func() error {
			_, _, err := l.Findings(b.Context(), id, product.Kinds())
			return err
		},
		"history": func() error { _, err := l.History(b.Context(), "65f2a1b2c3d4e5f600000003", 50); return err },
		"settle": func() error {
			return later.Settle(b.Context(), run.Settlement{Stage: run.Repairing, Outcomes: stale(100, time.Now())})
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := ask(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
