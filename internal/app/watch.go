package app

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/consumer"
	"github.com/ecom-micro/etl/internal/metrics"
	"github.com/ecom-micro/etl/internal/run"
)

// watchEvery is how old what the metrics show of other parts may be.
const watchEvery = 10 * time.Second

// watch keeps the sample that scrapes get, until ctx ends.
func (s *Service) watch(ctx context.Context) {
	var latest atomic.Pointer[metrics.Sample]
	latest.Store(&metrics.Sample{})
	s.metrics.Watch(func() metrics.Sample { return *latest.Load() })
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		sample := s.probes.sample(ctx)
		if ctx.Err() != nil {
			return
		}
		latest.Store(&sample)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// sample looks at everything that is watched. What does not answer is left out.
func (p *probes) sample(ctx context.Context) metrics.Sample {
	ctx, cancel := context.WithTimeout(ctx, 3*probeTimeout)
	defer cancel()
	health := p.Health(ctx)
	m := metrics.Sample{Dependencies: make(map[string]bool), Delivery: health.Delivery}
	for _, name := range []string{mongoDB, cartDatabase, rabbitMQ, ledgerStore} {
		m.Dependencies[name] = health.Dependencies[name].State == api.Up
	}
	if states, err := p.broker.Monitor.Look(ctx, consumer.RequestQueue, consumer.DeadQueue); err == nil {
		m.Queues = make(map[string]metrics.Queue)
		for name, state := range states {
			m.Queues[name] = metrics.Queue{Ready: state.Ready, Consumers: state.Consumers}
		}
	}
	if !m.Dependencies[ledgerStore] {
		return m
	}
	m.Active, m.ActiveSince = make(map[run.Slot]run.Status), make(map[run.Slot]time.Time)
	for _, slot := range []run.Slot{run.RepairSlot, run.LookSlot} {
		if record, err := p.ledger.Active(ctx, slot); err == nil && record != nil {
			m.Active[slot], m.ActiveSince[slot] = record.Status, record.Request.At
		}
	}
	p.remember(ctx, &m)
	if found, err := p.ledger.Detection(ctx); err == nil {
		m.Detection, m.TapSince = &found, p.detection.tap.State().Oldest
	}
	if wanted, err := p.ledger.Switch(ctx); err == nil {
		on := wanted.On && p.config.Schedule.Enabled
		m.Scheduler = &on
	}
	if last, err := p.ledger.LastHealth(ctx); err == nil && last != nil {
		m.Health = &metrics.Health{Healthy: last.Healthy, At: last.At}
	}
	return m
}

// remember adds what the ledger knows of runs that have ended, commands' among them.
func (p *probes) remember(ctx context.Context, m *metrics.Sample) {
	if look, err := p.ledger.LatestLook(ctx, time.Time{}); err == nil && look != nil && look.Report != nil {
		if drift, err := p.ledger.Drift(ctx); err == nil {
			m.Comparison = &metrics.Comparison{At: look.Finished, Differing: drift.ByKind(), Blocked: drift.In(run.Blocked)}
		}
	}
	m.Waiting = make(map[run.Attention]int)
	for _, attention := range []run.Attention{run.ToApply, run.LostProducts} {
		if page, err := p.ledger.Runs(ctx, run.Filter{Attention: []run.Attention{attention}, Limit: run.MaxPage}); err == nil {
			m.Waiting[attention] = len(page.Runs)
		}
	}
	latest := func(filter run.Filter) *run.Record {
		filter.Limit = 1
		page, err := p.ledger.Runs(ctx, filter)
		if err != nil || len(page.Runs) == 0 {
			return nil
		}
		return &page.Runs[0]
	}
	repairing := false
	if r := latest(run.Filter{Status: []run.Status{run.StatusSucceeded}, DryRun: &repairing}); r != nil {
		m.LastSuccess = r.Finished
	}
	if r := latest(run.Filter{Trigger: []run.Trigger{run.BySchedule}}); r != nil {
		m.LastTick = r.Request.At
	}
}
