package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/run"
)

// probes look at what the service depends on.
type probes struct {
	*Service
	broker   *Broker
	ways     *deliveries
	answered sync.Map    // the dependencies that have, once
	started  atomic.Bool // all have
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
	tapPart      = "tap"
)

const (
	// probeTimeout is how long one of them may take to answer.
	probeTimeout = 2 * time.Second
	// glance is how long it may where the answer does not decide: a balancer's probe may
	// have less than a second.
	glance = 500 * time.Millisecond
)

// Health asks everything at once.
func (p *probes) Health(ctx context.Context) api.Health { return p.health(ctx, probeTimeout) }

// Delivery is the latest look at the way of events to the cart, nil before the first.
func (p *probes) Delivery() *run.Delivery { return p.ways.last() }

// health gives each dependency so long to answer.
func (p *probes) health(ctx context.Context, patience time.Duration) api.Health {
	checks := map[string]func(context.Context) error{
		mongoDB:      func(ctx context.Context) error { _, err := p.stores.source.Ping(ctx); return err },
		cartDatabase: func(ctx context.Context) error { _, err := p.stores.target.Ping(ctx); return err },
		ledgerStore:  p.remembering,
		rabbitMQ:     p.answering,
	}
	h := api.Health{Healthy: true, Dependencies: map[string]api.Dependency{managementUI: {State: api.Off}, listenerPart: {State: api.Off}, scheduling: {State: api.Off}, tapPart: p.tapping()}}
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
			d := probed(ctx, patience, check)
			mu.Lock()
			defer mu.Unlock()
			h.Dependencies[name] = d
			h.Healthy = h.Healthy && d.State == api.Up
		})
	}
	asked.Go(func() {
		var verdict run.Delivery
		topology := probed(ctx, patience, func(ctx context.Context) (err error) {
			verdict, err = p.ways.look(ctx)
			return err
		})
		mu.Lock()
		defer mu.Unlock()
		h.Topology, h.Delivery = topology, &verdict
		h.Healthy = h.Healthy && topology.State == api.Up && verdict.State != run.Severed
	})
	asked.Wait()
	return h
}

func probed(ctx context.Context, patience time.Duration, check func(context.Context) error) api.Dependency {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %s", patience))
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

// tapping is the tap, without which lost events are found by others, and later.
func (p *probes) tapping() api.Dependency {
	state := p.detection.tap.State()
	switch {
	case !p.config.Service.has(roleTap):
		return api.Dependency{State: api.Off}
	case state.Connected:
		return api.Dependency{State: api.Up, Detail: state.Err}
	case state.Err != "":
		return api.Dependency{State: api.Off, Detail: state.Err}
	}
	return api.Dependency{State: api.Off, Detail: "it does not look at what the platform announces yet"}
}

// needs are the dependencies of the roles, by the names that the API shows.
var needs = map[string][]string{
	roleAPI:       {ledgerStore, rabbitMQ, mongoDB, cartDatabase},
	roleWorker:    {ledgerStore, rabbitMQ, listenerPart, mongoDB, cartDatabase, managementUI},
	roleScheduler: {ledgerStore, rabbitMQ},
	roleTap:       {ledgerStore, rabbitMQ, mongoDB, cartDatabase},
}

// Ready tells what the roles lack at this moment, and whether they have had it all.
func (p *probes) Ready(ctx context.Context, full bool) api.Readiness {
	patience := probeTimeout
	if p.started.Load() && !full {
		patience = glance
	}
	h := p.health(ctx, patience)
	r := api.Readiness{Leaving: p.leaving.Load(), Dependencies: map[string]api.Dependency{}}
	met := true
	for _, role := range p.config.Service.Roles {
		for _, name := range needs[role] {
			d := h.Dependencies[name]
			if d.State == api.Off {
				continue
			}
			r.Dependencies[name] = d
			if d.State == api.Up {
				p.answered.Store(name, true)
				continue
			}
			_, before := p.answered.Load(name)
			met = met && before
			r.WaitingFor = append(r.WaitingFor, api.Waiting{Role: role, For: name, Detail: d.Detail})
		}
	}
	if !p.begun.Load() {
		met = false
		for _, role := range p.config.Service.Roles {
			r.WaitingFor = append(r.WaitingFor, api.Waiting{Role: role, For: "start", Detail: p.starting()})
		}
	}
	if met && p.started.CompareAndSwap(false, true) {
		p.log.Info("the service is ready: all that it depends on has answered")
	}
	r.Started = p.started.Load()
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
