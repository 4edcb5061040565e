package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

const (
	heartbeat      = 15 * time.Second // below what proxies close an idle connection after
	streamLimit    = time.Hour        // then the caller comes again, with a token that is still valid
	streamDeadline = 10 * time.Second // for a caller to take one event
)

// getRunEvents streams a run as server-sent events: each is a snapshot of the run, and
// its id is the run's version, so a caller that comes again with Last-Event-ID misses
// nothing that counts and gets nothing twice.
func (a *API) getRunEvents(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
	record, err := a.run(ctx, r)
	cancel()
	if err != nil {
		return err
	}
	watched, leave, err := a.watches.join(r.Context(), record)
	if err != nil {
		return err
	}
	defer leave()
	last, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	if err != nil {
		last = -1 // no version
	}
	if last == record.Version && !record.Status.Active() {
		w.WriteHeader(http.StatusNoContent) // which tells a browser not to come again
		return nil
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // or nginx would hold events back
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	ctx, cancel = context.WithTimeout(r.Context(), streamLimit)
	defer cancel()
	if err := a.stream(ctx, w, watched, record, last); err != nil {
		logger(r.Context()).Debug("a stream of events broke", "run", record.ID, "err", err)
	}
	return nil
}

// stream sends the run whenever its version is another than the last one sent, until
// its final state is sent. It returns an error only where the caller is gone.
func (a *API) stream(ctx context.Context, w http.ResponseWriter, watched *watch, record run.Record, last int64) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	if err := send(w, "retry: 2000\n\n"); err != nil {
		return err
	}
	for {
		var changed <-chan struct{}
		var ok bool
		if record, changed, ok = watched.later(record); !ok {
			return nil
		}
		if record.Version != last {
			data, err := json.Marshal(summary(record))
			if err != nil {
				return err
			}
			if err := send(w, "id: %d\nevent: run\ndata: %s\n\n", record.Version, data); err != nil {
				return err
			}
			last = record.Version
		}
		if !record.Status.Active() {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.draining:
			return nil
		case <-beat.C:
			if err := send(w, ": still here\n\n"); err != nil {
				return err
			}
		case <-changed:
		}
	}
}

func send(w http.ResponseWriter, format string, args ...any) error {
	extendDeadlines(w, heartbeat+streamDeadline)
	if _, err := fmt.Fprintf(io.Writer(w), format, args...); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}
