// Package metrics counts what the service does, for Prometheus. Label values come
// from fixed small sets; no id and no text of a person or a server becomes one.
package metrics

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Build says which program this is.
type Build struct{ Version, Revision, GoVersion string }

// Metrics are those of one process, in a registry of their own. All methods may be
// called concurrently.
type Metrics struct {
	registry *prometheus.Registry
	watched  *watched

	durations                                           *prometheus.HistogramVec
	compared, differences, repairs, outcomes, runErrors *prometheus.CounterVec

	events, throttled, ticks *prometheus.CounterVec

	detected *prometheus.CounterVec
	restored *prometheus.HistogramVec
	notices  *prometheus.CounterVec
	late     *prometheus.GaugeVec
	requests *prometheus.HistogramVec
	mu       sync.Mutex
	routes   map[string]bool // those seen, at most maxRoutes
}

// The results of a scheduler tick.
const (
	Rung       = "rung"        // the doorbell was rung
	CaughtUp   = "caught_up"   // it was rung for ticks that were missed while no scheduler ran
	SkippedOff = "skipped_off" // the switch in the ledger is off
	// NothingOpen is a tick within SYNC_FULL_EVERY of a complete comparison that had nothing
	// to look at.
	NothingOpen = "nothing_open"
	Checked     = "checked" // the health check, or the look at recent products, was made
	Failed      = "failed"
)

// The reasons for which publishing waits.
const (
	QueueFull  = "queue_full"
	NoConsumer = "no_consumer"
	Blocked    = "blocked"    // by the broker
	Unreadable = "unreadable" // the depth of the queue cannot be read
	Unseen     = "unseen"     // as many of our own events as may be are on their way
	Away       = "away"       // there is no connection to publish on
	Other      = "other"      // and whatever belongs to no other label value
)

var (
	modes       = []run.Mode{run.Replay, run.Direct}
	jobs        = []string{"sync", "health", "recent"}
	detectors   = []string{string(run.Tap), string(run.Recent)}
	tickResults = []string{Rung, CaughtUp, SkippedOff, NothingOpen, Checked, Failed}
	reasons     = []string{QueueFull, NoConsumer, Blocked, Unreadable, Unseen, Away, Other}
	answers     = []string{"confirmed", "returned", "nacked", "unconfirmed"}
	methods     = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}
)

const maxRoutes = 64

// New makes the metrics. The series whose labels are known are there from the
// start, so that the first error of a process shows as an increase.
func New(build Build) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), watched: &watched{}, routes: make(map[string]bool)}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m.watched)

	info := m.gauge("etl_build_info", "The program that runs, always 1.", "version", "revision", "goversion")
	info.WithLabelValues(valid(build.Version), valid(build.Revision), valid(build.GoVersion)).Set(1)

	m.durations = m.histogram("etl_sync_duration_seconds", "How long runs took, by how they ended.",
		[]float64{1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400}, "mode", "dry_run", "status")
	m.compared = m.counter("etl_sync_products_compared_total", "Products compared.", "mode", "dry_run")
	m.differences = m.counter("etl_sync_differences_total", "Products found different for certain, by kind of difference.", "mode", "dry_run", "kind")
	m.repairs = m.counter("etl_sync_repairs_total", "Events published or rows changed, all attempts together.", "mode", "dry_run")
	m.outcomes = m.counter("etl_sync_outcomes_total", "Products by kind of difference and what became of them.", "mode", "dry_run", "kind", "state")
	m.runErrors = m.counter("etl_sync_errors_total", "Runs that ended because a service failed.", "mode", "dry_run")
	m.events = m.counter("etl_replay_events_total", "Replayed events by the broker's answer: confirmed, returned (there is no such queue), nacked (refused), unconfirmed (never answered).", "result")
	m.throttled = m.counter("etl_replay_throttled_seconds_total", "Time for which publishing waited, by reason.", "reason")
	m.ticks = m.counter("etl_scheduler_ticks_total", "Ticks of the scheduler by what came of them.", "job", "result")
	m.detected = m.counter("etl_detector_products_total", "What detectors of lost events did, by what: seen (events of the platform, or recent products), checked, and differing, which nobody had known of.", "detector", "what")
	m.restored = m.histogram("etl_lost_event_seconds", "How long lost events that detectors have found had been lost when they were proved to be in the cart: since the product's creation where its id tells that.",
		[]float64{5, 15, 30, 45, 60, 90, 120, 300, 600, 1800, 3600})
	m.restored.WithLabelValues()
	m.notices = m.counter("etl_notifications_total", "Attempts to tell people by ETL_NOTIFY_URL, by result: told or failed.", "result")
	for _, result := range []string{"told", "failed"} {
		m.notices.WithLabelValues(result)
	}
	m.late = m.gauge("etl_scheduler_tick_lateness_seconds", "How long behind its instant the last tick of this process was done.", "job")
	m.requests = m.histogram("etl_http_request_duration_seconds", "How long HTTP requests took.",
		[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}, "route", "method", "code")

	for _, mode := range modes {
		for _, dryRun := range []string{"false", "true"} {
			m.add(string(mode), dryRun, &run.Report{})
			m.runErrors.WithLabelValues(string(mode), dryRun)
		}
	}
	for _, job := range jobs {
		m.ticks.WithLabelValues(job, Failed)
	}
	for _, name := range detectors {
		m.Detected(name, 0, 0, 0)
	}
	for _, answer := range answers {
		m.events.WithLabelValues(answer)
	}
	for _, reason := range reasons {
		m.throttled.WithLabelValues(reason)
	}
	return m
}

// Handler answers with all metrics, those of the Go runtime and the process among
// them.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// RunFinished counts a run that has ended. The report is nil where there is none.
func (m *Metrics) RunFinished(status run.Status, request run.Request, report *run.Report, took time.Duration) {
	mode, dryRun := oneOf(request.Mode, modes), strconv.FormatBool(request.DryRun)
	m.durations.WithLabelValues(mode, dryRun, oneOf(status, run.Statuses())).Observe(max(took.Seconds(), 0))
	if status == run.StatusFailed {
		m.runErrors.WithLabelValues(mode, dryRun).Inc()
	}
	if report != nil {
		m.add(mode, dryRun, report)
	}
}

func (m *Metrics) add(mode, dryRun string, report *run.Report) {
	add(m.compared.WithLabelValues(mode, dryRun), report.Products)
	add(m.repairs.WithLabelValues(mode, dryRun), report.Acted)
	for _, kind := range product.Kinds() {
		add(m.differences.WithLabelValues(mode, dryRun, string(kind)), report.Found[kind])
		for _, rule := range run.States() {
			add(m.outcomes.WithLabelValues(mode, dryRun, string(kind), label(rule.State)), report.ByKind[kind][rule.State])
		}
	}
}

// Tick counts a tick of the job sync or health, and tells how long behind its instant that
// was done.
func (m *Metrics) Tick(job, result string, late time.Duration) {
	m.ticks.WithLabelValues(oneOf(job, jobs), oneOf(result, tickResults)).Inc()
	m.late.WithLabelValues(oneOf(job, jobs)).Set(max(late.Seconds(), 0))
}

// Request counts an HTTP request. The route is the router's template, never the
// path that was asked for, and empty where no route matched.
func (m *Metrics) Request(route, method string, code int, took time.Duration) {
	status := Other
	if http.StatusText(code) != "" {
		status = strconv.Itoa(code)
	}
	m.requests.WithLabelValues(m.route(route), oneOf(method, methods), status).Observe(max(took.Seconds(), 0))
}

func (m *Metrics) route(route string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.routes[route] {
		if len(m.routes) == maxRoutes || !strings.HasPrefix(route, "/") || !utf8.ValidString(route) {
			return Other
		}
		m.routes[route] = true
	}
	return route
}

// Detected counts what a detector has seen and checked, and what of it differed.
func (m *Metrics) Detected(name string, seen, checked, differing int) {
	for what, n := range map[string]int{"seen": seen, "checked": checked, "differing": differing} {
		add(m.detected.WithLabelValues(name, what), n)
	}
}

// Notified counts an attempt to tell people something.
func (m *Metrics) Notified(told bool) {
	result := "failed"
	if told {
		result = "told"
	}
	m.notices.WithLabelValues(result).Inc()
}

// Restored counts an event that had been lost for so long when it was proved to be in the cart.
func (m *Metrics) Restored(after time.Duration) {
	m.restored.WithLabelValues().Observe(after.Seconds())
}

// Confirmed counts replayed events that the broker took over for a queue.
func (m *Metrics) Confirmed(n int) { add(m.events.WithLabelValues("confirmed"), n) }

// Returned counts replayed events that came back because there was no queue for them.
func (m *Metrics) Returned(n int) { add(m.events.WithLabelValues("returned"), n) }

// Nacked counts replayed events that the broker refused.
func (m *Metrics) Nacked(n int) { add(m.events.WithLabelValues("nacked"), n) }

// Unconfirmed counts replayed events that the broker never answered.
func (m *Metrics) Unconfirmed(n int) { add(m.events.WithLabelValues("unconfirmed"), n) }

// Throttled counts the time for which publishing waited for one of the reasons.
func (m *Metrics) Throttled(reason string, d time.Duration) {
	add(m.throttled.WithLabelValues(oneOf(reason, reasons)), d.Seconds())
}

// add leaves out what is negative, which a counter does not bear.
func add[T int | int64 | float64](counter prometheus.Counter, n T) { counter.Add(max(float64(n), 0)) }

// oneOf is a label value of a fixed set.
func oneOf[T ~string](value T, known []T) string {
	if !slices.Contains(known, value) {
		return Other
	}
	return label(value)
}

func label[T ~string](value T) string { return strings.ReplaceAll(string(value), " ", "_") }

func valid(text string) string { return strings.ToValidUTF8(text, "�") }

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	return register(m, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
}

func (m *Metrics) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return register(m, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))
}

func (m *Metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return register(m, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels))
}

func register[C prometheus.Collector](m *Metrics, c C) C {
	m.registry.MustRegister(c)
	return c
}
