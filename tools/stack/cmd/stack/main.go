// Command stack brings the project's private servers up and down; see package stack.
//
// Exit codes: 0 done, 1 failed or not running, 2 wrong usage; stack run returns the code of its command.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/ecom-micro/etl/tools/stack"
)

const usage = `stack: private MongoDB-protocol, PostgreSQL and RabbitMQ servers for tests, demo and benchmarks

usage:
  stack up                  start what is not running, and show where it answers
  stack down                end the servers and remove their data; what was built for them stays
  stack status              show what runs
  stack env                 print the servers' URLs as export lines for a shell
  stack run -- command …    run a command with the URLs in its environment; a stack that
                            this had to start is taken down at the end
  stack browser             print the path of a Chromium, which is installed where there is none
  stack promtool            print the path of promtool, which tests alerts, likewise
  stack private             start servers that a test may kill, as lines of JSON on standard
                            input tell; they end with that

environment:
  STACK_NAME                which stack (default); stacks of several names run side by side
  STACK_PROFILE             platform (default: PostgreSQL 15, classic queues) or
                            next (PostgreSQL 18, quorum queues)
  STACK_BACKEND             auto (default), docker or rootfs
  STACK_DIR                 cache folder (default: etl-stack in the user's cache folder)
  STACK_DEBIAN_MIRROR       Debian mirror (default: the one of the machine's apt configuration)
  STACK_POSTGRES_BIN        the machine's PostgreSQL 15 programs (default: where Debian puts them)
  STACK_MONGODB_URL, STACK_POSTGRES_URL, STACK_RABBITMQ_URL, STACK_RABBITMQ_MANAGEMENT_URL
                            servers that you have; with these four nothing is started
`

// errUsage says that the command line is not one of usage's.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	code, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		code = 2
	case err != nil:
		fmt.Fprintln(os.Stderr, "stack:", err)
		code = 1
	}
	os.Exit(code)
}

func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) (int, error) {
	cfg := stack.ConfigFromEnv()
	if len(arguments) == 0 {
		return 0, errUsage
	}
	if arguments[0] == "run" {
		command := arguments[1:]
		if len(command) > 0 && command[0] == "--" {
			command = command[1:]
		}
		if len(command) == 0 {
			return 0, errUsage
		}
		return stack.Run(ctx, cfg, stderr, command)
	}
	if len(arguments) > 1 {
		return 0, errUsage
	}
	switch arguments[0] {
	case "up":
		if _, err := stack.Up(ctx, cfg, stderr); err != nil {
			return 0, err
		}
		return 0, status(ctx, cfg, stdout)
	case "down":
		return 0, stack.Down(ctx, cfg)
	case "status":
		return 0, status(ctx, cfg, stdout)
	case "private":
		return 0, private(ctx, cfg, os.Stdin, stdout)
	case "browser", "promtool":
		find := stack.Browser
		if arguments[0] == "promtool" {
			find = stack.Promtool
		}
		path, err := find(ctx, cfg, stderr)
		if err != nil {
			return 0, err
		}
		_, err = fmt.Fprintln(stdout, path)
		return 0, err
	case "env":
		services, err := stack.Current(cfg)
		if err != nil {
			return 0, err
		}
		_, err = fmt.Fprint(stdout, services.Exports())
		return 0, err
	case "help", "-h", "--help":
		_, err := fmt.Fprint(stdout, usage)
		return 0, err
	}
	return 0, errUsage
}

func status(ctx context.Context, cfg stack.Config, out io.Writer) error {
	report, err := stack.Status(ctx, cfg)
	if err != nil {
		return err
	}
	return report.Write(out)
}
