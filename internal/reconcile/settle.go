package reconcile

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// settling knows how long a product may be on its way to the cart, and learns it: the
// Product Service answers first and publishes afterwards, one event at a time, so that
// in a burst the gap grows from seconds to minutes.
type settling struct {
	r        *Run
	interval time.Duration // between two looks at young products
	mu       sync.Mutex
	gap      time.Duration // the longest measured
}

func newSettling(r *Run) *settling {
	const most, share = 5 * time.Second, 6
	return &settling{r: r, interval: min(max(r.config.Settle/share, 100*time.Millisecond), most)}
}

// know takes over a gap that was measured before.
func (s *settling) know(gap time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gap = max(s.gap, gap)
}

// current is how long a product may be on its way at this moment: SYNC_SETTLE, or twice
// the longest gap of the last hour, at most SYNC_SETTLE_MAX.
func (s *settling) current() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.config.SettleFor(s.gap)
}

// end is the moment from which a suspect counts. The time runs from the product's
// creation or update, from our first sight where that is unknown or in the future, and
// so never ends later than that time after first sight. A difference that has stood
// open for longer is not waited for, nor one whose own event was consumed. A young product is seen once more at least,
// which shows whether others of its age still arrive.
func (s *settling) end(it *item) time.Time {
	settle := s.current()
	if it.knownFor(settle) || it.announced() {
		return time.Time{}
	}
	from := it.stamp
	if from.IsZero() || from.After(it.firstSeen) {
		from = it.firstSeen
	}
	end := from.Add(settle)
	if s.young(it) {
		end = later(end, it.firstSeen.Add(min(s.interval+s.interval/5, settle)))
	}
	return end
}

// announced tells whether the product's own event was consumed and made no row: nothing of it
// is on its way.
func (it *item) announced() bool {
	return it.Kind == product.Missing && slices.ContainsFunc(it.known, func(k run.Standing) bool { return k.Kind == it.Kind && k.Announced })
}

// knownFor tells whether an earlier run has left the difference open for so long.
func (it *item) knownFor(d time.Duration) bool {
	return slices.ContainsFunc(it.known, func(k run.Standing) bool {
		return k.Kind == it.Kind && it.firstSeen.Sub(k.Opened) >= d
	})
}

// young tells whether a product was created so lately that its own event may yet come.
func (s *settling) young(it *item) bool {
	return it.Kind == product.Missing && !it.stamp.IsZero() && it.firstSeen.Sub(it.stamp) < s.r.config.SettleMax
}

// sparedUntil is when a direct write may bring a product that is as young as this one:
// one that meets the product's own event kills the cart's consumer. The time where
// it may is past.
func (s *settling) sparedUntil(it *item) time.Time {
	if it.knownFor(s.r.config.SettleMax) || it.announced() {
		return it.firstSeen
	}
	from := it.stamp
	if from.IsZero() || from.After(it.firstSeen) {
		from = it.firstSeen
	}
	return from.Add(s.r.config.SettleMax)
}

// teaches tells whether an item's arrival shows how long products are on their way: no
// run has acted on it.
func (s *settling) teaches(it *item) bool {
	return s.young(it) && it.attempt == 0 && !it.announced() && !slices.ContainsFunc(it.known, func(k run.Standing) bool { return !k.Acted.IsZero() })
}

// arrived learns from an item that has come by itself by the time that it is judged.
func (s *settling) arrived(ctx context.Context, it *item) {
	if s.teaches(it) {
		s.mu.Lock()
		gap := it.absent.Sub(it.stamp)
		s.mu.Unlock()
		s.measured(ctx, gap)
	}
}

// learn looks at young products that wait, again and again: one that arrives without a
// repair had the gap from its creation to the last look that missed it.
func (s *settling) learn(ctx context.Context) {
	for wait(ctx, nil, s.interval) == nil {
		type young struct {
			*item
			created time.Time
		}
		var waiting []young
		s.r.line.each(judging, func(it *item) {
			if s.teaches(it) {
				waiting = append(waiting, young{it, it.stamp})
			}
		})
		for batch := range slices.Chunk(waiting, run.MaxBatchSize) {
			ids := make([]product.ID, len(batch))
			for i, y := range batch {
				ids[i] = y.ID
			}
			looked := time.Now()
			present, err := s.r.Target.Present(ctx, ids)
			if err != nil {
				break // the stages meet it too, and say so
			}
			var longest time.Duration
			s.mu.Lock()
			for _, y := range batch {
				if present[y.ID] {
					longest = max(longest, y.absent.Sub(y.created))
				} else {
					y.absent = looked
				}
			}
			s.mu.Unlock()
			s.measured(ctx, longest)
		}
	}
}

// measured keeps a gap that is longer than those before.
func (s *settling) measured(ctx context.Context, gap time.Duration) {
	s.mu.Lock()
	longer := gap > s.gap
	s.gap = max(s.gap, gap)
	s.mu.Unlock()
	if !longer {
		return
	}
	if err := s.r.Ledger.Measured(ctx, gap); err != nil && ctx.Err() == nil {
		s.r.books.note(run.Note{Code: run.NoteLedger, Detail: err.Error()})
	}
}
