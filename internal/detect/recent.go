package detect

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Created lists what was created lately. It is the source.
type Created interface {
	// Recent yields the ids of the products that were created at or after from and before
	// until, as far as keys and indexes tell. A page is valid until the next one is asked for.
	Recent(ctx context.Context, from, until time.Time) iter.Seq2[[]product.ID, error]
}

// State is how far the detector has come, for all processes together.
type State interface {
	// Take gives a detector's work to one process for a time; false where another has it.
	Take(ctx context.Context, name run.Detector, owner string, length time.Duration) (run.DetectorState, bool, error)
	// Looked keeps how a look went, and until when everything created was compared.
	Looked(ctx context.Context, name run.Detector, mark time.Time, checked, differing int, problem error) error
}

// Recent compares what was created lately, whether it was announced or not. It relies on a
// document being inserted within SYNC_OVERLAP of the time in its key: one that is inserted
// later is found by the next complete comparison.
type Recent struct {
	*Looker
	Created    Created
	State      State
	Watermarks map[product.Kind]Watermark
	Owner      string
	// Count, if set, hears of each look.
	Count func(checked, differing int)
}

const (
	// recentLease is for how long a process that gives no sign of life keeps the others from
	// this work.
	recentLease = 90 * time.Second
	// stands is how long the cart's queues may stand before a look is given up. The next one
	// begins where this one did.
	stands = time.Minute
	// maxSuspects is how many differences one look keeps at most: more are no lost events, and
	// complete comparisons find them.
	maxSuspects = 10_000
)

var errTaken = errors.New("another process has taken over the look at recent products")

// Do looks once, unless another process does.
func (r *Recent) Do(ctx context.Context) error {
	state, mine, err := r.State.Take(ctx, run.Recent, r.Owner, recentLease)
	if err != nil || !mine {
		return err
	}
	mark, checked, fresh, err := r.look(ctx, state.Mark)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		mark = time.Time{}
	}
	if kept := r.State.Looked(ctx, run.Recent, mark, checked, fresh, err); kept != nil {
		return kept
	}
	if r.Count != nil {
		r.Count(checked, fresh)
	}
	return err
}

// look compares what was created since the mark, less the overlap. What is so young that it may
// be on its way is left to the next look.
func (r *Recent) look(ctx context.Context, mark time.Time) (until time.Time, checked, fresh int, err error) {
	settle, err := r.settle(ctx)
	if err != nil {
		return until, 0, 0, err
	}
	until = time.Now().Add(-settle).Truncate(time.Second)
	if mark.IsZero() {
		mark = until
	}
	from := mark.Add(-r.Config.Overlap)
	var suspects []run.Finding
	for page, err := range r.Created.Recent(ctx, from, until) {
		if err != nil {
			return until, checked, 0, err
		}
		differ, err := r.Look(ctx, page, nil)
		if err != nil {
			return until, checked, 0, err
		}
		checked += len(page)
		suspects = append(suspects, differ[:min(len(differ), maxSuspects-len(suspects))]...)
		// It goes on for as long as a large page takes.
		if _, mine, err := r.State.Take(ctx, run.Recent, r.Owner, recentLease); err != nil {
			return until, checked, 0, err
		} else if !mine {
			return until, checked, 0, errTaken
		}
	}
	fresh, err = r.confirm(ctx, suspects)
	return until, checked, fresh, err
}

// confirm keeps those suspects that still differ once the cart has consumed what was queued
// when they were seen. A queue that stands does not hold back what another one brings.
func (r *Recent) confirm(ctx context.Context, suspects []run.Finding) (fresh int, err error) {
	seen := time.Now()
	var problems []error
	for _, rule := range product.Rules() {
		var ids []product.ID
		for _, s := range suspects {
			if s.Kind == rule.Kind {
				ids = append(ids, s.ID)
			}
		}
		if len(ids) == 0 {
			continue
		}
		n, err := r.confirmed(ctx, rule, ids, seen)
		fresh += n
		problems = append(problems, err)
	}
	return fresh, errors.Join(problems...)
}

func (r *Recent) confirmed(ctx context.Context, rule product.Rule, ids []product.ID, seen time.Time) (fresh int, err error) {
	if err := passed(ctx, rule.Queue, r.Watermarks[rule.Kind], seen, stands); err != nil {
		return 0, err
	}
	slices.Sort(ids)
	found, err := r.Look(ctx, slices.Compact(ids), nil)
	if err != nil {
		return 0, err
	}
	return r.Keep(ctx, found)
}
