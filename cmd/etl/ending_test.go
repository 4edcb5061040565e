package main

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

// Balancers learn that a process goes while it still serves. A connection that is held open
// is closed with its next answer.
func TestServeGoesOnAfterSIGTERM(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, none)
	r, process := s.serveApart(map[string]string{"ETL_LAME_DUCK": "4s"})
	r.ready()
	if err := process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, watchFor, func() bool {
		a := r.do(http.MethodGet, "/api/etl/ready", "")
		return a.status == http.StatusServiceUnavailable && strings.Contains(a.body, `"leaving":true`)
	}, "the service to be not ready")
	for _, path := range []string{"/api/etl/status", "/api/etl/runs"} {
		if a := r.do(http.MethodGet, path, ""); a.status != http.StatusOK {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/api/etl/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK || !answer.Close {
		t.Errorf("live: %d, closing %t", answer.StatusCode, answer.Close)
	}
	if o := r.wait(); o.code != exitOK || !strings.Contains(o.stdout, "it is not ready any more") {
		t.Errorf("it ended with %d", o.code)
	}
}

// The end of the terminal is an end like Ctrl-C: the report is printed and the slot is free.
func TestCaseD5TheTerminalGoes(t *testing.T) {
	t.Parallel()
	s := newShop(t, 400, every(2))
	s.consumer(slowly)
	p := s.with(map[string]string{"REPLAY_MAX_QUEUE_DEPTH": "5"}).command(t.Context(), "sync", "--batch-size", "5")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, watchFor, func() bool { return s.cart.Count() > 220 }, "some repairs")
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait() // its code says it
	if out := p.stdout.String(); p.ProcessState.ExitCode() != exitInterrupted || !strings.Contains(out, "Interrupted after") {
		t.Errorf("it ended with %d and said\n%s%s", p.ProcessState.ExitCode(), out, p.stderr.String())
	}
	s.mustSync(t.Context(), exitOK) // which another one's slot would refuse
	s.wantComplete()
}

// Whoever read the output has gone: a service goes on, and a command does its work.
func TestCaseD5NobodyReads(t *testing.T) {
	t.Parallel()
	t.Run("the log of a service", func(t *testing.T) {
		t.Parallel()
		s := newShop(t, 40, every(4))
		s.consumer()
		p := s.with(serviceDefaults).command(t.Context(), "serve")
		read, written, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p.Stdout, p.Stderr = written, written
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		ended := endOf(p.Cmd)
		t.Cleanup(func() { _ = p.Process.Kill(); <-ended })
		_ = written.Close()
		lines := bufio.NewScanner(read)
		var found []string
		for found == nil && lines.Scan() {
			found = address.FindStringSubmatch(lines.Text())
		}
		_ = read.Close() // as head -1 does
		if found == nil {
			t.Fatalf("no address: %v", lines.Err())
		}
		r := &replica{tb: t, url: "http://127.0.0.1:" + found[1], token: s.token()}
		r.ready()
		if shown := r.ended(r.post("/api/etl/sync", `{"mode": "direct"}`).ID); shown.Status != run.StatusSucceeded {
			t.Errorf("%+v", shown)
		}
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-ended
		if code := p.ProcessState.ExitCode(); code != exitOK {
			t.Errorf("it ended with %d", code)
		}
	})
	for name, closed := range map[string]func(p *process, end *os.File){
		"the report of a command":   func(p *process, end *os.File) { p.Stdout = end },
		"the progress of a command": func(p *process, end *os.File) { p.Stderr = end },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 40, every(4))
			s.consumer()
			read, written, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			_ = read.Close()
			p := s.command(t.Context(), "sync")
			closed(p, written)
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			_ = written.Close()
			<-endOf(p.Cmd)
			if code := p.ProcessState.ExitCode(); code != exitOK {
				t.Errorf("it ended with %d\n%s%s", code, p.stdout.String(), p.stderr.String())
			}
			s.wantComplete()
		})
	}
	t.Run("a report that cannot be kept", func(t *testing.T) {
		t.Parallel()
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Skip("this system has no /dev/full")
		}
		t.Cleanup(func() { _ = full.Close() })
		s := newShop(t, 40, every(4))
		s.consumer()
		p := s.command(t.Context(), "sync", "--output", "json")
		p.Stdout = full
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		<-endOf(p.Cmd)
		if code := p.ProcessState.ExitCode(); code != exitService || !strings.Contains(p.stderr.String(), "no space left on device") {
			t.Errorf("it ended with %d\n%s", code, p.stderr.String())
		}
		s.wantComplete()
	})
}

// endOf is closed when the process has ended.
func endOf(p *exec.Cmd) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = p.Wait() // its code says it
	}()
	return ended
}
