// Package servers is how tests, demo and benchmarks come to the servers that they work with:
// by four URLs in the environment, as `stack run` sets them, or else those of the running
// stack; and, for tests that break their servers, by starting private ones. What runs them is
// tools/stack, a module of its own, whose program is used as a command.
package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Services says where servers answer. The URLs carry credentials.
type Services struct {
	MongoDB    string // mongodb://user:password@127.0.0.1:port/; the user may create databases
	PostgreSQL string // postgres://user:password@127.0.0.1:port/postgres?sslmode=disable; a superuser
	RabbitMQ   string // amqp://user:password@127.0.0.1:port/; an administrator
	Management string // http://user:password@127.0.0.1:port, RabbitMQ's management UI and API
}

// urls are the variables, and where their values go.
func (s *Services) urls() map[string]*string {
	return map[string]*string{
		"STACK_MONGODB_URL": &s.MongoDB, "STACK_POSTGRES_URL": &s.PostgreSQL,
		"STACK_RABBITMQ_URL": &s.RabbitMQ, "STACK_RABBITMQ_MANAGEMENT_URL": &s.Management,
	}
}

// Current returns the servers that the environment names, or those of the stack that runs.
func Current(ctx context.Context) (Services, error) {
	var s Services
	given := 0
	for name, url := range s.urls() {
		if *url = os.Getenv(name); *url != "" {
			given++
		}
	}
	if given == len(s.urls()) {
		return s, nil
	}
	command, err := stackCommand(ctx, "env")
	if err != nil {
		return Services{}, err
	}
	var problem strings.Builder
	command.Stderr = &problem
	exports, err := command.Output()
	if err != nil {
		return Services{}, errors.New(strings.TrimSpace(problem.String()))
	}
	return s, s.read(string(exports))
}

// read takes what `stack env` prints: export NAME='value'.
func (s *Services) read(exports string) error {
	for line := range strings.Lines(exports) {
		name, value, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "export ")), "=")
		if url := s.urls()[name]; url != nil {
			*url = strings.Trim(value, "'")
		}
	}
	for name, url := range s.urls() {
		if *url == "" {
			return fmt.Errorf("`stack env` does not print %s", name)
		}
	}
	return nil
}

// QueueType is the type that the platform's queues have in the stack's profile.
func QueueType() string {
	if os.Getenv("STACK_PROFILE") == "next" {
		return "quorum"
	}
	return "classic"
}

// stackCommand is the stack's program: the one that runs this process, else that of the sources.
func stackCommand(ctx context.Context, arguments ...string) (*exec.Cmd, error) {
	if program := os.Getenv("STACK_COMMAND"); program != "" {
		return exec.CommandContext(ctx, program, arguments...), nil
	}
	_, file, _, known := runtime.Caller(0)
	module := filepath.Join(filepath.Dir(file), "..", "..", "tools", "stack")
	if _, err := os.Stat(module); !known || err != nil {
		return nil, fmt.Errorf("the sources of the stack are not found at %s; run this with `stack run`", strconv.Quote(module))
	}
	return exec.CommandContext(ctx, "go", append([]string{"run", "-C", module, "./cmd/stack"}, arguments...)...), nil
}
