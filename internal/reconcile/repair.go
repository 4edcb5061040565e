package reconcile

import (
	"context"
	"errors"
	"slices"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// repairWindow brings one window of missing products to the cart. The ledger has
// them in hand meanwhile.
func (r *Run) repairWindow(ctx context.Context, ids []product.ID) error {
	if len(ids) == 0 {
		return nil
	}
	if err := r.ledger.Begin(ctx, run.Repairing, ids); err != nil {
		return r.leave(ctx, ids, err)
	}
	return r.bring(ctx, ids)
}

// bring acts and proves in rounds, until nothing is lost any more or going on is
// pointless.
func (r *Run) bring(ctx context.Context, ids []product.ID) error {
	lost, err := r.rounds(ctx, ids)
	if err == nil && len(lost) > 0 && r.Fallback != nil {
		var acted int
		acted, lost, err = r.round(ctx, r.Fallback, r.report.Rounds+1, lost)
		r.report.Losses.Rescued += int64(acted)
	}
	reason := "the repair was accepted, and nothing reached the cart"
	if err != nil {
		reason = "the repair was lost, and the run ended before another round"
	}
	for _, id := range lost {
		r.report.add(run.Outcome{ID: id, Kind: product.Missing, State: run.Lost, Reason: reason})
	}
	return err
}

const (
	// enough is the share of a round's repairs that must be verified for another
	// round to be worth while.
	enough = 0.20
	// few is the number of repairs below which one bad round proves nothing: where
	// two consumers share the queue, half of all single events miss the cart.
	few, maxPoorRounds = 25, 5
)

// rounds acts and proves until nothing is lost, and returns what stayed lost, also
// with an error.
func (r *Run) rounds(ctx context.Context, pending []product.ID) ([]product.ID, error) {
	poor := 0
	for round := 1; len(pending) > 0 && round <= r.config.MaxRounds; round++ {
		r.report.round(round)
		r.progress.round.Store(int64(round))
		before := r.report.Outcomes[run.Verified]
		acted, lost, err := r.round(ctx, r.Repairer, round, pending)
		if round == 1 {
			r.explainLoss(ctx, acted, len(lost))
		}
		if err == nil && len(lost) > 0 {
			err = context.Cause(ctx) // a run that is being stopped begins no other round
		}
		if err != nil {
			return lost, err
		}
		pending = lost
		if verified := r.report.Outcomes[run.Verified] - before; float64(verified) >= enough*float64(acted) {
			poor = 0
		} else if poor++; poor >= maxPoorRounds || acted >= few {
			break
		}
	}
	return pending, nil
}

// round acts once on what is pending and proves it. It returns how many products
// it acted on, and which of them did not arrive, also with an error.
func (r *Run) round(ctx context.Context, repairer Repairer, number int, pending []product.ID) (acted int, lost []product.ID, err error) {
	ids, err := r.act(ctx, repairer, number, pending)
	lost, unproved := r.prove(ctx, repairer, ids)
	if err == nil {
		err = unproved
	}
	return len(ids), lost, err
}

// explainLoss keeps why repairs of the first round were lost.
func (r *Run) explainLoss(ctx context.Context, acted, lost int) {
	if r.options.Mode != run.Replay {
		return
	}
	l := &r.report.Losses
	l.Acted += int64(acted)
	l.Lost += int64(lost)
	if lost > 0 && l.Why == "" && r.Diagnose != nil {
		l.Why = r.Diagnose(ctx)
	}
}

// act repairs pending, batch by batch, and returns what was acted on. Each batch
// is read again right before. What cannot be repaired goes to the report.
func (r *Run) act(ctx context.Context, repairer Repairer, round int, pending []product.ID) (acted []product.ID, err error) {
	r.progress.enter(run.PhaseRepairing)
	for len(pending) > 0 {
		n, err := repairer.Reserve(ctx, min(len(pending), r.options.BatchSize))
		if err != nil {
			return acted, r.leave(ctx, pending, err)
		}
		repairs, err := r.readAgain(ctx, pending[:n])
		if err != nil {
			return acted, r.leave(ctx, pending, err)
		}
		pending = pending[n:]
		if len(repairs) == 0 {
			continue
		}
		results, err := repairer.Repair(ctx, round, repairs)
		var untried []product.ID
		before := len(acted)
		for _, result := range results {
			var misfit *product.Misfit
			switch {
			case result.Acted:
				acted = append(acted, result.ID)
			case errors.As(result.Err, &misfit):
				r.report.add(blocked(result.ID, misfit))
			case result.Err != nil:
				r.report.add(run.Outcome{ID: result.ID, Kind: product.Missing, State: run.Failed, Reason: result.Err.Error()})
			default:
				untried = append(untried, result.ID)
			}
		}
		pending = append(slices.Clip(pending), untried...)
		r.report.Acted += int64(len(acted) - before)
		r.progress.acted.Store(r.report.Acted)
		if err != nil {
			return acted, r.leave(ctx, pending, err)
		}
	}
	return acted, nil
}

// leave reports what is not acted on because of err, which it returns.
func (r *Run) leave(ctx context.Context, pending []product.ID, err error) error {
	reason := "not repaired: " + err.Error()
	if ctx.Err() != nil {
		reason = "not repaired: the run was stopped"
	}
	for _, id := range pending {
		r.report.add(run.Outcome{ID: id, Kind: product.Missing, State: run.Failed, Reason: reason})
	}
	return err
}

// readAgain reads products right before they are acted on and returns those that
// the cart can hold. The others go to the report: deleted meanwhile, or blocked.
// With an error none does.
func (r *Run) readAgain(ctx context.Context, ids []product.ID) ([]product.Repair, error) {
	products, err := r.Source.Find(ctx, ids)
	if err != nil {
		return nil, err
	}
	table := r.Target.Table()
	repairs := make([]product.Repair, 0, len(ids))
	rows := make([]product.Row, 0, len(ids))
	var others []run.Outcome
	for _, id := range ids {
		p, exists := products[id]
		if !exists {
			others = append(others, run.Outcome{ID: id, Kind: product.Missing, State: run.Gone, Reason: "deleted in the source before its repair"})
			continue
		}
		row, err := table.Fit(&p)
		var misfit *product.Misfit
		if errors.As(err, &misfit) {
			others = append(others, blocked(id, misfit))
			continue
		}
		repairs = append(repairs, product.Repair{Product: p, Row: row})
		rows = append(rows, row)
	}
	misfits, err := r.Target.Check(ctx, rows)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		r.report.add(o)
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

func blocked(id product.ID, m *product.Misfit) run.Outcome {
	return run.Outcome{ID: id, Kind: product.Missing, State: run.Blocked, Column: m.Column, Reason: m.Reason}
}
