package k8s_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	corev1 "k8s.io/api/core/v1"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/schedule"
)

// instruction returns the arguments of the Dockerfile's last instruction of that name.
func instruction(t *testing.T, name string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^`+name+` (.*)$`).FindAllStringSubmatch(read(t, "../Dockerfile"), -1)
	if found == nil {
		t.Fatalf("the Dockerfile has no %s", name)
	}
	return found[len(found)-1][1]
}

// The image's user is a number, for Kubernetes cannot tell that a name is not root.
func TestImageFitsThePod(t *testing.T) {
	t.Parallel()
	user, _, _ := strings.Cut(instruction(t, "USER"), ":")
	if id, err := strconv.Atoi(user); err != nil || id == 0 {
		t.Errorf("the image's user is %q, want a number that is not 0", user)
	}
	if start := instruction(t, "ENTRYPOINT") + instruction(t, "CMD"); start != `["/etl"]["serve"]` {
		t.Errorf("the image starts %s", start)
	}
}

func TestToolchainFitsTheModule(t *testing.T) {
	t.Parallel()
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))
	if !regexp.MustCompile(`(?m)^FROM golang:` + regexp.QuoteMeta(version[1]) + `-`).MatchString(read(t, "../Dockerfile")) {
		t.Errorf("the Dockerfile does not build with Go %s, which go.mod asks for", version[1])
	}
}

func TestPorts(t *testing.T) {
	t.Parallel()
	_, container, service := manifest(t)
	var config api.Config
	if err := envconfig.ProcessWith(t.Context(), &envconfig.Config{Target: &config, Lookuper: envconfig.MapLookuper(nil)}); err != nil {
		t.Fatal(err)
	}
	if len(container.Ports) != 1 || len(service.Spec.Ports) != 1 {
		t.Fatalf("the container has %d ports and the Service %d, want 1 each", len(container.Ports), len(service.Spec.Ports))
	}
	inside, outside := container.Ports[0], service.Spec.Ports[0]
	if int(inside.ContainerPort) != config.Port || strconv.Itoa(config.Port) != instruction(t, "EXPOSE") {
		t.Errorf("the service listens on %d, the container's port is %d, the image's %s", config.Port, inside.ContainerPort, instruction(t, "EXPOSE"))
	}
	if outside.Port != 4000 || inside.Name != "http" || outside.TargetPort.StrVal != inside.Name {
		t.Errorf("the Service forwards %d to %v, want 4000 to the container's port, whose name is %q", outside.Port, outside.TargetPort.String(), inside.Name)
	}
}

// well is a process that lacks nothing.
type well struct{}

func (well) Health(context.Context) api.Health         { return api.Health{Healthy: true} }
func (well) Delivery() *run.Delivery                   { return nil }
func (well) Ready(context.Context, bool) api.Readiness { return api.Readiness{Started: true} }

func TestProbes(t *testing.T) {
	t.Parallel()
	_, container, _ := manifest(t)
	handler := api.New(api.Config{}, api.Parts{Probes: well{}, Log: slog.New(slog.DiscardHandler), ProbesOnly: true})
	for name, test := range map[string]struct {
		probe *corev1.Probe
		path  string
	}{
		"startup":   {container.StartupProbe, "/api/etl/live"},
		"liveness":  {container.LivenessProbe, "/api/etl/live"},
		"readiness": {container.ReadinessProbe, "/api/etl/ready"},
	} {
		if test.probe == nil || test.probe.HTTPGet == nil {
			t.Errorf("%s: there is no HTTP probe", name)
			continue
		}
		get := test.probe.HTTPGet
		if get.Path != test.path || get.Port.StrVal != "http" {
			t.Errorf("%s: probes %s on port %s, want %s on http", name, get.Path, get.Port.String(), test.path)
		}
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, get.Path, nil))
		if answer.Code != http.StatusOK {
			t.Errorf("%s: the service answers %d on %s", name, answer.Code, get.Path)
		}
	}
}

// environment looks variables up and notes which were asked for.
type environment struct {
	values map[string]string
	asked  map[string]bool
}

func (e environment) Lookup(name string) (string, bool) {
	e.asked[name] = true
	value, found := e.values[name]
	return value, found
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	_, container, _ := manifest(t)
	var from []string
	for _, source := range container.EnvFrom {
		if source.ConfigMapRef != nil {
			from = append(from, "ConfigMap "+source.ConfigMapRef.Name)
		}
		if source.SecretRef != nil {
			from = append(from, "Secret "+source.SecretRef.Name)
		}
	}
	if want := []string{"ConfigMap ecom-config", "Secret ecom-secret"}; !slices.Equal(from, want) {
		t.Errorf("variables come from %v, want %v", from, want)
	}
	env := environment{values: map[string]string{}, asked: map[string]bool{}}
	for _, variable := range container.Env {
		env.values[variable.Name] = variable.Value
	}
	for _, name := range []string{"SYNC_CRON_SCHEDULE", "HEALTH_CHECK_CRON_SCHEDULE", "ENABLE_SCHEDULER", "SYNC_BATCH_SIZE", "TIMEZONE"} {
		if env.values[name] == "" {
			t.Errorf("%s is not set", name)
		}
	}
	// The rooms themselves say whether they read the values and accept them.
	for _, room := range []interface{ Validate() error }{&schedule.Config{}, &reconcile.Config{}, &rabbit.Config{}, &app.ServiceConfig{}, &app.TickConfig{}} {
		if err := envconfig.ProcessWith(t.Context(), &envconfig.Config{Target: room, Lookuper: env}); err != nil {
			t.Errorf("%T: %v", room, err)
		} else if err := room.Validate(); err != nil {
			t.Errorf("%T: %v", room, err)
		}
	}
	for name := range env.values {
		if !env.asked[name] {
			t.Errorf("%s is set, but nothing reads it", name)
		}
	}
}

// A pod is killed at the end of its grace period. After the drain the service takes up
// to 10 s to close its connections.
func TestGracePeriodOutlastsTheDrain(t *testing.T) {
	t.Parallel()
	deployment, _, _ := manifest(t)
	var service app.ServiceConfig
	if err := envconfig.ProcessWith(t.Context(), &envconfig.Config{Target: &service, Lookuper: envconfig.MapLookuper(nil)}); err != nil {
		t.Fatal(err)
	}
	seconds := deployment.Spec.Template.Spec.TerminationGracePeriodSeconds
	if seconds == nil {
		t.Fatal("the pod has no grace period of its own")
	}
	if grace := time.Duration(*seconds) * time.Second; grace < service.LameDuck+service.Drain+10*time.Second {
		t.Errorf("the grace period is %s, want at least 10 s more than %s and the drain's %s", grace, service.LameDuck, service.Drain)
	}
}
