package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/target"
	"github.com/ecom-micro/etl/producer"
)

// The names of our connections in the management UI.
const (
	producerName = "etl producer" // publishes, and nothing else
	monitorName  = "etl monitor"  // looks at queues
	consumerName = "etl consumer" // takes sync requests
)

// job is one run to be made, from whichever trigger.
type job struct {
	config  *config
	request run.Request
	ids     []product.ID // instead of the request's, where findings are applied
	// command says that the run is one of a command line, whose flags may be named.
	command bool
	// withoutBroker does without a look at the cart's queue.
	withoutBroker bool
	locked        bool // the cart's lock is held
	stores        *stores
	broker        *broker
	// lease is the run's place in the ledger; nil for one that the ledger does not know.
	lease run.Lease
	// patience is how long another holder of the cart's lock is waited for.
	patience time.Duration
	// stop ends the run for a cause of its own.
	stop context.CancelCauseFunc
	// count, if set, hears of each event that was published.
	count producer.Counter
	// paused, once the run is prepared, says why publishing waits; nil where nothing
	// is published.
	paused func() producer.Pause
}

// open connects to everything that the run needs. What it opens ends with clean.
func (j *job) open(ctx context.Context, clean *cleanup) error {
	var err error
	if j.stores, err = openStores(ctx, j.config, clean); err != nil {
		return err
	}
	if j.withoutBroker {
		return nil
	}
	if j.broker, err = openBroker(ctx, j.config, clean); err != nil && j.command && (j.request.Mode == run.Direct || j.request.DryRun) {
		return fmt.Errorf("%w (without a look at the cart's queue, what waits in it counts as missing; --without-broker accepts that)", err)
	}
	return err
}

// prepare wires the rooms together for one run, opening first what is not open.
func (j *job) prepare(ctx context.Context, clean *cleanup) (*reconcile.Run, error) {
	if j.stores == nil {
		if err := j.open(ctx, clean); err != nil {
			return nil, err
		}
	}
	options := j.options()
	parts := reconcile.Parts{Source: j.stores.source, Target: j.stores.target}
	if j.lease != nil {
		parts.Ledger = j.lease
	}
	if j.broker != nil {
		parts.Barriers, parts.Diagnose = j.broker.watches, j.broker.diagnose
	}
	if options.DryRun {
		return reconcile.New(parts, j.config.Sync, options)
	}
	fallback := j.request.Fallback == run.DirectFallback
	if options.Mode == run.Replay {
		replay, err := j.replay(clean)
		if err != nil {
			return nil, err
		}
		parts.Repairer, parts.Throttle, j.paused = replay, replay.Throttle, replay.Paused
	}
	if options.Mode == run.Direct || fallback {
		writer, err := j.stores.target.Writer(options.BatchSize)
		if err != nil {
			return nil, err
		}
		if fallback {
			parts.Fallback = writer
		} else {
			parts.Repairer = writer
		}
	}
	if err := j.lock(ctx, clean); err != nil {
		return nil, err
	}
	return reconcile.New(parts, j.config.Sync, options)
}

// replay makes the producer of the run's events.
func (j *job) replay(clean *cleanup) (*producer.Producer, error) {
	tgt := j.stores.target
	if unchecked := tgt.Unchecked(); len(unchecked) > 0 {
		return nil, fmt.Errorf("%s has constraints or triggers that only the database can judge (%v), and an event that it refuses would stop the cart's consumer: use mode direct", tgt.Name(), unchecked)
	}
	conn := rabbit.NewConnection(j.config.Rabbit, producerName)
	clean.add(func(context.Context) { conn.Close() })
	replay := producer.New(conn, j.broker.monitor, j.config.Replay, j.request.ID, j.config.Sync.StallTimeout)
	replay.Count = j.count
	return replay, nil
}

// options are the run's, with the variables' defaults.
func (j *job) options() reconcile.Options {
	r := &j.request
	o := reconcile.Options{Run: r.ID, Mode: r.Mode, DryRun: r.DryRun, IDs: r.IDs, Since: r.Since.Time, MaxRepairs: r.MaxRepairs, BatchSize: r.BatchSize}
	if j.ids != nil {
		o.IDs = j.ids
	}
	if o.BatchSize == 0 {
		o.BatchSize = j.config.Sync.BatchSize
	}
	return o
}

var errLockLost = errors.New("the connection that holds the run's lock was lost, so another run may have begun: run again")

// lock takes the cart's advisory lock. The ledger's slot decides who may run; the
// lock sees to it that a process which lost its slot without noticing, or one that
// uses another ledger, does not repair at the same time. It is taken once.
func (j *job) lock(ctx context.Context, clean *cleanup) error {
	if j.locked {
		return nil
	}
	var lock *target.Lock
	for begun := time.Now(); ; {
		var err error
		lock, err = j.stores.target.Lock(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, target.ErrLocked) || time.Since(begun) >= j.patience {
			return err
		}
		if err := diff.SleepUntil(ctx, time.Now().Add(time.Second)); err != nil {
			return err
		}
	}
	j.locked = true
	clean.add(lock.Release)
	go func() {
		<-lock.Lost() // also when it is released, and then nothing is left to stop
		j.stop(errLockLost)
	}()
	return nil
}
