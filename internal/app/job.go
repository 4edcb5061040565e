package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/target"
	"github.com/ecom-micro/etl/internal/words"
	"github.com/ecom-micro/etl/producer"
)

// job is one run to be made, from whichever trigger: a claimed one, or a command's. Each
// opens what it works with itself, and prepare is where that comes together.
type job struct {
	config  *Config
	request run.Request
	ids     []product.ID // instead of the request's, where findings are applied
	// command says that the run is one of a command line, whose flags may be named.
	command bool
	// withoutBroker does without a look at the cart's queue.
	withoutBroker bool
	locked        bool // the cart's lock is held
	stores        *Stores
	broker        *Broker // nil without
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
func (j *job) open(ctx context.Context, clean *Cleanup) error {
	var err error
	if j.stores, err = OpenStores(ctx, j.config, clean); err != nil {
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
func (j *job) prepare(ctx context.Context, clean *Cleanup) (*reconcile.Run, error) {
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
	if unused := j.config.Source.Unused(); len(unused) > 0 {
		parts.Notes = append(parts.Notes, run.Note{Code: run.NoteNotUsed, Detail: strings.Join(unused, ", ")})
	}
	if j.broker != nil {
		parts.Watermarks, parts.Diagnose = j.broker.watermarks(), j.broker.diagnose
		parts.Notes = append(parts.Notes, j.broker.notes()...)
	}
	if options.DryRun {
		return reconcile.New(parts, j.config.Sync, options)
	}
	if err := j.repairers(ctx, clean, &parts, &options); err != nil {
		return nil, err
	}
	if err := j.lock(ctx, clean); err != nil {
		return nil, err
	}
	return reconcile.New(parts, j.config.Sync, options)
}

// repairers adds what the run repairs with.
func (j *job) repairers(ctx context.Context, clean *Cleanup, parts *reconcile.Parts, options *reconcile.Options) error {
	table := j.stores.target
	if options.Mode == run.Replay {
		replay, err := j.replay(ctx, clean, options.Repair)
		if err != nil {
			return err
		}
		parts.Replay, parts.Losing, parts.Throttle, j.paused = replay, replay.Lost, replay.Throttle, replay.Paused
		parts.Remarks = func() []run.Note { return bounds(replay.Bounds()) }
	}
	if options.Mode == run.Direct || j.request.Fallback == run.DirectFallback {
		writer, err := table.Writer(options.Repair)
		if err != nil {
			return err
		}
		parts.Direct = writer
	}
	if table.MayDelete() { // what a repair brings back after its deletion
		undo, err := table.Writer([]product.Kind{product.Orphaned})
		if err != nil {
			return err
		}
		parts.Undo = undo
	}
	return nil
}

// bounds say which queues were too short for as many events as are wanted.
func bounds(limits map[product.Kind]rabbit.QueueLimits) []run.Note {
	var notes []run.Note
	for _, kind := range product.Kinds() {
		if l := limits[kind]; l.Messages > 0 {
			note := run.Note{Code: run.NoteQueueLimit, Kind: kind, Number: int64(l.Messages)}
			if l.Bytes > 0 {
				note.Detail = fmt.Sprintf("its limit is %s bytes", words.Number(l.Bytes))
			}
			notes = append(notes, note)
		}
	}
	return notes
}

// replay makes the producer of the run's events.
func (j *job) replay(ctx context.Context, clean *Cleanup, kinds run.Kinds) (*producer.Producer, error) {
	tgt := j.stores.target
	if unchecked := tgt.Unchecked(kinds); len(unchecked) > 0 {
		return nil, fmt.Errorf("%s has constraints or triggers that only the database can judge (%s), and an event that it refuses would stop the cart's consumer: use mode direct", tgt.Name(), strings.Join(unchecked, ", "))
	}
	replay := producer.New(ConnectProducer(j.config, clean), j.broker.Monitor, j.config.Replay, j.request.ID, j.config.Sync.StallTimeout)
	replay.Count, replay.Management = j.count, j.broker.Management
	err := replay.Check(ctx, kinds)
	if errors.Is(err, producer.ErrNoConsumer) && j.lease != nil && j.lease.Record().Takeovers > 0 {
		err = nil // the run has begun before, and then this is only a pause
	}
	return replay, awaited(err)
}

// options are the run's, with the variables' defaults.
func (j *job) options() reconcile.Options {
	r := &j.request
	o := reconcile.Options{
		Run: r.ID, Mode: r.Mode, Repair: r.Repair, DryRun: r.DryRun, IDs: r.IDs, Since: r.Since.Time,
		MaxRepairs: r.MaxRepairs, MaxDeletes: r.MaxDeletes, BatchSize: r.BatchSize,
	}
	if j.ids != nil {
		o.IDs = j.ids
	}
	if j.lease != nil {
		if len(o.IDs) == 0 && o.Since.IsZero() {
			o.Detected = j.config.Detect.Limit
		}
		record := j.lease.Record()
		o.Takeovers, o.Vanished, o.Started = record.Takeovers, record.Vanished, record.Started
	}
	if o.BatchSize == 0 {
		o.BatchSize = j.config.Sync.BatchSize
	}
	return o
}

// errLockLost ends a run whose lock may be another one's by now: what it did stays, and
// whoever takes it up goes on from there.
var errLockLost = fmt.Errorf("%w: the connection that holds the cart's lock was lost", reconcile.ErrHandedBack)

// lock takes the cart's advisory lock. The ledger's slot decides who may run; the
// lock sees to it that a process which lost its slot without noticing, or one that
// uses another ledger, does not repair at the same time. It is taken once.
func (j *job) lock(ctx context.Context, clean *Cleanup) error {
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
		if err := reconcile.SleepUntil(ctx, time.Now().Add(time.Second)); err != nil {
			return err
		}
	}
	j.locked = true
	clean.Add("the cart's lock", func(ctx context.Context) error { lock.Release(ctx); return nil })
	go func() {
		<-lock.Lost() // also when it is released, and then nothing is left to stop
		j.stop(errLockLost)
	}()
	return nil
}
