package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// beatInterval is how often a run shows its progress and asks what is wanted of it.
const beatInterval = time.Second

// lastWords is how long a run may take to tell the ledger of its end. Where that
// fails its lease ends, and another process finds out.
const lastWords = 5 * time.Second

// errSilent ends a run whose ledger has not answered for so long that another
// process may have taken the run over.
var errSilent = fmt.Errorf("%w: the ledger has not answered for the length of the lease", run.ErrFenced)

// awayPause is how long a run rests whose server has been away for long, before it is
// taken up again.
const awayPause = 10 * time.Second

// Execute makes a run and does it under its lease, whose length is given: it shows
// the run's progress, obeys what is wanted of it, and ends it in the ledger. Where
// the context's cause is ErrHandedBack, a server stays away, or the lease is lost,
// another process goes on with the run, and the error says so, as that of prepare may. The
// report is nil where the run could not be made.
func Execute(ctx context.Context, lease run.Lease, length time.Duration, prepare func(context.Context) (*Run, error)) (*run.Report, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	h := heart{lease: lease, length: length, stop: stop, ended: make(chan struct{})}
	var beating sync.WaitGroup
	beating.Go(func() { h.beat(ctx) })
	var report *run.Report
	var problem string
	status := run.StatusFailed
	engine, err := prepare(ctx)
	if err == nil {
		h.run.Store(engine)
		report, err = engine.Do(ctx)
		status, problem = report.Result.Status(), report.Error
	} else {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if errors.Is(err, context.Canceled) {
			status = run.StatusCancelled
		}
		problem = err.Error()
	}
	close(h.ended)
	beating.Wait()
	if errors.Is(err, run.ErrFenced) {
		return report, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(length, lastWords))
	defer cancel()
	if engine != nil && !errors.Is(err, ErrHandedBack) {
		_, _ = lease.Beat(ctx, run.StatusRunning, engine.Progress()) // what it came to; the end itself matters more
	}
	var unkept error
	if errors.Is(err, ErrHandedBack) {
		pause := time.Duration(0)
		if isAway(err) {
			pause = awayPause
		}
		unkept = lease.HandBack(ctx, problem, pause)
	} else {
		if status == run.StatusCancelled { // which says it
			problem = ""
		}
		unkept = lease.Finish(ctx, status, report, problem)
	}
	if err == nil && unkept != nil {
		err = fmt.Errorf("the run ended, and the ledger does not have its result: %w", unkept)
	}
	return report, err
}

func isAway(err error) bool { return errors.As(err, new(*product.AwayError)) }

// heart keeps a lease while a run is made and done.
type heart struct {
	lease  run.Lease
	length time.Duration
	run    atomic.Pointer[Run] // nil while it is made
	stop   context.CancelCauseFunc
	ended  chan struct{}
}

// beat renews the lease until the run ends, and stops the run when it must not or
// shall not go on.
func (h *heart) beat(ctx context.Context) {
	tick := time.NewTicker(beatInterval)
	defer tick.Stop()
	status, answered := run.StatusRunning, time.Now()
	for {
		progress := run.Progress{Phase: run.PhasePlanning, Suspects: map[product.Kind]int64{}, Phases: []run.PhaseTime{}}
		engine := h.run.Load()
		if engine != nil {
			progress = engine.Progress()
		}
		asked := time.Now()
		beatCtx, cancel := context.WithTimeout(ctx, h.length/3)
		wanted, err := h.lease.Beat(beatCtx, status, progress)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, run.ErrFenced):
			h.stop(run.ErrFenced)
			return
		case err != nil && time.Since(answered) > h.length-h.length/3:
			h.stop(errSilent)
			return
		case err != nil: // it may answer yet
		case wanted == run.WantCancel:
			h.stop(context.Canceled)
			return
		default:
			answered, status = asked, run.StatusRunning
			if engine != nil && wanted == run.WantPause {
				status = run.StatusPaused
				engine.Pause()
			} else if engine != nil {
				engine.Continue()
			}
		}
		select {
		case <-tick.C:
		case <-h.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}
