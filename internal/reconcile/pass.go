package reconcile

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
)

// pass scans the scope once and decides each window, while the scan goes on. The
// scan is at most two windows ahead, which bounds the memory.
func (r *Run) pass(ctx context.Context, scope diff.Scope, decide func(context.Context, diff.Verdict) error) error {
	r.progress.enter(PhaseComparing)
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
		if err := r.decide(ctx, w, decide); err != nil {
			stopScan()
			_ = scan.Wait() // it ends because of the error that is returned
			return err
		}
	}
	return scan.Wait()
}

// decide confirms one window and hands it on. A scan that fails meanwhile does
// not interrupt it: what was found before stays true.
func (r *Run) decide(ctx context.Context, w diff.Window, decide func(context.Context, diff.Verdict) error) error {
	defer r.progress.enter(PhaseComparing)
	r.progress.enter(PhaseConfirming)
	verdict, err := r.engine.Confirm(ctx, w)
	r.report.found(verdict)
	if err != nil {
		return err
	}
	return decide(ctx, verdict)
}

// guarded repairs after a look at the whole: a wrong URL must not replay a
// catalogue. One window is decided at once when it turns out to be all; where
// there are more, the first pass only counts, and a second one repairs.
func (r *Run) guarded(ctx context.Context, scope diff.Scope) error {
	var first diff.Verdict
	windows := 0
	err := r.pass(ctx, scope, func(_ context.Context, v diff.Verdict) error {
		if windows++; windows == 1 {
			first = v
		}
		return nil
	})
	if err != nil {
		return err
	}
	if reason := r.suspicious(); reason != "" {
		r.report.stop(reason)
		return nil
	}
	if windows <= 1 {
		return r.settleWindow(ctx, first, true)
	}
	first = diff.Verdict{}
	return r.pass(ctx, scope, func(ctx context.Context, v diff.Verdict) error { return r.settleWindow(ctx, v, true) })
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

// settleWindow deals with one window's confirmed differences.
func (r *Run) settleWindow(ctx context.Context, v diff.Verdict, act bool) error {
	var missing []product.ID
	for _, d := range v.Confirmed {
		if d.Kind == product.Missing {
			missing = append(missing, d.ID)
		}
	}
	if !act {
		return r.assess(ctx, missing)
	}
	if most := r.options.MaxRepairs; most > 0 {
		allowed := max(int64(most)-r.acted, 0)
		if n := int64(len(missing)); n > allowed {
			for _, id := range missing[allowed:] {
				r.report.add(Outcome{ID: id, Kind: product.Missing, State: Skipped, Reason: fmt.Sprintf("the limit of %d repairs (--max-repairs) is reached", most)})
			}
			missing = missing[:allowed]
		}
		r.acted += int64(len(missing))
	}
	return r.repairWindow(ctx, missing)
}

// assess finds out what a repair would be blocked by, without one.
func (r *Run) assess(ctx context.Context, missing []product.ID) error {
	for len(missing) > 0 {
		batch := missing[:min(len(missing), MaxBatchSize)]
		missing = missing[len(batch):]
		if _, err := r.readAgain(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}
