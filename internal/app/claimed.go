package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/target"
	"github.com/ecom-micro/etl/producer"
)

// execute does one run that the worker has claimed. When the process ends, or the
// cart's lock is lost, the run goes back to be taken by another one.
func (s *Service) execute(parent context.Context, lease run.Lease) error {
	ctx, stop := context.WithCancelCause(context.WithoutCancel(parent))
	defer stop(nil)
	defer context.AfterFunc(parent, func() { stop(reconcile.ErrHandedBack) })()
	record := lease.Record()
	request := &record.Request
	log := s.log.With("component", "worker", "run", record.ID)
	if request.By != "" {
		log = log.With("user", request.By)
	}
	log.Info("a run begins", "trigger", request.Trigger, "mode", request.Mode, "dryRun", request.DryRun, "takeovers", record.Takeovers)
	var clean Cleanup
	defer func() {
		if err := clean.End(ctx); err != nil {
			log.Warn("a run did not end all that it had opened", "err", err)
		}
	}()
	j := job{
		config: s.config, request: record.Request, lease: loggedLease{lease, log}, patience: max(2*s.config.Worker.Lease, target.MaxLockAge),
		stop: stop, count: s.published,
	}
	begun := time.Now()
	report, err := reconcile.Execute(ctx, lease, s.config.Worker.Lease, func(ctx context.Context) (*reconcile.Run, error) {
		if request.Apply != "" {
			var err error
			if j.ids, err = s.findings(ctx, request.Apply, request.Repair); err != nil {
				return nil, err
			}
		}
		engine, err := j.prepare(ctx, &clean)
		if errors.Is(err, rabbit.ErrNotFound) { // as before the cart's first start on a new broker
			err = &product.AwayError{Server: "the cart's queue", Err: err}
		}
		if errors.As(err, new(*product.AwayError)) { // a worker will find it back one day
			err = fmt.Errorf("%w: %w", reconcile.ErrHandedBack, err)
		}
		if err == nil && j.paused != nil {
			s.watchPauses(j.paused, &clean)
		}
		return engine, err
	})
	s.tell(log, request, report, err, time.Since(begun))
	if request.Trigger == run.ByDetector && err == nil {
		s.measureFreshness(ctx, log, record.ID)
	}
	return nil
}

// measureFreshness counts how long lost events had been lost that a detector has found.
func (s *Service) measureFreshness(ctx context.Context, log *slog.Logger, id string) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	took, err := s.ledger.Freshness(ctx, id)
	if err != nil {
		log.Debug("how long events had been lost is not known", "err", err)
	}
	for _, one := range took {
		s.metrics.Restored(one)
	}
}

// tell logs and counts how a run ended, which is all that becomes of its error: the
// ledger has it.
func (s *Service) tell(log *slog.Logger, request *run.Request, report *run.Report, err error, took time.Duration) {
	if errors.Is(err, reconcile.ErrHandedBack) || errors.Is(err, run.ErrFenced) {
		log.Warn("a run is left", "err", err)
		return
	}
	status := run.StatusFailed
	attributes := []any{"took", took}
	if report != nil {
		status = report.Result.Status()
		attributes = append(attributes, "result", report.Result, "compared", report.Products, "found", report.Found, "outcomes", report.Outcomes, "attempts", report.Attempts)
	} else if errors.Is(err, context.Canceled) {
		status = run.StatusCancelled
	}
	s.metrics.RunFinished(status, *request, report, took)
	attributes = append(attributes, "status", status)
	if err != nil && status == run.StatusFailed {
		log.Error("a run failed", append(attributes, "err", err)...)
		return
	}
	log.Info("a run ended", attributes...)
}

// loggedLease logs what a run writes to the ledger.
type loggedLease struct {
	run.Lease
	log *slog.Logger
}

func (l loggedLease) Plan(ctx context.Context, ranges []product.Range) error {
	l.log.Debug("the key ranges are planned", "ranges", len(ranges))
	return l.Lease.Plan(ctx, ranges)
}

func (l loggedLease) Begin(ctx context.Context, hands []run.Hand) error {
	l.log.Debug("products are in hand", "products", len(hands))
	return l.Lease.Begin(ctx, hands)
}

func (l loggedLease) Settle(ctx context.Context, settled run.Settlement) error {
	l.log.Debug("what happened is settled", "stage", settled.Stage, "ranges", len(settled.Finished), "outcomes", len(settled.Outcomes),
		"found", settled.Report.Found, "states", settled.Report.Outcomes)
	return l.Lease.Settle(ctx, settled)
}

// findings are what the run to be applied has found.
func (s *Service) findings(ctx context.Context, id string, kinds run.Kinds) ([]product.ID, error) {
	keys, complete, err := s.ledger.Findings(ctx, id, kinds)
	switch {
	case errors.Is(err, run.ErrNotFound):
		return nil, fmt.Errorf("the run %s, whose findings were to be applied, is not kept any more: start a run of its own", id)
	case err != nil:
		return nil, err
	case !complete:
		return nil, fmt.Errorf("the run %s found more than the %d products that are kept one by one: start a run with maxRepairs instead", id, run.MaxOutcomes)
	case len(keys) == 0:
		return nil, fmt.Errorf("of what the run %s found, nothing %s is left to repair", id, kinds)
	}
	ids := make([]product.ID, len(keys))
	for i, key := range keys {
		ids[i] = key.ID
	}
	return ids, nil
}

// watchPauses counts for how long publishing waits, and why.
func (s *Service) watchPauses(paused func() producer.Pause, clean *Cleanup) {
	const interval = 200 * time.Millisecond
	ended, done := make(chan struct{}), make(chan struct{})
	clean.Add("the count of pauses", Closing(func() { close(ended); <-done }))
	go func() {
		defer close(done)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if p := paused(); p.Cause != "" {
					s.metrics.Throttled(string(p.Cause), interval)
				}
			case <-ended:
				return
			}
		}
	}()
}

// published counts what became of replayed events.
func (s *Service) published(confirmed, returned, nacked, unknown int) {
	s.metrics.Confirmed(confirmed)
	s.metrics.Returned(returned)
	s.metrics.Nacked(nacked)
	s.metrics.Unconfirmed(unknown)
}
