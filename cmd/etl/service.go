package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/consumer"
	"github.com/ecom-micro/etl/internal/ledger"
	"github.com/ecom-micro/etl/internal/metrics"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/schedule"
	"github.com/ecom-micro/etl/internal/target"
)

// service is one process of `etl serve`. Each run opens what it works with itself,
// as a command does; what is here serves everything around the runs.
type service struct {
	config  *config
	log     *slog.Logger
	metrics *metrics.Metrics
	ledger  *ledger.Ledger
	stores  *storeViews
	probes  *probes

	publisher *rabbit.Connection
	doorbell  *consumer.Doorbell
	listener  *consumer.Listener
	worker    *consumer.Worker
	scheduler *schedule.Scheduler
	api       *api.API
	socket    net.Listener
	ready     atomic.Bool // what the roles need at the start was there
	migrated  atomic.Bool // the ledger is usable
	waits     sync.Map    // for what the start waits, and why
}

// newService wires everything together and binds the port. Nothing has to answer
// yet: run waits for it.
func newService(ctx context.Context, c *config, log *slog.Logger, clean *cleanup) (*service, error) {
	s := &service{config: c, log: log, metrics: metrics.New(metrics.Build{Version: version, Revision: revision(), GoVersion: runtime.Version()})}
	var err error
	if s.ledger, err = ledger.Open(ctx, c.Ledger, c.Target.Address()); err != nil {
		return nil, err
	}
	clean.add(closing(s.ledger.Close))
	both, err := connectStores(ctx, c, clean)
	if err != nil {
		return nil, err
	}
	management, err := rabbit.NewManagement(c.Rabbit)
	if err != nil {
		return nil, err
	}
	connect := func(name string) *rabbit.Connection {
		conn := rabbit.NewConnection(c.Rabbit, name)
		clean.add(func(context.Context) { conn.Close() })
		return conn
	}
	monitor, intake := connect(monitorName), connect(consumerName)
	s.publisher = connect(producerName)

	s.stores = &storeViews{config: c, stores: both, monitor: monitor}
	s.doorbell = consumer.NewDoorbell(s.publisher)
	clean.add(func(context.Context) { s.doorbell.Close() })
	s.worker = consumer.NewWorker(s.ledger, s.execute, owner(), c.Worker, log)
	s.listener = consumer.NewListener(intake, s.ledger, s.worker.Ring, log)
	if s.scheduler, err = schedule.New(c.Schedule, schedule.Jobs{Sync: s.tick, Health: s.checkHealth}, log.With("component", "scheduler")); err != nil {
		return nil, err
	}
	clean.add(func(ctx context.Context) { s.ended("scheduler", s.scheduler.Shutdown(ctx)) })
	s.probes = &probes{service: s, both: both, monitor: monitor, management: management}
	s.api = api.New(c.API, api.Parts{
		Runs: s.ledger, Doorbell: s.doorbell, Stores: s.stores, Probes: s.probes, Schedule: s.schedule,
		Metrics: s.metrics.Handler(), Observe: s.metrics.Request, Log: log, ProbesOnly: !c.Service.has(roleAPI),
	})
	var listen net.ListenConfig
	if s.socket, err = listen.Listen(ctx, "tcp", c.API.Address()); err != nil {
		return nil, fmt.Errorf("listen on PORT %d of ETL_HOST %q: %w", c.API.Port, c.API.Host, err)
	}
	clean.add(func(context.Context) { _ = s.socket.Close() })
	return s, nil
}

// owner names this process in the ledger.
func owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s, process %d, %s", host, os.Getpid(), run.NewRunID()[24:])
}

// run serves until ctx ends, and then ends what is in hand within
// ETL_DRAIN_TIMEOUT.
func (s *service) run(ctx context.Context) error {
	s.log.Info("the service starts", "version", version, "address", s.socket.Addr().String(), "roles", s.config.Service.Roles,
		"source", s.stores.source.Name(), "target", s.stores.target.Name())
	server := api.NewServer(s.api, s.config.API)
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.socket) }()
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var roles sync.WaitGroup
	roles.Go(func() { s.perform(work) })
	roles.Go(func() { s.watch(work) })

	var problem error
	select {
	case <-ctx.Done():
	case problem = <-served:
	}
	s.ready.Store(false)
	begun := time.Now()
	s.log.Info("the service ends: no new work, runs in hand are handed back", "within", s.config.Service.Drain)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Service.Drain)
	defer cancel()
	stop()
	// Whoever watches a run gets a proper end at once.
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if err := server.Shutdown(drain); err != nil {
			s.log.Warn("connections to the HTTP server were cut", "err", err)
		}
	}()
	ended := make(chan struct{})
	go func() { roles.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-drain.Done():
		problem = errors.Join(problem, fmt.Errorf("runs %v have not ended within ETL_DRAIN_TIMEOUT (%s); others take them over when their leases end", s.worker.Busy(), s.config.Service.Drain))
	}
	<-closed
	if problem != nil {
		s.log.Error("the service did not end as it should", "err", problem, "took", time.Since(begun))
		return problem
	}
	s.log.Info("the service has ended", "took", time.Since(begun))
	return nil
}

// perform waits for what the roles need and then performs them until ctx ends.
func (s *service) perform(ctx context.Context) {
	var needs sync.WaitGroup
	needs.Go(func() {
		s.await(ctx, "the ledger", s.ledger.Migrate)
		s.migrated.Store(ctx.Err() == nil)
	})
	needs.Go(func() {
		s.await(ctx, "the broker", func(ctx context.Context) error { return consumer.Declare(ctx, s.publisher) })
	})
	needs.Wait()
	if ctx.Err() != nil {
		return
	}
	s.ready.Store(true)
	s.log.Info("the service is ready")
	var roles sync.WaitGroup
	if s.config.Service.has(roleWorker) {
		roles.Go(func() { s.ended("listener", s.listener.Run(ctx)) })
		roles.Go(func() { s.ended("worker", s.worker.Run(ctx)) })
		roles.Go(func() { s.ledger.Retain(ctx, s.log.With("component", "retention")) })
	}
	if s.config.Service.has(roleScheduler) {
		s.scheduler.Start()
		s.tellSwitch(ctx)
	}
	<-ctx.Done()
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Service.Drain)
	defer cancel()
	s.ended("scheduler", s.scheduler.Shutdown(shutdown))
	roles.Wait()
}

func (s *service) ended(role string, err error) {
	if err != nil {
		s.log.Error("a role ended with an error", "role", role, "err", err)
	}
}

// await tries until something succeeds, or ctx ends.
func (s *service) await(ctx context.Context, what string, try func(context.Context) error) {
	begun := time.Now()
	w := waitLog{log: s.log, what: what}
	const longestPause = 15 * time.Second
	pauses := backoff.NewExponentialBackOff()
	pauses.MaxInterval = longestPause
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := try(ctx)
		if err != nil {
			w.failed(ctx, err)
			s.waits.Store(what, err.Error())
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(0))
	s.waits.Delete(what)
	if err == nil && w.last != "" {
		s.log.Info("found "+what, "after", time.Since(begun))
	}
}

// execute does one run that the worker has claimed. When the process ends, or the
// cart's lock is lost, the run goes back to be taken by another one.
func (s *service) execute(parent context.Context, lease run.Lease) error {
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
	var clean cleanup
	defer clean.run(ctx)
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
		if err == nil && j.paused != nil {
			s.watchPauses(j.paused, &clean)
		}
		return engine, err
	})
	took := time.Since(begun)
	if errors.Is(err, reconcile.ErrHandedBack) || errors.Is(err, run.ErrFenced) {
		log.Warn("a run is left", "err", err)
		return nil
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
		return nil
	}
	log.Info("a run ended", attributes...)
	return nil
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
