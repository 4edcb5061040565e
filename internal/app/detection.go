package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ecom-micro/etl/consumer"
	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/detect"
	"github.com/ecom-micro/etl/internal/metrics"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/schedule"
)

// detection is what finds lost events beside the runs: the tap and the look at recent
// products, with connections of their own, and what asks for runs that repair what they find.
type detection struct {
	*Service
	log    *slog.Logger
	stores *Stores
	finder *diff.Finder
	looker *detect.Looker
	tap    *consumer.Tap
	drain  detect.Drain

	broker atomic.Pointer[Broker]        // watched from the start of the work on
	recent atomic.Pointer[detect.Recent] // nil until the work has begun

	mu        sync.Mutex
	described time.Time // when the cart's catalogue was last read
	tapped    tapped
}

// describeEvery is how old the cart's catalogue may be that products are compared by.
const describeEvery = time.Minute

// connectDetection prepares all of it and waits for nothing.
func (s *Service) connectDetection(ctx context.Context) (*detection, error) {
	c := s.config
	stores, err := connectStores(ctx, c, &s.clean)
	if err != nil {
		return nil, err
	}
	fields, err := c.Sync.Fields()
	if err != nil {
		return nil, err
	}
	d := &detection{Service: s, log: s.log.With("component", "detection"), stores: stores,
		finder: diff.New(stores.source, stores.target, diff.Config{Compare: fields, Batch: c.Sync.BatchSize})}
	order := c.Tick.Order()
	d.looker = &detect.Looker{Ledger: s.ledger, Stores: d.view, Config: c.Detect, Settle: c.Sync.SettleFor, SettleMax: c.Sync.SettleMax, Direct: order.Mode == run.Direct}
	d.tap = consumer.NewTap(connect(c, tapName, &s.clean), d, s.log)
	d.tap.Count = func(seen, checked int) { s.metrics.Detected(string(run.Tap), seen, checked, 0) }
	d.drain = detect.Drain{Orders: s.ledger, Config: c.Detect, Order: order, Pipeline: c.Ledger.Pipeline, Ring: d.ring}
	return d, nil
}

// view is the two stores, the cart's by a catalogue that was read lately. One look at a time
// uses it.
func (d *detection) view(ctx context.Context) (detect.Stores, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.described) < describeEvery {
		return d.finder, nil
	}
	// A wrong name looks like an empty collection, whose rows would all be orphaned.
	exists, err := d.stores.source.Exists(ctx)
	if err == nil && !exists {
		err = fmt.Errorf("product service: collection %s does not exist", d.stores.source.Name())
	}
	if err == nil {
		err = d.stores.target.Describe(ctx)
	}
	if err != nil {
		return nil, err
	}
	d.described = time.Now()
	return d.finder, nil
}

// run does what the roles of this process are, until ctx ends.
func (d *detection) run(ctx context.Context) {
	taps, looks := d.config.Service.has(roleTap), d.config.Service.has(roleScheduler) && d.config.Schedule.LooksAtRecent()
	if !taps && !looks {
		return
	}
	var clean Cleanup
	defer func() { _ = clean.End(context.WithoutCancel(ctx)) }() // they close what this process alone uses
	d.await(ctx, "the cart's exchange and queues, to look for lost events", func(ctx context.Context) error {
		broker, err := openBroker(ctx, d.config, &clean)
		if err != nil {
			return errors.Join(err, clean.End(ctx))
		}
		d.broker.Store(broker)
		return nil
	})
	broker := d.broker.Load()
	if broker == nil {
		return
	}
	var parts sync.WaitGroup
	if taps {
		if broker.Management != nil {
			d.tap.Alternate = func(ctx context.Context) (string, error) {
				ctx, cancel := context.WithTimeout(ctx, ManagementPatience)
				defer cancel()
				exchange, err := broker.Management.Exchange(ctx, rabbit.Exchange)
				return exchange.Alternate, err
			}
		}
		parts.Go(func() { d.ended("tap", d.tap.Run(ctx)) })
		parts.Go(func() { d.report(ctx) })
	}
	if looks {
		marks := make(map[product.Kind]detect.Watermark)
		for kind, watch := range broker.watches {
			marks[kind] = watch
		}
		d.recent.Store(&detect.Recent{Looker: d.looker, Created: d.stores.source, State: d.ledger, Watermarks: marks, Owner: owner(),
			Count: func(checked, differing int) { d.metrics.Detected(string(run.Recent), checked, checked, differing) }})
	}
	if d.config.Service.has(roleScheduler) && d.config.Schedule.Enabled {
		parts.Go(func() { d.drainAll(ctx) })
	}
	parts.Wait()
}

// lookRecent is the scheduled look at what was created lately.
func (d *detection) lookRecent(ctx context.Context, t schedule.Tick) {
	recent := d.recent.Load()
	if recent == nil {
		return // the start has said for what it waits
	}
	result := metrics.Checked
	if err := recent.Do(ctx); err != nil {
		if ctx.Err() != nil {
			return
		}
		result = metrics.Failed
		d.log.Warn("recent products were not compared", "err", err)
	}
	d.metrics.Tick(recentJob, result, time.Since(t.Instant))
}

// drainAll asks for runs that repair what is found, until ctx ends.
func (d *detection) drainAll(ctx context.Context) {
	const every = time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	w := waitLog{log: d.log, what: "the ledger, to ask for the repair of lost events"}
	limited := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		done, err := d.drain.Do(ctx)
		if err != nil {
			w.failed(ctx, err)
			continue
		}
		w.last = ""
		if done.Run != "" {
			d.log.Info("lost events are replayed", "run", done.Run, "products", done.Products)
		}
		if done.Waiting > 0 && !limited {
			d.log.Warn("more was lost than is repaired unattended: scheduled runs, and a person, may repair the rest", "SYNC_DETECT_LIMIT", d.config.Detect.Limit, "waiting", done.Waiting)
		}
		limited = done.Waiting > 0
	}
}

// ring tells workers of a run. They look by themselves every few seconds.
func (d *detection) ring(ctx context.Context, request run.Request) {
	request.Recorded = true
	request.IDs, request.Trigger = nil, run.ByMessage // which the ledger knows better, and an older program knows, too
	if err := d.doorbell.Ring(ctx, request); err != nil {
		d.log.Debug("the doorbell was not rung", "run", request.ID, "err", err)
	}
}

// Sight implements consumer.Judge.
func (d *detection) Sight(kind product.Kind) consumer.Sight {
	broker := d.broker.Load()
	if broker == nil {
		return consumer.Sight{}
	}
	watch := broker.watches[kind]
	seen := watch.Sight()
	sight := consumer.Sight{Passed: seen.Passed}
	switch {
	case seen.Err != nil:
		sight.Stands, sight.Why = time.Since(seen.Moved), fmt.Sprintf("%s cannot be seen: %v", watch.Name(), seen.Err)
	case !seen.Idle.IsZero():
		sight.Stands, sight.Why = time.Since(seen.Idle), fmt.Sprintf("nobody has consumed %s since %s, %d messages wait", watch.Name(), seen.Idle.UTC().Format(time.RFC3339), seen.Depth.Ready)
	default:
		sight.Why = fmt.Sprintf("%s has %d messages and %d consumers", watch.Name(), seen.Depth.Ready, seen.Depth.Consumers)
	}
	return sight
}

// Check implements consumer.Judge.
func (d *detection) Check(ctx context.Context, ids []product.ID, announced map[product.ID]bool) error {
	found, err := d.looker.Look(ctx, ids, announced)
	if err != nil {
		return err
	}
	fresh, err := d.looker.Keep(ctx, found)
	if err != nil {
		return err
	}
	d.metrics.Detected(string(run.Tap), 0, 0, fresh)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tapped.checked += len(ids)
	d.tapped.differing += fresh
	return nil
}

// Announced implements consumer.Judge. What took longer than products are waited for at most is
// no gap, but an event that somebody sent again.
func (d *detection) Announced(_ context.Context, gap time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if gap <= d.config.Sync.SettleMax {
		d.tapped.gap = max(d.tapped.gap, gap)
	}
}

// tapped is what the tap has done since that was last kept.
type tapped struct {
	checked, differing int
	gap                time.Duration // the longest
}

// report keeps what the tap does, so that every process can tell of it, until ctx ends.
func (d *detection) report(ctx context.Context) {
	const every = 10 * time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		d.mu.Lock()
		done := d.tapped
		d.tapped = tapped{}
		d.mu.Unlock()
		var problem error
		const remembered = 10 * time.Minute
		switch state := d.tap.State(); {
		case state.Err != "":
			problem = errors.New(state.Err)
		case time.Since(state.UnreadableAt) < remembered:
			problem = errors.New(state.Unreadable)
		}
		err := d.ledger.Looked(ctx, run.Tap, time.Time{}, done.checked, done.differing, problem)
		if err == nil && done.gap > 0 {
			err = d.ledger.Measured(ctx, done.gap)
		}
		if err != nil && ctx.Err() == nil {
			d.log.Debug("what the tap does was not kept", "err", err)
			d.mu.Lock()
			d.tapped.checked += done.checked
			d.tapped.differing += done.differing
			d.tapped.gap = max(d.tapped.gap, done.gap)
			d.mu.Unlock()
		}
	}
}
