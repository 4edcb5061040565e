package api_test

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// memory is a ledger, and everything else that the API speaks to. Whatever is in
// broken fails when it is called.
type memory struct {
	mu       sync.Mutex
	runs     map[string]*run.Record
	outcomes map[string][]run.Outcome
	dropped  map[string]bool // runs with more findings than are kept
	wanted   run.Switch
	checked  *run.HealthRecord
	broken   map[string]error
	calls    map[string]int

	rung []run.Request
	ring func(run.Request) error // nil is fine
	// products explain themselves.
	products  map[product.ID]*run.Explanation
	health    api.Health
	readiness api.Readiness
	schedule  api.Schedule
}

func newMemory() *memory {
	return &memory{
		runs: make(map[string]*run.Record), outcomes: make(map[string][]run.Outcome), dropped: make(map[string]bool),
		wanted: run.Switch{On: true}, broken: make(map[string]error), calls: make(map[string]int),
		products: make(map[product.ID]*run.Explanation),
		health: api.Health{Healthy: true, Topology: api.Dependency{State: api.Up}, Dependencies: map[string]api.Dependency{
			"mongodb": {State: api.Up, Latency: 1500 * time.Microsecond}, "management": {State: api.Off}}},
		readiness: api.Readiness{Ready: true},
		schedule: api.Schedule{Enabled: true, TimeZone: "UTC", Order: run.Order{Mode: run.Direct, Reason: "tick"},
			Sync:        api.Job{Expression: "*/30 * * * *", Next: time.Date(2026, 11, 22, 12, 30, 0, 0, time.UTC)},
			HealthCheck: api.Job{Expression: "*/5 * * * *", Next: time.Date(2026, 11, 22, 12, 5, 0, 0, time.UTC)}},
	}
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

// update changes a run as its worker would.
func (m *memory) update(id string, change func(*run.Record)) {
	m.with(func() {
		record := *m.runs[id]
		change(&record)
		record.Version++
		m.runs[id] = &record
	})
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
	record.Version, record.Wanted = 1, run.WantRun
	m.with(func() { m.runs[record.ID] = &record })
	return record.ID
}

func (m *memory) Submit(_ context.Context, request run.Request) (run.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("Submit"); err != nil {
		return run.Record{}, err
	}
	if active := m.active(request.Slot()); active != nil {
		return run.Record{}, &run.ActiveError{Active: *active}
	}
	record := run.Record{ID: request.ID, Version: 1, Status: run.StatusQueued, Request: request, Wanted: run.WantRun}
	m.runs[record.ID] = &record
	return record, nil
}

func (m *memory) Discard(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("Discard"); err != nil {
		return err
	}
	if record := m.runs[id]; record != nil && record.Status != run.StatusQueued {
		return &run.StatusError{Run: *record, Action: "be discarded"}
	}
	delete(m.runs, id)
	return nil
}

func (m *memory) Run(_ context.Context, id string) (run.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("Run"); err != nil {
		return run.Record{}, err
	}
	if record := m.runs[id]; record != nil {
		return *record, nil
	}
	return run.Record{}, run.ErrNotFound
}

func (m *memory) sorted(keep func(*run.Record) bool) []run.Record {
	var runs []run.Record
	for _, id := range slices.Sorted(maps.Keys(m.runs)) { // ids sort by time
		if keep(m.runs[id]) {
			runs = append(runs, *m.runs[id])
		}
	}
	slices.Reverse(runs)
	return runs
}

func (m *memory) Runs(_ context.Context, f run.RunFilter) (run.RunPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("Runs"); err != nil {
		return run.RunPage{}, err
	}
	if f.Before != "" && m.runs[f.Before] == nil {
		return run.RunPage{}, run.ErrCursor
	}
	runs := m.sorted(func(r *run.Record) bool {
		return (len(f.Status) == 0 || slices.Contains(f.Status, r.Status)) && (len(f.Trigger) == 0 || slices.Contains(f.Trigger, r.Request.Trigger)) &&
			(f.Mode == "" || f.Mode == r.Request.Mode) && (f.DryRun == nil || *f.DryRun == r.Request.DryRun) &&
			!r.Request.At.Before(f.Since) && (f.Before == "" || r.ID < f.Before)
	})
	if f.Limit == 0 {
		f.Limit = run.DefaultPage
	}
	page := run.RunPage{Runs: runs}
	if len(runs) > f.Limit {
		page = run.RunPage{Runs: runs[:f.Limit], Next: runs[f.Limit-1].ID}
	}
	return page, nil
}

func (m *memory) Outcomes(_ context.Context, id string, f run.OutcomeFilter) (run.OutcomePage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("Outcomes"); err != nil {
		return run.OutcomePage{}, err
	}
	if m.runs[id] == nil {
		return run.OutcomePage{}, run.ErrNotFound
	}
	after, err := strconv.Atoi("0" + f.After)
	if err != nil {
		return run.OutcomePage{}, run.ErrCursor
	}
	page := run.OutcomePage{}
	for i, o := range m.outcomes[id][after:] {
		if (len(f.State) == 0 || slices.Contains(f.State, o.State)) && (len(f.Kind) == 0 || slices.Contains(f.Kind, o.Kind)) {
			page.Outcomes = append(page.Outcomes, o)
		}
		if f.Limit > 0 && len(page.Outcomes) == f.Limit {
			page.Next = strconv.Itoa(after + i + 1)
			break
		}
	}
	return page, nil
}

func (m *memory) active(slot run.Slot) *run.Record {
	for _, record := range m.sorted(func(r *run.Record) bool { return r.Status.Active() && r.Request.Slot() == slot }) {
		return &record
	}
	return nil
}

func (m *memory) Active(_ context.Context, slot run.Slot) (*run.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.active(slot), m.called("Active")
}

func (m *memory) latest(keep func(*run.Record) bool) *run.Record {
	for _, record := range m.sorted(keep) {
		return &record
	}
	return nil
}

func (m *memory) Latest(_ context.Context, slot run.Slot) (*run.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.latest(func(r *run.Record) bool { return !r.Status.Active() && r.Request.Slot() == slot }), m.called("Latest")
}

func (m *memory) LatestLook(_ context.Context, notOlderThan time.Time) (*run.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.latest(func(r *run.Record) bool {
		return r.Request.DryRun && len(r.Request.IDs) == 0 && (r.Status == run.StatusSucceeded || r.Status == run.StatusPartial) &&
			!r.Finished.Before(notOlderThan)
	}), m.called("LatestLook")
}

func (m *memory) Findings(_ context.Context, id string) (ids []product.ID, complete bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.outcomes[id] {
		if o.State == run.Found && o.Kind == product.Missing {
			ids = append(ids, o.ID)
		}
	}
	return ids, !m.dropped[id], m.called("Findings")
}

func (m *memory) History(_ context.Context, id product.ID, limit int) (past []run.PastOutcome, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for runID, outcomes := range m.outcomes {
		for _, o := range outcomes {
			if o.ID == id && len(past) < limit {
				past = append(past, run.PastOutcome{Run: runID, At: time.Now(), Outcome: o})
			}
		}
	}
	return past, m.called("History")
}

func (m *memory) Ask(_ context.Context, id string, wanted run.Wanted) (run.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("Ask"); err != nil {
		return run.Record{}, err
	}
	if m.runs[id] == nil {
		return run.Record{}, run.ErrNotFound
	}
	record := *m.runs[id]
	if !record.Status.Active() {
		return record, &run.StatusError{Run: record, Action: "be asked to " + string(wanted)}
	}
	record.Wanted, record.Version = wanted, record.Version+1
	if wanted == run.WantCancel && record.Status == run.StatusQueued {
		record.Status = run.StatusCancelled
	}
	m.runs[id] = &record
	return record, nil
}

func (m *memory) Switch(context.Context) (run.Switch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wanted, m.called("Switch")
}

func (m *memory) SetSwitch(_ context.Context, on bool, by string) (run.Switch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("SetSwitch"); err != nil {
		return run.Switch{}, err
	}
	m.wanted = run.Switch{On: on, By: by, At: time.Now()}
	return m.wanted, nil
}

func (m *memory) LastHealth(context.Context) (*run.HealthRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.checked, m.called("LastHealth")
}
