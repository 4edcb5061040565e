package detect

import (
	"context"
	"errors"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Orders is where runs are asked for, and what they are to repair is known.
type Orders interface {
	// Pending returns what detectors have found of these kinds that is due, at most limit.
	Pending(ctx context.Context, kinds run.Kinds, limit int) (run.Pending, error)
	// Switch tells whether runs that nobody asks for are wanted.
	Switch(ctx context.Context) (run.Switch, error)
	// Submit asks for a run; *run.ActiveError where another one is active.
	Submit(ctx context.Context, request run.Request) (run.Record, error)
	// Asked tells that a run was asked for to repair these.
	Asked(ctx context.Context, ids []product.ID, kinds run.Kinds) error
}

// Drain asks for runs that repair what detectors have found.
type Drain struct {
	Orders Orders
	Config Config
	// Order is what a scheduled run does; of it the mode, the kinds and the fallback count.
	Order    run.Order
	Pipeline string
	// Ring tells workers of a run, which would find it by themselves a little later.
	Ring func(ctx context.Context, request run.Request)
}

// Drained is what one round has come to.
type Drained struct {
	Run      string // that was asked for, empty where none was
	Products int    // that it is to repair
	// Waiting are the due products for which no run was asked, because SYNC_DETECT_LIMIT is
	// reached; at least so many.
	Waiting int
}

// Do asks for one run, if something is due, runs that nobody asks for are wanted, no other run
// is active, and the limit leaves room.
func (d *Drain) Do(ctx context.Context) (done Drained, err error) {
	pending, err := d.Orders.Pending(ctx, d.Order.Repair, run.MaxIDs)
	if err != nil || len(pending.IDs) == 0 {
		return done, err
	}
	wanted, err := d.Orders.Switch(ctx)
	if err != nil || !wanted.On {
		return done, err
	}
	room := max(d.Config.Limit-pending.Asked, 0)
	ids := pending.IDs[:min(len(pending.IDs), room)]
	done.Waiting = len(pending.IDs) - len(ids)
	if len(ids) == 0 {
		return done, nil
	}
	const patience = time.Minute // a run that does not begin is asked for again when it is due again
	now := time.Now().UTC()
	request := run.Request{
		Version: run.RequestVersion, ID: run.NewRunID(), Trigger: run.ByDetector, By: "detector", At: now, Expires: now.Add(patience), Pipeline: d.Pipeline,
		Order: run.Order{Mode: d.Order.Mode, Repair: d.Order.Repair, Fallback: d.Order.Fallback, IDs: ids},
	}
	record, err := d.Orders.Submit(ctx, request)
	if errors.As(err, new(*run.ActiveError)) {
		return done, nil
	}
	if err != nil {
		return done, err
	}
	done.Run, done.Products = record.ID, len(ids)
	if err := d.Orders.Asked(ctx, ids, d.Order.Repair); err != nil {
		return done, err
	}
	d.Ring(ctx, record.Request)
	return done, nil
}
