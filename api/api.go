// Package api is the HTTP control API: it starts runs, shows them and steers them,
// shows what the service depends on, and checks who asks. It executes nothing itself: a
// run is written to the ledger, and a worker is told by RabbitMQ.
//
// The document openapi.yaml describes it; tests hold both together.
package api

import (
	"context"
	_ "embed" // the document
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"github.com/ecom-micro/etl/internal/run"
)

// Prefix is what the platform's ingress forwards.
const Prefix = "/api/etl"

// pages is where the pages for people are.
const pages = Prefix + "/ui/"

// Limits.
const (
	maxBody       = 1 << 20 // room for run.MaxIDs ids of any usual kind
	maxHeader     = 32 << 10
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 40 * time.Second
	idleTimeout   = 2 * time.Minute
	answerTimeout = 20 * time.Second // of anything that waits for no run
	maxWatchers   = 100              // callers that follow or wait for runs
)

// API serves everything under /api/etl, and /metrics.
type API struct {
	parts      Parts
	guard      guard
	protection http.CrossOriginProtection
	router     *mux.Router
	handler    http.Handler
	began      time.Time
	expires    time.Duration // of a run that nobody begins
	watches    *watches
	draining   chan struct{} // closed by Drain
	drain      sync.Once

	summary    cached[Overview]
	health     cached[Health]
	lastHealth cached[*run.HealthRecord]
	readiness  map[bool]*cached[Readiness] // by whether it is the full one
	statistics cached[counted]
	drift      cached[run.Drift]
}

// New makes the API. It opens nothing.
func New(config Config, parts Parts) *API {
	a := &API{
		parts: parts, guard: newGuard(config), began: time.Now(), expires: config.Expires,
		draining: make(chan struct{}),
	}
	a.watches = newWatches(func(ctx context.Context, id string) (run.Record, error) { return parts.Runs.Run(ctx, id) })
	// Dashboards and probes may ask often; counting two stores is work for both.
	a.summary = cached[Overview]{ttl: time.Second, fetch: a.look}
	a.health = cached[Health]{ttl: time.Second, fetch: func(ctx context.Context) (Health, error) {
		return parts.Probes.Health(ctx), nil
	}}
	a.readiness = map[bool]*cached[Readiness]{}
	for _, full := range []bool{false, true} {
		a.readiness[full] = &cached[Readiness]{ttl: time.Second, fetch: func(ctx context.Context) (Readiness, error) {
			return parts.Probes.Ready(ctx, full), nil
		}}
	}
	a.lastHealth = cached[*run.HealthRecord]{ttl: time.Second, fetch: func(ctx context.Context) (*run.HealthRecord, error) {
		return parts.Runs.LastHealth(ctx)
	}}
	a.statistics = cached[counted]{ttl: time.Second, rest: 20, fetch: func(ctx context.Context) (c counted, err error) {
		c.began = time.Now()
		c.Statistics, err = parts.Stores.Statistics(ctx)
		c.at = time.Now()
		return c, err
	}}
	a.drift = cached[run.Drift]{ttl: time.Second, rest: 20, fetch: func(ctx context.Context) (run.Drift, error) { return parts.Runs.Drift(ctx) }}
	a.router = a.newRouter()
	a.handler = a.observed(a.sameSite(a.router))
	return a
}

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

// Drain ends what watches runs, so that a server can be shut down: streams end, and
// callers that wait for a run get it as it is.
func (a *API) Drain() { a.drain.Do(func() { close(a.draining) }) }

// NewServer makes the server of the API, with limits on what a caller may take.
// Shutting it down drains the API.
func NewServer(a *API, config Config) *http.Server {
	server := &http.Server{
		Addr:              config.Address(),
		Handler:           a,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(a.parts.Log.Handler(), slog.LevelWarn),
	}
	server.RegisterOnShutdown(a.Drain)
	return server
}

// access is who may use a route.
type access int

const (
	open      access = iota // anybody
	users                   // any user of the platform
	viewers                 // those who may see everything
	operators               // those who steer
)

type route struct {
	method, path string
	access       access
	handle       func(http.ResponseWriter, *http.Request) error
	long         bool // may wait for a run
}

func (a *API) routes() []route {
	probes := []route{ // Kubernetes, monitoring
		{http.MethodGet, "/health", open, a.getHealth, false},
		{http.MethodGet, "/ready", open, a.getReady, false},
		{http.MethodGet, "/live", open, a.getLive, false},
	}
	if a.parts.ProbesOnly {
		return probes
	}
	return append(probes, []route{
		{http.MethodGet, "/openapi.yaml", open, a.getOpenAPI, false},

		// The platform's pages.
		{http.MethodGet, "/status", users, a.getStatus, false},
		{http.MethodGet, "/scheduler/status", users, a.getScheduler, false},

		// Operators and their scripts.
		{http.MethodPost, "/sync", operators, a.postSync, true},
		{http.MethodGet, "/validate", viewers, a.getValidate, true},
		{http.MethodGet, "/stats", viewers, a.getStats, false},
		{http.MethodGet, "/runs", viewers, a.getRuns, false},
		{http.MethodGet, "/runs/{id}", viewers, a.getRun, false},
		{http.MethodGet, "/runs/{id}/products", viewers, a.getRunProducts, false},
		{http.MethodGet, "/runs/{id}/events", viewers, a.getRunEvents, true},
		{http.MethodPost, "/runs/{id}/cancel", operators, a.ask("cancel"), false},
		{http.MethodPost, "/runs/{id}/pause", operators, a.ask("pause"), false},
		{http.MethodPost, "/runs/{id}/resume", operators, a.ask("resume"), false},
		{http.MethodPost, "/runs/{id}/apply", operators, a.postApply, true},
		{http.MethodGet, "/actions", viewers, a.getActions, false},
		{http.MethodGet, "/products/{id}", viewers, a.getProduct, false},
		{http.MethodPost, "/scheduler/start", operators, a.setSwitch(true), false},
		{http.MethodPost, "/scheduler/stop", operators, a.setSwitch(false), false},
		{http.MethodPost, "/scheduler/trigger", operators, a.postTrigger, true},

		// Callers of the service that was here before.
		{http.MethodPost, "/sync/user", users, a.former("user"), false},
		{http.MethodPost, "/sync/elasticsearch", users, a.former("elasticsearch"), false},
		{http.MethodGet, "/sync/elasticsearch/stats", users, a.former("elasticsearch"), false},
	}...)
}

// newRouter matches paths as they were sent, because a product's id may be any text.
func (a *API) newRouter() *mux.Router {
	router := mux.NewRouter().UseEncodedPath().SkipClean(true)
	for _, rt := range a.routes() {
		methods := []string{rt.method}
		if rt.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		router.Handle(Prefix+rt.path, a.admitted(rt)).Methods(methods...)
	}
	if a.parts.Metrics != nil {
		router.Handle("/metrics", a.parts.Metrics).Methods(http.MethodGet, http.MethodHead)
	}
	if a.parts.Pages != nil && !a.parts.ProbesOnly {
		router.PathPrefix(pages).Handler(a.identified(a.parts.Pages(a)))
		for _, path := range []string{"/", Prefix, Prefix + "/", strings.TrimSuffix(pages, "/")} {
			router.Handle(path, http.RedirectHandler(pages, http.StatusSeeOther)).Methods(http.MethodGet, http.MethodHead).MatcherFunc(isBrowser)
		}
	}
	router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.refuse(w, r, &refusal{status: http.StatusNotFound, message: "nothing is here: /api/etl/openapi.yaml lists what is"})
	})
	router.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		allowed := strings.Join(a.allowed(r), ", ")
		w.Header().Set("Allow", allowed)
		a.refuse(w, r, &refusal{status: http.StatusMethodNotAllowed, message: "this takes " + allowed + " only"})
	})
	return router
}

// isBrowser tells whether a person asks, and not a program that would read a page as data.
func isBrowser(r *http.Request, _ *mux.RouteMatch) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// allowed are the methods that the path of r takes.
func (a *API) allowed(r *http.Request) []string {
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = method
		var match mux.RouteMatch
		if a.router.Match(other, &match) && match.MatchErr == nil {
			methods = append(methods, method)
		}
	}
	return methods
}

// notOurs is for what only the former service does.
func notOurs(what string) *refusal {
	return &refusal{status: http.StatusNotImplemented,
		message: what + ": only products are synchronised, from the Product Service to the Cart Service; carts and Elasticsearch stay with the old Node service, etl-service"}
}

// former answers for a pipeline of the former service.
func (a *API) former(pipeline string) func(http.ResponseWriter, *http.Request) error {
	return func(http.ResponseWriter, *http.Request) error {
		return notOurs((&run.ForeignError{Pipelines: []string{pipeline}}).Error())
	}
}

//go:embed openapi.yaml
var openAPI []byte

func (a *API) getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openAPI) // a caller that has left needs no answer
	return nil
}
