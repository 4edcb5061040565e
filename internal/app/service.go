// Package app is the service, and what its commands share with it.
//
//   - service.go says what the service consists of: New, Run, Stop.
//   - job.go says how one run is wired. claimed.go makes one that a worker of the service
//     has claimed, command.go one that a command line waits for.
//   - probes.go says what is asked of dependencies, watch.go what metrics show of them.
//   - ticks.go lists the scheduled work, detection.go what finds lost events beside the runs.
//   - stores.go and broker.go connect to the servers: what is called connect waits for
//     none of them, what is called open insists that they answer.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/api/ui"
	"github.com/ecom-micro/etl/consumer"
	"github.com/ecom-micro/etl/internal/ledger"
	"github.com/ecom-micro/etl/internal/metrics"
	"github.com/ecom-micro/etl/internal/notify"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/schedule"
)

// About says what the process is: what it was built from, and what is set.
type About struct {
	Version, Revision string
	Settings          []ui.Setting // secrets masked
}

// Service is one process of `etl serve`. Each run opens what it works with itself, as a
// command does; what is here serves everything around the runs.
type Service struct {
	config  *Config
	about   About
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
	detection *detection
	api       *api.API
	socket    net.Listener

	clean   Cleanup
	begun   atomic.Bool   // the roles are performed
	leaving atomic.Bool   // the service ends
	waits   sync.Map      // for what the start waits, and why
	running sync.Mutex    // held by Run
	stopped chan struct{} // closed by Stop
	stop    func()        // closes it, once
}

// New wires the service together and binds its port; port 0 is any that is free. Nothing
// has to answer yet: Run waits for it. Whoever has a service ends it by Stop.
func New(ctx context.Context, c *Config, about About, log *slog.Logger) (*Service, error) {
	s := &Service{config: c, about: about, log: log, stopped: make(chan struct{})}
	s.stop = sync.OnceFunc(func() { close(s.stopped) })
	if err := s.wire(ctx); err != nil {
		return nil, errors.Join(err, s.Stop(ctx))
	}
	return s, nil
}

// wire makes all that the service consists of.
func (s *Service) wire(ctx context.Context) (err error) {
	c := s.config
	s.metrics = metrics.New(metrics.Build{Version: s.about.Version, Revision: s.about.Revision, GoVersion: runtime.Version()})
	if s.ledger, err = ConnectLedger(ctx, c, &s.clean); err != nil {
		return err
	}
	stores, err := connectStores(ctx, c, &s.clean)
	if err != nil {
		return err
	}
	broker, err := ConnectBroker(c, &s.clean)
	if err != nil {
		return err
	}
	s.publisher = ConnectProducer(c, &s.clean)
	s.doorbell = consumer.NewDoorbell(s.publisher)
	s.clean.Add("the doorbell", Closing(s.doorbell.Close))

	s.worker = consumer.NewWorker(s.ledger, s.execute, owner(), c.Worker, s.log)
	s.listener = consumer.NewListener(ConnectConsumer(c, &s.clean), s.ledger, c.Worker, s.worker.Ring, s.log)
	if s.detection, err = s.connectDetection(ctx); err != nil {
		return err
	}
	if s.scheduler, err = schedule.New(c.Schedule, s.jobs(), s.log.With("component", "scheduler")); err != nil {
		return err
	}
	s.clean.Add("the scheduler", s.scheduler.Shutdown)

	s.stores = &storeViews{Stores: stores, monitor: broker.Monitor}
	s.probes = &probes{Service: s, broker: broker, ways: &deliveries{broker: broker, tap: s.detection.tap.State}}
	s.api = api.New(c.API, api.Parts{
		Runs: s.ledger, Doorbell: s.doorbell, Stores: s.stores, Probes: s.probes, Letters: letters{s.publisher, broker}, Schedule: s.schedule,
		Metrics: s.metrics.Handler(), Observe: s.metrics.Request, Log: s.log, ProbesOnly: !c.Service.has(roleAPI),
		Pages: func(a *api.API) http.Handler {
			return ui.New(a, ui.Parts{Runs: s.ledger, Probes: s.probes, Schedule: s.schedule, Settings: s.about.Settings, Exchange: rabbit.Exchange, Version: s.about.Version})
		},
	})
	var listen net.ListenConfig
	if s.socket, err = listen.Listen(ctx, "tcp", c.API.Address()); err != nil {
		return fmt.Errorf("listen on PORT %d of ETL_HOST %q: %w", c.API.Port, c.API.Host, err)
	}
	s.clean.Add("the HTTP server's port", func(context.Context) error {
		if err := s.socket.Close(); !errors.Is(err, net.ErrClosed) { // as the server leaves it
			return err
		}
		return nil
	})
	return nil
}

// owner names this process in the ledger.
func owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s, process %d, %s", host, os.Getpid(), run.NewRunID()[24:])
}

// Address is where the service listens.
func (s *Service) Address() string { return s.socket.Addr().String() }

// Stop ends Run, waits for it, and ends all that New has opened. Its error joins those of
// everything that did not end. It may be called at any time, and more than once.
func (s *Service) Stop(ctx context.Context) error {
	s.stop()
	s.running.Lock()
	defer s.running.Unlock()
	return s.clean.End(ctx)
}

// errStopped is what Run says after Stop.
var errStopped = errors.New("the service has been stopped")

// ErrInterrupted is the cause of a context that a person at a terminal has ended: nobody has
// to be told that the service goes before it does.
var ErrInterrupted = fmt.Errorf("interrupted: %w", context.Canceled)

// Run serves until ctx ends or Stop is called. After ctx it is not ready and goes on
// serving for ETL_LAME_DUCK, unless the cause is ErrInterrupted. Then it ends what is in hand
// within ETL_DRAIN_TIMEOUT. It is called once.
func (s *Service) Run(ctx context.Context) error {
	s.running.Lock()
	defer s.running.Unlock()
	select {
	case <-s.stopped:
		return errStopped
	default:
	}
	s.log.Info("the service starts", "version", s.about.Version, "address", s.Address(), "roles", s.config.Service.Roles,
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
		problem = s.lameDuck(ctx, server, served)
	case <-s.stopped:
	case problem = <-served:
	}
	s.leaving.Store(true)
	begun := time.Now()
	s.log.Info("the service ends: no new work, runs in hand are handed back", "within", s.config.Service.Drain)
	stop()
	problem = errors.Join(problem, s.drain(ctx, server, &roles))
	if problem != nil {
		s.log.Error("the service did not end as it should", "err", problem, "took", time.Since(begun))
		return problem
	}
	s.log.Info("the service has ended", "took", time.Since(begun))
	return nil
}

// lameDuck goes on as before, but for saying that the service goes.
func (s *Service) lameDuck(ctx context.Context, server *http.Server, served <-chan error) error {
	if errors.Is(context.Cause(ctx), ErrInterrupted) || s.config.Service.LameDuck == 0 {
		return nil
	}
	s.leaving.Store(true)
	server.SetKeepAlivesEnabled(false) // whoever holds a connection makes its next one elsewhere
	s.log.Info("the service will end: it is not ready any more, and goes on serving", "for", s.config.Service.LameDuck)
	select {
	case <-time.After(s.config.Service.LameDuck):
	case <-s.stopped:
	case err := <-served:
		return err
	}
	return nil
}

// drain waits for what is in hand, at most ETL_DRAIN_TIMEOUT.
func (s *Service) drain(ctx context.Context, server *http.Server, roles *sync.WaitGroup) (problem error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Service.Drain)
	defer cancel()
	// Whoever watches a run gets a proper end at once.
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if err := server.Shutdown(ctx); err != nil {
			s.log.Warn("connections to the HTTP server were cut", "err", err)
		}
	}()
	ended := make(chan struct{})
	go func() { roles.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		problem = fmt.Errorf("runs %v have not ended within ETL_DRAIN_TIMEOUT (%s); others take them over when their leases end", s.worker.Busy(), s.config.Service.Drain)
	}
	<-closed
	return problem
}

// perform waits for what the roles need and then performs them until ctx ends.
func (s *Service) perform(ctx context.Context) {
	var needs sync.WaitGroup
	needs.Go(func() { s.await(ctx, "the ledger", s.ledger.Migrate) })
	needs.Go(func() {
		s.await(ctx, "the broker", func(ctx context.Context) error { return consumer.Declare(ctx, s.publisher) })
	})
	needs.Wait()
	if ctx.Err() != nil {
		return
	}
	s.begun.Store(true)
	s.log.Info("the service has begun its work")
	var roles sync.WaitGroup
	if s.config.Service.has(roleWorker) {
		roles.Go(func() { s.ended("listener", s.listener.Run(ctx)) })
		roles.Go(func() { s.ended("worker", s.worker.Run(ctx)) })
		roles.Go(func() { s.ledger.Retain(ctx, s.log.With("component", "retention")) })
	}
	if s.config.Service.has(roleScheduler) {
		s.scheduler.Start()
		begun := time.Now() // after the start, so that no instant falls between the two
		s.tellSwitch(ctx)
		roles.Go(func() { s.catchUp(ctx, begun) })
		roles.Go(func() { s.sample(ctx) })
		if s.config.Notify.URL != "" {
			sender := notify.New(s.config.Notify, s.config.Ledger.Pipeline, s.ledger)
			sender.Count = s.metrics.Notified
			roles.Go(func() { (&notices{Service: s, sender: sender}).run(ctx) })
		}
	}
	roles.Go(func() { s.detection.run(ctx) })
	<-ctx.Done()
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Service.Drain)
	defer cancel()
	s.ended("scheduler", s.scheduler.Shutdown(shutdown))
	roles.Wait()
}

func (s *Service) ended(role string, err error) {
	if err != nil {
		s.log.Error("a role ended with an error", "role", role, "err", err)
	}
}
