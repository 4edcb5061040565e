package diff

import (
	"context"
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
	// Statistics holds what the management API adds, nil where it is not used or has
	// not answered.
	Statistics *Statistics
}

// Statistics are the broker's own figures of a queue. They lag behind Depth by up
// to StatisticsLag. A figure that the broker leaves out is nil, and not 0.
type Statistics struct {
	Unacknowledged *int   // delivered, not yet acknowledged
	Acknowledged   *int64 // acknowledged since the queue was made, only ever growing
	// Unlimited is the number of consumers that are known to take all there is at
	// once: they acknowledge, and have no prefetch.
	Unlimited int
	// Retrying is the number of rejected messages that wait elsewhere to come back to
	// the queue, nil where none can, as far as is known.
	Retrying *int
}

// StatisticsLag is how old the figures of RabbitMQ's management API may be. A queue
// emits them every 5 s (collect_statistics_interval), and the collector shows them
// up to 5 s later: measured with RabbitMQ 4.3, an acknowledgement showed after up to
// 10.02 s. The rest is for a caller that asks less often than it looks.
const StatisticsLag = 12 * time.Second

// DefaultVacancy is for WatchConfig.Vacancy. A quorum queue elects a leader within
// seconds, and after a broker's restart within a minute.
const DefaultVacancy = time.Minute

// WatchConfig sets how a queue is watched.
type WatchConfig struct {
	Grace    time.Duration // from one empty look to the next that counts
	Interval time.Duration // between two looks
	// Vacancy is how long a queue must have shown neither messages nor consumers
	// before that counts as empty; DefaultVacancy where it is 0.
	Vacancy time.Duration
}

// Sight is what is known of a queue at one moment.
type Sight struct {
	// Passed is the watermark: everything queued before it has been consumed. Zero:
	// nothing is known yet.
	Passed time.Time
	// Moved is when the watermark last moved forward; when the watch was made, before
	// it first did.
	Moved time.Time
	Depth Depth // the last look that succeeded
	Err   error // why the last look failed, nil where it did not
	// Idle is since when nobody consumes the queue, zero while somebody does.
	Idle time.Time
}

// Watch looks at one queue all the time, and knows its watermark.
type Watch struct {
	name   string
	queue  Queue
	config WatchConfig

	mu      sync.Mutex
	drained drainHistory
	sight   Sight
	changed chan struct{} // closed and replaced at each look
}

// NewWatch makes a watch of one queue; name is for messages. Nothing is seen
// before Run runs.
func NewWatch(name string, queue Queue, config WatchConfig) *Watch {
	if config.Vacancy == 0 {
		config.Vacancy = DefaultVacancy
	}
	return &Watch{name: name, queue: queue, config: config,
		drained: drainHistory{grace: config.Grace, vacancy: config.Vacancy},
		sight:   Sight{Moved: time.Now()}, changed: make(chan struct{})}
}

// Name is the queue's name.
func (w *Watch) Name() string { return w.name }

// Run looks at the queue until ctx is done.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(w.config.Interval)
	defer tick.Stop()
	for {
		asked := time.Now()
		depth, err := w.queue.Depth(ctx)
		if ctx.Err() != nil {
			return
		}
		w.saw(asked, time.Now(), depth, err)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *Watch) saw(asked, answered time.Time, depth Depth, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sight.Err = err; err != nil {
		w.drained.lost()
	} else {
		w.drained.saw(asked, answered, depth)
		w.sight.Depth = depth
		switch {
		case depth.Consumers > 0:
			w.sight.Idle = time.Time{}
		case w.sight.Idle.IsZero():
			w.sight.Idle = asked
		}
	}
	if w.drained.passed.After(w.sight.Passed) {
		w.sight.Passed, w.sight.Moved = w.drained.passed, answered
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// Sight is what is known of the queue now.
func (w *Watch) Sight() Sight {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sight
}

// Changed is closed at the next look. Who takes it before Sight misses nothing.
func (w *Watch) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// Watches are those of the queues whose events repair each kind of difference.
type Watches map[product.Kind]*Watch

// Run watches all queues until ctx is done.
func (w Watches) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, watch := range w {
		running.Go(func() { watch.Run(ctx) })
	}
	running.Wait()
}
