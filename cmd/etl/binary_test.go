package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/words"

	"github.com/ecom-micro/etl/internal/testenv"
)

// buildDir is where buildOnce put the binary.
var buildDir string

// buildOnce builds the binary that users run, with the race detector where the tests are.
var buildOnce = sync.OnceValues(func() (path string, err error) {
	if buildDir, err = os.MkdirTemp("", "etl-test-"); err != nil {
		return "", err
	}
	path = filepath.Join(buildDir, "etl")
	command := exec.Command("go", "build", "-race="+strconv.FormatBool(raced()), "-o", path, ".")
	if output, err := command.CombinedOutput(); err != nil {
		return "", &exec.Error{Name: "go build: " + string(output), Err: err}
	}
	return path, nil
})

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "10") // the tests wait for servers more than they work
	testenv.UseNameServers()
	code := m.Run()
	if buildDir != "" {
		_ = os.RemoveAll(buildDir)
	}
	os.Exit(code)
}

// raced tells whether the tests were built with the race detector.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
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

// runMeasured runs the process to its end and returns its peak resident memory in
// bytes. That is VmHWM, read until the end: what the kernel tells afterwards
// (ru_maxrss) includes the memory of this test process, which it was forked from.
func (p *process) runMeasured() (peak int64, err error) {
	if err := p.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		peak = max(peak, peakMemory(p.Process.Pid))
		select {
		case err := <-ended:
			return peak, err
		case <-tick.C:
		}
	}
}

// wantPeak insists that a process took at most so many bytes. The race detector takes
// several times as much, so that nothing can be said of a process that has it.
func wantPeak(tb testing.TB, peak, most int64) {
	tb.Helper()
	tb.Logf("peak memory %d MiB", peak>>20)
	if (peak == 0 || peak > most) && !raced() {
		tb.Errorf("peak memory %d MiB, want at most %d MiB", peak>>20, most>>20)
	}
}

// peakMemory is the peak resident memory of a process so far, 0 where it has ended.
func peakMemory(pid int) int64 {
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0
	}
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	var kilobytes int64
	if _, err := fmt.Sscan(line, &kilobytes); err != nil {
		return 0
	}
	return kilobytes << 10
}

func (p *process) report(tb testing.TB) *words.ReportDocument {
	tb.Helper()
	var report words.ReportDocument
	if err := json.Unmarshal(p.stdout.Bytes(), &report); err != nil {
		tb.Fatalf("the report is no JSON: %v\nstdout: %s\nstderr: %s", err, &p.stdout, &p.stderr)
	}
	return &report
}
