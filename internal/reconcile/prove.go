package reconcile

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// prove looks at both sides once everything that was queued at a repair has been
// consumed, and decides what became of it.
func (r *Run) prove(ctx context.Context) error { return r.decide(ctx, proving, r.proveBatch) }

// proveBatch decides on items of one kind. Those that it does not come to, or with an error
// all, are back in their room.
func (r *Run) proveBatch(ctx context.Context, items []*item) error {
	pairs, err := r.finder.LookBack(ctx, idsOf(items))
	r.line.move(proving, items[len(pairs):]...) // all, with an error
	if err != nil {
		return err
	}
	items = items[:len(pairs)]
	if err := r.vanishing(items, pairs); err != nil {
		r.line.move(proving, items...)
		return err
	}
	for i, it := range items { // before any counts as lost
		if present := pairs[i].Row != nil; present == it.Kind.Rule().InSource {
			r.sights[it.Kind].arrived(it)
		}
	}
	var lost []*item
	for i, it := range items {
		prove := r.proveAbsent
		if it.Kind.Rule().InSource {
			prove = r.provePresent
		}
		switch {
		case prove(it, &pairs[i]):
		case r.mayBeHeld(it):
			r.sights[it.Kind].hold(it)
			it.until = time.Now()
			r.line.move(proving, it)
		case it.inherited: // which says nothing of repairs
			it.inherited = false
			r.sights[it.Kind].gone(it)
			r.line.moveNow(it.way, it)
		default:
			r.attempts[it.Kind].count(it, false)
			lost = append(lost, it)
		}
	}
	for _, it := range lost { // all are counted by now, so that their order does not matter
		r.lost(ctx, it)
	}
	return nil
}

// provePresent decides on a row that a repair brought or changed. It is false where
// the repair had no effect.
func (r *Run) provePresent(it *item, pair *diff.Pair) bool {
	switch {
	case pair.Product == nil && pair.Row != nil && it.ours():
		r.undo(it) // brought back after its deletion, by us or by a racing event
	case pair.Product == nil && pair.Row != nil:
		r.changed(it, pair, product.KindOf(false, true))
	case pair.Product == nil:
		r.books.outcome(it, run.Gone, "", run.Reason{Code: run.ReasonDeleted})
	case pair.Row == nil && !it.Kind.Rule().InCart:
		return false
	case pair.Row == nil:
		r.changed(it, pair, product.KindOf(true, false))
	default:
		return r.proveEqual(it, pair)
	}
	return true
}

func (r *Run) proveEqual(it *item, pair *diff.Pair) bool {
	differing := r.Target.Table().Differing(pair.Product, pair.Row, it.Kind.Rule().Proof)
	kind, _ := r.finder.Differs(*pair)
	overtaken := !pair.Product.Updated.Equal(it.stamp) || !it.Kind.Rule().InCart
	switch {
	case it.queued && it.Kind.Rule().InCart && slices.Equal(differing, []product.Field{product.SellerID}):
		r.attempts[it.Kind].count(it, true)
		it.fields = changes(differing, pair)
		r.books.outcome(it, run.Blocked, product.SellerID.String(), useDirect)
	case len(differing) == 0 && kind == "":
		r.attempts[it.Kind].count(it, true)
		r.books.outcome(it, run.Verified, "", run.Reason{})
	case overtaken: // an update came before or behind our repair: it is stale, for now
		r.attempts[it.Kind].count(it, true)
		r.again(it, product.Stale, pair.Product.Updated)
	default:
		return false
	}
	return true
}

// proveAbsent decides on a row that a repair removed. It is false where the repair had
// no effect.
func (r *Run) proveAbsent(it *item, pair *diff.Pair) bool {
	switch {
	case pair.Product != nil && it.undo:
		r.books.outcome(it, run.Gone, "", run.Reason{Code: run.ReasonArrived})
	case pair.Product != nil: // it is there again
		kind, _ := r.finder.Differs(*pair)
		if kind == "" {
			r.books.outcome(it, run.Gone, "", run.Reason{Code: run.ReasonArrived})
			return true
		}
		r.again(it, kind, pair.Stamp(kind))
	case pair.Row != nil:
		return false
	default:
		r.attempts[it.Kind].count(it, true)
		state, reason := run.Verified, run.Reason{}
		if it.undo {
			state, reason.Code = run.Undone, run.ReasonRevived
		}
		r.books.outcome(it, state, "", reason)
	}
	return true
}

// lost deals with a repair that had no effect: it is tried again while that makes
// sense, then left to the fallback, and reported in the end.
func (r *Run) lost(ctx context.Context, it *item) {
	it.vain = true
	r.sights[it.Kind].gone(it)
	if it.consumed() && r.Losing != nil {
		r.Losing(it.Kind)
	}
	r.books.lost(ctx, it)
	young := it.Kind == product.Missing && r.settling.sparedUntil(it).After(time.Now())
	switch {
	case it.undo && it.attempt-it.spent < fewAttempts, !it.undo && it.way != rescuing && r.attempts[it.Kind].goOn(it.attempt, r.config.MaxRounds):
		r.line.move(it.way, it)
	case it.way == repairing && r.fallback() != nil && !young:
		it.way = rescuing
		r.line.move(rescuing, it)
	default:
		r.books.vain(it)
	}
}

// mayBeHeld tells whether a consumer may still hold the event: a large one for as long as it
// may be on its way, since the queue's figures are late. What is delivered and not
// acknowledged is seen by the management API only, and without that nothing is lost while
// other repairs of ours arrive.
func (r *Run) mayBeHeld(it *item) bool {
	switch {
	case !it.queued:
		return false
	case time.Since(it.acted) < it.transit:
		return true
	case r.Watermarks == nil:
		return false
	}
	if figures := r.Watermarks[it.Kind].Sight().Depth.Statistics; figures != nil && figures.Unacknowledged != nil {
		return false
	}
	return time.Since(r.sights[it.Kind].lastArrival()) < r.patience()
}

// consumed tells of a lost repair whether it was an event that the broker had taken.
func (it *item) consumed() bool { return it.queued && it.fate == product.Confirmed }

// lostReason is all that was seen of a repair that had no effect.
func lostReason(it *item) run.Reason {
	switch {
	case !it.queued:
		return run.Reason{Code: run.ReasonDiffers}
	case it.consumed():
		return run.Reason{Code: run.ReasonConsumed, Number: int64(it.attempt)}
	}
	return run.Reason{Code: run.ReasonSilent, Number: int64(it.attempt)}
}

// attempts remembers how the last repairs of one kind ended, in the order in which they
// were made: those that arrive are known to have long before the others are given up.
type attempts struct {
	mu   sync.Mutex
	last []ending
}

type ending struct {
	acted   time.Time
	arrived bool
}

const (
	// remembered is how many repairs decide whether more of them make sense.
	remembered = 500
	// enough is the share of them that must have arrived.
	enough = 0.20
	// few repairs prove nothing: where two consumers share the queue, half of all single
	// events miss the cart. So many attempts are made in any case.
	few, fewAttempts = 25, 5
)

// count remembers how a repair ended. What the fallback writes, and what is taken back,
// says nothing for more of them.
func (a *attempts) count(it *item, arrived bool) {
	if it.way != repairing {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	at := len(a.last)
	for at > 0 && a.last[at-1].acted.After(it.acted) {
		at--
	}
	a.last = slices.Insert(a.last, at, ending{it.acted, arrived})
	if len(a.last) > remembered {
		a.last = slices.Delete(a.last, 0, 1)
	}
}

// of returns how many of the last repairs have arrived.
func (a *attempts) of() (arrived, all int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.last {
		if r.arrived {
			arrived++
		}
	}
	return arrived, len(a.last)
}

// hopeless tells whether fewer than enough of the last repairs have arrived.
func (a *attempts) hopeless() bool {
	arrived, all := a.of()
	return all >= few && float64(arrived) < enough*float64(all)
}

// goOn tells whether another attempt makes sense behind so many.
func (a *attempts) goOn(made, most int) bool {
	arrived, all := a.of()
	switch {
	case made >= most:
		return false
	case all < few:
		return made < fewAttempts || float64(arrived) >= enough*float64(all)
	}
	return !a.hopeless()
}
