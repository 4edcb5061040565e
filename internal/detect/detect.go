// Package detect finds lost events beside the runs, at a cost that does not depend on the size
// of the catalogue. It acts on nothing: what differs is kept in the ledger as an open
// difference, and a run judges it anew before it repairs it.
//
//   - detect.go is what the detectors share: ids → look → open difference.
//   - recent.go looks at what was created lately, published or not. The other detector, the
//     tap, looks at what the platform announces; it consumes messages and is in the room
//     consumer.
//   - drain.go asks for runs that repair what was found.
package detect

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Ledger is where findings are kept.
type Ledger interface {
	// Detect opens differences and returns how many of them were not open before.
	Detect(ctx context.Context, findings []run.Finding) (fresh int, err error)
	// Gap is the longest time from a product's creation to its event of the last hour.
	Gap(ctx context.Context) (time.Duration, error)
}

// Stores are the two stores, read by id. It is a *diff.Finder.
type Stores interface {
	Look(ctx context.Context, ids []product.ID) ([]diff.Pair, error)
	Differs(p diff.Pair) (product.Kind, []product.Field)
}

// Watermark is how far the cart has consumed one of its queues. It is a *diff.Watch.
type Watermark interface {
	Sight() diff.Sight
	Changed() <-chan struct{}
}

// Looker reads products by id on both sides and keeps what differs. It may be used by several
// goroutines.
type Looker struct {
	Ledger Ledger
	// Stores opens the view of the stores that a look is made with.
	Stores func(ctx context.Context) (Stores, error)
	Config Config
	// Settle is how long after its creation or update a product may be on its way, where that
	// is the longest gap that was measured; SettleMax is the most that it may be.
	Settle    func(gap time.Duration) time.Duration
	SettleMax time.Duration
	// Direct tells that runs write rows: a product whose own event may still come is then
	// theirs only after SettleMax.
	Direct bool

	looking sync.Mutex // of both detectors, since the view of the stores is one
}

// settle is how long a product may be on its way at present.
func (l *Looker) settle(ctx context.Context) (time.Duration, error) {
	gap, err := l.Ledger.Gap(ctx)
	return l.Settle(gap), err
}

// portion is how many products are looked at together.
const portion = 500

// Look reads products on both sides, and returns those that differ. All that was queued for the
// cart when they were announced, or created, must have been consumed; the creation itself of
// those that are announced.
func (l *Looker) Look(ctx context.Context, ids []product.ID, announced map[product.ID]bool) ([]run.Finding, error) {
	l.looking.Lock()
	defer l.looking.Unlock()
	stores, err := l.Stores(ctx)
	if err != nil {
		return nil, err
	}
	settle, err := l.settle(ctx)
	if err != nil {
		return nil, err
	}
	var found []run.Finding
	for len(ids) > 0 {
		pairs, err := stores.Look(ctx, ids[:min(len(ids), portion)])
		if err != nil {
			return nil, err
		}
		ids = ids[len(pairs):]
		for i := range pairs {
			kind, _ := stores.Differs(pairs[i])
			if kind == "" {
				continue
			}
			f := run.Finding{Key: run.Key{ID: pairs[i].ID, Kind: kind}, Title: pairs[i].Title(run.MaxTitle), Due: l.due(&pairs[i], kind, settle)}
			if kind == product.Missing && announced[f.ID] {
				f.Announced, f.Due = true, time.Now()
			}
			found = append(found, f)
		}
	}
	return found, nil
}

// due is when a run is to repair what differs: not before it would have to wait for it.
func (l *Looker) due(pair *diff.Pair, kind product.Kind, settle time.Duration) time.Time {
	now := time.Now()
	since := pair.Stamp(kind)
	if since.IsZero() || since.After(now) {
		since = now
	}
	if kind == product.Missing && l.Direct {
		settle = max(settle, l.SettleMax)
	}
	if end := since.Add(settle); end.After(now) {
		return end
	}
	return now
}

// Keep keeps what was found.
func (l *Looker) Keep(ctx context.Context, found []run.Finding) (fresh int, err error) {
	return l.Ledger.Detect(ctx, found)
}

// ErrStands says that a queue was not consumed while it was waited for.
var ErrStands = errors.New("the cart does not consume its queue")

// passed waits until everything that was queued before t has been consumed. It gives up with
// ErrStands where nothing moves for stand.
func passed(ctx context.Context, queue string, w Watermark, t time.Time, stand time.Duration) error {
	begun := time.Now()
	for {
		changed, sight := w.Changed(), w.Sight()
		if sight.Passed.After(t) {
			return nil
		}
		moved := sight.Moved
		if begun.After(moved) {
			moved = begun
		}
		switch {
		case time.Since(moved) < stand:
		case sight.Err != nil:
			return fmt.Errorf("%w: %s cannot be seen: %w", ErrStands, queue, sight.Err)
		default:
			return fmt.Errorf("%w: %s has %d messages and %d consumers, and stands for %s", ErrStands, queue, sight.Depth.Ready, sight.Depth.Consumers, time.Since(moved).Round(time.Second))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
