package memoryledger

import (
	"context"
	"errors"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

// Defer enters a request that only a newer program can read.
func (l *Ledger) Defer(ctx context.Context, request run.Request, document []byte, why string) (run.Record, error) {
	leave, err := l.enter(ctx, "Defer")
	if err != nil {
		return run.Record{}, err
	}
	defer leave()
	switch known := l.runs[request.ID]; {
	case request.Recorded && known == nil:
		return run.Record{}, run.ErrNotFound
	case request.Recorded:
		return known.record, nil
	}
	if err := l.checkPipeline(request); err != nil {
		return run.Record{}, err
	}
	if end := time.Now().Add(l.Retention); request.Expires.IsZero() || request.Expires.After(end) {
		request.Expires = end
	}
	known := len(l.runs)
	e, _ := l.add(request, run.StatusWaiting)
	if len(l.runs) > known && e.record.Status == run.StatusWaiting {
		e.record.Error, e.unread, e.unreadBy = why, document, l.Reads
	}
	return e.record, nil
}

// read queues a run that waited for this version.
func (l *Ledger) read(e *entry) {
	request, err := run.DecodeRequest(e.unread)
	request.ID, request.At = e.record.ID, e.record.Request.At
	switch {
	case errors.As(err, new(*run.NewerError)):
		e.unreadBy, e.record.Error = l.Reads, err.Error()
	case err != nil:
		e.record.Status, e.record.Error = run.StatusFailed, err.Error()
		l.end(e)
		return
	case l.active(request.Slot()) != nil:
		return
	default:
		e.record.Status, e.record.Request, e.record.IDCount, e.record.Error = run.StatusQueued, request, len(request.IDs), ""
	}
	e.record.Version++
}
