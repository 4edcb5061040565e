package api_test

import (
	"context"
	"sync"
	"time"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv/memoryledger"
)

// memory is a ledger in memory, and everything else that the API speaks to. Whatever
// is in broken fails when it is called.
type memory struct {
	*memoryledger.Ledger

	mu     sync.Mutex
	broken map[string]error
	calls  map[string]int // of what is not the ledger

	rung []run.Request
	ring func(run.Request) error // nil is fine
	// products explain themselves.
	products  map[product.ID]*run.Explanation
	counts    api.Statistics
	health    api.Health
	readiness api.Readiness
	schedule  api.Schedule
}

func newMemory() *memory {
	m := &memory{
		Ledger: memoryledger.New(), broken: make(map[string]error), calls: make(map[string]int),
		products: make(map[product.ID]*run.Explanation),
		counts: api.Statistics{Source: "product.products", Products: 12, Target: "cart.public.product", Rows: 10, Unsupported: map[string]int64{},
			Queues: map[string]api.QueueStatistics{"product-created": {Ready: 3, Consumers: 1}}},
		health: api.Health{Healthy: true, Topology: api.Dependency{State: api.Up}, Dependencies: map[string]api.Dependency{
			"mongodb": {State: api.Up, Latency: 1500 * time.Microsecond}, "management": {State: api.Off}}},
		readiness: api.Readiness{Started: true},
		schedule: api.Schedule{Enabled: true, TimeZone: "UTC", Order: run.Order{Mode: run.Direct, Reason: "tick"},
			Sync:        api.Job{Expression: "*/30 * * * *", Next: time.Date(2026, 11, 22, 12, 30, 0, 0, time.UTC)},
			HealthCheck: api.Job{Expression: "*/5 * * * *", Next: time.Date(2026, 11, 22, 12, 5, 0, 0, time.UTC)}},
	}
	m.Intercept(func(_ context.Context, method string) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.broken[method]
	})
	return m
}

func (m *memory) called(what string) error {
	m.calls[what]++
	return m.broken[what]
}

// with changes the memory while the API uses it.
func (m *memory) with(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// add keeps a run and returns its id.
func (m *memory) add(record run.Record) string {
	if record.ID == "" {
		record.ID = run.NewRunID()
	}
	record.Request.ID, record.Request.Version = record.ID, run.RequestVersion
	if err := record.Request.Check(); err != nil {
		panic(err)
	}
	return m.Put(record)
}
