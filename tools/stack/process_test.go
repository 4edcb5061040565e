package stack

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	const rest = " S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0"
	state, start, err := parseStat("42 (odd) name (x)" + rest + "\n")
	if err != nil || state != 'S' || start != 4711 {
		t.Errorf("parseStat = %c, %d, %v; want S, 4711", state, start, err)
	}
	for _, bad := range []string{"", "42 (x) S 1", "no parentheses at all"} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("parseStat(%q) succeeds", bad)
		}
	}
}

func TestProcessIdentity(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("process identity needs Linux's /proc")
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	p, err := identify(cmd.Process.Pid)
	if err != nil || !p.alive() {
		t.Fatalf("identify = %+v, %v; alive %v", p, err, p.alive())
	}
	// The same PID with another start time or boot is another process: it must be neither found alive nor killed.
	for _, other := range []process{{p.PID, p.Start + 1, p.Boot}, {p.PID, p.Start, "another boot"}, {}} {
		if err := other.signal(syscall.SIGKILL); err != nil || other.alive() {
			t.Errorf("%+v: signal %v, alive %v", other, err, other.alive())
		}
	}
	if !p.alive() {
		t.Fatal("a process was killed that only shares its PID with the one meant")
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := p.awaitEnd(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-ended
	if err := p.signal(syscall.SIGKILL); err != nil || p.alive() {
		t.Errorf("after its end: signal %v, alive %v", err, p.alive())
	}
}

func TestState(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "stack", "state.json")
	if _, err := readState(file); !notThere(err) {
		t.Errorf("readState without a file: %v", err)
	}
	want := &state{
		Backend: BackendRootfs, Transient: true, Services: Services{MongoDB: "mongodb://x"},
		Ports: map[string]int{portAMQP: 1}, Servers: map[string]process{keyRabbitMQ: {1, 2, "b"}}, Versions: map[string]string{"a": "1"},
	}
	if err := want.write(file); err != nil {
		t.Fatal(err)
	}
	if got, err := readState(file); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("readState = %+v, %v; want %+v", got, err, want)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the state holds passwords, but its file is %v (%v)", info.Mode(), err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readState(file); err == nil || notThere(err) {
		t.Errorf("readState of half a file: %v", err)
	}
}

func TestOutdated(t *testing.T) {
	t.Parallel()
	boot, err := bootID()
	if err != nil {
		t.Skip(err)
	}
	if outdated(&state{Servers: map[string]process{keyRabbitMQ: {1, 2, boot}}}) {
		t.Error("a state of this boot is outdated")
	}
	if !outdated(&state{Servers: map[string]process{keyRabbitMQ: {1, 2, "before"}}}) {
		t.Error("a state of another boot is not outdated")
	}
}
