package ledger

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ecom-micro/etl/internal/run"
)

// columns are what scanRecord reads, briefColumns what scanBrief does.
const (
	columns      = `request, ` + otherColumns
	briefColumns = `coalesce(brief, request), ` + otherColumns
)

// otherColumns are read in any case. The first lease is no takeover, each other is.
const otherColumns = `id, version, status, wanted, started_at, finished_at, coalesce(owner, ''), greatest(fence - 1, 0), vanished,
	progress, report, coalesce(error, ''), coalesce(active_run::text, ''), attention`

// briefRequest is a request without its ids and with their number.
type briefRequest struct {
	run.Request
	IDCount int `json:"idCount"`
}

// briefDocument is what lists read of a request, nil where that is the request itself.
func briefDocument(r *run.Request) (*string, error) {
	if len(r.IDs) == 0 {
		return nil, nil
	}
	brief := briefRequest{*r, len(r.IDs)}
	brief.IDs = nil
	written, err := document(&brief)
	return &written, err
}

// scanBrief reads a run without the ids that it was asked for.
func scanBrief(row pgx.CollectableRow) (run.Record, error) {
	var request briefRequest
	r, err := scan(row, &request)
	r.Request, r.IDCount = request.Request, request.IDCount
	if n := len(r.Request.IDs); n > 0 { // it has no brief document
		r.Request.IDs, r.IDCount = nil, n
	}
	return told(r), err
}

func scanRecord(row pgx.CollectableRow) (run.Record, error) {
	var request run.Request
	r, err := scan(row, &request)
	r.Request, r.IDCount = request, len(request.IDs)
	return told(r), err
}

// told is the run with its request as this program knows it.
func told(r run.Record) run.Record {
	r.Request.ID = r.ID // as PostgreSQL writes it
	if newer := r.Request.Newer(); newer != nil && r.Status == run.StatusQueued && r.Error == "" {
		r.Error = newer.Error()
	}
	return r
}

// scan reads a run, and its request into what is given.
func scan(row pgx.CollectableRow, request any) (run.Record, error) {
	var (
		r                       run.Record
		id                      pgtype.UUID
		started, finished       *time.Time
		asked, progress, report []byte
	)
	if err := row.Scan(&asked, &id, &r.Version, &r.Status, &r.Wanted, &started, &finished, &r.Owner, &r.Takeovers, &r.Vanished,
		&progress, &report, &r.Error, &r.ActiveRun, &r.Attention); err != nil {
		return r, err
	}
	r.ID = id.String()
	r.Started, r.Finished = utc(started), utc(finished)
	return r, errors.Join(json.Unmarshal(asked, request), read(progress, &r.Progress), read(report, &r.Report))
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
