package diff

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// Queue lets the engine see one of the cart's queues. It is only ever looked at.
type Queue interface {
	// Depth reads the queue's present state from the broker.
	Depth(ctx context.Context) (Depth, error)
}

// Depth is one look at a queue.
type Depth struct {
	Ready     int // messages waiting
	Consumers int
	// Statistics holds what the management API adds, nil where it is not used.
	Statistics *Statistics
}

// Statistics are the broker's own figures of a queue. They lag behind Depth by up
// to StatisticsLag.
type Statistics struct {
	Unacknowledged int   // delivered, not yet acknowledged
	Acknowledged   int64 // acknowledged since the queue was made, only ever growing
}

// StatisticsLag is how old the figures of RabbitMQ's management API may be. A queue
// emits them every 5 s (collect_statistics_interval), and the collector shows them
// up to 5 s later: measured with RabbitMQ 4.3, an acknowledgement showed after up to
// 10.02 s. The rest is for a caller that asks less often than it looks.
const StatisticsLag = 12 * time.Second

// StalledError says that a queue was not drained in time.
type StalledError struct {
	Queue  string
	Waited time.Duration
	Ready  int
	// Unacknowledged is the number of messages that consumers hold, 0 where it is unknown.
	Unacknowledged int
	NoDepth        error // why the depth could not be read at last, nil if it could
	Idle           bool  // nobody consumes the queue
}

func (e *StalledError) Error() string {
	switch {
	case e.NoDepth != nil:
		return fmt.Sprintf("queue %s could not be seen for %s: %v", e.Queue, e.Waited.Round(time.Second), e.NoDepth)
	case e.Ready == 0 && e.Unacknowledged > 0:
		return fmt.Sprintf("%d messages of %s are delivered and still not acknowledged after %s", e.Unacknowledged, e.Queue, e.Waited.Round(time.Second))
	case e.Idle:
		return fmt.Sprintf("%d messages still queued in %s after %s, and nobody consumes them", e.Ready, e.Queue, e.Waited.Round(time.Second))
	default:
		return fmt.Sprintf("%d messages still queued in %s after %s", e.Ready, e.Queue, e.Waited.Round(time.Second))
	}
}

// WatchConfig sets how a queue is watched.
type WatchConfig struct {
	Grace        time.Duration // from one empty look to the next that counts
	StallTimeout time.Duration // the longest wait for a drained queue
	Interval     time.Duration // between two looks
}

// Watch looks at one queue all the time, so that a wait for a moment that has
// passed can be over at once.
type Watch struct {
	name   string
	queue  Queue
	config WatchConfig

	mu      sync.Mutex
	history drainHistory
	last    Depth
	err     error
	changed chan struct{} // closed and replaced at each look
	moved   time.Time     // the last look that showed the queue being consumed
	stalled time.Time     // the end of the last wait that was in vain
}

// NewWatch makes a watch of one queue; name is for messages. Run must be running
// for Wait to end.
func NewWatch(name string, queue Queue, config WatchConfig) *Watch {
	return &Watch{name: name, queue: queue, config: config, changed: make(chan struct{}),
		history: drainHistory{grace: config.Grace}}
}

// Run looks at the queue until ctx is done.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(w.config.Interval)
	defer tick.Stop()
	for {
		asked := time.Now()
		depth, err := w.queue.Depth(ctx)
		w.mu.Lock()
		if err == nil && (depth.Ready == 0 || depth.Ready < w.last.Ready) {
			w.moved = asked
		}
		w.last, w.err = depth, err
		if err != nil {
			w.history.lost() // fail closed: what cannot be seen is not empty
		} else {
			w.history.saw(asked, time.Now(), depth)
		}
		close(w.changed)
		w.changed = make(chan struct{})
		w.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Last is the most recent look, and the error if it failed.
func (w *Watch) Last() (Depth, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.err
}

// Wait returns nil as soon as everything queued at t has been consumed: the
// queue was seen empty after t, and still empty Grace later. *StalledError says
// that this did not happen within StallTimeout. A queue that nobody has consumed
// from since such a wait is not waited for as long again.
func (w *Watch) Wait(ctx context.Context, t time.Time) error {
	begun := time.Now()
	deadline := time.NewTimer(w.patience())
	defer deadline.Stop()
	for {
		w.mu.Lock()
		drained, changed := w.history.drainedSince(t), w.changed
		if !drained {
			w.history.mark(t)
		}
		last, err := w.last, w.err
		w.mu.Unlock()
		if drained {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			w.mu.Lock()
			w.stalled = time.Now()
			w.mu.Unlock()
			stall := &StalledError{Queue: w.name, Waited: time.Since(begun), NoDepth: err}
			if err == nil {
				stall.Ready, stall.Idle = last.Ready, last.Consumers == 0
				if last.Statistics != nil {
					stall.Unacknowledged = last.Statistics.Unacknowledged
				}
			}
			return stall
		}
	}
}

// patience is how long a wait may take: long enough for two looks at least.
func (w *Watch) patience() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stalled.IsZero() || w.moved.After(w.stalled) {
		return w.config.StallTimeout
	}
	return min(w.config.StallTimeout, 2*(w.config.Grace+w.config.Interval))
}

// drainHistory is what a series of looks proves about a queue.
type drainHistory struct {
	grace     time.Duration
	consumers int
	empties   []look    // recent empty looks that no later one has confirmed yet
	drained   time.Time // everything queued before this moment has been consumed
	marks     []mark    // moments that statistics may prove as drained
}

type look struct{ asked, answered time.Time }

// mark follows one moment t by count: the messages that were there then, and how
// many have been acknowledged since. A figure of the statistics is younger than a
// moment if it was read StatisticsLag after it, so the count takes several looks.
type mark struct {
	t time.Time
	// ready messages were counted between t and counted.
	ready   int
	counted time.Time
	// waiting adds the unacknowledged ones, by a figure from after counted: a message
	// that was there at t and is not acknowledged is among the one or the other.
	waiting  int
	complete time.Time
	// baseline is the number acknowledged, by a figure from after complete.
	baseline  int64
	baselined bool
	// reached is when as many had been acknowledged as were waiting.
	reached time.Time
}

// lost forgets what needs unbroken sight.
func (h *drainHistory) lost() { h.empties, h.marks = nil, nil }

func (h *drainHistory) saw(asked, answered time.Time, d Depth) {
	if d.Consumers < h.consumers {
		// A consumer left: what it had not acknowledged went back to the queue, so
		// an earlier look, or count, says nothing about it.
		h.empties = nil
		for i := range h.marks {
			h.marks[i] = mark{t: h.marks[i].t}
		}
	}
	h.consumers = d.Consumers
	h.sawStatistics(asked, answered, d)
	if d.Ready > 0 || (d.Statistics != nil && d.Statistics.Unacknowledged > 0) {
		return
	}
	lag := h.grace
	if d.Statistics != nil {
		lag = max(lag, StatisticsLag) // the figures must be younger than the first look
	}
	confirmed := -1
	for i, e := range h.empties {
		if asked.Sub(e.answered) < lag {
			break
		}
		confirmed = i
	}
	if confirmed >= 0 {
		h.prove(h.empties[confirmed].asked)
		h.empties = append(h.empties[:0], h.empties[confirmed+1:]...)
	}
	h.empties = append(h.empties, look{asked, answered})
}

func (h *drainHistory) prove(t time.Time) {
	if t.After(h.drained) {
		h.drained = t
	}
}

// maxMarks bounds what is followed; a queue that never empties is drained by count.
const maxMarks = 16

// mark starts to follow t by count.
func (h *drainHistory) mark(t time.Time) {
	for _, m := range h.marks {
		if m.t.Equal(t) {
			return
		}
	}
	if len(h.marks) < maxMarks {
		h.marks = append(h.marks, mark{t: t})
	}
}

// sawStatistics proves a moment by count: as many messages acknowledged since as
// were waiting then. A classic queue delivers in order, so by then all of these
// are delivered, and with one consumer acknowledged too. Others may have been
// acknowledged in their place where several consumers share the queue, hence Grace
// for a consumer to finish what it holds, as between two empty looks.
func (h *drainHistory) sawStatistics(asked, answered time.Time, d Depth) {
	if d.Statistics == nil {
		h.marks = nil
		return
	}
	kept := h.marks[:0]
	for _, m := range h.marks {
		switch {
		case m.counted.IsZero():
			if asked.After(m.t) {
				m.ready, m.counted = d.Ready, answered
			}
		case m.complete.IsZero():
			if asked.Sub(m.counted) >= StatisticsLag {
				m.waiting, m.complete = m.ready+d.Statistics.Unacknowledged, answered
			}
		case !m.baselined:
			if asked.Sub(m.complete) >= StatisticsLag {
				m.baseline, m.baselined = d.Statistics.Acknowledged, true
			}
		case m.reached.IsZero():
			if d.Statistics.Acknowledged-m.baseline >= int64(m.waiting) {
				m.reached = answered
			}
		case asked.Sub(m.reached) >= h.grace:
			h.prove(m.t.Add(1))
		}
		if !h.drainedSince(m.t) {
			kept = append(kept, m)
		}
	}
	h.marks = kept
}

// drainedSince tells whether everything queued at t has been consumed.
func (h *drainHistory) drainedSince(t time.Time) bool { return h.drained.After(t) }

// QueueBarriers waits on the queue that repairs each kind of difference.
type QueueBarriers map[product.Kind]*Watch

// Wait implements Barriers.
func (b QueueBarriers) Wait(ctx context.Context, kind product.Kind, t time.Time) error {
	w, watched := b[kind]
	if !watched {
		return fmt.Errorf("no queue is watched for %s products", kind)
	}
	return w.Wait(ctx, t)
}

// Run watches all queues until ctx is done.
func (b QueueBarriers) Run(ctx context.Context) {
	var watches sync.WaitGroup
	for _, w := range b {
		watches.Go(func() { w.Run(ctx) })
	}
	watches.Wait()
}
