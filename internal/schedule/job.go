package schedule

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/jonboulle/clockwork"
)

// Tick is one occasion of a job.
type Tick struct {
	Instant time.Time // the scheduled instant, in UTC and whole seconds
	Next    time.Time // the scheduled instant after it
}

// job is what gocron fires. A firing only says that it is time to look: which
// instant is due follows from the expression and the clock.
type job struct {
	Job
	next  instants
	clock clockwork.Clock
	log   *slog.Logger

	cron  gocron.Scheduler
	entry gocron.Job

	mu     sync.Mutex
	passed time.Time // no instant up to here is due any more

	busy    chan struct{}                      // holds a token while a tick is at work
	waiting atomic.Pointer[context.CancelFunc] // makes the latest tick give way, if it waits
	last    atomic.Pointer[time.Time]
}

func newJob(what Job, next instants, clock clockwork.Clock, log *slog.Logger) *job {
	return &job{Job: what, next: next, clock: clock, log: log.With("job", what.Name), busy: make(chan struct{}, 1)}
}

// Next lets gocron fire at our instants, and only at those that are yet to come.
func (j *job) Next(t time.Time) time.Time {
	if now := j.clock.Now(); now.After(t) {
		t = now
	}
	return j.next(t)
}

// IsValid has nothing to refuse: Config.Validate did.
func (j *job) IsValid(string, *time.Location, time.Time) error { return nil }

func (j *job) definition() (gocron.JobDefinition, gocron.Task, gocron.JobOption) {
	return gocron.CronJob("", false), gocron.NewTask(j.fire), gocron.WithCronImplementation(j)
}

func (j *job) add(cron gocron.Scheduler) (err error) {
	j.cron = cron
	definition, task, option := j.definition()
	j.entry, err = cron.NewJob(definition, task, option)
	return err
}

// fire hands out the instant that is due. It waits behind a tick that is at work,
// and gives way to a later one: slow ticks neither pile up nor shift later instants.
func (j *job) fire(ctx context.Context) {
	instant, due := j.due(ctx)
	if !due {
		return
	}
	waiting, giveWay := context.WithCancel(ctx)
	defer giveWay()
	if before := j.waiting.Swap(&giveWay); before != nil {
		(*before)()
	}
	select {
	case j.busy <- struct{}{}:
		defer func() { <-j.busy }()
	case <-waiting.Done():
	}
	if waiting.Err() != nil {
		if ctx.Err() == nil {
			j.log.Warn("a tick is left out, because an earlier one is still at work", "instant", instant)
		}
		return
	}
	j.last.Store(&instant)
	j.log.Debug("tick", "instant", instant)
	j.Do(ctx, Tick{Instant: instant, Next: j.next(instant)})
}

// idle waits until no tick is at work, and tells whether that came before ctx ended.
func (j *job) idle(ctx context.Context) bool {
	select {
	case j.busy <- struct{}{}:
		<-j.busy
		return true
	case <-ctx.Done():
		return len(j.busy) == 0
	}
}

// early is how much too early a firing may come by the wall clock. A timer counts
// the time that really passed, while the wall clock may be corrected meanwhile.
const early = time.Minute

// due is the latest instant that has passed and was not handed out; those that a
// suspended process slept through are left out. It waits for the instant where the
// firing came a little early.
func (j *job) due(ctx context.Context) (time.Time, bool) {
	for {
		now := j.clock.Now()
		instant, next := j.claim(now)
		if !instant.IsZero() {
			return instant, true
		}
		wait := next.Sub(now)
		if wait > early {
			j.startOver(ctx, now)
			return time.Time{}, false
		}
		select {
		case <-j.clock.After(wait):
		case <-ctx.Done():
			return time.Time{}, false
		}
	}
}

// claim returns the instant that is due, zero where none is, and the next one.
func (j *job) claim(now time.Time) (instant, next time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for next = j.next(j.passed); !next.After(now); next = j.next(next) {
		instant, j.passed = next, next
	}
	return instant, next
}

// begin lets instants be due from now on.
func (j *job) begin(now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.passed = now
}

// startOver forgets what is past, because the wall clock seems to have been put back:
// gocron would fire again only when it is where it was. Instants may then be handed
// out once more; whoever acts on them knows them by their time. The context of a tick
// that is at work ends with the old timer.
func (j *job) startOver(ctx context.Context, now time.Time) {
	if ctx.Err() != nil {
		return
	}
	j.log.Warn("no tick is due although a timer fired: the system clock was put back, so the schedule starts over", "now", now)
	j.begin(now)
	definition, task, option := j.definition()
	if _, err := j.cron.Update(j.entry.ID(), definition, task, option); err != nil {
		j.log.Error("the job cannot be scheduled again: restart the service", "err", err)
	}
}
