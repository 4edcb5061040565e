package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/ecom-micro/etl/internal/reconcile"
)

// buildDir is where buildOnce put the binary.
var buildDir string

// buildOnce builds the binary that users run, without the race detector.
var buildOnce = sync.OnceValues(func() (path string, err error) {
	if buildDir, err = os.MkdirTemp("", "etl-test-"); err != nil {
		return "", err
	}
	path = filepath.Join(buildDir, "etl")
	command := exec.Command("go", "build", "-o", path, ".")
	if output, err := command.CombinedOutput(); err != nil {
		return "", &exec.Error{Name: "go build: " + string(output), Err: err}
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if buildDir != "" {
		_ = os.RemoveAll(buildDir)
	}
	os.Exit(code)
}

// process is a run of the real binary.
type process struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer
}

// command prepares the binary with the shop's variables and nothing else.
func (s *shop) command(ctx context.Context, args ...string) *process {
	s.tb.Helper()
	path, err := buildOnce()
	if err != nil {
		s.tb.Fatal(err)
	}
	p := &process{Cmd: exec.CommandContext(ctx, path, args...)}
	for name, value := range s.env {
		p.Env = append(p.Env, name+"="+value)
	}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	return p
}

// peakMemory is the largest resident set of an ended process, in bytes (VmHWM).
func (p *process) peakMemory() int64 {
	usage, _ := p.ProcessState.SysUsage().(*syscall.Rusage)
	return usage.Maxrss << 10 // kilobytes on Linux
}

func (p *process) report(tb testing.TB) *reconcile.Report {
	tb.Helper()
	var report reconcile.Report
	if err := json.Unmarshal(p.stdout.Bytes(), &report); err != nil {
		tb.Fatalf("the report is no JSON: %v\nstdout: %s\nstderr: %s", err, &p.stdout, &p.stderr)
	}
	return &report
}
