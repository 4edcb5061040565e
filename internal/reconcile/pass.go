package reconcile

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// settling deals with what was confirmed of one window. With an error it is what
// had been confirmed by then, and the same error comes back.
type settling func(ctx context.Context, confirmed diff.Verdict, err error) error

// pass scans the scope once and settles each window, while the scan goes on. The
// scan is at most two windows ahead, which bounds the memory.
func (r *Run) pass(ctx context.Context, scope diff.Scope, settle settling) error {
	r.progress.enter(run.PhaseComparing)
	r.progress.scanned.Store(false)
	windows := make(chan diff.Window)
	scanCtx, stopScan := context.WithCancel(ctx)
	defer stopScan()
	var scan errgroup.Group
	scan.Go(func() error {
		defer close(windows)
		err := r.engine.Scan(scanCtx, scope, windows)
		r.progress.scanned.Store(err == nil)
		return err
	})
	for w := range windows {
		if err := r.decide(ctx, w, settle); err != nil {
			stopScan()
			_ = scan.Wait() // it ends because of the error that is returned
			return err
		}
	}
	return scan.Wait()
}

// decide confirms one window, hands it on, and puts what it led to into the
// ledger. A scan that fails meanwhile does not interrupt it: what was found before
// stays true.
func (r *Run) decide(ctx context.Context, w diff.Window, settle settling) error {
	defer r.progress.enter(run.PhaseComparing)
	r.progress.enter(run.PhaseConfirming)
	suspects, err := r.unjudged(ctx, w.Suspects)
	if err != nil {
		return err
	}
	for i := range suspects {
		// After a proof that stalled events of ours may be queued. A cursor may return
		// a product twice, so the next window is judged when they have been consumed.
		if suspects[i].FirstSeen.Before(r.inDark) {
			suspects[i].FirstSeen = r.inDark
		}
	}
	r.report.Suspects += int64(len(suspects))
	verdict, err := r.engine.Confirm(ctx, suspects)
	r.report.found(verdict)
	if err := settle(ctx, verdict, err); err != nil {
		return err
	}
	return r.settle(ctx, finished(w.Finished))
}

// unjudged leaves out what an earlier process of this run has dealt with already.
func (r *Run) unjudged(ctx context.Context, suspects []diff.Suspect) ([]diff.Suspect, error) {
	if !r.resumed || len(suspects) == 0 {
		return suspects, nil
	}
	ids := make([]product.ID, len(suspects))
	for i := range suspects {
		ids[i] = suspects[i].ID
	}
	judged, err := r.ledger.Judged(ctx, ids)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(suspects, func(s diff.Suspect) bool { return judged[s.ID] }), nil
}

// guarded repairs after a look at the whole: a wrong URL must not replay a
// catalogue. What is missing is repaired at once where it fits one window; where
// it does not, the first pass only counts, and a second one repairs. found are
// those that an earlier process found.
func (r *Run) guarded(ctx context.Context, scope diff.Scope, found []product.ID) error {
	ids := found
	fits := func() bool { return r.report.Found[product.Missing] <= int64(r.window) }
	err := r.pass(ctx, scope, func(_ context.Context, v diff.Verdict, err error) error {
		r.report.remember(missing(v))
		if fits() {
			ids = append(ids, missing(v)...)
		}
		return err
	})
	if err != nil {
		return err
	}
	if reason := r.suspicious(); reason != "" {
		r.report.stop(reason, ids)
		return nil
	}
	r.stage = run.Repairing
	if !fits() {
		ids = nil // a window's worth of memory
		if err := r.restart(ctx); err != nil {
			return err
		}
		if scope, err = r.plan(ctx, nil); err != nil {
			return err
		}
		return r.pass(ctx, scope, r.settleWindow)
	}
	slices.Sort(ids)
	once := slices.Compact(ids) // a cursor may return a product twice
	// From here on they are in hand, and found by whoever has them in hand.
	r.report.Found[product.Missing] = 0
	if err := r.settle(ctx, nil); err != nil {
		return err
	}
	r.report.Found[product.Missing] = int64(len(once))
	return r.repairWindow(ctx, once)
}

// The share of the source, and the number, above which findings are suspicious.
const (
	suspiciousShare  = 0.20
	suspiciousNumber = 1000
)

// suspicious says why the findings of a whole pass should be looked at by a
// person before anything is repaired, and is empty where they should not.
func (r *Run) suspicious() string {
	counters := &r.engine.Counters
	compared, rows, missing := counters.Compared.Load(), counters.Rows.Load(), r.report.Found[product.Missing]
	remedy := fmt.Sprintf("Check that PRODUCT_SERVICE_MONGODB_URL and CART_DB_URL belong together; if they do, apply the findings with --max-repairs %d.", missing)
	switch limit := max(suspiciousNumber, int64(suspiciousShare*float64(compared))); {
	case missing == 0:
		return ""
	case compared > 0 && rows > 0 && counters.Matched.Load() == 0:
		return fmt.Sprintf("The two stores share no product (%d products, %d rows). %s", compared, rows, remedy)
	case missing > limit:
		return fmt.Sprintf("%d of %d products are missing, which is more than %d (the larger of %d and 20 %%). %s", missing, compared, limit, suspiciousNumber, remedy)
	}
	return ""
}

// settleWindow repairs what one window is missing, or assesses it in a dry run.
func (r *Run) settleWindow(ctx context.Context, v diff.Verdict, err error) error {
	ids := missing(v)
	switch {
	case r.options.DryRun && err != nil:
		return err
	case r.options.DryRun:
		return r.assess(ctx, ids)
	case err != nil:
		return r.leave(ctx, ids, err)
	}
	if most := r.options.MaxRepairs; most > 0 {
		allowed := max(int64(most)-r.report.Attempted, 0)
		if n := int64(len(ids)); n > allowed {
			for _, id := range ids[allowed:] {
				r.report.add(run.Outcome{ID: id, Kind: product.Missing, State: run.Skipped, Reason: fmt.Sprintf("the limit of %d repairs (--max-repairs) is reached", most)})
			}
			ids = ids[:allowed]
		}
		r.report.Attempted += int64(len(ids))
	}
	return r.repairWindow(ctx, ids)
}

// missing lists the missing products among the confirmed ones.
func missing(v diff.Verdict) []product.ID {
	var ids []product.ID
	for _, d := range v.Confirmed {
		if d.Kind == product.Missing {
			ids = append(ids, d.ID)
		}
	}
	return ids
}

// assess names what is missing, and what a repair of it would be blocked by.
func (r *Run) assess(ctx context.Context, ids []product.ID) error {
	for batch := range slices.Chunk(ids, run.MaxBatchSize) {
		repairs, err := r.readAgain(ctx, batch)
		if err != nil {
			return err
		}
		for _, repair := range repairs {
			r.report.named(repair.Row.ID)
		}
	}
	return nil
}
