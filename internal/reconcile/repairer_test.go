package reconcile_test

import (
	"context"
	"errors"
	"time"

	"github.com/ecom-micro/etl/diff"
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
)

var errReturned = errors.New("the broker returned an event as unroutable")

// repairer repairs by events in the shop's queue, or by writing rows at once.
type repairer struct {
	*shop
	direct bool
	// credit, if set, is how many products may be repaired now.
	credit func(want int) int
	// fate, if set, decides about each product; else all arrive.
	fate func(round int, id product.ID) fate
	// breaks, if set, is asked before each product; its error ends the call there.
	breaks func(id product.ID) error
	// keeps, if set, names rows that Remove does not take back, and why.
	keeps func(id product.ID) error
}

func (r *repairer) Reserve(ctx context.Context, want int) (int, error) {
	if err := r.enter(ctx, call{operation: reserving}); err != nil {
		return 0, err
	}
	r.audit.reserved()
	if r.credit != nil {
		return min(max(r.credit(want), 1), want), nil
	}
	return want, nil
}

func (r *repairer) Repair(ctx context.Context, round int, repairs []product.Repair) ([]product.Result, error) {
	var ids []product.ID
	results := make([]product.Result, len(repairs))
	for i := range repairs {
		results[i].ID = repairs[i].Row.ID
		ids = append(ids, repairs[i].Row.ID)
	}
	if err := r.enter(ctx, call{operation: repairing, ids: ids}); err != nil {
		return results, err
	}
	for i := range repairs {
		row := repairs[i].Row
		if r.breaks != nil {
			if err := r.breaks(row.ID); err != nil {
				return results, err
			}
		}
		f := arrives
		if r.fate != nil {
			f = r.fate(round, row.ID)
		}
		r.audit.acting(&repairs[i], f == arrives || f == vanishes)
		switch f {
		case misfits:
			results[i].Err = &product.Misfit{Column: "price", Reason: "it has more digits than a JSON number keeps"}
		case fails:
			results[i].Err = errReturned
		case arrives, vanishes:
			results[i].Acted = true
			switch {
			case !r.direct:
				r.enqueue(event{kind: product.Missing, row: row, vanishes: f == vanishes})
			case f == arrives:
				r.arrive(row)
			}
		case untried:
		}
	}
	return results, nil
}

func (r *repairer) Remove(ctx context.Context, ids []product.ID) ([]product.Result, error) {
	results := make([]product.Result, len(ids))
	for i, id := range ids {
		results[i].ID = id
	}
	if err := r.enter(ctx, call{operation: removing, ids: ids}); err != nil {
		return results, err
	}
	for i, id := range ids {
		if r.keeps != nil {
			if err := r.keeps(id); err != nil {
				results[i].Err = err
				continue
			}
		}
		results[i].Acted = true
		r.audit.removing(id, r.references[id])
		if r.direct {
			r.removeRow(id)
		} else {
			r.enqueue(event{kind: product.Orphaned, row: product.Row{ID: id}})
		}
	}
	return results, nil
}

// watch is the sight of the cart's queues. A wait for what an earlier one covers is
// over at once; else it takes the grace, and then the queue has been consumed.
type watch struct {
	*shop
	drained map[product.Kind]time.Time // what was queued before has been consumed
	// stalls, if set, says that the cart does not consume a queue in time.
	stalls func(kind product.Kind) bool
}

const (
	grace        = 2 * time.Second
	stallTimeout = 10 * time.Minute
	settle       = 30 * time.Second
)

func (w *watch) Wait(ctx context.Context, kind product.Kind, t time.Time) error {
	if err := w.enter(ctx, call{operation: waiting, kind: kind}); err != nil {
		return err
	}
	if w.drained[kind].After(t) {
		return nil
	}
	asked := time.Now()
	if w.stalls != nil && w.stalls(kind) {
		if err := diff.SleepUntil(ctx, time.Now().Add(stallTimeout)); err != nil {
			return err
		}
		return &diff.StalledError{Queue: "product-created", Waited: stallTimeout, Ready: 5}
	}
	if err := diff.SleepUntil(ctx, time.Now().Add(grace)); err != nil {
		return err
	}
	w.consume(kind)
	if w.drained == nil {
		w.drained = make(map[product.Kind]time.Time)
	}
	w.drained[kind] = asked
	w.audit.drained(kind, asked)
	return nil
}
