package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/metrics"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/schedule"
	"github.com/ecom-micro/etl/producer"
)

// tellSwitch logs at the start whether scheduled runs come. The switch is kept in the
// ledger, so whoever turned it off may have been forgotten since.
func (s *service) tellSwitch(ctx context.Context) {
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

// tick asks for a scheduled run. All replicas ask, and their requests share a key,
// so that one run comes of it. A broker that is away is tried until the next tick.
func (s *service) tick(ctx context.Context, t schedule.Tick) {
	log := s.log.With("component", "scheduler", "instant", t.Instant)
	request := run.Request{
		Version: run.RequestVersion, ID: run.NewRunID(), Trigger: run.BySchedule, By: "scheduler",
		At: time.Now().UTC(), Expires: t.Next, Pipeline: s.config.Ledger.Pipeline, Key: "tick " + t.Instant.UTC().Format(time.RFC3339), Order: s.config.Tick.order(),
	}
	ctx, cancel := context.WithDeadline(ctx, t.Next)
	defer cancel()
	w := waitLog{log: log, what: "the broker and the ledger, to ask for a scheduled run"}
	result, err := backoff.Retry(ctx, func() (string, error) {
		wanted, err := s.ledger.Switch(ctx)
		if err == nil && !wanted.On {
			return metrics.SkippedOff, nil
		}
		if err == nil {
			err = s.doorbell.Ring(ctx, request)
		}
		if err != nil {
			w.failed(ctx, err)
		}
		return metrics.Rung, err
	}, backoff.WithMaxElapsedTime(0))
	if err != nil {
		s.metrics.Tick("sync", metrics.Failed)
		log.Error("a scheduled run was not asked for", "err", errors.Join(err, w.err))
		return
	}
	s.metrics.Tick("sync", result)
	log.Info("tick", "result", result, "run", request.ID)
}

// checkHealth keeps what the scheduled health check finds.
func (s *service) checkHealth(ctx context.Context, t schedule.Tick) {
	log := s.log.With("component", "scheduler")
	health := s.probes.Health(ctx)
	found := maps.Clone(health.Dependencies)
	found["topology"] = health.Topology
	document, err := json.Marshal(found)
	if err == nil {
		err = s.ledger.SaveHealth(ctx, run.HealthRecord{At: t.Instant, Healthy: health.Healthy, Document: document})
	}
	if err != nil {
		s.metrics.Tick("health", metrics.Failed)
		log.Error("a health check was not kept", "healthy", health.Healthy, "err", err)
		return
	}
	s.metrics.Tick("health", metrics.Checked)
	if !health.Healthy {
		log.Warn("a health check found problems", "health", string(document))
		return
	}
	log.Debug("a health check found nothing wrong")
}

// schedule is how the scheduler is configured, for the API.
func (s *service) schedule() api.Schedule {
	status := s.scheduler.Status()
	return api.Schedule{
		Enabled: status.Enabled, TimeZone: status.Timezone, Order: s.config.Tick.order(),
		Sync:        api.Job{Expression: status.Sync.Schedule, Next: status.Sync.Next},
		HealthCheck: api.Job{Expression: status.Health.Schedule, Next: status.Health.Next},
	}
}

// findings are what the run to be applied has found.
func (s *service) findings(ctx context.Context, id string, kinds run.Kinds) ([]product.ID, error) {
	keys, complete, err := s.ledger.Findings(ctx, id, kinds)
	switch {
	case errors.Is(err, run.ErrNotFound):
		return nil, fmt.Errorf("the run %s, whose findings were to be applied, is not kept any more: start a run of its own", id)
	case err != nil:
		return nil, err
	case !complete:
		return nil, fmt.Errorf("the run %s found more than the %d products that are kept one by one: start a run with maxRepairs instead", id, run.MaxOutcomes)
	case len(keys) == 0:
		return nil, fmt.Errorf("of what the run %s found, nothing %s is left to repair", id, kinds)
	}
	ids := make([]product.ID, len(keys))
	for i, key := range keys {
		ids[i] = key.ID
	}
	return ids, nil
}

// watchPauses counts for how long publishing waits, and why.
func (s *service) watchPauses(paused func() producer.Pause, clean *cleanup) {
	const interval = 200 * time.Millisecond
	ended, done := make(chan struct{}), make(chan struct{})
	clean.add(func(context.Context) { close(ended); <-done })
	go func() {
		defer close(done)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if p := paused(); p.Cause != "" {
					s.metrics.Throttled(string(p.Cause), interval)
				}
			case <-ended:
				return
			}
		}
	}()
}

// published counts what became of replayed events.
func (s *service) published(confirmed, returned, nacked, unknown int) {
	s.metrics.Confirmed(confirmed)
	s.metrics.Returned(returned)
	s.metrics.Nacked(nacked)
	s.metrics.Unconfirmed(unknown)
}
