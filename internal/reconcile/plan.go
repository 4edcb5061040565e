package reconcile

import (
	"context"
	"errors"
	"fmt"

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

// resume restores what an earlier process left of this run, and what the ledger knows.
func (r *Run) resume(ctx context.Context) (*run.Checkpoint, error) {
	r.stage = run.Counting
	gap, err := r.Ledger.Gap(ctx)
	if err != nil {
		return nil, err
	}
	r.settling.know(gap)
	known, err := r.Ledger.Open(ctx, run.Key{}, 1)
	if err != nil {
		return nil, err
	}
	at, err := r.Ledger.Resume(ctx)
	if err != nil {
		return nil, err
	}
	r.resumed = at != nil
	r.anyKnown.Store(len(known) > 0 || r.resumed)
	if at == nil {
		return nil, nil
	}
	if len(at.Memory) > 0 {
		if err := r.books.recall(at.Memory); err != nil {
			return nil, fmt.Errorf("read what an earlier process of this run left: %w", err)
		}
		r.stage = at.Stage
		r.guard.restore(r.books.memory.Gates)
	}
	counters := &r.finder.Counters
	counters.Compared.Store(at.Products)
	counters.Rows.Store(at.Rows)
	counters.Matched.Store(at.Matched)
	return at, nil
}

// productsPerRange is how many products a key range has, about.
const productsPerRange = 50_000

// plan reads what the run needs to know of the two stores. Key ranges that were
// planned before stay as they are.
func (r *Run) plan(ctx context.Context, at *run.Checkpoint) (diff.Scope, error) {
	scope := diff.Scope{IDs: r.options.IDs, Since: r.options.Since.UTC(), Parallel: r.config.Parallel}
	if len(scope.IDs) > 0 { // whatever else is in the source does not matter
		r.progress.total.Store(int64(len(scope.IDs)))
		return scope, r.guard.prepare(ctx, scope)
	}
	unsupported, err := r.Source.Unsupported(ctx)
	if err != nil {
		return diff.Scope{}, err
	}
	estimate, err := r.Source.EstimatedCount(ctx)
	if err != nil {
		return diff.Scope{}, err
	}
	memory := &r.books.memory
	memory.Unsupported = unsupported
	if scope.Since.IsZero() { // else the number is unknown
		r.progress.total.Store(estimate)
	}
	if at != nil && at.Planned {
		scope.Ranges, scope.Orphans = at.Ranges, memory.Orphans
		r.progress.ranges.Store(int64(memory.Ranges))
		r.progress.done.Store(int64(memory.Ranges - len(at.Ranges)))
		return scope, nil
	}
	if scope.Ranges, err = r.Source.Ranges(ctx, int(estimate/productsPerRange)+1); err != nil {
		return diff.Scope{}, err
	}
	scope.Orphans = r.finder.Orphans(scope)
	memory.Orphans, memory.Ranges = scope.Orphans, len(scope.Ranges)
	r.progress.ranges.Store(int64(len(scope.Ranges)))
	r.progress.done.Store(0)
	if err := r.guard.prepare(ctx, scope); err != nil {
		return diff.Scope{}, err
	}
	if err := r.Ledger.Plan(ctx, scope.Ranges); err != nil {
		return diff.Scope{}, err
	}
	return scope, r.books.settle(ctx)
}

// restart begins another pass over the same scope.
func (r *Run) restart(ctx context.Context, scope diff.Scope) (diff.Scope, error) {
	r.finder.Counters.Reset()
	r.books.restart()
	r.guard.reopen()
	r.resumed = false
	r.anyKnown.Store(true)
	if err := r.books.keep(ctx, run.Settlement{Restart: true}); err != nil {
		return diff.Scope{}, err
	}
	r.progress.scanned.Store(false)
	if len(scope.IDs) > 0 {
		return scope, nil
	}
	estimate, err := r.Source.EstimatedCount(ctx)
	if err != nil {
		return diff.Scope{}, err
	}
	if scope.Ranges, err = r.Source.Ranges(ctx, int(estimate/productsPerRange)+1); err != nil {
		return diff.Scope{}, err
	}
	scope.Orphans = r.finder.Orphans(scope)
	r.progress.scanned.Store(false)
	r.progress.done.Store(0)
	return scope, r.Ledger.Plan(ctx, scope.Ranges)
}

// closeGone closes, after a complete comparison, the open differences of earlier runs
// that it did not meet because they are none any more, and keeps the mark of the look.
func (r *Run) closeGone(ctx context.Context, scope diff.Scope) error {
	if !scope.Whole() {
		return nil
	}
	var after run.Key
	for r.anyKnown.Load() {
		open, err := r.Ledger.Open(ctx, after, run.MaxBatchSize)
		if err != nil {
			return err
		}
		if len(open) == 0 {
			break
		}
		ids := make([]product.ID, len(open))
		for i := range open {
			ids[i] = open[i].ID
		}
		pairs, err := r.finder.Look(ctx, ids)
		if err != nil {
			return err
		}
		after = open[len(pairs)-1].Key
		for i, pair := range pairs {
			if kind, _ := r.finder.Differs(pair); kind != open[i].Kind {
				r.books.gone(open[i].Key)
			}
		}
		if err := r.books.settle(ctx); err != nil {
			return err
		}
	}
	counters := &r.finder.Counters
	return r.books.keep(ctx, run.Settlement{Look: &run.Look{At: r.begun, Products: counters.Compared.Load(), Rows: counters.Rows.Load()}})
}
