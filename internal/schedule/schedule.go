package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/jonboulle/clockwork"
)

// Job is one thing that is done at each instant of an expression, in the time zone of
// the Config. A tick waits for the one of the same job before it; of several that wait,
// only the latest is handed out.
type Job struct {
	Name       string // as logs show it
	Expression string
	// Do is called at a tick. Its context ends when the scheduler shuts down.
	Do func(ctx context.Context, t Tick)
}

// Scheduler runs the jobs. Where ENABLE_SCHEDULER is false it runs none.
type Scheduler struct {
	config Config
	clock  clockwork.Clock
	log    *slog.Logger
	cron   gocron.Scheduler
	jobs   []*job
}

// Option changes what a test needs otherwise.
type Option func(*Scheduler)

// WithClock lets the scheduler live by another clock.
func WithClock(clock clockwork.Clock) Option {
	return func(s *Scheduler) { s.clock = clock }
}

// New makes a scheduler, or says like Config.Validate why not. It runs nothing
// before Start, and Shutdown releases it, started or not.
func New(config Config, jobs []Job, log *slog.Logger, options ...Option) (*Scheduler, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	zone, err := loadZone(config.Timezone)
	if err != nil {
		return nil, err
	}
	s := &Scheduler{config: config, clock: clockwork.NewRealClock(), log: log}
	for _, option := range options {
		option(s)
	}
	for _, j := range jobs {
		next, err := parse(j.Expression, zone)
		if err != nil {
			return nil, fmt.Errorf("the expression of the job %s, %s, %w", j.Name, quoted(j.Expression), err)
		}
		s.jobs = append(s.jobs, newJob(j, next, s.clock, log))
	}
	// gocron leaves out the second of two equal wall clock times. UTC, in which our
	// instants are, has none.
	if s.cron, err = gocron.NewScheduler(gocron.WithClock(s.clock), gocron.WithLocation(time.UTC), gocron.WithStopTimeout(stopTimeout)); err != nil {
		return nil, fmt.Errorf("make the scheduler: %w", err)
	}
	for _, j := range s.jobs {
		if err := j.add(s.cron); err != nil {
			return nil, errors.Join(fmt.Errorf("schedule the job %s: %w", j.Name, err), s.cron.Shutdown())
		}
	}
	return s, nil
}

const stopTimeout = time.Second

// Start lets the jobs run, from the next instant on. It is called once.
func (s *Scheduler) Start() {
	if !s.config.Enabled {
		s.log.Info("the scheduler is off (ENABLE_SCHEDULER=false)")
		return
	}
	attributes := []any{"timezone", s.config.Timezone}
	for _, j := range s.jobs {
		j.begin(s.clock.Now())
		attributes = append(attributes, j.Name, j.Expression)
	}
	s.cron.Start()
	s.log.Info("the schedule begins", attributes...)
}

// Shutdown lets no further tick begin, cancels the context of the jobs that are at
// work and waits for them until ctx ends.
func (s *Scheduler) Shutdown(ctx context.Context) error {
	var problems []error
	for _, j := range s.jobs {
		if err := s.cron.RemoveJob(j.entry.ID()); err != nil && !errors.Is(err, gocron.ErrJobNotFound) {
			problems = append(problems, err)
		}
	}
	// gocron would wait for them too, but in a busy loop, which stopTimeout bounds.
	for _, j := range s.jobs {
		if !j.idle(ctx) {
			problems = append(problems, fmt.Errorf("the job %s has not ended: %w", j.Name, context.Cause(ctx)))
		}
	}
	if err := s.cron.ShutdownWithContext(ctx); len(problems) == 0 {
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("shut the scheduler down: %w", err)
	}
	return nil
}

// Missed tells how many instants of a job were after the one moment and up to the other, at
// most most, and which of them was the latest. A scheduler that is off has missed none.
func (s *Scheduler) Missed(name string, since, until time.Time, most int) (latest Tick, n int) {
	for _, j := range s.jobs {
		if j.Name != name || !s.config.Enabled {
			continue
		}
		latest.Instant = j.next.before(until)
		if !latest.Instant.After(since) {
			return Tick{}, 0
		}
		latest.Next = j.next(until)
		for at := j.next(since); n < most && !at.After(until) && !at.IsZero(); at = j.next(at) {
			n++
		}
	}
	return latest, n
}

// Status is a job at one moment.
type Status struct {
	Next time.Time // zero where the scheduler is off
	Last time.Time // of this process, zero before its first
}

// Status tells when a job is due, by its name. It may be called at any time.
func (s *Scheduler) Status(name string) Status {
	var status Status
	for _, j := range s.jobs {
		if j.Name != name {
			continue
		}
		if s.config.Enabled {
			status.Next = j.next(s.clock.Now())
		}
		if last := j.last.Load(); last != nil {
			status.Last = *last
		}
	}
	return status
}
