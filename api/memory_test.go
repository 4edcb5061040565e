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
	"github.com/ecom-micro/etl/internal/reconcile"
)

// memory is a ledger, and everything else that the API speaks to. Whatever is in
// broken fails when it is called.
type memory struct {
	mu       sync.Mutex
	runs     map[string]*reconcile.Record
	outcomes map[string][]reconcile.Outcome
	dropped  map[string]bool // runs with more findings than are kept
	wanted   reconcile.Switch
	checked  *reconcile.HealthRecord
	broken   map[string]error
	calls    map[string]int

	rung []reconcile.Request
	ring func(reconcile.Request) error // nil is fine
	// products explain themselves.
	products  map[product.ID]*reconcile.Explanation
	health    api.Health
	readiness api.Readiness
	schedule  api.Schedule
}

func newMemory() *memory {
	return &memory{
		runs: make(map[string]*reconcile.Record), outcomes: make(map[string][]reconcile.Outcome), dropped: make(map[string]bool),
		wanted: reconcile.Switch{On: true}, broken: make(map[string]error), calls: make(map[string]int),
		products: make(map[product.ID]*reconcile.Explanation),
		health: api.Health{Healthy: true, Topology: api.Dependency{State: api.Up}, Dependencies: map[string]api.Dependency{
			"mongodb": {State: api.Up, Latency: 1500 * time.Microsecond}, "management": {State: api.Off}}},
		readiness: api.Readiness{Ready: true},
		schedule: api.Schedule{Enabled: true, TimeZone: "UTC", Order: reconcile.Order{Mode: reconcile.Direct, Reason: "tick"},
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
func (m *memory) update(id string, change func(*reconcile.Record)) {
	m.with(func() {
		run := *m.runs[id]
		change(&run)
		run.Version++
		m.runs[id] = &run
	})
}

// add keeps a run and returns its id.
func (m *memory) add(run reconcile.Record) string {
	if run.ID == "" {
		run.ID = reconcile.NewRunID()
	}
	run.Request.ID, run.Request.Version = run.ID, reconcile.RequestVersion
	if err := run.Request.Check(); err != nil {
		panic(err)
	}
	run.Version, run.Wanted = 1, reconcile.WantRun
	m.with(func() { m.runs[run.ID] = &run })
	return run.ID
}

func (m *memory) Submit(_ context.Context, request reconcile.Request) (reconcile.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("Submit"); err != nil {
		return reconcile.Record{}, err
	}
	if active := m.active(request.Slot()); active != nil {
		return reconcile.Record{}, &reconcile.ActiveError{Active: *active}
	}
	run := reconcile.Record{ID: request.ID, Version: 1, Status: reconcile.StatusQueued, Request: request, Wanted: reconcile.WantRun}
	m.runs[run.ID] = &run
	return run, nil
}

func (m *memory) Discard(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("Discard"); err != nil {
		return err
	}
	if run := m.runs[id]; run != nil && run.Status != reconcile.StatusQueued {
		return &reconcile.StatusError{Run: *run, Action: "be discarded"}
	}
	delete(m.runs, id)
	return nil
}

func (m *memory) Run(_ context.Context, id string) (reconcile.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("Run"); err != nil {
		return reconcile.Record{}, err
	}
	if run := m.runs[id]; run != nil {
		return *run, nil
	}
	return reconcile.Record{}, reconcile.ErrNotFound
}

func (m *memory) sorted(keep func(*reconcile.Record) bool) []reconcile.Record {
	var runs []reconcile.Record
	for _, id := range slices.Sorted(maps.Keys(m.runs)) { // ids sort by time
		if keep(m.runs[id]) {
			runs = append(runs, *m.runs[id])
		}
	}
	slices.Reverse(runs)
	return runs
}

func (m *memory) Runs(_ context.Context, f reconcile.RunFilter) (reconcile.RunPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("Runs"); err != nil {
		return reconcile.RunPage{}, err
	}
	if f.Before != "" && m.runs[f.Before] == nil {
		return reconcile.RunPage{}, reconcile.ErrCursor
	}
	runs := m.sorted(func(r *reconcile.Record) bool {
		return (len(f.Status) == 0 || slices.Contains(f.Status, r.Status)) && (len(f.Trigger) == 0 || slices.Contains(f.Trigger, r.Request.Trigger)) &&
			(f.Mode == "" || f.Mode == r.Request.Mode) && (f.DryRun == nil || *f.DryRun == r.Request.DryRun) &&
			!r.Request.At.Before(f.Since) && (f.Before == "" || r.ID < f.Before)
	})
	if f.Limit == 0 {
		f.Limit = reconcile.DefaultPage
	}
	page := reconcile.RunPage{Runs: runs}
	if len(runs) > f.Limit {
		page = reconcile.RunPage{Runs: runs[:f.Limit], Next: runs[f.Limit-1].ID}
	}
	return page, nil
}

func (m *memory) Outcomes(_ context.Context, id string, f reconcile.OutcomeFilter) (reconcile.OutcomePage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("Outcomes"); err != nil {
		return reconcile.OutcomePage{}, err
	}
	if m.runs[id] == nil {
		return reconcile.OutcomePage{}, reconcile.ErrNotFound
	}
	after, err := strconv.Atoi("0" + f.After)
	if err != nil {
		return reconcile.OutcomePage{}, reconcile.ErrCursor
	}
	page := reconcile.OutcomePage{}
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

func (m *memory) active(slot reconcile.Slot) *reconcile.Record {
	for _, run := range m.sorted(func(r *reconcile.Record) bool { return r.Status.Active() && r.Request.Slot() == slot }) {
		return &run
	}
	return nil
}

func (m *memory) Active(_ context.Context, slot reconcile.Slot) (*reconcile.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.active(slot), m.called("Active")
}

func (m *memory) latest(keep func(*reconcile.Record) bool) *reconcile.Record {
	for _, run := range m.sorted(keep) {
		return &run
	}
	return nil
}

func (m *memory) Latest(_ context.Context, slot reconcile.Slot) (*reconcile.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.latest(func(r *reconcile.Record) bool { return !r.Status.Active() && r.Request.Slot() == slot }), m.called("Latest")
}

func (m *memory) LatestLook(_ context.Context, notOlderThan time.Time) (*reconcile.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.latest(func(r *reconcile.Record) bool {
		return r.Request.DryRun && len(r.Request.IDs) == 0 && (r.Status == reconcile.StatusSucceeded || r.Status == reconcile.StatusPartial) &&
			!r.Finished.Before(notOlderThan)
	}), m.called("LatestLook")
}

func (m *memory) Findings(_ context.Context, id string) (ids []product.ID, complete bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.outcomes[id] {
		if o.State == reconcile.Found && o.Kind == product.Missing {
			ids = append(ids, o.ID)
		}
	}
	return ids, !m.dropped[id], m.called("Findings")
}

func (m *memory) History(_ context.Context, id product.ID, limit int) (past []reconcile.PastOutcome, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for run, outcomes := range m.outcomes {
		for _, o := range outcomes {
			if o.ID == id && len(past) < limit {
				past = append(past, reconcile.PastOutcome{Run: run, At: time.Now(), Outcome: o})
			}
		}
	}
	return past, m.called("History")
}

func (m *memory) Ask(_ context.Context, id string, wanted reconcile.Wanted) (reconcile.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("Ask"); err != nil {
		return reconcile.Record{}, err
	}
	if m.runs[id] == nil {
		return reconcile.Record{}, reconcile.ErrNotFound
	}
	run := *m.runs[id]
	if !run.Status.Active() {
		return run, &reconcile.StatusError{Run: run, Action: "be asked to " + string(wanted)}
	}
	run.Wanted, run.Version = wanted, run.Version+1
	if wanted == reconcile.WantCancel && run.Status == reconcile.StatusQueued {
		run.Status = reconcile.StatusCancelled
	}
	m.runs[id] = &run
	return run, nil
}

func (m *memory) Switch(context.Context) (reconcile.Switch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wanted, m.called("Switch")
}

func (m *memory) SetSwitch(_ context.Context, on bool, by string) (reconcile.Switch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("SetSwitch"); err != nil {
		return reconcile.Switch{}, err
	}
	m.wanted = reconcile.Switch{On: on, By: by, At: time.Now()}
	return m.wanted, nil
}

func (m *memory) LastHealth(context.Context) (*reconcile.HealthRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.checked, m.called("LastHealth")
}
