package stack

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// clearEnv unsets all that ConfigFromEnv reads, and makes dir the cache folder.
func clearEnv(t *testing.T, dir string) {
	t.Helper()
	for _, key := range []string{EnvMongoDB, EnvPostgreSQL, EnvRabbitMQ, EnvManagement,
		"STACK_NAME", "STACK_PROFILE", "STACK_BACKEND", "STACK_DEBIAN_MIRROR", "STACK_POSTGRES_BIN"} {
		t.Setenv(key, "")
	}
	t.Setenv("STACK_DIR", dir)
}

func TestConfigFromEnv(t *testing.T) {
	dir := t.TempDir()
	clearEnv(t, dir)
	want := Config{Dir: dir, Name: "default", Profile: ProfilePlatform, Backend: BackendAuto, PostgresBin: "/usr/lib/postgresql/15/bin"}
	if got := ConfigFromEnv(); got != want {
		t.Errorf("ConfigFromEnv = %+v, want %+v", got, want)
	}
	t.Setenv("STACK_NAME", "other")
	t.Setenv("STACK_BACKEND", "docker")
	t.Setenv("STACK_DIR", "")
	t.Setenv("XDG_CACHE_HOME", dir)
	got := ConfigFromEnv()
	if got.Name != "other" || got.Backend != BackendDocker || got.Dir != filepath.Join(dir, "etl-stack") {
		t.Errorf("ConfigFromEnv = %+v", got)
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	good := Config{Dir: "/cache", Name: "default", Profile: ProfilePlatform, Backend: BackendAuto}
	tests := map[string]struct {
		change func(*Config)
		says   string
	}{
		"one URL of four":    {func(c *Config) { c.Given.MongoDB = "mongodb://a" }, "STACK_POSTGRES_URL, STACK_RABBITMQ_URL, STACK_RABBITMQ_MANAGEMENT_URL are not set"},
		"three URLs of four": {func(c *Config) { c.Given = Services{"a", "b", "c", ""} }, "STACK_RABBITMQ_MANAGEMENT_URL is not set"},
		"name":               {func(c *Config) { c.Name = "../x" }, "STACK_NAME"},
		"profile":            {func(c *Config) { c.Profile = "last" }, "STACK_PROFILE"},
		"backend":            {func(c *Config) { c.Backend = "given" }, "STACK_BACKEND"},
		"no folder":          {func(c *Config) { c.Dir = "" }, "STACK_DIR"},
		"relative folder":    {func(c *Config) { c.Dir = "cache" }, "STACK_DIR"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := good
			test.change(&cfg)
			if _, err := Current(cfg); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Current: error %v, want one about %s", err, test.says)
			}
		})
	}
	if err := good.validate(); err != nil {
		t.Errorf("a good configuration: %v", err)
	}
}

// givenServers returns URLs at which something listens.
func givenServers(t *testing.T) Services {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	at := "user:it's@" + listener.Addr().String()
	return Services{
		MongoDB:    "mongodb://" + at + ",other.invalid:27017/?replicaSet=rs",
		PostgreSQL: "postgres://" + at + "/cart",
		RabbitMQ:   "amqp://" + at + "/",
		Management: "http://" + at,
	}
}

func TestGivenServers(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cfg := Config{Given: givenServers(t), Dir: t.TempDir(), Name: "default", Profile: ProfilePlatform, Backend: BackendAuto}
	if got, err := Up(ctx, cfg, io.Discard); err != nil || got != cfg.Given {
		t.Errorf("Up = %+v, %v", got, err)
	}
	if got, err := Current(cfg); err != nil || got != cfg.Given {
		t.Errorf("Current = %+v, %v", got, err)
	}
	if err := Down(ctx, cfg); err != nil {
		t.Errorf("Down: %v", err)
	}
	if _, err := StartBroker(ctx, cfg, t.TempDir()); !errors.Is(err, ErrUnsupported) {
		t.Errorf("StartBroker: %v, want ErrUnsupported", err)
	}
	if _, err := StartPostgres(ctx, cfg, t.TempDir()); !errors.Is(err, ErrUnsupported) {
		t.Errorf("StartPostgres: %v, want ErrUnsupported", err)
	}
	report, err := Status(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := report.Write(&text); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), "it's") || strings.Contains(text.String(), "does not answer") {
		t.Errorf("the status of given servers shows a password or a problem:\n%s", &text)
	}
}

func TestGivenServerUnreachable(t *testing.T) {
	t.Parallel()
	cfg := Config{Given: givenServers(t), Dir: t.TempDir(), Name: "default", Profile: ProfilePlatform, Backend: BackendAuto}
	port, err := reservePorts(t.Context(), t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Given.RabbitMQ = "amqp://user:secret@" + loopback(port[0]) + "/"
	_, err = Up(t.Context(), cfg, io.Discard)
	if err == nil || !strings.Contains(err.Error(), EnvRabbitMQ) || strings.Contains(err.Error(), "secret") {
		t.Errorf("Up: %v, want an error that names %s and no password", err, EnvRabbitMQ)
	}
}

func TestReach(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "no url", "amqp://[::1", "ftp://host"} {
		if err := reach(t.Context(), address); err == nil {
			t.Errorf("reach(%q) succeeds", address)
		}
	}
	if err := reach(t.Context(), "mongodb+srv://user:password@cluster.invalid/"); err != nil {
		t.Errorf("a seed list address, which names no host, is refused: %v", err)
	}
}

func TestExports(t *testing.T) {
	t.Parallel()
	got := Services{MongoDB: "mongodb://it's/"}.Exports()
	if want := `export STACK_MONGODB_URL='mongodb://it'\''s/'` + "\n"; !strings.HasPrefix(got, want) {
		t.Errorf("Exports begins %q, want %q", got, want)
	}
	if lines := strings.Count(got, "\n"); lines != 4 {
		t.Errorf("Exports has %d lines, want 4", lines)
	}
}

func TestNoBackend(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cfg := Config{Dir: t.TempDir(), Name: "default", Profile: ProfilePlatform, Backend: BackendAuto}
	if _, err := Up(ctx, cfg, io.Discard); err == nil {
		t.Error("Up succeeds after its context has ended")
	}
	if _, err := Current(cfg); !errors.Is(err, ErrDown) {
		t.Errorf("Current: %v, want ErrDown", err)
	}
	if _, err := Status(t.Context(), cfg); !errors.Is(err, ErrDown) {
		t.Errorf("Status: %v, want ErrDown", err)
	}
	if err := Down(t.Context(), cfg); err != nil {
		t.Errorf("Down of what is not there: %v", err)
	}
}

func TestReservePorts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := reservePorts(t.Context(), dir, 20)
	if err != nil {
		t.Fatal(err)
	}
	second, err := reservePorts(t.Context(), dir, 20)
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Sorted(slices.Values(append(first, second...)))
	if len(slices.Compact(all)) != 40 || all[0] < lowestPort || all[39] >= highestPort {
		t.Errorf("reserved twice or out of range: %v", all)
	}
}
