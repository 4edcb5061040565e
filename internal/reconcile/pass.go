package reconcile

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
)

// settling deals with what was confirmed of one window. With an error it is what
// had been confirmed by then, and the same error comes back.
type settling func(ctx context.Context, confirmed diff.Verdict, err error) error

// pass scans the scope once and settles each window, while the scan goes on. The
// scan is at most two windows ahead, which bounds the memory.
func (r *Run) pass(ctx context.Context, scope diff.Scope, settle settling) error {
	r.progress.enter(PhaseComparing)
	r.progress.scanned.Store(false)
	r.engine.Counters.Reset()
	r.report.beginPass()
	windows := make(chan diff.Window, 1)
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

// decide confirms one window and hands it on. A scan that fails meanwhile does
// not interrupt it: what was found before stays true.
func (r *Run) decide(ctx context.Context, w diff.Window, settle settling) error {
	defer r.progress.enter(PhaseComparing)
	r.progress.enter(PhaseConfirming)
	for i := range w {
		// After a proof that stalled events of ours may be queued. A cursor may return
		// a product twice, so the next window is judged when they have been consumed.
		if w[i].FirstSeen.Before(r.inDark) {
			w[i].FirstSeen = r.inDark
		}
	}
	verdict, err := r.engine.Confirm(ctx, w)
	r.report.found(verdict)
	return settle(ctx, verdict, err)
}

// guarded repairs after a look at the whole: a wrong URL must not replay a
// catalogue. What is missing is repaired at once where it fits one window; where
// it does not, the first pass only counts, and a second one repairs.
func (r *Run) guarded(ctx context.Context, scope diff.Scope) error {
	var ids []product.ID
	fits := func() bool { return r.report.Found[product.Missing] <= int64(r.window) }
	err := r.pass(ctx, scope, func(_ context.Context, v diff.Verdict, err error) error {
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
	if !fits() {
		ids = nil // a window's worth of memory
		return r.pass(ctx, scope, r.settleWindow)
	}
	slices.Sort(ids)
	once := slices.Compact(ids) // a cursor may return a product twice
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
		allowed := max(int64(most)-r.acted, 0)
		if n := int64(len(ids)); n > allowed {
			for _, id := range ids[allowed:] {
				r.report.add(Outcome{ID: id, Kind: product.Missing, State: Skipped, Reason: fmt.Sprintf("the limit of %d repairs (--max-repairs) is reached", most)})
			}
			ids = ids[:allowed]
		}
		r.acted += int64(len(ids))
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
	for batch := range slices.Chunk(ids, MaxBatchSize) {
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
