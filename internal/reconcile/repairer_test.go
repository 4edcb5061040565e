package reconcile_test

import (
	"context"
	"errors"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// fate is what becomes of one product in the hands of a repairer.
type fate int

const (
	arrives  fate = iota
	vanishes      // accepted, and nothing reaches the cart
	misfits       // the repairer finds that the cart cannot hold it
	fails         // returned by the broker, refused by the database
	untried       // left for the next call
	nacked        // refused by the broker, for now
)

var errReturned = errors.New("the broker returned an event as unroutable")

// repairer repairs by events in the shop's queues, or by writing rows at once.
type repairer struct {
	*shop
	direct bool
	// depth is how many events may be outstanding.
	depth int
	// fate, if set, decides about each product; else all arrive. attempt counts the
	// repairs of one product.
	fate func(attempt int, id product.ID) fate
	// breaks, if set, is asked before each product; its error ends the call there.
	breaks func(id product.ID) error
}

func (r *repairer) Reserve(ctx context.Context, kind product.Kind, want int, unseen func(context.Context) (int, error)) (int, error) {
	if err := r.enter(ctx, call{operation: reserving, kind: kind}); err != nil {
		return 0, err
	}
	if r.direct || r.depth == 0 {
		return want, nil
	}
	for begun := time.Now(); ; {
		out, err := unseen(context.WithValue(ctx, seeing, true))
		depth, _ := r.queues[kind].Depth(ctx)
		if credit := r.depth - max(out, depth.Ready); err == nil && credit > 0 {
			return min(credit, want), nil
		}
		if waited := time.Since(begun); waited >= stallTimeout {
			return 0, &product.PausedError{Reason: "the queue is full", Waited: waited}
		}
		if err := pauseFor(ctx, lookInterval); err != nil {
			return 0, err
		}
	}
}

func (r *repairer) Repair(ctx context.Context, kind product.Kind, attempt int, repairs []product.Repair) ([]product.Result, error) {
	var ids []product.ID
	results := make([]product.Result, len(repairs))
	for i := range repairs {
		results[i].ID = repairs[i].Row.ID
		ids = append(ids, repairs[i].Row.ID)
	}
	if err := r.enter(ctx, call{operation: repairing, ids: ids, kind: kind}); err != nil {
		return results, err
	}
	for i := range repairs {
		repair := &repairs[i]
		if r.breaks != nil {
			if err := r.breaks(repair.Row.ID); err != nil {
				return results, err
			}
		}
		f := arrives
		if r.fate != nil {
			f = r.fate(attempt, repair.Row.ID)
		}
		r.acting(kind, repair, f == arrives || f == vanishes)
		switch f {
		case misfits:
			results[i].Err = &product.Misfit{Column: "price", Reason: "it has more digits than a JSON number keeps"}
		case fails:
			results[i].Err = errReturned
		case nacked:
			results[i].Fate = product.Nacked
		case arrives, vanishes:
			results[i].Fate = product.Confirmed
			if !r.direct {
				r.queues[kind].put(event{row: repair.Row, ours: true, vanishes: f == vanishes})
			} else if f == arrives {
				if misfit := r.write(kind, repair); misfit != nil {
					results[i].Fate, results[i].Err = product.Untried, misfit
				}
			}
		case untried:
		}
	}
	return results, nil
}

// write is what the direct repairer does with a row, unless the table refuses it.
func (r *repairer) write(kind product.Kind, repair *product.Repair) *product.Misfit {
	r.mu.Lock()
	defer r.mu.Unlock()
	row, there := r.Rows[repair.Row.ID]
	switch {
	case kind == product.Missing && !there:
		r.Rows[repair.Row.ID] = repair.Row
	case kind == product.Stale && there:
		for _, f := range repair.Fields {
			if row.Values[f] != repair.Was.Values[f] {
				return nil // somebody else changed it
			}
		}
		for _, f := range repair.Fields {
			row.Values[f] = repair.Row.Values[f]
		}
		r.Rows[repair.Row.ID] = row
	case kind == product.Orphaned && r.references[repair.Row.ID] != "":
		return &product.Misfit{Column: "id", Reason: "is referenced by table " + r.references[repair.Row.ID]}
	case kind == product.Orphaned:
		delete(r.Rows, repair.Row.ID)
	}
	return nil
}
