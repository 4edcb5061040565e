package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv/memoryledger"
)

// memory is a ledger in memory.
type memory struct{ *memoryledger.Ledger }

// newMemory is one in which these runs wait, the first one for the longest time.
func newMemory(ids ...string) *memory {
	m := &memory{memoryledger.New()}
	for _, id := range ids {
		m.add(id)
	}
	return m
}

// add makes a run wait.
func (m *memory) add(id string) {
	at := time.Unix(int64(len(m.All())), 0)
	m.Put(run.Record{ID: id, Status: run.StatusQueued, Request: run.Request{At: at}})
}

// fail makes the ledger answer nothing else; nil ends that.
func (m *memory) fail(problem error) {
	m.Intercept(func(context.Context, string) error { return problem })
}

// in are the runs in a status.
func (m *memory) in(status run.Status) (ids []string) {
	for _, record := range m.All() {
		if record.Status == status {
			ids = append(ids, record.ID)
		}
	}
	return ids
}

func (m *memory) ids() (ids []string) {
	for _, record := range m.All() {
		ids = append(ids, record.ID)
	}
	return ids
}

// record is a run, zero where there is none.
func (m *memory) record(id string) run.Record {
	for _, record := range m.All() {
		if record.ID == id {
			return record
		}
	}
	return run.Record{}
}

func (m *memory) has(id string) bool { return m.record(id).ID != "" }

var errAway = errors.New("the database is away")
