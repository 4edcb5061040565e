package ledger

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// BenchmarkRuns asks a ledger of 10,000 finished runs what the API and the worker
// ask it all the time.
func BenchmarkRuns(b *testing.B) {
	l := fresh(b)
	lease := begun(b, l, long)
	settle(b, lease, run.Settlement{Report: &run.Report{Notes: []string{"one", "two"}}, Outcomes: outcomesOf(run.Lost, "a")})
	if _, err := lease.Beat(b.Context(), run.StatusRunning, run.Progress{}); err != nil {
		b.Fatal(err)
	}
	if err := lease.Finish(b.Context(), run.StatusPartial, nil, ""); err != nil {
		b.Fatal(err)
	}
	execute(b, l, `
INSERT INTO etl.run (id, pipeline, slot, status, request, key, trigger, mode, dry_run, whole, requested_at, started_at, finished_at, progress, report)
SELECT gen_random_uuid(), pipeline, slot, CASE WHEN n % 10 = 0 THEN 'partial' ELSE 'skipped' END, request, 'key ' || n, trigger, mode, dry_run, whole,
	requested_at - n * interval '1 minute', started_at, finished_at - n * interval '1 second', progress, report
FROM etl.run, generate_series(1, 10000) AS n`)
	execute(b, l, "INSERT INTO etl.outcome (run, product, kind, state, column_name, reason) SELECT id, 'a', 'missing', 'lost', '', '' FROM etl.run ON CONFLICT DO NOTHING")
	execute(b, l, "ANALYZE etl.run, etl.outcome")
	submitted(b, l)
	page, err := l.Runs(b.Context(), run.RunFilter{Limit: run.MaxPage})
	if err != nil {
		b.Fatal(err)
	}
	for name, ask := range map[string]func() error{
		"first page":  func() error { _, err := l.Runs(b.Context(), run.RunFilter{}); return err },
		"second page": func() error { _, err := l.Runs(b.Context(), run.RunFilter{Before: page.Next}); return err },
		"rare status": func() error {
			_, err := l.Runs(b.Context(), run.RunFilter{Status: []run.Status{run.StatusFailed}})
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
	ids := make([]product.ID, run.MaxWindow)
	for i := range ids {
		ids[i] = product.ID(fmt.Sprintf("65f2a1b2c3d4e5f6%08x", i))
	}
	s := run.Settlement{Stage: run.Repairing, Memory: json.RawMessage("{}"), Outcomes: outcomesOf(run.Lost, ids...)}
	for b.Loop() {
		s.Restart = true
		settle(b, lease, s) // new ones
		s.Restart = false
		settle(b, lease, s) // the same again
		if err := lease.Begin(b.Context(), run.Repairing, ids); err != nil {
			b.Fatal(err)
		}
	}
}
