package api_test

import (
	"context"
	"strings"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

func (m *memory) Ring(_ context.Context, request run.Request) error {
	m.mu.Lock()
	ring := m.ring
	err := m.called("Ring")
	m.rung = append(m.rung, request)
	m.mu.Unlock()
	if ring != nil {
		return ring(request)
	}
	return err
}

func (m *memory) Explain(_ context.Context, id product.ID) (*run.Explanation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("Explain"); err != nil {
		return nil, err
	}
	if strings.HasPrefix(string(id), "panic") {
		panic("a mistake about " + id)
	}
	if e := m.products[id]; e != nil {
		return e, nil
	}
	return &run.Explanation{ID: id, Verdict: run.VerdictUnknown, Fields: []run.FieldComparison{}}, nil
}

func (m *memory) Statistics(context.Context) (api.Statistics, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts, m.called("Statistics")
}

func (m *memory) Delivery() *run.Delivery {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.health.Delivery
}

func (m *memory) Health(context.Context) api.Health {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.called("Health")
	return m.health
}

func (m *memory) Ready(context.Context, bool) api.Readiness {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.readiness
}

func (m *memory) plan() api.Schedule {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.schedule
}
