package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/rabbit"
)

// probes look at what the service depends on.
type probes struct {
	*Service
	broker *Broker
}

// The dependencies, by the names that the API shows.
const (
	mongoDB      = "mongodb"
	cartDatabase = "postgresql"
	ledgerStore  = "ledger"
	rabbitMQ     = "rabbitmq"
	managementUI = "rabbitmqManagement"
	listenerPart = "listener"
	scheduling   = "scheduler"
)

// probeTimeout is how long one of them may take to answer.
const probeTimeout = 2 * time.Second

// Health asks everything at once.
func (p *probes) Health(ctx context.Context) api.Health {
	checks := map[string]func(context.Context) error{
		mongoDB:      func(ctx context.Context) error { _, err := p.stores.source.Ping(ctx); return err },
		cartDatabase: func(ctx context.Context) error { _, err := p.stores.target.Ping(ctx); return err },
		ledgerStore:  p.remembering,
		rabbitMQ:     p.answering,
	}
	h := api.Health{Healthy: true, Dependencies: map[string]api.Dependency{managementUI: {State: api.Off}, listenerPart: {State: api.Off}, scheduling: {State: api.Off}}}
	if p.broker.Management != nil {
		checks[managementUI] = func(ctx context.Context) error {
			_, err := p.broker.Management.Queue(ctx, rabbit.CreatedQueue)
			return err
		}
	}
	if p.config.Service.has(roleWorker) {
		checks[listenerPart] = func(context.Context) error { return p.listening() }
	}
	if p.config.Service.has(roleScheduler) && p.config.Schedule.Enabled {
		h.Dependencies[scheduling] = api.Dependency{State: api.Up}
	}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for name, check := range checks {
		asked.Go(func() {
			d := probed(ctx, check)
			mu.Lock()
			defer mu.Unlock()
			h.Dependencies[name] = d
			h.Healthy = h.Healthy && d.State == api.Up
		})
	}
	asked.Go(func() {
		topology := probed(ctx, p.broker.Monitor.CheckTopology)
		mu.Lock()
		defer mu.Unlock()
		h.Topology = topology
		h.Healthy = h.Healthy && topology.State == api.Up
	})
	asked.Wait()
	return h
}

func probed(ctx context.Context, check func(context.Context) error) api.Dependency {
	ctx, cancel := context.WithTimeoutCause(ctx, probeTimeout, fmt.Errorf("no answer within %s", probeTimeout))
	defer cancel()
	begun := time.Now()
	err := check(ctx)
	d := api.Dependency{State: api.Up, Latency: time.Since(begun)}
	if err != nil {
		d.State, d.Detail = api.Down, err.Error()
	}
	return d
}

// remembering tells whether the ledger answers and has its tables.
func (p *probes) remembering(ctx context.Context) error {
	if current, err := p.ledger.Check(ctx); err != nil || current {
		return err
	}
	return errors.New("schema etl_ledger is not there yet: the service creates it when it starts")
}

func (p *probes) answering(ctx context.Context) error {
	ch, err := p.broker.Monitor.Channel(ctx)
	if err != nil {
		return err
	}
	_, err = rabbit.Answered(ctx, func() (struct{}, error) { return struct{}{}, ch.Close() })
	return err
}

func (p *probes) listening() error {
	switch state := p.listener.State(); {
	case state.Err != "":
		return fmt.Errorf("sync requests are not taken: %s", state.Err)
	case !state.Connected:
		return fmt.Errorf("sync requests are not taken yet")
	}
	return nil
}

// Ready tells whether each role has what it needs at this moment.
func (p *probes) Ready(ctx context.Context) api.Readiness {
	h := p.Health(ctx)
	needs := map[string][]string{
		roleAPI:       {ledgerStore}, // without a broker it shows what there is, and answers a POST with 503
		roleWorker:    {ledgerStore, rabbitMQ, listenerPart, mongoDB, cartDatabase},
		roleScheduler: {ledgerStore, rabbitMQ},
	}
	var r api.Readiness
	for _, role := range p.config.Service.Roles {
		for _, name := range needs[role] {
			if d := h.Dependencies[name]; d.State != api.Up {
				r.WaitingFor = append(r.WaitingFor, api.Waiting{Role: role, For: name, Detail: d.Detail})
			}
		}
	}
	for _, role := range p.config.Service.Roles {
		if started := p.ready.Load() || role == roleAPI && p.migrated.Load(); !started {
			r.WaitingFor = append(r.WaitingFor, api.Waiting{Role: role, For: "start", Detail: p.starting()})
		}
	}
	r.Ready = len(r.WaitingFor) == 0
	return r
}

// starting says what the start of the process waits for.
func (p *probes) starting() string {
	var reasons []string
	p.waits.Range(func(what, why any) bool {
		reasons = append(reasons, fmt.Sprintf("it waits for %s: %s", what, why))
		return true
	})
	if len(reasons) == 0 {
		return "the service starts or ends"
	}
	slices.Sort(reasons)
	return strings.Join(reasons, "; ")
}
