package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// ErrHandedBack is the cause with which a run's context is cancelled when this
// process ends and another one shall go on with the run.
var ErrHandedBack = errors.New("the run is handed back, to be taken up again from its last settlement")

// goesOn tells whether an error that ended this process's part of a run does not
// end the run.
func goesOn(err error) bool { return errors.Is(err, ErrHandedBack) || errors.Is(err, run.ErrFenced) }

// resume restores what an earlier process left of this run.
func (r *Run) resume(ctx context.Context) (*run.Checkpoint, error) {
	r.stage = run.Counting
	if len(r.options.IDs) > 0 || r.options.MaxRepairs > 0 {
		r.stage = run.Repairing
	}
	at, err := r.ledger.Resume(ctx)
	if err != nil || at == nil {
		return nil, err
	}
	r.resumed = true
	if len(at.Memory) > 0 {
		kept := kept{Report: &r.report.Report, Memory: &r.report.memory}
		if err := json.Unmarshal(at.Memory, &kept); err != nil {
			return nil, fmt.Errorf("read what an earlier process of this run left: %w", err)
		}
		r.stage = at.Stage
	}
	counters := &r.engine.Counters
	counters.Compared.Store(at.Products)
	counters.Rows.Store(at.Rows)
	counters.Matched.Store(at.Matched)
	r.progress.acted.Store(r.report.Acted)
	r.progress.verified.Store(r.report.Outcomes[run.Verified])
	return at, nil
}

// takeOver deals with the products that an earlier process had in hand. It may
// have acted on them, so they are proved first; what did not arrive is repaired.
func (r *Run) takeOver(ctx context.Context, at *run.Checkpoint) error {
	if at == nil || r.options.DryRun || r.stage != run.Repairing {
		return nil
	}
	ids := slices.Concat(at.InHand, at.Missing)
	if len(ids) == 0 {
		return nil
	}
	r.report.Found[product.Missing] += int64(len(ids))
	if r.options.MaxRepairs > 0 {
		r.report.Attempted += int64(len(ids))
	}
	if err := r.ledger.Begin(ctx, run.Repairing, ids); err != nil {
		return err
	}
	lost, err := r.prove(ctx, r.Repairer, ids)
	if err != nil {
		return r.leave(ctx, lost, err)
	}
	r.report.Acted += int64(len(ids) - len(lost)) // by the process before
	r.progress.acted.Store(r.report.Acted)
	if err := r.bring(ctx, lost); err != nil {
		return err
	}
	return r.settle(ctx, nil)
}

// missingBefore are the products that were found missing before; none where nothing was.
func missingBefore(c *run.Checkpoint) []product.ID {
	if c == nil {
		return nil
	}
	return c.Missing
}

// kept is a run's memory in the ledger. The report's samples are not in it: the
// ledger has the outcomes.
type kept struct {
	Report *run.Report
	Memory *memory
}

// settle puts what happened since the last settlement into the ledger.
func (r *Run) settle(ctx context.Context, finished []run.FinishedRange) error {
	return r.keep(ctx, run.Settlement{Finished: finished})
}

// restart begins another pass over everything.
func (r *Run) restart(ctx context.Context) error {
	r.engine.Counters.Reset()
	r.report.beginPass()
	r.resumed = false
	return r.keep(ctx, run.Settlement{Restart: true})
}

func (r *Run) keep(ctx context.Context, s run.Settlement) error {
	report := r.report.Report
	report.Samples = []run.Outcome{}
	var err error
	if s.Memory, err = json.Marshal(kept{&report, &r.report.memory}); err != nil {
		return err
	}
	s.Stage, s.Report, s.Outcomes = r.stage, &report, r.report.fresh
	if err := r.ledger.Settle(ctx, s); err != nil {
		return err
	}
	r.report.fresh = nil
	r.progress.done.Add(int64(len(s.Finished)))
	return nil
}

// settleLast keeps what a run that ended early has done, with the time that a
// process has which was told to end.
func (r *Run) settleLast(ctx context.Context) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := r.settle(ctx, nil); err != nil {
		r.report.note("The ledger does not have what happened last: %s", err)
	}
}

// noLedger is for a run that nobody could go on with.
type noLedger struct{}

func (noLedger) Resume(context.Context) (*run.Checkpoint, error)                   { return nil, nil }
func (noLedger) Plan(context.Context, []product.Range) error                       { return nil }
func (noLedger) Begin(context.Context, run.Stage, []product.ID) error              { return nil }
func (noLedger) Settle(context.Context, run.Settlement) error                      { return nil }
func (noLedger) Judged(context.Context, []product.ID) (map[product.ID]bool, error) { return nil, nil }

// finished are ranges as the ledger keeps them.
func finished(ranges []diff.FinishedRange) []run.FinishedRange {
	all := make([]run.FinishedRange, len(ranges))
	for i, f := range ranges {
		all[i] = run.FinishedRange(f)
	}
	return all
}
