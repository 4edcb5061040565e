package main

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/tools/stack"
)

func TestUsage(t *testing.T) {
	for _, arguments := range [][]string{{}, {"nonsense"}, {"up", "twice"}, {"run"}, {"run", "--"}} {
		if _, err := run(t.Context(), arguments, io.Discard, io.Discard); !errors.Is(err, errUsage) {
			t.Errorf("stack %v: %v, want wrong usage", arguments, err)
		}
	}
}

func TestEnv(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	address := listener.Addr().String()
	for key, scheme := range map[string]string{
		stack.EnvMongoDB: "mongodb", stack.EnvPostgreSQL: "postgres", stack.EnvRabbitMQ: "amqp", stack.EnvManagement: "http",
	} {
		t.Setenv(key, scheme+"://"+address)
	}
	t.Setenv("STACK_DIR", t.TempDir())
	t.Setenv("STACK_NAME", "given")
	var out strings.Builder
	if _, err := run(t.Context(), []string{"env"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if want := "export STACK_RABBITMQ_URL='amqp://" + address + "'\n"; !strings.Contains(out.String(), want) {
		t.Errorf("stack env prints\n%s without %s", &out, want)
	}
	if code, err := run(t.Context(), []string{"run", "--", "sh", "-c", "exit 3"}, io.Discard, io.Discard); err != nil || code != 3 {
		t.Errorf("stack run = %d, %v; want its command's code 3", code, err)
	}
}

func TestNotRunning(t *testing.T) {
	for _, key := range []string{stack.EnvMongoDB, stack.EnvPostgreSQL, stack.EnvRabbitMQ, stack.EnvManagement} {
		t.Setenv(key, "")
	}
	t.Setenv("STACK_DIR", t.TempDir())
	for _, command := range []string{"status", "env"} {
		if _, err := run(t.Context(), []string{command}, io.Discard, io.Discard); !errors.Is(err, stack.ErrDown) {
			t.Errorf("stack %s: %v, want ErrDown", command, err)
		}
	}
}
