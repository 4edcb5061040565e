package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain can turn this program into one that starts a private server and waits; TestPrivateServerEndsWithItsOwner
// kills it.
func TestMain(m *testing.M) {
	if dir := os.Getenv("STACK_TEST_OWNER"); dir != "" {
		owner(dir)
	}
	os.Exit(m.Run())
}

// ownStacks returns a configuration that brings up stacks here, under a name of this test's own, or skips the test
// with the reason why none can be had.
func ownStacks(t *testing.T, kind string) Config {
	t.Helper()
	if testing.Short() {
		t.Skip("starts servers")
	}
	cfg := ConfigFromEnv()
	cfg.Given = Services{}
	cfg.Name = fmt.Sprintf("test-%d-%s", os.Getpid(), kind)
	if _, _, err := newBackend(t.Context(), cfg.Backend, cfg, newProgress(nil)); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := Down(context.Background(), cfg); err != nil {
			t.Error(err)
		}
		_ = os.Remove(cfg.lockFile())
		_ = os.Remove(cfg.usersFile())
	})
	return cfg
}

func TestStack(t *testing.T) {
	cfg := ownStacks(t, "stack")
	ctx := t.Context()
	services, err := Up(ctx, cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if current, err := Current(cfg); err != nil || current != services {
		t.Errorf("Current = %+v, %v; want %+v", current, err, services)
	}
	st, err := readState(cfg.stateFile())
	if err != nil {
		t.Fatal(err)
	}
	checkServices(t, services)
	checkReport(t, cfg)
	if st.Backend == BackendRootfs {
		checkPasswords(t, cfg, st)
		checkRestart(t, cfg, st)
	}

	// A command that finds the stack running leaves it so.
	if code, err := Run(ctx, cfg, io.Discard, []string{"sh", "-c", `test "$STACK_MONGODB_URL" = ` + services.MongoDB}); err != nil || code != 0 {
		t.Errorf("Run = %d, %v", code, err)
	}
	if _, err := Current(cfg); err != nil {
		t.Errorf("Current after Run: %v", err)
	}

	if err := Down(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	for key, p := range st.Servers {
		if p.alive() {
			t.Errorf("%s still runs after down", key)
		}
	}
	for name, port := range st.Ports {
		if err := portFree(ctx, port); err != nil {
			t.Errorf("the port of %s after down: %v", name, err)
		}
	}
	if exists(cfg.stackDir()) {
		t.Error("down leaves data")
	}
	if _, err := Current(cfg); !errors.Is(err, ErrDown) {
		t.Errorf("Current after down: %v, want ErrDown", err)
	}
}

func TestRunTakesDownWhatItStarted(t *testing.T) {
	t.Parallel()
	cfg := ownStacks(t, "run")
	inside, note := cfg.stateFile(), filepath.Join(t.TempDir(), "note")
	code, err := Run(t.Context(), cfg, io.Discard, []string{"cp", inside, note})
	if err != nil || code != 0 {
		t.Fatalf("Run = %d, %v", code, err)
	}
	st, err := readState(note)
	if err != nil {
		t.Fatal(err)
	}
	for key, p := range st.Servers {
		if p.alive() {
			t.Errorf("%s outlives the run that started it", key)
		}
	}
	if exists(cfg.stackDir()) {
		t.Error("data outlive the run that made them")
	}
}

// checkServices sends each server an authenticated request over its URL.
func checkServices(t *testing.T, services Services) {
	t.Helper()
	ctx := t.Context()
	if err := pingMongoDB(ctx, services.MongoDB); err != nil {
		t.Error(err)
	}
	if err := pingMongoDB(ctx, strings.Replace(services.MongoDB, "@", "x@", 1)); err == nil {
		t.Error("the MongoDB protocol accepts a wrong password")
	}
	if err := greetAMQP(ctx, services.RabbitMQ); err != nil {
		t.Error(err)
	}
	if err := greetAMQP(ctx, strings.Replace(services.RabbitMQ, "@", "x@", 1)); err == nil {
		t.Error("RabbitMQ accepts a wrong password")
	}
	if err := queryManagement(ctx, services.Management); err != nil {
		t.Error(err)
	}
	if err := queryManagement(ctx, strings.Replace(services.Management, "@", "x@", 1)); err == nil {
		t.Error("RabbitMQ's management API accepts a wrong password")
	}
}

func checkReport(t *testing.T, cfg Config) {
	t.Helper()
	report, err := Status(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range report.Servers {
		if server.Problem != "" || server.Version == "" {
			t.Errorf("status of %s: version %q, problem %q", server.Name, server.Version, server.Problem)
		}
	}
}

// checkPasswords asks both PostgreSQL servers, through their own client.
func checkPasswords(t *testing.T, cfg Config, st *state) {
	t.Helper()
	ctx := t.Context()
	login, err := loadCredentials(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	wrong := credentials{login.User, "wrong"}
	cart, err := cartPostgres(ctx, cfg, newProgress(nil))
	if err != nil {
		t.Fatal(err)
	}
	port := st.Ports[portPostgreSQL]
	if err := cart.query(ctx, port, wrong, "select 1"); err == nil {
		t.Error("PostgreSQL accepts a wrong password")
	}
	if err := cart.query(ctx, st.Ports[portDocumentDB], credentials{documentdbOwner, "wrong"}, "select 1"); err == nil {
		t.Error("DocumentDB's PostgreSQL accepts a wrong password")
	}
	// Order by language is what the cart's real database has, and what tests need beside "C".
	for _, statement := range []string{
		"create database words template template0 lc_collate 'en_US.utf8' lc_ctype 'en_US.utf8'",
		"drop database words",
		"do $$ begin if 'a' > 'B' collate \"default\" then raise 'ordered by bytes'; end if; end $$",
	} {
		if err := cart.query(ctx, port, login, statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

// checkRestart lets one server die and brings the stack up again.
func checkRestart(t *testing.T, cfg Config, st *state) {
	t.Helper()
	ctx := t.Context()
	victim := st.Servers[keyFerretDB]
	if err := victim.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := victim.awaitEnd(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := Current(cfg); !errors.Is(err, ErrDown) {
		t.Errorf("Current with a dead server: %v, want ErrDown", err)
	}
	var log strings.Builder
	services, err := Up(ctx, cfg, &log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "FerretDB has ended") || services != st.Services {
		t.Errorf("Up says %q and returns %+v; want FerretDB started again at the old address", &log, services)
	}
	after, err := readState(cfg.stateFile())
	if err != nil {
		t.Fatal(err)
	}
	for key, p := range after.Servers {
		if restarted := p != st.Servers[key]; restarted != (key == keyFerretDB) {
			t.Errorf("%s: restarted %v", key, restarted)
		}
	}
	*st = *after
	checkServices(t, services)
}

func TestBroker(t *testing.T) {
	t.Parallel()
	cfg := ownStacks(t, "broker")
	ctx := t.Context()
	broker, err := StartBroker(ctx, cfg, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	declareQueue(t, broker.Management, "survivor")
	if err := broker.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := greetAMQP(ctx, broker.URL); err == nil {
		t.Error("the broker answers after it was killed")
	}
	if err := broker.Kill(); err != nil {
		t.Errorf("killing it twice: %v", err)
	}
	if err := broker.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := greetAMQP(ctx, broker.URL); err != nil {
		t.Error(err)
	}
	queues, err := broker.Control(ctx, "list_queues", "name")
	if err != nil || !strings.Contains(queues, "survivor") {
		t.Errorf("queues after a kill and a start: %s (%v)", queues, err)
	}
	if err := broker.Stop(); err != nil {
		t.Error(err)
	}
	if err := greetAMQP(ctx, broker.URL); err == nil {
		t.Error("the broker answers after it was stopped")
	}
}

// declareQueue makes a durable queue through the management API.
func declareQueue(t *testing.T, management, name string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, management+"/api/queues/%2F/"+name, strings.NewReader(`{"durable":true}`))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("declare queue %s: %s", name, response.Status)
	}
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	cfg := ownStacks(t, "postgres")
	ctx := t.Context()
	postgres, err := StartPostgres(ctx, cfg, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := postgres.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, end := range map[string]func() error{"killed": postgres.Kill, "stopped": postgres.Stop} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := reach(ctx, postgres.URL); err == nil {
			t.Errorf("PostgreSQL answers after it was %s", name)
		}
		if err := postgres.Start(ctx); err != nil {
			t.Fatalf("start after it was %s: %v", name, err)
		}
		if err := reach(ctx, postgres.URL); err != nil {
			t.Error(err)
		}
	}
}

// owner starts a private server, says which process it is, and waits to be killed.
func owner(dir string) {
	cfg := ConfigFromEnv()
	cfg.Given = Services{}
	postgres, err := StartPostgres(context.Background(), cfg, dir)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if l, ok := postgres.runner.(*leashed); ok {
		fmt.Println(l.running.PID)
	}
	select {}
}

// A test that is killed cannot close its servers.
func TestPrivateServerEndsWithItsOwner(t *testing.T) {
	t.Parallel()
	cfg := ownStacks(t, "owner")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if name, _, err := newBackend(ctx, cfg.Backend, cfg, newProgress(nil)); err != nil || name != BackendRootfs {
		t.Skip("containers outlive the test that started them")
	}
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "STACK_TEST_OWNER="+t.TempDir())
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	var pid int
	if _, scanned := fmt.Sscan(line, &pid); err != nil || scanned != nil {
		t.Fatalf("the owner says %q (%v)", line, err)
	}
	server, err := identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if err := server.awaitEnd(ctx); err != nil {
		t.Errorf("the server outlives its owner: %v", err)
	}
}
