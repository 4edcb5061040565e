package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// proof is one look at both sides after a repair.
type proof struct {
	lost      []product.ID // no row arrived
	revived   []product.ID // deleted in the source, and the row is there
	differing []differing  // a row arrived that is not what the source holds now
}

type differing struct {
	id      product.ID
	updated time.Time
	fields  []diff.FieldDifference
}

// maxProofs bounds how often a product that arrived and differs is looked at,
// each time after its change in the source had time to settle.
const maxProofs = 3

// prove looks at both sides once everything that was queued at the repair has
// been consumed, and returns what did not arrive, also with an error. All else
// goes to the report.
func (r *Run) prove(ctx context.Context, repairer Repairer, acted []product.ID) (lost []product.ID, err error) {
	for look := 1; len(acted) > 0; look++ {
		r.progress.enter(run.PhaseProving)
		if err := r.drained(ctx, product.Missing); err != nil {
			return lost, r.unproven(ctx, acted, err)
		}
		p, unseen, err := r.lookAtBothSides(ctx, acted)
		lost = append(lost, p.lost...)
		r.undo(ctx, repairer, p.revived)
		if err != nil {
			for _, d := range p.differing {
				unseen = append(unseen, d.id)
			}
			return lost, r.unproven(ctx, unseen, err)
		}
		if look == maxProofs {
			for _, d := range p.differing {
				r.report.add(run.Outcome{ID: d.id, Kind: product.Missing, State: run.Failed, Reason: "it arrived, and its row differs from the source: " + describe(d.fields), Fields: changes(d.fields)})
			}
			return lost, nil
		}
		if acted, err = r.settleAgain(ctx, p.differing); err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// drained waits until what is queued now for one kind of repair has been consumed.
func (r *Run) drained(ctx context.Context, kind product.Kind) error {
	if r.Barriers == nil {
		return nil
	}
	return r.Barriers.Wait(ctx, kind, time.Now())
}

// unproven reports what could not be judged because of err. A queue that stalls
// leaves only these products in the dark; any other error ends the run and is
// returned.
func (r *Run) unproven(ctx context.Context, ids []product.ID, err error) error {
	reason := err.Error()
	if ctx.Err() != nil {
		reason = "the run was stopped before the proof"
	}
	for _, id := range ids {
		r.report.add(run.Outcome{ID: id, Kind: product.Missing, State: run.InFlight, Reason: reason})
	}
	if errors.As(err, new(*diff.StalledError)) {
		r.inDark = time.Now()
		return nil
	}
	return err
}

// lookAtBothSides looks at ids batch by batch. With an error it returns those that
// it has not seen, and what it learnt of the others stays true.
func (r *Run) lookAtBothSides(ctx context.Context, ids []product.ID) (p proof, unseen []product.ID, err error) {
	table := r.Target.Table()
	for ; len(ids) > 0; ids = ids[min(len(ids), run.MaxBatchSize):] {
		batch := ids[:min(len(ids), run.MaxBatchSize)]
		// The source is read last: a product that is still there then was not
		// deleted before its row was seen.
		rows, err := r.Target.Find(ctx, batch)
		if err != nil {
			return p, ids, err
		}
		products, err := r.Source.Find(ctx, batch)
		if err != nil {
			return p, ids, err
		}
		for _, id := range batch {
			source, inSource := products[id]
			row, inCart := rows[id]
			switch {
			case !inSource && inCart:
				p.revived = append(p.revived, id)
			case !inSource:
				r.report.add(run.Outcome{ID: id, Kind: product.Missing, State: run.Gone, Reason: "deleted in the source meanwhile"})
			case !inCart:
				p.lost = append(p.lost, id)
			default:
				if fields := table.Differing(&source, &row, product.ProofFields()); len(fields) > 0 {
					p.differing = append(p.differing, differing{id, source.Updated, differences(fields, &source, &row)})
					continue
				}
				r.report.verified(id)
			}
		}
		r.progress.verified.Store(r.report.Outcomes[run.Verified])
	}
	return p, nil, nil
}

func differences(fields []product.Field, p *product.Product, row *product.Row) []diff.FieldDifference {
	all := make([]diff.FieldDifference, len(fields))
	for i, f := range fields {
		all[i] = diff.FieldDifference{Field: f, Source: p.Values[f], Cart: row.Values[f]}
	}
	return all
}

// settleAgain waits until the events of products that changed meanwhile had time
// to arrive, and returns the products to look at again.
func (r *Run) settleAgain(ctx context.Context, changed []differing) ([]product.ID, error) {
	var ids []product.ID
	var until time.Time
	most := time.Now().Add(r.config.Settle)
	for _, d := range changed {
		ids = append(ids, d.id)
		settled := d.updated.Add(r.config.Settle)
		if d.updated.IsZero() || settled.After(most) {
			settled = most
		}
		if settled.After(until) {
			until = settled
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	err := diff.SleepUntil(ctx, until)
	if err == nil {
		err = r.drained(ctx, product.Stale)
	}
	if err != nil {
		return nil, r.unproven(ctx, ids, err)
	}
	return ids, nil
}

// undo takes back products that were deleted in the source while they were
// repaired, exactly those, and makes sure that they are gone.
func (r *Run) undo(ctx context.Context, repairer Repairer, revived []product.ID) {
	if len(revived) == 0 {
		return
	}
	fail := func(ids []product.ID, state run.State, reason string) {
		for _, id := range ids {
			r.report.add(run.Outcome{ID: id, Kind: product.Missing, State: state, Reason: "deleted in the source while it was repaired, and its row could not be taken back: " + reason})
		}
	}
	referenced, err := r.Target.Referenced(ctx, revived)
	if err != nil {
		fail(revived, run.Failed, err.Error())
		return
	}
	var removable []product.ID
	for _, id := range revived {
		if table, is := referenced[id]; is {
			fail([]product.ID{id}, run.Blocked, "it is referenced by "+table)
			continue
		}
		removable = append(removable, id)
	}
	if len(removable) == 0 {
		return
	}
	results, err := repairer.Remove(ctx, removable)
	if err == nil {
		err = r.drained(ctx, product.Orphaned)
	}
	if err != nil {
		fail(removable, run.Failed, err.Error())
		return
	}
	rows, err := r.Target.Find(ctx, removable)
	if err != nil {
		fail(removable, run.Failed, err.Error())
		return
	}
	for _, result := range results {
		_, still := rows[result.ID]
		switch {
		case !still:
			r.report.add(run.Outcome{ID: result.ID, Kind: product.Missing, State: run.Undone, Reason: "deleted in the source while it was repaired; its row was taken back"})
		case result.Err != nil:
			fail([]product.ID{result.ID}, run.Failed, result.Err.Error())
		default:
			fail([]product.ID{result.ID}, run.Failed, "it is still there")
		}
	}
}
