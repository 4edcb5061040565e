package reconcile

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// worker repairs the items of one room. Kinds, and ways to repair, do not wait for each
// other.
type worker struct {
	*Run
	room     roomKey
	repairer Repairer
	// queued: the repair goes through the cart's queue, and is proved behind it. One
	// that is committed proves itself.
	queued bool
}

// workers are those that the run needs.
func (r *Run) workers() []worker {
	var all []worker
	if r.options.DryRun {
		return nil
	}
	queued := r.options.Mode == run.Replay
	for _, kind := range r.options.Repair {
		all = append(all, worker{r, roomKey{repairing, kind}, r.main(), queued})
		if r.fallback() != nil {
			all = append(all, worker{r, roomKey{rescuing, kind}, r.fallback(), false})
		}
	}
	undoer := worker{r, roomKey{undoing, product.Orphaned}, r.Undo, false}
	if r.Undo == nil {
		undoer.repairer, undoer.queued = r.main(), queued
	}
	return append(all, undoer)
}

// fallback writes what a replay has lost in the end; nil where that is not wanted.
func (r *Run) fallback() Repairer {
	if r.options.Mode == run.Replay {
		return r.Direct
	}
	return nil
}

// inFlight is how many batches of one room are repaired at once: while the answers to one
// come, the next one is read and sent.
const inFlight = 2

// repair acts on what comes into its room, until nothing comes any more. Batches whose
// answers it need not wait for it leaves to begin, which ends the run where one fails.
func (w worker) repair(ctx context.Context, begin func(func() error)) (err error) {
	under := semaphore.NewWeighted(inFlight)
	defer func() {
		if err != nil { // which would end what is under way
			_ = under.Acquire(ctx, inFlight) // or all is being ended already
		}
	}()
	for {
		items, _, err := w.line.take(ctx, w.caution.step(w.size()), w.room)
		if err != nil || len(items) == 0 {
			return err
		}
		n, err := w.reserve(ctx, len(items))
		w.line.move(w.room.stage, items[n:]...)
		if err != nil {
			return err
		}
		// Products differ in how often they were tried.
		slices.SortStableFunc(items[:n], func(a, b *item) int { return a.attempt - b.attempt })
		for batch := range chunksBy(items[:n], func(it *item) int { return it.attempt }) {
			back := func() { w.line.move(w.room.stage, batch...) }
			if err != nil || under.Acquire(ctx, 1) != nil {
				back()
				continue
			}
			// Where documents are large, or steps small, one thing is done after the other.
			if w.finder.Large() || w.caution.step(inFlight) < inFlight {
				err = w.alone(ctx, func() error { return w.act(ctx, batch, func(answered func() error) error { return answered() }) }, back)
				under.Release(1)
				continue
			}
			left := false
			err = w.act(ctx, batch, func(answered func() error) error {
				left = true
				begin(func() error { defer under.Release(1); return answered() })
				return nil
			})
			if !left {
				under.Release(1)
			}
		}
		if err != nil {
			return err
		}
	}
}

// size is how many products are repaired at once: a writer is given a piece of them, whatever
// the size of a batch.
func (w worker) size() int {
	if w.queued {
		return w.options.BatchSize
	}
	return max(w.options.BatchSize, product.Piece)
}

// reserve returns how many may be repaired now, 0 with an error. A paused run holds
// before credit is taken; one that was paused while it waited for credit asks again.
func (w worker) reserve(ctx context.Context, want int) (int, error) {
	for {
		if err := w.pause.wait(ctx); err != nil {
			return 0, err
		}
		n, err := w.repairer.Reserve(ctx, w.room.Kind, want, w.sights[w.room.Kind].unseen)
		if err != nil {
			return 0, err
		}
		if !w.pause.holds() {
			return n, nil
		}
	}
}

// act repairs items that were reserved. Each is read again right before, unless it was
// judged just now. With an error those that were not acted on are back in the room. What is
// left once they are ready to be sent goes through then.
func (w worker) act(ctx context.Context, items []*item, then func(answered func() error) error) error {
	repairs, items, err := w.readAgain(ctx, items) // those that are left
	if err != nil {
		w.line.move(w.room.stage, items...)
		return err
	}
	if len(items) == 0 {
		return nil
	}
	attempt := items[0].attempt + 1
	hands := make([]run.Hand, len(items))
	for i, it := range items {
		hands[i] = run.Hand{Key: it.reported(), Attempt: attempt}
	}
	if err := w.Ledger.Begin(ctx, hands); err != nil {
		w.line.move(w.room.stage, items...)
		return err
	}
	for i, it := range items {
		if it.inHand.ID != "" && it.inHand != hands[i].Key {
			w.books.gone(it.inHand) // it is another difference by now
		}
		it.way, it.inHand = w.room.stage, hands[i].Key
	}
	if slices.ContainsFunc(items, func(it *item) bool { return time.Since(it.judged) > late }) {
		w.line.move(w.room.stage, items...) // something was waited for since
		return nil
	}
	if w.queued {
		w.sights[w.room.Kind].sent(items, repairs)
	}
	return then(func() error { return w.answered(ctx, items, attempt, repairs) })
}

// answered repairs items and sees to what became of each.
func (w worker) answered(ctx context.Context, items []*item, attempt int, repairs []product.Repair) error {
	results, err := w.repairer.Repair(ctx, w.room.Kind, attempt, repairs)
	var acted, again []*item
	for i, it := range items {
		result := product.Result{ID: it.ID} // of one that the repairer did not come to
		if i < len(results) {
			result = results[i]
		}
		switch w.happened(it, attempt, result) {
		case proving:
			acted = append(acted, it)
		case w.room.stage:
			again = append(again, it)
		}
	}
	w.line.move(proving, acted...)
	w.line.move(w.room.stage, again...)
	return err
}

// reported is the difference that the run's books have the item under.
func (it *item) reported() run.Key {
	if it.undo {
		return run.Key{ID: it.ID, Kind: product.Missing}
	}
	return it.Key
}

// happened tells where an item goes by what was seen of its repair: to its proof, back
// into the room, or nowhere, with an outcome.
func (w worker) happened(it *item, attempt int, result product.Result) stage {
	it.fate = result.Fate
	if result.Fate.MayArrive() {
		it.vain = false
		it.attempt, it.acted, it.queued, it.until = attempt, time.Now(), w.queued, time.Time{}
		if w.queued {
			it.until, it.transit = it.acted, transit(result.Bytes)
		}
		it.brought = it.brought || !it.Kind.Rule().InCart
		w.books.acted(it, result.Fate)
		return proving
	}
	w.sights[it.Kind].gone(it)
	if result.Fate == product.Nacked {
		it.nacks++
		w.books.nacked()
		if it.nacks < w.config.MaxRounds {
			return w.room.stage
		}
		w.books.outcome(it, run.Lost, "", run.Reason{Code: run.ReasonNacked, Number: int64(it.nacks)})
		return nowhere
	}
	var misfit *product.Misfit
	switch {
	case result.Err == nil: // untried
		return w.room.stage
	case errors.As(result.Err, &misfit):
		w.books.outcome(it, run.Blocked, misfit.Column, run.Reason{Code: run.ReasonMisfit, Detail: misfit.Reason})
	default:
		w.books.outcome(it, run.Failed, "", run.Reason{Code: run.ReasonService, Detail: result.Err.Error()})
	}
	return nowhere
}

// transit is how long an event may be on its way from the broker to the cart: nothing shows a
// large one between leaving the queue and becoming a row, and one that was called lost too
// early would be offered twice.
func transit(bytes int) time.Duration {
	const slowest = 256 << 10 // bytes a second, of a busy consumer
	return time.Duration(bytes) * time.Second / slowest
}

// fresh is how old what was read for the judgement may be to be acted on without another
// look, and late how old anything that was read may be by the time of the act.
const fresh, late = time.Second, 5 * time.Second

// readAgain reads items right before they are acted on, and returns the repairs of
// those that are still the same difference and that the cart can hold. The others go
// their way; what is too large to be acted on at once, back into the room. With an error
// all come back.
func (w worker) readAgain(ctx context.Context, items []*item) ([]product.Repair, []*item, error) {
	var old []*item
	for _, it := range items {
		if it.pair != nil && time.Since(it.judged) > fresh {
			it.pair = nil
		}
		if it.pair == nil {
			old = append(old, it)
		}
	}
	if len(old) > 0 {
		looked := time.Now()
		pairs, err := w.finder.Look(ctx, idsOf(old))
		if err != nil {
			return nil, items, err
		}
		for i := range pairs {
			old[i].pair, old[i].judged = &pairs[i], looked
		}
		w.line.move(w.room.stage, old[len(pairs):]...)
		items = slices.DeleteFunc(items, func(it *item) bool { return it.pair == nil })
	}
	fits, err := w.fit(ctx, w.room.Kind, items)
	if err != nil {
		return nil, items, err
	}
	var repairs []product.Repair
	var left []*item
	for _, it := range items {
		pair, fit := it.pair, fits[it.ID]
		it.pair = nil
		switch kind, fields := w.finder.Differs(*pair); {
		case kind == "":
			w.agreed(it, pair)
		case kind != it.Kind:
			w.changed(it, pair, kind)
		case !it.undo && w.postponed(it):
		case fit.reason.Code != "":
			it.fields = changes(fields, pair)
			w.books.outcome(it, run.Blocked, fit.column, fit.reason)
		default:
			repair := product.Repair{Row: fit.row, Undo: it.undo}
			if pair.Product != nil {
				repair.Product, it.stamp = *pair.Product, pair.Stamp(kind)
			}
			if pair.Row != nil {
				repair.Was, repair.Fields = *pair.Row, fields
			}
			repairs, left = append(repairs, repair), append(left, it)
		}
	}
	return repairs, left, nil
}

// agreed ends an item that needs no repair any more: deleted in the source, or arrived.
func (r *Run) agreed(it *item, pair *diff.Pair) {
	switch {
	case pair.Product == nil:
		r.books.outcome(it, run.Gone, "", run.Reason{Code: run.ReasonDeleted})
	case it.attempt > 0: // an earlier repair has come late
		r.books.outcome(it, run.Verified, "", run.Reason{})
	default:
		r.books.outcome(it, run.Gone, "", run.Reason{Code: run.ReasonArrived})
	}
}

// changed deals with an item that has become another difference before its repair.
func (r *Run) changed(it *item, pair *diff.Pair, kind product.Kind) {
	if it.undo { // the source has it again
		r.books.outcome(it, run.Gone, "", run.Reason{Code: run.ReasonArrived})
		return
	}
	r.again(it, kind, pair.Stamp(kind))
}

// alone does what holds documents. Where these are large, it is done by one stage at a
// time, so that no two hold theirs at once. With an error from the wait for that, it is
// not done, and back is called.
func (r *Run) alone(ctx context.Context, do func() error, back func()) error {
	if !r.finder.Large() {
		return do()
	}
	if r.large.Acquire(ctx, 1) != nil {
		back()
		return context.Cause(ctx)
	}
	defer r.large.Release(1)
	return do()
}

// chunksBy cuts items into runs of one key.
func chunksBy(items []*item, key func(*item) int) iter.Seq[[]*item] {
	return func(yield func([]*item) bool) {
		for len(items) > 0 {
			n := 1
			for n < len(items) && key(items[n]) == key(items[0]) {
				n++
			}
			if !yield(items[:n]) {
				return
			}
			items = items[n:]
		}
	}
}
