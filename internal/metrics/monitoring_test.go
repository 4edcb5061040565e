package metrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// names are those of all metrics that the service has, whether or not they have a value yet.
func (m *Metrics) names() (names []string) {
	described := make(chan *prometheus.Desc)
	go func() {
		defer close(described)
		m.registry.Describe(described)
	}()
	name := regexp.MustCompile(`fqName: "([^"]+)"`)
	for d := range described {
		names = append(names, name.FindStringSubmatch(d.String())[1])
	}
	return names
}

// Alerts and dashboard ask for what there is, and nothing of ours is left out of both.
func TestMonitoringAsksForWhatThereIs(t *testing.T) {
	t.Parallel()
	known := New(Build{}).names()
	asked := make(map[string]bool)
	for _, path := range []string{"prometheusrule.yml", "rules_test.yml", "grafana-dashboard.json"} {
		text, err := os.ReadFile("../../k8s/monitoring/" + path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\b(etl|process|go)_[a-z_]+\b`).FindAllString(string(text), -1) {
			plain := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				plain = strings.TrimSuffix(plain, suffix)
			}
			if !slices.Contains(known, name) && !slices.Contains(known, plain) {
				t.Errorf("%s asks for %s, which nothing exports", path, name)
			}
			asked[name], asked[plain] = true, true
		}
	}
	// These are there to be looked up, and not to be looked at all day.
	unasked := []string{"etl_last_success_timestamp_seconds", "etl_scheduler_tick_lateness_seconds", "etl_health_check_healthy", "etl_health_check_timestamp_seconds",
		"etl_sync_products_compared_total", "etl_sync_differences_total", "etl_sync_repairs_total", "etl_queue_consumers"}
	for _, name := range known {
		if strings.HasPrefix(name, "etl_") && !asked[name] && !slices.Contains(unasked, name) {
			t.Errorf("neither an alert nor the dashboard asks for %s", name)
		}
	}
}
