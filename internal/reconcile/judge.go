package reconcile

import (
	"context"
	"maps"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// judge looks again, by id on both sides, at each item whose moment has passed. What
// is still the same difference is confirmed; what is none any more is resolved; what
// has become another one waits anew.
func (r *Run) judge(ctx context.Context) error { return r.decide(ctx, judging, r.judgeBatch) }

// judgeBatch decides on items. Those that it does not come to, because they are large or
// with an error, are back in their rooms.
func (r *Run) judgeBatch(ctx context.Context, items []*item) error {
	err := r.pause.wait(ctx)
	var pairs []diff.Pair
	looked := time.Now()
	if err == nil {
		pairs, err = r.finder.Look(ctx, idsOf(items))
	}
	r.line.move(judging, items[len(pairs):]...) // all, with an error
	if err != nil {
		return err
	}
	var named, passed []*item
	for i, it := range items[:len(pairs)] {
		switch {
		case !r.confirmed(ctx, it, &pairs[i], looked):
		case !r.repairable(it):
			named = append(named, it)
		case r.guard.admit(it):
			passed = append(passed, it)
		}
	}
	for _, it := range passed {
		if it.pair.Bytes() > largePair {
			it.pair = nil
		}
	}
	r.line.move(repairing, passed...)
	return r.assess(ctx, named)
}

// largePair is from how many bytes on a product is read again for its repair: many wait
// for one at a time.
const largePair = 2 << 10

// maxLooks bounds how often a product that becomes another difference again and again
// is looked at.
const maxLooks = 3

// confirmed tells whether an item is still the difference that settled. One that is
// not goes its way.
func (r *Run) confirmed(ctx context.Context, it *item, pair *diff.Pair, looked time.Time) bool {
	kind, fields := r.finder.Differs(*pair)
	stamp := pair.Stamp(kind)
	if kind != "" {
		it.title = pair.Title(run.MaxTitle)
	}
	switch {
	case kind == "":
		r.resolved(ctx, it, pair)
		return false
	case kind != it.Kind || !stamp.Equal(it.stamp):
		r.again(it, kind, stamp)
		return false
	}
	if settled := r.settling.end(it); settled.After(time.Now()) { // longer gaps were measured meanwhile
		it.until = settled
		r.line.move(judging, it)
		return false
	}
	if r.options.repairs(it.Kind) && r.postponed(it) {
		return false
	}
	it.pair, it.judged, it.fields = pair, looked, changes(fields, pair)
	return true
}

// resolved ends an item that differs no more.
func (r *Run) resolved(ctx context.Context, it *item, pair *diff.Pair) {
	switch {
	case it.attempt == 0:
		if pair.Row != nil {
			r.settling.arrived(ctx, it)
		}
		r.books.resolved(it)
	case pair.Product == nil:
		r.books.outcome(it, run.Gone, "", run.Reason{Code: run.ReasonDeleted})
	default: // its repair, or an update that overtook it, has brought it
		r.books.outcome(it, run.Verified, "", run.Reason{})
	}
}

// again lets an item that has become another difference wait like one that is seen for
// the first time.
func (r *Run) again(it *item, kind product.Kind, stamp time.Time) {
	if it.looks++; it.looks >= maxLooks {
		r.books.outcome(it, run.InFlight, "", run.Reason{Code: run.ReasonChanging})
		return
	}
	if kind != it.Kind {
		r.sights[it.Kind].gone(it) // nothing of the old kind is waited for any more
		r.elsewhere.add(it)
		r.line.become(it, kind)
	}
	it.stamp, it.firstSeen, it.confirmed, it.vain, it.pair = stamp, time.Now(), false, false, nil
	it.until = r.moment(it)
	r.line.move(judging, it)
}

// repairable tells whether a confirmed item is one for the guard. One of a kind that is
// not repaired is only named.
func (r *Run) repairable(it *item) bool {
	r.books.confirmed(it)
	return r.options.repairs(it.Kind) || it.Kind == product.Orphaned && it.ours() && !r.options.DryRun
}

// ours tells whether a row came by a repair, of this run or of one that did not live to
// prove it.
func (it *item) ours() bool {
	if it.brought {
		return true
	}
	for _, known := range it.known {
		if known.Kind == product.Missing && !known.Acted.IsZero() {
			return true
		}
	}
	return false
}

// assess names what is left alone. Of the kinds that another run would repair, it says
// what such a repair would be blocked by.
func (r *Run) assess(ctx context.Context, items []*item) error {
	fits := make(map[product.ID]fit)
	for _, kind := range r.options.Repair {
		of := ofKind(items, kind)
		if len(of) == 0 {
			continue
		}
		some, err := r.fit(ctx, kind, of)
		if err != nil {
			r.line.move(judging, items...)
			return err
		}
		maps.Copy(fits, some)
	}
	for _, it := range items {
		if fit := fits[it.ID]; fit.reason.Code != "" {
			r.books.outcome(it, run.Blocked, fit.column, fit.reason)
			continue
		}
		r.books.outcome(it, run.Found, "", run.Reason{})
	}
	return nil
}

func ofKind(items []*item, kind product.Kind) []*item {
	var of []*item
	for _, it := range items {
		if it.Kind == kind {
			of = append(of, it)
		}
	}
	return of
}
