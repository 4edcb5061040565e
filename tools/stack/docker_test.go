package stack

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeDocker puts a docker command first in PATH that does what script says, and returns a folder for its notes.
func fakeDocker(t *testing.T, script string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\ncd "+dir+"\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

func TestDockerEngine(t *testing.T) {
	fakeDocker(t, "exit 0")
	if err := dockerEngine(t.Context()); err != nil {
		t.Errorf("an engine that answers: %v", err)
	}
	fakeDocker(t, "echo 'no daemon' >&2; exit 1")
	if err := dockerEngine(t.Context()); err == nil || !strings.Contains(err.Error(), "no daemon") {
		t.Errorf("no engine: %v, want docker's own words", err)
	}
	fakeDocker(t, "exec sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := dockerEngine(ctx); err == nil {
		t.Error("an engine that never answers is taken for one")
	}
}

// The commands that a private server's life consists of, as docker gets them.
func TestDockerPrivateServer(t *testing.T) {
	notes := fakeDocker(t, `echo "$@" >> calls; env | grep ^STACK_ > environment`)
	cfg := Config{Dir: t.TempDir(), Name: "default", Profile: ProfilePlatform, Backend: BackendDocker}
	broker, err := StartBroker(t.Context(), cfg, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := broker.Kill(); err != nil {
		t.Error(err)
	}
	if err := broker.Start(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := broker.Control(t.Context(), "list_queues"); err != nil {
		t.Error(err)
	}
	if err := broker.Stop(); err != nil {
		t.Error(err)
	}
	if err := broker.Close(); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(filepath.Join(notes, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		_, command, found := strings.Cut(strings.TrimSpace(line), "/compose.yaml ")
		if !found || !strings.HasPrefix(line, "compose --project-name etl-private-") {
			t.Errorf("docker is called with %q", line)
		}
		got = append(got, command)
	}
	want := "up --detach --wait rabbitmq; kill rabbitmq; up --detach --wait rabbitmq; exec -T rabbitmq rabbitmqctl list_queues; stop rabbitmq; down --volumes --timeout 1"
	if joined := strings.Join(got, "; "); joined != want {
		t.Errorf("docker compose is called with\n%s, want\n%s", joined, want)
	}
	environment, err := os.ReadFile(filepath.Join(notes, "environment"))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(broker.URL, "127.0.0.1:")
	if !strings.Contains(string(environment), "STACK_RABBITMQ_PORT="+strings.TrimSuffix(port, "/")+"\n") {
		t.Errorf("compose.yaml gets\n%s, but the broker's URL has port %s", environment, port)
	}
}

func TestImageVersions(t *testing.T) {
	t.Parallel()
	got := imageVersions("mongo:8.0.4\npostgres:15.10\nregistry.example/library/rabbitmq:4.0.5-management\nother:1\n")
	if len(got) != 3 || got[portMongoDB] != "8.0.4" || got[portPostgreSQL] != "15.10" || got[portAMQP] != "4.0.5-management" {
		t.Errorf("imageVersions = %v", got)
	}
}

// compose.yaml must use the variables that the code sets, and pin its images.
func TestComposeFile(t *testing.T) {
	t.Parallel()
	sources, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(sources, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := newComposeProject(Config{Dir: t.TempDir()}, "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range project.env {
		if key, _, _ := strings.Cut(pair, "="); !strings.Contains(string(text), "${"+key+":-") {
			t.Errorf("compose.yaml does not use %s", key)
		}
	}
	for line := range strings.Lines(string(text)) {
		if image, found := strings.CutPrefix(strings.TrimSpace(line), "image: "); found && strings.Count(image, ".") < 1 {
			t.Errorf("image %s is not pinned to a version", image)
		}
	}
}
