package metrics_test

import (
	"bufio"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"github.com/ecom-micro/etl/internal/metrics"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

var update = flag.Bool("update", false, "write the golden file anew")

// No test leaves a goroutine behind.
func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m)
}

func build() metrics.Build {
	return metrics.Build{Version: "1.2.3", Revision: "0123abcd", GoVersion: "go1.26.0"}
}

// scrape returns what Prometheus would read.
func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		t.Fatalf("%d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

// own are the lines about the service itself.
func own(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "); strings.HasPrefix(name, "etl_") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func request(mode run.Mode, dryRun bool) run.Request {
	return run.Request{Order: run.Order{Mode: mode, DryRun: dryRun}}
}

func fill(m *metrics.Metrics) {
	m.RunFinished(run.StatusPartial, request(run.Replay, false), &run.Report{
		Products: 50_000, Acted: 1_010, Found: map[product.Kind]int64{product.Missing: 1_003, product.Stale: 20, product.Orphaned: 4},
		ByKind: map[product.Kind]map[run.State]int64{
			product.Missing: {run.Verified: 990, run.Lost: 2, run.Blocked: 5, run.Gone: 1, run.Undone: 1, run.InFlight: 7, run.Failed: 3, run.Skipped: 1},
			product.Stale:   {run.Verified: 15, run.Blocked: 5}, product.Orphaned: {run.Found: 4},
		},
	}, 42*time.Second)
	m.RunFinished(run.StatusSucceeded, request(run.Direct, true), &run.Report{Products: 8}, 1500*time.Millisecond)
	m.RunFinished(run.StatusFailed, request(run.Replay, false), nil, 5*time.Hour)
	m.Tick("sync", metrics.Rung, time.Second)
	m.Tick("sync", metrics.Rung, time.Minute)
	m.Tick("sync", metrics.SkippedOff, 1500*time.Millisecond)
	m.Tick("health", metrics.Checked, time.Second)
	m.Tick("health", metrics.Failed, -time.Second) // the clock was put back
	m.Request("/api/etl/runs/{id}", http.MethodGet, http.StatusOK, 7*time.Millisecond)
	m.Request("/api/etl/runs/{id}", http.MethodGet, http.StatusOK, 70*time.Millisecond)
	m.Request("/api/etl/sync", http.MethodPost, http.StatusConflict, 2*time.Second)
	m.Request("", http.MethodGet, http.StatusNotFound, time.Millisecond)
	m.Confirmed(1_008)
	m.Returned(2)
	m.Nacked(3)
	m.Unconfirmed(1)
	m.Throttled(metrics.QueueFull, 90*time.Second)
	m.Throttled(metrics.NoConsumer, 250*time.Millisecond)
	m.Throttled(metrics.Unseen, 3*time.Second)
	m.Detected("tap", 12, 10, 3)
	m.Detected("recent", 5, 5, 0)
	m.Restored(41 * time.Second)
	on := true
	m.Watch(func() metrics.Sample {
		return metrics.Sample{
			Queues:       map[string]metrics.Queue{"product-created": {Ready: 17, Consumers: 1}, "etl.sync": {Consumers: 3}},
			Dependencies: map[string]bool{"mongodb": true, "postgresql": true, "rabbitmq": false, "ledger": true},
			Active:       map[run.Slot]run.Status{run.RepairSlot: run.StatusPaused},
			Scheduler:    &on,
			Health:       &metrics.Health{Healthy: true, At: time.UnixMilli(1_780_000_000_500)},
			Detection:    &run.Detection{Detectors: []run.DetectorState{{Name: run.Tap, Problem: "no right to bind"}, {Name: run.Recent}}, Pending: 4},
		}
	})
}

func TestExposition(t *testing.T) {
	t.Parallel()
	m := metrics.New(build())
	fill(m)
	const golden = "testdata/metrics.golden"
	got := own(scrape(t, m))
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the metrics read\n%s\nwant\n%s", got, want)
	}
}

func TestLint(t *testing.T) {
	t.Parallel()
	m := metrics.New(build())
	fill(m)
	text := scrape(t, m)
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	for _, name := range []string{"go_goroutines ", "process_cpu_seconds_total ", "process_open_fds "} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("%sis absent", name)
		}
	}
}

// A process that has done nothing yet shows its counters at 0, and no gauge that it
// does not know.
func TestFresh(t *testing.T) {
	t.Parallel()
	m := metrics.New(build())
	text := own(scrape(t, m))
	for _, series := range []string{
		`etl_sync_errors_total{dry_run="false",mode="replay"} 0`,
		`etl_sync_outcomes_total{dry_run="false",kind="stale",mode="replay",state="in_flight"} 0`,
		`etl_replay_events_total{result="nacked"} 0`,
		`etl_replay_events_total{result="returned"} 0`,
		`etl_replay_throttled_seconds_total{reason="unreadable"} 0`,
	} {
		if !strings.Contains(text, series+"\n") {
			t.Errorf("%s is absent", series)
		}
	}
	watched := regexp.MustCompile(`(?m)^etl_(queue|dependency|active|scheduler_enabled|health).*`)
	if found := watched.FindAllString(text, -1); found != nil {
		t.Errorf("without a source: %v", found)
	}
	m.Watch(func() metrics.Sample { return metrics.Sample{} })
	if found := watched.FindAllString(own(scrape(t, m)), -1); found != nil {
		t.Errorf("with a source that knows nothing: %v", found)
	}
	m.Watch(func() metrics.Sample {
		return metrics.Sample{Active: map[run.Slot]run.Status{}, Dependencies: map[string]bool{"ledger": false}}
	})
	if found := watched.FindAllString(own(scrape(t, m)), -1); len(found) != 7 || found[6] != `etl_dependency_up{dependency="ledger"} 0` {
		t.Errorf("without active runs: %v", found)
	}
}

// Whatever is handed in, the number of series stays within bounds, a scrape stays
// readable and no text from outside shows up.
func TestOddInput(t *testing.T) {
	t.Parallel()
	m := metrics.New(metrics.Build{Version: "\xff"})
	const odd = "odd\xff\n\"text\""
	for i := range 5_000 {
		text := fmt.Sprint(odd, i)
		m.RunFinished(run.Status(text), request(run.Mode(text), i%2 == 0), &run.Report{
			Products: -5, Acted: -1, Found: map[product.Kind]int64{product.Kind(text): 1, product.Missing: -3},
			ByKind: map[product.Kind]map[run.State]int64{product.Kind(text): {run.Lost: 1}, product.Missing: {run.State(text): 1, run.Lost: -9}},
		}, -time.Second)
		m.Tick(text, text, -time.Second)
		m.Request(text, text, i-1_000, -time.Second)
		m.Request(fmt.Sprintf("/api/etl/runs/%d", i), text, i, time.Second)
		m.Request("/\xff", http.MethodGet, http.StatusOK, 0)
		m.Throttled(text, -time.Second)
	}
	m.Confirmed(-1)
	m.Returned(-1)
	m.Nacked(-1)
	m.Unconfirmed(-1)
	m.Watch(func() metrics.Sample {
		queues, dependencies := make(map[string]metrics.Queue), make(map[string]bool)
		for i := range 1_000 {
			queues[fmt.Sprint("queue", i)], queues[fmt.Sprint(odd, i)] = metrics.Queue{}, metrics.Queue{}
			dependencies[fmt.Sprint(odd, i)] = true
		}
		return metrics.Sample{Queues: queues, Dependencies: dependencies,
			Active: map[run.Slot]run.Status{odd: odd, run.LookSlot: run.StatusFailed}, Health: &metrics.Health{}}
	})
	text := own(scrape(t, m))
	if _, err := promlint.New(strings.NewReader(text)).Lint(); err != nil {
		t.Error(err)
	}
	if strings.Contains(text, "} -") {
		t.Error("a count or a time went below 0")
	}
	if strings.Contains(text, "odd") {
		t.Error("a text from outside is a label value")
	}
	series := make(map[string]int)
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if name, _, found := strings.Cut(lines.Text(), "{"); found && !strings.HasPrefix(name, "#") {
			series[name]++
		}
	}
	codes := 0
	for code := range 1_000 {
		if http.StatusText(code) != "" {
			codes++
		}
	}
	for name, most := range map[string]int{
		"etl_http_request_duration_seconds_count": 65 + 2*(codes+1), // each route once, "other" with each code, and /\xff
		"etl_sync_duration_seconds_count":         2,
		"etl_sync_outcomes_total":                 3 * 2 * 3 * len(run.States()),
		"etl_sync_differences_total":              3 * 2 * 3,
		"etl_scheduler_ticks_total":               4, // each job's failures, and "other"
		"etl_scheduler_tick_lateness_seconds":     3,
		"etl_detector_products_total":             6,
		"etl_replay_throttled_seconds_total":      7,
		"etl_queue_messages":                      16,
		"etl_dependency_up":                       0,
		"etl_active_runs":                         6,
	} {
		if n := series[name]; n > most || n == 0 && most > 0 {
			t.Errorf("%d series of %s, at most %d are expected", n, name, most)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	m := metrics.New(build())
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				fill(m)
			}
		})
		group.Go(func() {
			for range 10 {
				scrape(t, m)
			}
		})
	}
	group.Wait()
	for _, series := range []string{
		`etl_replay_events_total{result="confirmed"} 403200`,
		`etl_sync_outcomes_total{dry_run="false",kind="missing",mode="replay",state="verified"} 396000`,
		`etl_http_request_duration_seconds_count{code="200",method="GET",route="/api/etl/runs/{id}"} 800`,
		`etl_replay_throttled_seconds_total{reason="no_consumer"} 100`,
	} {
		if text := scrape(t, m); !strings.Contains(text, series+"\n") {
			t.Errorf("%s is absent", series)
		}
	}
}
