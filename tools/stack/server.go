package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Deadlines for servers on a busy two-core machine; on a quiet one RabbitMQ, the slowest, answers after 5 seconds.
const (
	startTimeout = 90 * time.Second
	stopTimeout  = 20 * time.Second
)

// baseEnv is the part of the environment that all servers get; nothing of the caller's reaches them.
var baseEnv = []string{
	"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=" + home,
	"LC_ALL=C.UTF-8",
	"TZ=UTC",
}

// server is one server of a stack, or a private one of a test.
type server struct {
	name    string // for people
	program confined
	ports   []int                           // loopback ports it listens on
	prepare func() error                    // makes and fills its folder
	answers func(ctx context.Context) error // nil once it serves an authenticated request
}

func (s server) logFile() string { return filepath.Join(s.program.dir, "server.log") }

// start brings the server up, on the data it has if there are any, and waits until it answers. known and leashed are
// as in confined.start. If it fails, nothing of the server is left running.
func (s server) start(ctx context.Context, leashed bool, known func(process) error) (*instance, error) {
	if !exists(s.program.dir) {
		if err := s.prepare(); err != nil {
			return nil, fmt.Errorf("prepare %s: %w", s.name, err)
		}
	}
	for _, port := range s.ports {
		if err := portFree(ctx, port); err != nil {
			return nil, fmt.Errorf("start %s: %w", s.name, err)
		}
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", s.name, err)
	}
	defer func() { _ = log.Close() }()
	in, err := s.program.start(log, leashed, known)
	if err != nil {
		return nil, err
	}
	if err := s.await(ctx, in.process); err != nil {
		return nil, errors.Join(err, in.kill())
	}
	return in, nil
}

// await waits until the server answers. It fails when the process ends, ctx ends or startTimeout is over.
func (s server) await(ctx context.Context, p process) error {
	limited, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("no answer within %s", startTimeout))
	defer cancel()
	for {
		err := s.answers(limited)
		if err == nil {
			return nil
		}
		if !p.alive() {
			return fmt.Errorf("%s has ended instead of answering; the last lines of its log:\n%s", s.name, s.lastWords())
		}
		ended := pause(limited, pollInterval)
		if ctx.Err() != nil {
			return fmt.Errorf("wait for %s to answer: %w", s.name, context.Cause(ctx))
		}
		if ended != nil {
			return fmt.Errorf("wait for %s to answer: %w (last: %w); the last lines of its log:\n%s", s.name, ended, err, s.lastWords())
		}
	}
}

func (s server) lastWords() string {
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		return "    (no log)"
	}
	return lastLines(string(text), 10)
}

// stop asks the server to end as it would in a planned restart, and kills it if it takes longer than stopTimeout.
func (s server) stop(in *instance) error {
	if err := in.signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-in.ended:
	case <-timer.C:
	}
	return in.kill()
}

// newFolder makes a server's folder with what fill puts into it; an interrupted call leaves no half-filled one.
func newFolder(dir string, fill func(dir string) error) error {
	next := dir + partial
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	if err := os.MkdirAll(next, 0o700); err != nil { // passwords go into it
		return err
	}
	if err := fill(next); err != nil {
		return errors.Join(err, os.RemoveAll(next))
	}
	if err := os.Chown(next, nobody, nobody); err != nil {
		return err
	}
	return os.Rename(next, dir)
}
