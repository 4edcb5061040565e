package reconcile

import (
	"context"
	"errors"

	"github.com/ecom-micro/etl/internal/product"
)

// repairWindow brings one window of missing products to the cart: rounds of
// acting and proving, until nothing is lost any more or going on is pointless.
func (r *Run) repairWindow(ctx context.Context, missing []product.ID) error {
	lost, err := r.rounds(ctx, missing)
	if err != nil || len(lost) == 0 {
		return err
	}
	if r.Fallback != nil {
		r.report.note("%d products that the replay lost were written directly (fallback)", len(lost))
		acted, err := r.act(ctx, r.Fallback, r.report.Rounds+1, lost)
		lost = r.prove(ctx, r.Fallback, acted)
		if err != nil {
			return err
		}
	}
	for _, id := range lost {
		r.report.add(Outcome{ID: id, Kind: product.Missing, State: Lost, Reason: "the repair was accepted, and nothing reached the cart"})
	}
	return nil
}

const (
	// enough is the share of a round's repairs that must be verified for another
	// round to be worth while.
	enough = 0.20
	// few is the number of repairs below which one bad round proves nothing: where
	// two consumers share the queue, half of all single events miss the cart.
	few, maxPoorRounds = 25, 5
)

// rounds acts and proves until nothing is lost, and returns what stayed lost.
func (r *Run) rounds(ctx context.Context, pending []product.ID) ([]product.ID, error) {
	poor := 0
	for round := 1; len(pending) > 0 && round <= r.config.MaxRounds; round++ {
		r.report.round(round)
		r.progress.round.Store(int64(round))
		acted, err := r.act(ctx, r.Repairer, round, pending)
		lost := r.prove(ctx, r.Repairer, acted)
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			for _, id := range lost {
				r.report.add(Outcome{ID: id, Kind: product.Missing, State: Lost, Reason: "the event was lost, and the run ended before another round"})
			}
			return nil, err
		}
		pending = lost
		if len(lost) == 0 {
			break
		}
		r.explainLoss(ctx, round, len(acted), len(lost))
		if float64(len(acted)-len(lost)) >= enough*float64(len(acted)) {
			poor = 0
		} else if poor++; poor >= maxPoorRounds || len(acted) >= few {
			break
		}
	}
	return pending, nil
}

// explainLoss notes once why a repair takes more than one round.
func (r *Run) explainLoss(ctx context.Context, round, acted, lost int) {
	if round > 1 || r.options.Mode != Replay {
		return
	}
	why := "the cart's consumer did not store them"
	if r.Diagnose != nil {
		if known := r.Diagnose(ctx); known != "" {
			why = known
		}
	}
	r.report.note("%d of %d events of the first round were consumed and left no row in the cart, so further rounds were needed: %s", lost, acted, why)
}

// act repairs pending, batch by batch, and returns what was acted on. Each batch
// is read again right before. What cannot be repaired goes to the report.
func (r *Run) act(ctx context.Context, repairer Repairer, round int, pending []product.ID) (acted []product.ID, err error) {
	r.progress.enter(PhaseRepairing)
	for len(pending) > 0 {
		n, err := repairer.Reserve(ctx, min(len(pending), r.options.BatchSize))
		if err != nil {
			return acted, r.leave(ctx, pending, err)
		}
		batch := pending[:n]
		repairs, err := r.readAgain(ctx, batch)
		if err != nil {
			return acted, r.leave(ctx, pending, err)
		}
		pending = pending[n:]
		if len(repairs) == 0 {
			continue
		}
		results, err := repairer.Repair(ctx, round, repairs)
		for _, result := range results {
			var misfit *product.Misfit
			switch {
			case result.Acted:
				acted = append(acted, result.ID)
			case errors.As(result.Err, &misfit):
				r.report.add(blocked(result.ID, misfit))
			case result.Err != nil:
				r.report.add(Outcome{ID: result.ID, Kind: product.Missing, State: Failed, Reason: result.Err.Error()})
			default:
				pending = append(pending[:len(pending):len(pending)], result.ID) // not tried
			}
		}
		r.report.Acted += int64(countActed(results))
		r.progress.acted.Store(r.report.Acted)
		if err != nil {
			return acted, r.leave(ctx, pending, err)
		}
	}
	return acted, nil
}

func countActed(results []product.Result) (n int) {
	for _, result := range results {
		if result.Acted {
			n++
		}
	}
	return n
}

// leave reports what was not acted on because of err. A pause that took too long
// ends the window, not the run's proof.
func (r *Run) leave(ctx context.Context, pending []product.ID, err error) error {
	reason := "not attempted: " + err.Error()
	if ctx.Err() != nil {
		reason = "not attempted: the run was stopped"
	}
	for _, id := range pending {
		r.report.add(Outcome{ID: id, Kind: product.Missing, State: Failed, Reason: reason})
	}
	return err
}

// readAgain reads products right before they are acted on and returns those that
// the cart can hold. The others go to the report: deleted meanwhile, or blocked.
func (r *Run) readAgain(ctx context.Context, ids []product.ID) ([]product.Repair, error) {
	products, err := r.Source.Find(ctx, ids)
	if err != nil {
		return nil, err
	}
	table := r.Target.Table()
	repairs := make([]product.Repair, 0, len(ids))
	rows := make([]product.Row, 0, len(ids))
	for _, id := range ids {
		p, exists := products[id]
		if !exists {
			r.report.add(Outcome{ID: id, Kind: product.Missing, State: Gone, Reason: "deleted in the source before its repair"})
			continue
		}
		row, err := table.Fit(&p)
		var misfit *product.Misfit
		if errors.As(err, &misfit) {
			r.report.add(blocked(id, misfit))
			continue
		}
		repairs = append(repairs, product.Repair{Product: p, Row: row})
		rows = append(rows, row)
	}
	misfits, err := r.Target.Check(ctx, rows)
	if err != nil {
		return nil, err
	}
	if len(misfits) == 0 {
		return repairs, nil
	}
	fitting := repairs[:0]
	for _, repair := range repairs {
		if misfit, refused := misfits[repair.Row.ID]; refused {
			r.report.add(blocked(repair.Row.ID, misfit))
			continue
		}
		fitting = append(fitting, repair)
	}
	return fitting, nil
}

func blocked(id product.ID, m *product.Misfit) Outcome {
	return Outcome{ID: id, Kind: product.Missing, State: Blocked, Column: m.Column, Reason: m.Reason}
}
