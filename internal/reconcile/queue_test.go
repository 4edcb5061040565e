package reconcile_test

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
)

// event is a message to the cart. One that vanishes is consumed by somebody else.
type event struct {
	row      product.Row
	ours     bool
	vanishes bool
}

// queue is one of the cart's queues and its consumer, which takes one event after the
// other and acknowledges each when its row is stored.
type queue struct {
	shop *shop
	kind product.Kind
	// pace is how long an event takes; stands stops the consumer, dead has there be none.
	pace   time.Duration
	stands bool
	dead   bool
	// leaderless picks the times at which a quorum queue has no leader: it takes and
	// delivers as before, and shows neither messages nor consumers.
	leaderless func() bool
	managed    bool // the management API shows its figures

	came chan struct{} // rings when there is something to consume
	// The shop's mutex guards the rest.
	waiting []event
	held    *event
	most    int           // the longest that it ever was, ours only
	idle    time.Duration // of the consumer, since the first event
	since   time.Time     // the consumer has had nothing to do
	taken   int64         // events that were acknowledged
	figures *diff.Statistics
	dated   time.Time // the figures were collected
}

// collectInterval is how often the management API's figures are collected.
const collectInterval = 5 * time.Second

// pace of the cart's consumer, as measured: 166 events a second.
const pace = 6 * time.Millisecond

func (q *queue) put(e event) {
	q.shop.mu.Lock()
	defer q.shop.mu.Unlock()
	if e.ours && (q.holds(e.row.ID)) {
		q.shop.audit.wrong("two %s events of %s are queued at once", q.kind, e.row.ID)
	}
	if !q.since.IsZero() {
		q.idle += time.Since(q.since)
		q.since = time.Time{}
	}
	q.waiting = append(q.waiting, e)
	q.ring()
	ours := 0
	for _, e := range q.waiting {
		if e.ours {
			ours++
		}
	}
	if q.held != nil && q.held.ours {
		ours++
	}
	q.most = max(q.most, ours)
}

// ring wakes the consumer.
func (q *queue) ring() {
	select {
	case q.came <- struct{}{}:
	default:
	}
}

// holds tells whether an event of ours about a product waits, or is being consumed.
func (q *queue) holds(id product.ID) bool {
	is := func(e event) bool { return e.ours && e.row.ID == id }
	return q.held != nil && is(*q.held) || slices.ContainsFunc(q.waiting, is)
}

// Depth is the queue as AMQP shows it.
func (q *queue) Depth(context.Context) (diff.Depth, error) {
	q.shop.mu.Lock()
	defer q.shop.mu.Unlock()
	depth := diff.Depth{Ready: len(q.waiting), Consumers: 1, Statistics: q.statistics()}
	if q.dead {
		depth.Consumers = 0
	}
	if q.leaderless != nil && q.leaderless() {
		depth.Ready, depth.Consumers = 0, 0
	}
	return depth, nil
}

// statistics are the figures as they were collected last, nil without the management
// API.
func (q *queue) statistics() *diff.Statistics {
	if !q.managed {
		return nil
	}
	if q.figures == nil || time.Since(q.dated) >= collectInterval {
		held, taken := 0, q.taken
		if q.held != nil {
			held = 1
		}
		q.figures, q.dated = &diff.Statistics{Unacknowledged: &held, Acknowledged: &taken}, time.Now()
	}
	return q.figures
}

// consume is the cart's consumer.
func (q *queue) consume(ctx context.Context) {
	for {
		next := q.take()
		if next == nil {
			select {
			case <-q.came:
				continue
			case <-ctx.Done():
				return
			}
		}
		_ = reconcile.SleepUntil(ctx, time.Now().Add(max(q.pace, time.Microsecond)))
		q.shop.mu.Lock()
		q.apply(*next)
		q.held = nil
		q.taken++
		q.shop.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
	}
}

// take is the next event, which is held from now on; nil where there is none.
func (q *queue) take() *event {
	q.shop.mu.Lock()
	defer q.shop.mu.Unlock()
	if len(q.waiting) > 0 && !q.stands {
		e := q.waiting[0]
		q.held, q.waiting = &e, q.waiting[1:]
		return &e
	}
	if len(q.waiting) == 0 && q.since.IsZero() && q.most > 0 {
		q.since = time.Now()
	}
	return nil
}

// apply does what the cart does with an event.
func (q *queue) apply(e event) {
	row, there := q.shop.Rows[e.row.ID]
	switch {
	case e.vanishes:
	case q.kind == product.Missing && !there:
		q.shop.Rows[e.row.ID] = e.row
	case q.kind == product.Stale && there:
		seller := row.Values[product.SellerID]
		row = e.row
		row.Values[product.SellerID] = seller // which an update never sets
		q.shop.Rows[e.row.ID] = row
	case q.kind == product.Orphaned:
		if q.shop.references[e.row.ID] != "" {
			q.shop.audit.wrong("a ProductDeleted event of %s kills the cart: it is referenced", e.row.ID)
			return
		}
		delete(q.shop.Rows, e.row.ID)
	}
}

// open starts the consumers and the sight of their queues, until stop.
func (s *shop) open(ctx context.Context) (watermarks map[product.Kind]reconcile.Watermark, stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	watermarks = make(map[product.Kind]reconcile.Watermark)
	for kind, q := range s.queues {
		w := diff.NewWatch(kind.Rule().Queue, q, diff.WatchConfig{Grace: grace, Interval: 200 * time.Millisecond})
		watermarks[kind] = w
		running.Go(func() { w.Run(ctx) })
		running.Go(func() { q.consume(ctx) })
	}
	return watermarks, func() { cancel(); running.Wait() }
}

const (
	grace        = 2 * time.Second
	stallTimeout = 10 * time.Minute
	settle       = 30 * time.Second
	settleMax    = 10 * time.Minute
)

// goOn lets a consumer that stood still go on.
func (q *queue) goOn() {
	q.stands = false
	q.ring()
}
