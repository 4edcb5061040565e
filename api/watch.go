package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

// How often a run that callers watch is read, at first and later.
const (
	firstPoll    = 50 * time.Millisecond // the wait for a short run is short
	pollInterval = time.Second
)

// watches reads the runs that callers watch, each once in pollInterval, however many
// callers watch it.
type watches struct {
	read   func(ctx context.Context, id string) (run.Record, error)
	places chan struct{} // one for each caller that watches

	mu   sync.Mutex
	runs map[string]*watch
}

func newWatches(read func(context.Context, string) (run.Record, error)) *watches {
	return &watches{read: read, places: make(chan struct{}, maxWatchers), runs: make(map[string]*watch)}
}

// watch is a run that callers watch.
type watch struct {
	callers int
	stop    context.CancelFunc

	mu      sync.Mutex
	latest  run.Record
	gone    bool
	changed chan struct{} // closed when the rest is another
}

// join takes one of the places of those who watch runs, until leave.
func (s *watches) join(ctx context.Context, record run.Record) (w *watch, leave func(), err error) {
	select {
	case s.places <- struct{}{}:
	default:
		return nil, nil, &refusal{status: http.StatusServiceUnavailable, message: fmt.Sprintf("%d callers watch runs already, try again later", maxWatchers)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w = s.runs[record.ID]
	if w == nil {
		ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // the caller may leave before others
		w = &watch{stop: stop, latest: record, changed: make(chan struct{})}
		s.runs[record.ID] = w
		go s.poll(ctx, record.ID, w)
	}
	w.callers++
	return w, func() { s.leave(record.ID, w) }, nil
}

func (s *watches) leave(id string, w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.callers--; w.callers == 0 {
		w.stop()
		delete(s.runs, id)
	}
	<-s.places
}

// poll reads the run until nobody watches it any more, or it is gone.
func (s *watches) poll(ctx context.Context, id string, w *watch) {
	for pause := firstPoll; ; pause = min(2*pause, pollInterval) {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		asked, cancel := context.WithTimeout(ctx, answerTimeout)
		record, err := s.read(asked, id)
		cancel()
		switch {
		case err == nil:
			w.note(record, false)
		case errors.Is(err, run.ErrNotFound):
			w.note(run.Record{}, true)
			return
		} // anything else passes, or the callers go
	}
}

func (w *watch) note(record run.Record, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !gone && record.Version <= w.latest.Version {
		return
	}
	if w.gone = gone; !gone {
		w.latest = record
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// later is the run as it is known now, where that is later than what the caller knows,
// and a channel that is closed when that is another. ok is false where the ledger has
// the run no more.
func (w *watch) later(known run.Record) (record run.Record, changed <-chan struct{}, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.latest.Version > known.Version {
		known = w.latest
	}
	return known, w.changed, !w.gone
}
