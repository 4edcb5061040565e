package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// beatInterval is how often a run shows its progress and asks what is wanted of it.
const beatInterval = time.Second

// errSilent ends a run whose ledger has not answered for so long that another
// process may have taken the run over.
var errSilent = fmt.Errorf("%w: the ledger has not answered for the length of the lease", ErrFenced)

// Execute does a run under its lease, whose length is given: it shows the run's
// progress, obeys what is wanted of it, and ends it in the ledger. Where the
// context's cause is ErrHandedBack, or the lease is lost, another process goes on
// with the run, and the error says so.
func Execute(ctx context.Context, lease Lease, length time.Duration, run *Run) (*Report, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	beats := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() { beat(ctx, stop, lease, length, run, beats) })
	report, err := run.Do(ctx)
	close(beats)
	beating.Wait()
	if errors.Is(err, ErrFenced) {
		return report, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), length)
	defer cancel()
	var unkept error
	if errors.Is(err, ErrHandedBack) {
		unkept = lease.HandBack(ctx)
	} else {
		unkept = lease.Finish(ctx, report.Result.Status(), report, report.Error)
	}
	if err == nil && unkept != nil {
		err = fmt.Errorf("the run ended, and the ledger does not have its result: %w", unkept)
	}
	return report, err
}

// Status is where a run with this result has ended.
func (r Result) Status() Status {
	switch r {
	case InSync, Succeeded:
		return StatusSucceeded
	case Cancelled:
		return StatusCancelled
	case Broken:
		return StatusFailed
	}
	return StatusPartial
}

// beat renews the lease until the run ends, and stops the run when it must not or
// shall not go on.
func beat(ctx context.Context, stop context.CancelCauseFunc, lease Lease, length time.Duration, run *Run, ended <-chan struct{}) {
	tick := time.NewTicker(beatInterval)
	defer tick.Stop()
	status, answered := StatusRunning, time.Now()
	for {
		asked := time.Now()
		beatCtx, cancel := context.WithTimeout(ctx, length/3)
		wanted, err := lease.Beat(beatCtx, status, run.Progress())
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrFenced):
			stop(ErrFenced)
			return
		case err != nil && time.Since(answered) > length-length/3:
			stop(errSilent)
			return
		case err != nil: // it may answer yet
		case wanted == WantCancel:
			stop(context.Canceled)
			return
		case wanted == WantPause:
			answered, status = asked, StatusPaused
			run.Pause()
		default:
			answered, status = asked, StatusRunning
			run.Continue()
		}
		select {
		case <-tick.C:
		case <-ended:
			return
		case <-ctx.Done():
			return
		}
	}
}
