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

// Jobs are what is done at a tick. The context ends when the scheduler shuts down.
// A tick waits for the one of the same job before it; of several that wait, only
// the latest is handed out.
type Jobs struct {
	Sync, Health func(ctx context.Context, t Tick)
}

// Scheduler runs the jobs. Where ENABLE_SCHEDULER is false it runs none.
type Scheduler struct {
	config Config
	clock  clockwork.Clock
	log    *slog.Logger
	cron   gocron.Scheduler
	jobs   [2]*job // sync and health check
}

// Option changes what a test needs otherwise.
type Option func(*Scheduler)

// WithClock lets the scheduler live by another clock.
func WithClock(clock clockwork.Clock) Option {
	return func(s *Scheduler) { s.clock = clock }
}

// New makes a scheduler, or says like Config.Validate why not. It runs nothing
// before Start, and Shutdown releases it, started or not.
func New(config Config, jobs Jobs, log *slog.Logger, options ...Option) (*Scheduler, error) {
	sync, health, err := config.parse()
	if err != nil {
		return nil, err
	}
	s := &Scheduler{config: config, clock: clockwork.NewRealClock(), log: log}
	for _, option := range options {
		option(s)
	}
	s.jobs = [2]*job{
		newJob("sync", sync, jobs.Sync, s.clock, log),
		newJob("health check", health, jobs.Health, s.clock, log),
	}
	// gocron leaves out the second of two equal wall clock times. UTC, in which our
	// instants are, has none.
	if s.cron, err = gocron.NewScheduler(gocron.WithClock(s.clock), gocron.WithLocation(time.UTC), gocron.WithStopTimeout(stopTimeout)); err != nil {
		return nil, fmt.Errorf("make the scheduler: %w", err)
	}
	for _, j := range s.jobs {
		if err := j.add(s.cron); err != nil {
			return nil, errors.Join(fmt.Errorf("schedule the %s: %w", j.name, err), s.cron.Shutdown())
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
	for _, j := range s.jobs {
		j.begin(s.clock.Now())
	}
	s.cron.Start()
	s.log.Info("the schedule begins", "sync", s.config.Sync, "health", s.config.Health, "timezone", s.config.Timezone)
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
			problems = append(problems, fmt.Errorf("the %s has not ended: %w", j.name, context.Cause(ctx)))
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

// Status is the scheduler at one moment.
type Status struct {
	Enabled  bool      `json:"enabled"` // ENABLE_SCHEDULER
	Timezone string    `json:"timezone"`
	Sync     JobStatus `json:"sync"`
	Health   JobStatus `json:"healthCheck"`
}

// JobStatus is one job of the scheduler. Next is absent where the scheduler is off.
type JobStatus struct {
	Schedule string    `json:"schedule"`
	Next     time.Time `json:"nextTick,omitzero"`
	Last     time.Time `json:"lastTick,omitzero"` // of this process
}

// Status tells when the jobs run. It may be called at any time.
func (s *Scheduler) Status() Status {
	return Status{
		Enabled:  s.config.Enabled,
		Timezone: s.config.Timezone,
		Sync:     s.status(s.jobs[0], s.config.Sync),
		Health:   s.status(s.jobs[1], s.config.Health),
	}
}

func (s *Scheduler) status(j *job, expression string) JobStatus {
	status := JobStatus{Schedule: expression}
	if s.config.Enabled {
		status.Next = j.next(s.clock.Now())
	}
	if last := j.last.Load(); last != nil {
		status.Last = *last
	}
	return status
}
