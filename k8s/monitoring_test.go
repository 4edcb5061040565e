package k8s_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// prometheusRule is what of the operator's resource is used here:
// https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PrometheusRule
type prometheusRule struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []rule `json:"rules"`
		} `json:"groups"`
	} `json:"spec"`
}

type rule struct {
	Alert       string            `json:"alert,omitempty"`
	Record      string            `json:"record,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func alerts(t *testing.T) prometheusRule {
	t.Helper()
	var r prometheusRule
	if err := yaml.UnmarshalStrict([]byte(read(t, "monitoring/prometheusrule.yml")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// promtool runs it in a folder with these files.
func promtool(t *testing.T, files map[string]any, arguments ...string) {
	t.Helper()
	path := os.Getenv("STACK_PROMTOOL")
	if found, err := exec.LookPath("promtool"); path == "" && err == nil {
		path = found
	}
	if path == "" {
		t.Skip("no promtool to test with: `make test` gets one")
	}
	dir := t.TempDir()
	for name, content := range files {
		text, is := content.(string)
		if !is {
			data, err := yaml.Marshal(content)
			if err != nil {
				t.Fatal(err)
			}
			text = string(data)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), path, arguments...)
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", arguments, err, output)
	}
}

// Each alert is raised by what it is for, and by nothing else.
func TestAlerts(t *testing.T) {
	t.Parallel()
	promtool(t, map[string]any{"rules.yml": alerts(t).Spec, "rules_test.yml": read(t, "monitoring/rules_test.yml")}, "test", "rules", "rules_test.yml")
}

// Each alert is tested, says how grave it is, and the runbook says what it means, where to look
// and what to do.
func TestAlertsHaveARunbook(t *testing.T) {
	t.Parallel()
	r := alerts(t)
	if r.APIVersion != "monitoring.coreos.com/v1" || r.Kind != "PrometheusRule" {
		t.Errorf("it is a %s %s", r.APIVersion, r.Kind)
	}
	sections := make(map[string]string)
	for _, section := range strings.Split(read(t, "../docs/runbook.md"), "\n## ")[1:] {
		name, text, _ := strings.Cut(section, "\n")
		sections[name] = text
	}
	tests := read(t, "monitoring/rules_test.yml")
	known := make(map[string]bool)
	for _, group := range r.Spec.Groups {
		for _, a := range group.Rules {
			known[a.Alert] = true
			if a.Annotations["runbook_url"] != "docs/runbook.md#"+strings.ToLower(a.Alert) || a.Annotations["summary"] == "" || a.Labels["severity"] == "" {
				t.Errorf("%s: %+v", a.Alert, a)
			}
			if !strings.Contains(tests, "alertname: "+a.Alert+"\n") {
				t.Errorf("%s is raised by no test", a.Alert)
			}
			for _, part := range []string{"**Means.**", "**Look.**", "**Do.**"} {
				if !strings.Contains(sections[a.Alert], part) {
					t.Errorf("the runbook has no %s of %s", part, a.Alert)
				}
			}
		}
	}
	for name := range sections {
		if strings.HasPrefix(name, "Etl") && !known[name] {
			t.Errorf("the runbook has %s, which is no alert", name)
		}
	}
}

// panel is what of a panel of Grafana matters here.
type panel struct {
	Title   string `json:"title"`
	Type    string `json:"type"`
	GridPos struct {
		H, W, X, Y int
	} `json:"gridPos"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

// Every expression of the dashboard can be read, and no two panels lie on each other.
func TestDashboard(t *testing.T) {
	t.Parallel()
	var dashboard struct {
		Title  string  `json:"title"`
		UID    string  `json:"uid"`
		Panels []panel `json:"panels"`
	}
	if err := json.Unmarshal([]byte(read(t, "monitoring/grafana-dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	var rules []rule
	taken := make(map[[2]int]string)
	for _, p := range dashboard.Panels {
		for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s lies on %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			rules = append(rules, rule{Record: fmt.Sprintf("panel:%d", len(rules)), Expr: strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")})
		}
	}
	if len(rules) < 10 {
		t.Error(errors.New("the dashboard shows next to nothing"))
	}
	file := map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}}
	promtool(t, map[string]any{"dashboard.yml": file}, "check", "rules", "dashboard.yml")
}
