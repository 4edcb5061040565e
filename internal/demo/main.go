// Command demo shows the whole job on the stack's real servers: products whose
// events were lost are found, replayed through the cart's own consumer, and
// proved to be there; then the same once more by direct writes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ecom-micro/etl/internal/stack"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

const (
	products = 20_000 // in the catalogue at first
	live     = 200    // of which the cart consumes the last ones as live events
	lost     = 2_000  // events lost in each outage
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo: "+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	begun := time.Now()
	services, err := stack.Current(stack.ConfigFromEnv())
	if err != nil {
		return err
	}
	shop, err := openShop(ctx, services)
	if err != nil {
		return err
	}
	defer shop.close()
	dir, err := os.MkdirTemp("", "etl-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "etl")
	if output, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/etl").CombinedOutput(); err != nil {
		return fmt.Errorf("build etl: %w\n%s", err, output)
	}
	etl := func(wantCode int, args ...string) error { return shop.etl(ctx, out, binary, wantCode, args...) }
	say := func(format string, args ...any) { fmt.Fprintf(out, "\n▌ "+format+"\n", args...) }

	say("The Product Service has %d products in MongoDB. The Cart Service has consumed %d of\n▌ their events into PostgreSQL, and consumes the next %d through RabbitMQ now.", products, products-live-lost, live)
	if err := shop.seed(ctx); err != nil {
		return err
	}
	consumer, err := shop.startCart(ctx)
	if err != nil {
		return err
	}
	if err := shop.publish(ctx, products-live-lost, live); err != nil {
		return err
	}
	if err := shop.waitForRows(ctx, products-lost); err != nil {
		return err
	}
	say("The queue can be watched in RabbitMQ's management UI:\n▌   %s", shop.ui())

	say("An outage: the cart is down and its queue is not bound. The broker confirms the next %d\n▌ ProductCreated events all the same, and drops them. Then the cart is back.", lost)
	if consumer, err = shop.outage(ctx, consumer, products-lost, lost); err != nil {
		return err
	}
	say("How far has the cart drifted?")
	if err := etl(1, "validate"); err != nil {
		return err
	}
	say("Replay: the missing events go through the cart's own consumer.")
	before := consumer.Counts().Inserted
	if err := etl(0, "sync"); err != nil {
		return err
	}
	say("The proof from outside: the cart's consumer itself inserted %d products, and its table\n▌ has %d rows.", consumer.Counts().Inserted-before, shop.rows(ctx))

	say("The same again, with %d new products, repaired by direct writes.", lost)
	if err := shop.insertMore(ctx); err != nil {
		return err
	}
	if consumer, err = shop.outage(ctx, consumer, products, lost); err != nil {
		return err
	}
	before = consumer.Counts().Inserted
	if err := etl(0, "sync", "--mode", "direct"); err != nil {
		return err
	}
	say("This time the consumer inserted %d products, and the table has %d rows. In sync?", consumer.Counts().Inserted-before, shop.rows(ctx))
	if err := etl(0, "validate"); err != nil {
		return err
	}
	say("Done in %s. The data stays until `make down`. To try it by hand (the demo's consumer has\n▌ ended, so use --mode direct):\n", time.Since(begun).Round(time.Second))
	for _, line := range shop.environment() {
		fmt.Fprintf(out, "  export %s\n", line)
	}
	fmt.Fprintf(out, "  go run ./cmd/etl doctor\n\n  Management UI: %s\n", shop.ui())
	consumer.Stop()
	return nil
}

// etl runs the real binary and insists on its exit code.
func (s *shop) etl(ctx context.Context, out io.Writer, binary string, wantCode int, args ...string) error {
	line := "etl"
	for _, a := range args {
		line += " " + a
	}
	fmt.Fprintf(out, "\n$ %s\n", line)
	command := exec.CommandContext(ctx, binary, args...)
	command.Env = append(os.Environ(), s.variables()...)
	command.Stdout, command.Stderr = out, os.Stderr
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	err := command.Run()
	var exited *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exited):
		return err
	case command.ProcessState.ExitCode() != wantCode:
		return fmt.Errorf("`%s` ended with code %d, not %d", line, command.ProcessState.ExitCode(), wantCode)
	}
	return nil
}

// outage loses the events of n products from the first on and returns the
// consumer that runs afterwards.
func (s *shop) outage(ctx context.Context, consumer *cart.Consumer, first, n int) (*cart.Consumer, error) {
	consumer.Stop()
	if err := s.unbind(platform.ProductCreated); err != nil {
		return nil, err
	}
	if err := s.publish(ctx, first, n); err != nil {
		return nil, err
	}
	return s.startCart(ctx) // which declares and binds its queues again
}
