package metrics

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Source tells what is seen at this moment. It is asked at each scrape, so it must
// answer from memory.
type Source func() Sample

// Sample is what is watched rather than counted. What is nil is not known, or no
// matter of this process, and is left out.
type Sample struct {
	Queues       map[string]Queue        // by name, as last seen
	Dependencies map[string]bool         // whether mongodb, postgresql, rabbitmq and ledger are connected
	Active       map[run.Slot]run.Status // the active runs
	Scheduler    *bool                   // whether scheduled runs are wanted
	Health       *Health
	Delivery     *run.Delivery // whether events of the Product Service reach the cart
	// Comparison is the last complete one, by whichever process.
	Comparison *Comparison
	// LastSuccess is when the last repairing run that succeeded ended, LastTick when the
	// last scheduled run was asked for; zero where there was none.
	LastSuccess, LastTick time.Time
	ActiveSince           map[run.Slot]time.Time // when the active runs were asked for
	// Waiting are the runs that wait for a person, by what they ask for.
	Waiting map[run.Attention]int
	// Detection is how far the detectors have come, by whichever process, and TapSince since
	// when the longest waiting event of this process's tap waits, zero where none does.
	Detection *run.Detection
	TapSince  time.Time
}

// Comparison is what a complete comparison of the stores has left.
type Comparison struct {
	At        time.Time
	Differing map[product.Kind]int64 // as of now, those that are blocked among them
	Blocked   int64
}

// Queue is one queue as last seen.
type Queue struct{ Ready, Consumers int }

// Health is the last scheduled health check.
type Health struct {
	Healthy bool
	At      time.Time
}

// Watch lets each scrape ask source, instead of the source before.
func (m *Metrics) Watch(source Source) { m.watched.source.Store(&source) }

// maxQueues is more queues than the service looks at.
const maxQueues = 16

var (
	dependencies = []string{"mongodb", "postgresql", "rabbitmq", "ledger"}

	ready        = desc("etl_queue_messages", "Messages that waited in the queue when it was last looked at.", "queue")
	consumers    = desc("etl_queue_consumers", "Consumers of the queue when it was last looked at.", "queue")
	up           = desc("etl_dependency_up", "Whether the connection stands: 1 or 0.", "dependency")
	active       = desc("etl_active_runs", "Active runs by slot (repair, or look for one that only compares) and status.", "slot", "status")
	enabled      = desc("etl_scheduler_enabled", "Whether scheduled runs are wanted: 1 or 0.")
	healthy      = desc("etl_health_check_healthy", "Whether the last scheduled health check found all well: 1 or 0.")
	delivered    = desc("etl_delivery_state", "Whether events of the Product Service can reach the cart: 1 for the state that holds.", "state")
	differing    = desc("etl_differences_open", "Products that are known to differ now: found, and not seen to be repaired or gone since.", "kind")
	blockedNow   = desc("etl_products_blocked", "Products among them that the cart cannot hold, or must keep.")
	waiting      = desc("etl_runs_waiting", "Runs whose findings wait for a person, by what they ask for: apply or lost.", "attention")
	lookMoment   = desc("etl_last_comparison_timestamp_seconds", "When the last complete comparison ended, in seconds since 1970.")
	doneMoment   = desc("etl_last_success_timestamp_seconds", "When the last repairing run that succeeded ended, in seconds since 1970.")
	tickMoment   = desc("etl_last_tick_timestamp_seconds", "When the last scheduled run was asked for, in seconds since 1970.")
	activeMoment = desc("etl_active_run_requested_timestamp_seconds", "When the active run was asked for, in seconds since 1970.", "slot")
	pending      = desc("etl_detections_pending", "Lost events that detectors have found and that no run has been asked to replay.")
	failing      = desc("etl_detector_failing", "Whether the detector does not work: 1 or 0.", "detector")
	lag          = desc("etl_detector_lag_seconds", "How long the oldest that the detector has not looked at yet waits for it.", "detector")
	healthMoment = desc("etl_health_check_timestamp_seconds", "When the last scheduled health check was made, in seconds since 1970.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// watched is the collector of what a Source tells.
type watched struct{ source atomic.Pointer[Source] }

func (w *watched) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{ready, consumers, up, active, enabled, healthy, healthMoment, delivered, differing, blockedNow, waiting, lookMoment, doneMoment, tickMoment, activeMoment, pending, failing, lag} {
		out <- d
	}
}

func (w *watched) Collect(out chan<- prometheus.Metric) {
	source := w.source.Load()
	if source == nil {
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	s := (*source)()
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(s.Queues)), func(name string) bool { return !utf8.ValidString(name) })
	for _, name := range names[:min(len(names), maxQueues)] {
		gauge(ready, float64(s.Queues[name].Ready), name)
		gauge(consumers, float64(s.Queues[name].Consumers), name)
	}
	for _, dependency := range dependencies {
		if connected, known := s.Dependencies[dependency]; known {
			gauge(up, one(connected), dependency)
		}
	}
	if s.Active != nil {
		for _, slot := range []run.Slot{run.RepairSlot, run.LookSlot} {
			for _, status := range run.Statuses() {
				if status.Active() {
					gauge(active, one(s.Active[slot] == status), string(slot), string(status))
				}
			}
		}
	}
	if s.Scheduler != nil {
		gauge(enabled, one(*s.Scheduler))
	}
	if s.Delivery != nil {
		for _, state := range run.DeliveryStates() {
			gauge(delivered, one(s.Delivery.State == state), string(state))
		}
	}
	if c := s.Comparison; c != nil {
		for _, kind := range product.Kinds() {
			gauge(differing, float64(c.Differing[kind]), string(kind))
		}
		gauge(blockedNow, float64(c.Blocked))
		gauge(lookMoment, seconds(c.At))
	}
	if !s.LastSuccess.IsZero() {
		gauge(doneMoment, seconds(s.LastSuccess))
	}
	if !s.LastTick.IsZero() {
		gauge(tickMoment, seconds(s.LastTick))
	}
	for slot, at := range s.ActiveSince {
		gauge(activeMoment, seconds(at), string(slot))
	}
	for _, attention := range []run.Attention{run.ToApply, run.LostProducts} {
		if n, known := s.Waiting[attention]; known {
			gauge(waiting, float64(n), string(attention))
		}
	}
	if s.Detection != nil {
		gauge(pending, float64(s.Detection.Pending))
		for _, d := range s.Detection.Detectors {
			if !slices.Contains(detectors, string(d.Name)) {
				continue
			}
			gauge(failing, one(d.Problem != ""), string(d.Name))
			if !d.Mark.IsZero() {
				gauge(lag, time.Since(d.Mark).Seconds(), string(d.Name))
			}
		}
		waits := 0.0
		if !s.TapSince.IsZero() {
			waits = time.Since(s.TapSince).Seconds()
		}
		gauge(lag, waits, string(run.Tap))
	}
	if s.Health != nil {
		gauge(healthy, one(s.Health.Healthy))
		gauge(healthMoment, seconds(s.Health.At))
	}
}

func seconds(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
