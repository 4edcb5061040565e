package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/metrics"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/schedule"
)

// The scheduled jobs, by the names that logs and metrics show.
const (
	syncJob   = "sync"
	healthJob = "health"
	recentJob = "recent"
)

// jobs are all that is scheduled.
func (s *Service) jobs() []schedule.Job {
	all := []schedule.Job{
		{Name: syncJob, Expression: s.config.Schedule.Sync, Do: s.tick},
		{Name: healthJob, Expression: s.config.Schedule.Health, Do: s.checkHealth},
	}
	if s.config.Schedule.LooksAtRecent() {
		all = append(all, schedule.Job{Name: recentJob, Expression: s.config.Schedule.Recent, Do: s.detection.lookRecent})
	}
	return all
}

// tellSwitch logs at the start whether scheduled runs come. The switch is kept in the
// ledger, so whoever turned it off may have been forgotten since.
func (s *Service) tellSwitch(ctx context.Context) {
	if !s.config.Schedule.Enabled {
		return // which the scheduler has said, and no switch changes
	}
	log := s.log.With("component", "scheduler")
	wanted, err := s.ledger.Switch(ctx)
	switch {
	case err != nil:
		log.Warn("it is not known whether scheduled runs are switched on", "err", err)
	case wanted.On:
		log.Info("scheduled runs are on")
	default:
		log.Warn("scheduled runs are off: POST /api/etl/scheduler/start turns them on", "by", wanted.By, "since", wanted.At)
	}
}

// tick asks for a scheduled run.
func (s *Service) tick(ctx context.Context, t schedule.Tick) { s.request(ctx, t, metrics.Rung, "") }

// request asks for the scheduled run of an instant. All replicas ask, and their requests
// share a key, so that one run comes of it. It is in the ledger before a message rings for
// it. Where one of the two is away it is tried until the next instant.
func (s *Service) request(ctx context.Context, t schedule.Tick, done, reason string) {
	log := s.log.With("component", "scheduler", "instant", t.Instant)
	request := run.Request{
		Version: run.RequestVersion, ID: run.NewRunID(), Trigger: run.BySchedule, By: "scheduler",
		At: time.Now().UTC(), Expires: t.Next, Pipeline: s.config.Ledger.Pipeline, Key: "tick " + t.Instant.UTC().Format(time.RFC3339), Order: s.config.Tick.Order(),
	}
	request.Reason = reason
	ctx, cancel := context.WithDeadline(ctx, t.Next)
	defer cancel()
	w := waitLog{log: log, what: "the broker and the ledger, to ask for a scheduled run"}
	result, err := backoff.Retry(ctx, func() (string, error) {
		wanted, err := s.ledger.Switch(ctx)
		if err == nil && !wanted.On {
			return metrics.SkippedOff, nil
		}
		if err == nil && request.Reason == "" {
			err = s.narrow(ctx, &request)
		}
		if errors.Is(err, errNothingOpen) {
			return metrics.NothingOpen, nil
		}
		var record run.Record
		if err == nil {
			record, err = s.submit(ctx, request, t.Instant)
		}
		if err == nil && record.Status == run.StatusQueued {
			ringing := record.Request
			ringing.ID, ringing.Recorded = record.ID, true
			err = s.doorbell.Ring(ctx, ringing)
		}
		request.ID = cmp.Or(record.ID, request.ID)
		if err != nil {
			w.failed(ctx, err)
		}
		return done, err
	}, backoff.WithMaxElapsedTime(0))
	if err != nil {
		s.metrics.Tick(syncJob, metrics.Failed, time.Since(t.Instant))
		log.Error("a scheduled run was not asked for", "err", errors.Join(err, w.err))
		return
	}
	s.metrics.Tick(syncJob, result, time.Since(t.Instant))
	log.Info("tick", "result", result, "run", request.ID)
}

// fewOpen is how many open differences a tick looks at without a complete comparison, whose
// guard is for more.
const fewOpen = 1000

var errNothingOpen = errors.New("nothing is open")

// narrow makes a tick's run one that looks at what is open in the ledger only, where a complete
// comparison has ended within SYNC_FULL_EVERY. It is errNothingOpen where there is nothing to
// look at.
func (s *Service) narrow(ctx context.Context, request *run.Request) error {
	every := s.config.Tick.FullEvery
	if every == 0 {
		return nil
	}
	last, err := s.ledger.LatestLook(ctx, request.At.Add(-every))
	if err != nil || last == nil {
		return err
	}
	ids, err := s.ledger.OpenIDs(ctx, request.Repair, fewOpen+1)
	switch {
	case err != nil:
		return err
	case len(ids) == 0:
		return errNothingOpen
	case len(ids) > fewOpen:
		return nil
	}
	request.IDs = ids
	request.Reason = fmt.Sprintf("looks at what was open: the last complete comparison ended at %s, within SYNC_FULL_EVERY (%s)", last.Finished.UTC().Format(time.RFC3339), every)
	return nil
}

// detectorGoesOn is how long a tick waits for the run of a detector, which is short.
const detectorGoesOn = 2 * time.Minute

var errDetectorRepairs = errors.New("lost events are being replayed that were found since the last scheduled run; it is waited for")

// submit enters the run of a tick: as skipped where another run is active, unless that is one of
// a detector.
func (s *Service) submit(ctx context.Context, request run.Request, instant time.Time) (run.Record, error) {
	record, err := s.ledger.Submit(ctx, request)
	var active *run.ActiveError
	switch {
	case !errors.As(err, &active):
		return record, err
	case active.Active.Request.Trigger == run.ByDetector && time.Since(instant) < detectorGoesOn:
		return record, errDetectorRepairs
	}
	return s.ledger.Accept(ctx, request)
}

// catchUp asks for the latest scheduled run that was missed before this process began to
// tick: one run makes up for all. A ledger that knows no scheduled run, yet or any more, has
// missed none, and what was missed while they were switched off is not wanted.
func (s *Service) catchUp(ctx context.Context, begun time.Time) {
	const most = 1000
	if !s.config.Schedule.Enabled {
		return // which the scheduler has said
	}
	log := s.log.With("component", "scheduler")
	if !s.config.Schedule.CatchUp {
		log.Info("it is not asked whether scheduled runs were missed", "SYNC_CATCH_UP", false)
		return
	}
	page, err := s.ledger.Runs(ctx, run.Filter{Trigger: []run.Trigger{run.BySchedule}, Limit: 1})
	if err != nil {
		log.Warn("it is not known whether scheduled runs were missed", "err", err)
		return
	}
	var since time.Time
	var missed schedule.Tick
	var n int
	if len(page.Runs) > 0 {
		since = page.Runs[0].Request.At
		missed, n = s.scheduler.Missed(syncJob, since, begun, most)
	}
	if n == 0 {
		log.Info("no scheduled run was missed")
		return
	}
	wanted, err := s.ledger.Switch(ctx)
	if err != nil {
		log.Warn("it is not known whether the scheduled runs that were missed were wanted", "err", err)
		return
	}
	if !wanted.On || wanted.At.After(missed.Instant) {
		log.Info("scheduled runs were missed while they were switched off", "missed", n, "latest", missed.Instant)
		return
	}
	if wanted.At.After(since) {
		since = wanted.At
		missed, n = s.scheduler.Missed(syncJob, since, begun, most)
	}
	count := strconv.Itoa(n)
	if n == most {
		count += " or more"
	}
	log.Warn("scheduled runs were missed while no scheduler ran: one makes up for them", "missed", count, "since", since, "latest", missed.Instant)
	s.request(ctx, missed, metrics.CaughtUp, fmt.Sprintf("makes up for scheduled runs missed since %s: %s", since.UTC().Format(time.RFC3339), count))
}

// checkHealth keeps what the scheduled health check finds.
func (s *Service) checkHealth(ctx context.Context, t schedule.Tick) {
	log := s.log.With("component", "scheduler")
	health := s.probes.Health(ctx)
	found := map[string]any{"topology": health.Topology, "delivery": health.Delivery}
	for name, dependency := range health.Dependencies {
		found[name] = dependency
	}
	document, err := json.Marshal(found)
	if err == nil {
		err = s.ledger.SaveHealth(ctx, run.HealthRecord{At: t.Instant, Healthy: health.Healthy, Document: document})
	}
	if err != nil {
		s.metrics.Tick(healthJob, metrics.Failed, time.Since(t.Instant))
		log.Error("a health check was not kept", "healthy", health.Healthy, "err", err)
		return
	}
	s.metrics.Tick(healthJob, metrics.Checked, time.Since(t.Instant))
	if !health.Healthy {
		log.Warn("a health check found problems", "health", string(document))
		return
	}
	log.Debug("a health check found nothing wrong")
}

// schedule is how the scheduler is configured, for the API.
func (s *Service) schedule() api.Schedule {
	c := &s.config.Schedule
	return api.Schedule{
		Enabled: c.Enabled, TimeZone: c.Timezone, Order: s.config.Tick.Order(),
		Sync:        api.Job{Expression: c.Sync, Next: s.scheduler.Status(syncJob).Next},
		HealthCheck: api.Job{Expression: c.Health, Next: s.scheduler.Status(healthJob).Next},
	}
}
