package reconcile

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// What made a process end may end the next one at the same place: a lack of memory, a
// panic.
const (
	// cautiousFrom is from which takeover on a process whose predecessor gave no sign of
	// life any more takes the smallest steps: one key range and one product at a time.
	cautiousFrom = 2
	// deadlyFrom is how many processes in a row must have vanished without having settled
	// anything, the last one a cautious one, for the product that it had in hand to be
	// named and left alone.
	deadlyFrom = 2
	// cautiousFor is for how many products it is cautious, behind those that were in hand:
	// the place is behind it then, and a process may vanish for other reasons.
	cautiousFor = 1000
)

func (o *Options) cautious() bool { return o.Vanished > 0 && o.Takeovers >= cautiousFrom }

func (o *Options) inHandIsDeadly() bool {
	return o.Vanished >= deadlyFrom && o.Takeovers > cautiousFrom
}

// caution counts down the products that are still done one at a time.
type caution struct{ left atomic.Int64 }

func (c *caution) begin() { c.left.Store(cautiousFor) }

func (c *caution) settled(products int) { c.left.Add(-int64(products)) }

// step is how many products are done at once, where most may be.
func (c *caution) step(most int) int {
	if c.left.Load() > 0 {
		return 1
	}
	return most
}

// takeOver lets in what an earlier process had in hand. It may have acted on it, so it
// is proved first, behind all that is queued by now. A cautious process does with each
// product all there is to do before it turns to the next.
func (r *Run) takeOver(ctx context.Context, at *run.Checkpoint) error {
	if at == nil || r.options.DryRun {
		return nil
	}
	items := make([]*item, len(at.InHand))
	for i, hand := range at.InHand {
		items[i] = &item{Key: hand.Key, inHand: hand.Key, part: noPart, firstSeen: r.begun, confirmed: true,
			attempt: hand.Attempt, acts: hand.Attempt, acted: r.begun, queued: r.options.Mode == run.Replay, until: r.begun, fate: product.Unknown, inherited: true, way: repairing, passed: hand.Kind, brought: !hand.Kind.Rule().InCart}
	}
	items = r.books.enter(items)
	for _, it := range items { // of those alone an outcome will tell that they have ended
		r.guard.tookOver(it.passed)
	}
	if !r.options.cautious() {
		r.line.enter(proving, items...)
		return nil
	}
	slices.SortFunc(items, func(a, b *item) int { return strings.Compare(string(a.ID), string(b.ID)) })
	for i, it := range items { // each process in the same order
		if i == 0 && r.options.inHandIsDeadly() {
			r.line.enter(nowhere, it)
			r.books.outcome(it, run.Failed, "", run.Reason{Code: run.ReasonDeadly, Number: int64(r.options.Vanished)})
		} else {
			r.line.enter(proving, it)
		}
		if err := r.line.idle(ctx); err != nil {
			return err
		}
	}
	return nil
}
