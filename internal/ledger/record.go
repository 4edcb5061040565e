package ledger

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ecom-micro/etl/internal/run"
)

// columns are what scanRecord reads. The first lease is no takeover, each other is.
const columns = `id, version, status, wanted, request, coalesce(json_array_length(request -> 'ids'), 0), started_at, finished_at, coalesce(owner, ''), greatest(fence - 1, 0), vanished,
	progress, report, coalesce(error, ''), coalesce(active_run::text, '')`

func scanRecord(row pgx.CollectableRow) (run.Record, error) {
	var (
		r                         run.Record
		id                        pgtype.UUID
		started, finished         *time.Time
		request, progress, report []byte
	)
	if err := row.Scan(&id, &r.Version, &r.Status, &r.Wanted, &request, &r.IDCount, &started, &finished, &r.Owner, &r.Takeovers, &r.Vanished,
		&progress, &report, &r.Error, &r.ActiveRun); err != nil {
		return r, err
	}
	r.ID = id.String()
	r.Started, r.Finished = utc(started), utc(finished)
	err := errors.Join(json.Unmarshal(request, &r.Request), read(progress, &r.Progress), read(report, &r.Report))
	r.Request.ID = r.ID // as PostgreSQL writes it
	if newer := r.Request.Newer(); newer != nil && r.Status == run.StatusQueued && r.Error == "" {
		r.Error = newer.Error()
	}
	return r, err
}

// utc is the zero time where there is none.
func utc(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// read reads a document that may be absent.
func read[T any](document []byte, into **T) error {
	if document == nil {
		return nil
	}
	*into = new(T)
	return json.Unmarshal(document, *into)
}

// parseID reads a run's id. What is no UUID is NULL, which is no run's id.
func parseID(text string) (id pgtype.UUID) {
	if len(text) != 36 || id.Scan(text) != nil {
		return pgtype.UUID{}
	}
	return id
}
