package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/ecom-micro/etl/internal/servers"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

const (
	products = 20_000 // in the catalogue at first
	live     = 200    // of which the cart consumes the last ones as live events
	lost     = 2_000  // events lost in each outage
)

// stage is where a story is played: the shop, the real binary, and a shell to use
// it as a person does.
type stage struct {
	*shop
	out      io.Writer
	bold     bool
	consumer *cart.Consumer
	dir      string // where the shell is, the binary in it
	prelude  string // what was assigned in the shell
}

func openStage(ctx context.Context, out *os.File) (*stage, error) {
	services, err := servers.Current(ctx)
	if err != nil {
		return nil, err
	}
	shop, err := openShop(ctx, services)
	if err != nil {
		return nil, err
	}
	s := &stage{shop: shop, out: out, bold: term.IsTerminal(int(out.Fd()))}
	if s.dir, err = os.MkdirTemp("", "etl-demo-"); err != nil {
		s.close()
		return nil, err
	}
	if output, err := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(s.dir, "etl"), "./cmd/etl").CombinedOutput(); err != nil {
		s.close()
		return nil, fmt.Errorf("build etl: %w\n%s", err, output)
	}
	return s, nil
}

// environ is the environment of the shell.
func (s *stage) environ() []string {
	path := "PATH=" + s.dir + string(os.PathListSeparator) + os.Getenv("PATH")
	return append(append(os.Environ(), path), s.variables()...)
}

func (s *stage) close() {
	if s.consumer != nil {
		s.consumer.Stop()
	}
	_ = os.RemoveAll(s.dir)
	s.shop.close()
}

// say tells what comes next.
func (s *stage) say(format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n▌ ")
	fmt.Fprintf(s.out, "\n▌ %s\n", text)
}

// showEnvironment prints the variables for another shell.
func (s *stage) showEnvironment() {
	fmt.Fprintln(s.out)
	for _, v := range s.variables() {
		name, value, _ := strings.Cut(v, "=")
		fmt.Fprintf(s.out, "  export %s=%q\n", name, value)
	}
}

// prompt shows a command line as a person types it.
func (s *stage) prompt(line string) {
	if s.bold {
		line = "\x1b[1m" + line + "\x1b[0m"
	}
	fmt.Fprintf(s.out, "\n$ %s\n", line)
}

// assign sets variables of the shell for all later commands.
func (s *stage) assign(lines ...string) {
	for _, line := range lines {
		s.prompt(line)
		s.prelude += line + "\n"
	}
}

// commandTimeout ends a command that hangs.
const commandTimeout = 2 * time.Minute

// run executes a command line in a shell, insists on its exit code, and returns its
// standard output. It shows that too; where paths are given, of JSON these members only.
func (s *stage) run(ctx context.Context, wantCode int, line string, paths ...string) (string, error) {
	s.prompt(line)
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	var printed bytes.Buffer
	shown := &view{out: s.out, paths: paths}
	command := exec.CommandContext(ctx, "bash", "-c", s.prelude+line)
	command.Dir, command.Env = s.dir, s.environ()
	command.Stdout, command.Stderr = io.MultiWriter(shown, &printed), os.Stderr
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 10 * time.Second
	err := command.Run()
	if err := shown.flush(); err != nil {
		return "", err
	}
	var exited *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exited):
		return "", err
	case command.ProcessState.ExitCode() != wantCode:
		return "", fmt.Errorf("`%s` ended with code %d, not %d", line, command.ProcessState.ExitCode(), wantCode)
	}
	return printed.String(), nil
}

// open fills the shop, lets the cart consume live events, and then loses some.
func (s *stage) open(ctx context.Context) error {
	s.say("The Product Service has %d products in MongoDB. The Cart Service has consumed %d of\ntheir events into PostgreSQL, and consumes the next %d through RabbitMQ now.", products, products-live-lost, live)
	if err := s.seed(ctx); err != nil {
		return err
	}
	var err error
	if s.consumer, err = s.startCart(ctx); err != nil {
		return err
	}
	if err := s.publish(ctx, products-live-lost, live); err != nil {
		return err
	}
	if err := s.waitForRows(ctx, products-lost); err != nil {
		return err
	}
	s.say("The queue can be watched in RabbitMQ's management UI:\n  %s", s.ui("queues/"+vhost+"/"+platform.ProductCreated))
	s.say("An outage: the cart is down and its queue is not bound. The broker confirms the next %d\nProductCreated events all the same, and drops them. Then the cart is back.", lost)
	return s.outage(ctx, products-lost, lost)
}

// outage loses the events of n products from the first on. Afterwards another
// consumer runs.
func (s *stage) outage(ctx context.Context, first, n int) error {
	s.consumer.Stop()
	if err := s.unbind(platform.ProductCreated); err != nil {
		return err
	}
	if err := s.publish(ctx, first, n); err != nil {
		return err
	}
	consumer, err := s.startCart(ctx) // which declares and binds its queues again
	if err == nil {
		s.consumer = consumer
	}
	return err
}
