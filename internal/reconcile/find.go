package reconcile

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// find scans the scope and lets the suspects into the engine, which holds the scan up
// while it is full. When the scan and all that it found are done, the guard decides on
// what it held back. What was found before a scan that fails stays true.
func (r *Run) find(ctx context.Context, scope diff.Scope) error {
	batches := make(chan diff.Batch)
	scanCtx, stop := context.WithCancel(ctx)
	defer stop()
	var scan errgroup.Group
	scan.Go(func() error {
		defer close(batches)
		return r.finder.Scan(scanCtx, scope, batches)
	})
	var detected errgroup.Group
	detected.Go(func() error { return r.takeDetected(ctx, scanCtx) })
	for b := range batches {
		if err := r.letIn(ctx, b); err != nil {
			stop()
			_, _ = scan.Wait(), detected.Wait() // they end because of the error that is returned
			return err
		}
	}
	err := scan.Wait()
	stop()
	err = errors.Join(err, detected.Wait())
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.progress.scanned.Store(err == nil)
	if idle := r.line.idle(ctx); idle != nil {
		return idle
	}
	if err == nil {
		err = r.guard.decide(ctx, scope)
	}
	if err == nil {
		err = r.line.idle(ctx)
	}
	r.line.end()
	return err
}

// detectedInterval is how often a run looks for what detectors have found.
const detectedInterval = 2 * time.Second

// takeDetected lets in what detectors find while the scan goes on: it may be past that, and the
// next run far away.
func (r *Run) takeDetected(ctx, scanning context.Context) error {
	if r.options.Detected == 0 || r.options.DryRun {
		return nil
	}
	for wait(scanning, nil, detectedInterval) == nil {
		ids, err := r.Ledger.TakeDue(ctx, r.options.Repair, r.options.Detected)
		if err == nil && len(ids) > 0 {
			r.anyKnown.Store(true)
			err = r.letInDetected(ctx, ids)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// letInDetected makes items of those products that differ.
func (r *Run) letInDetected(ctx context.Context, ids []product.ID) error {
	for len(ids) > 0 {
		looked := time.Now()
		pairs, err := r.finder.Look(ctx, ids)
		if err != nil {
			return err
		}
		ids = ids[len(pairs):]
		batch := diff.Batch{Part: noPart}
		for _, pair := range pairs {
			if kind, _ := r.finder.Differs(pair); kind != "" {
				batch.Suspects = append(batch.Suspects, diff.Suspect{ID: pair.ID, Kind: kind, Stamp: pair.Stamp(kind), FirstSeen: looked})
			}
		}
		if err := r.letIn(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// letIn makes items of what a part of the scan has found.
func (r *Run) letIn(ctx context.Context, b diff.Batch) error {
	if err := r.pause.wait(ctx); err != nil {
		return err
	}
	items := make([]*item, len(b.Suspects))
	for i, s := range b.Suspects {
		items[i] = &item{Key: run.Key{ID: s.ID, Kind: s.Kind}, stamp: s.Stamp, firstSeen: s.FirstSeen, absent: s.FirstSeen, part: b.Part}
	}
	items, err := r.unjudged(ctx, items)
	if err != nil {
		return err
	}
	items = r.books.enter(items)
	if err := r.recall(ctx, items); err != nil {
		return err
	}
	for _, it := range items {
		it.until = r.moment(it)
	}
	if err := r.line.admit(ctx, judging, items, r.makeRoom); err != nil {
		return err
	}
	if b.Ended {
		r.books.scanned(b)
	}
	return nil
}

// unjudged leaves out what an earlier process of this run has dealt with already.
func (r *Run) unjudged(ctx context.Context, items []*item) ([]*item, error) {
	if !r.resumed || len(items) == 0 {
		return items, nil
	}
	judged, err := r.Ledger.Judged(ctx, idsOf(items))
	if err != nil {
		return nil, err
	}
	left := items[:0]
	for _, it := range items {
		if !judged[it.Key] {
			left = append(left, it)
		}
	}
	return left, nil
}

// recall adds what the ledger knows of the products. The attempts of one that this run
// has repaired before go on where they were.
func (r *Run) recall(ctx context.Context, items []*item) error {
	if !r.anyKnown.Load() || len(items) == 0 {
		return nil
	}
	known, err := r.Ledger.Known(ctx, idsOf(items))
	if err != nil {
		return err
	}
	of := make(map[product.ID][]run.Standing, len(known))
	for _, s := range known {
		of[s.ID] = append(of[s.ID], s)
	}
	for _, it := range items {
		it.known = of[it.ID]
		for _, s := range it.known {
			it.attempt = max(it.attempt, s.Attempts)
		}
	}
	return nil
}

func idsOf(items []*item) []product.ID {
	ids := make([]product.ID, len(items))
	for i, it := range items {
		ids[i] = it.ID
	}
	return ids
}

// moment is what must have passed, by the clock and by the watermark of its queue,
// before an item is judged: its settling time, the begin of this run, before which an
// earlier one may have sent events, and the last repair of the product by whatever run.
func (r *Run) moment(it *item) time.Time {
	until := r.settling.end(it)
	for _, t := range []time.Time{r.begun, r.sights[it.Kind].floor(), it.acted} {
		until = later(until, t)
	}
	for _, s := range it.known {
		until = later(until, s.Acted)
	}
	return until
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// decide hands what waits for a watermark to a stage, as soon as it may move on, until
// nothing comes any more. What has waited in vain is given up.
func (r *Run) decide(ctx context.Context, s stage, batch func(context.Context, []*item) error) error {
	var keys []roomKey
	for _, kind := range product.Kinds() {
		keys = append(keys, roomKey{s, kind})
	}
	for {
		items, stalled, err := r.line.take(ctx, r.caution.step(run.MaxBatchSize), keys...)
		if err != nil || len(items)+len(stalled) == 0 {
			return err
		}
		for _, it := range stalled {
			r.giveUp(it, run.ReasonQueue)
		}
		if len(items) == 0 {
			continue
		}
		if err := r.alone(ctx, func() error { return batch(ctx, items) }, func() { r.line.move(s, items...) }); err != nil {
			return err
		}
	}
}

// readiness tells whether an item may leave its room: its moment has passed by the
// clock and by the watermark. It has waited in vain when the watermark stands for
// SYNC_STALL_TIMEOUT, and one that the run would not repair does not wait that long.
func (r *Run) readiness(it *item) (ready, stalled bool) {
	now := time.Now()
	switch {
	case it.until.IsZero():
		return true, false
	case it.until.After(now):
		return false, false
	case r.Watermarks == nil:
		return true, false
	}
	s := r.Watermarks[it.Kind].Sight()
	if s.Passed.After(it.until) {
		return true, false
	}
	limit := r.config.StallTimeout
	if r.minor(it.Kind) && limit > stuck {
		limit = patience(s, stuck)
	}
	return false, now.Sub(r.moved(it.Kind, s)) >= limit && now.Sub(later(it.arrived, it.until)) >= r.patience()
}

// moved is when the queue of a kind last showed that it is consumed: its watermark moved,
// or a repair of ours arrived. A replay keeps the queue from being empty, and so its
// watermark from moving.
func (r *Run) moved(kind product.Kind, s diff.Sight) time.Time {
	return later(s.Moved, r.sights[kind].lastArrival())
}

// minor tells whether a kind must not hold up those that the run repairs.
func (r *Run) minor(kind product.Kind) bool { return !r.options.DryRun && !r.options.Repair.Has(kind) }

// patience is longer than a watermark needs on an empty queue with a consumer.
func (r *Run) patience() time.Duration { return 2*r.config.Grace + time.Second }

// stuck is how long a watermark may stand before what waits for it makes room for
// others.
const stuck = time.Minute

// patience is a limit that takes into account that an empty queue which nobody consumes
// needs a while to show that it is empty.
func patience(s diff.Sight, limit time.Duration) time.Duration {
	if s.Err == nil && s.Depth.Ready == 0 && s.Depth.Consumers == 0 {
		limit += diff.DefaultVacancy
	}
	return limit
}

// makeRoom takes products of a kind whose watermark stands out of a full engine: they
// stay open. Those of a kind that is not repaired hold nobody up.
func (r *Run) makeRoom(kind product.Kind) {
	if r.Watermarks == nil {
		return
	}
	s := r.Watermarks[kind].Sight()
	limit := patience(s, stuck)
	if r.minor(kind) {
		limit = r.patience()
	}
	if time.Since(r.moved(kind, s)) < limit {
		return
	}
	for _, it := range r.line.evict(kind, judging, proving) {
		r.giveUp(it, run.ReasonCrowded)
	}
}

// giveUp ends an item that waits for a watermark.
func (r *Run) giveUp(it *item, code run.Code) {
	reason := r.queueReason(it.Kind)
	if code == run.ReasonCrowded && reason.Code == run.ReasonQueue {
		reason.Code, reason.Until = code, time.Time{} // it is given up by now
	}
	if it.attempt > 0 {
		// Its event may be queued still. A cursor may return a product twice, so what
		// comes of this kind later waits for the watermark to pass this moment.
		r.sights[it.Kind].darken()
		r.elsewhere.add(it)
	}
	r.books.outcome(it, run.InFlight, "", reason)
}

// queueReason says how the queue of a kind stands.
func (r *Run) queueReason(kind product.Kind) run.Reason {
	w := r.Watermarks[kind]
	s := w.Sight()
	reason := run.Reason{Code: run.ReasonQueue, Queue: w.Name(), Ready: s.Depth.Ready, Consumers: s.Depth.Consumers, Since: s.Moved, Until: s.Moved.Add(r.config.StallTimeout)}
	if !s.Idle.IsZero() {
		reason.Since = s.Idle
	}
	if figures := s.Depth.Statistics; figures != nil && figures.Unacknowledged != nil {
		reason.Held = *figures.Unacknowledged
	}
	if s.Err != nil {
		reason.Code, reason.Detail = run.ReasonUnseen, s.Err.Error()
	}
	return reason
}

// errStopped ends a run whose findings a person must look at.
var errStopped = errors.New("the run stopped itself; see its notes")
