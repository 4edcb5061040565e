// Command etl finds the products that the Cart Service is missing, replays them
// as events for its normal consumer, and proves that they arrived.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/ecom-micro/etl/internal/app"
)

// memoryLimit is where the garbage collector begins to work harder. Live data
// stays far below it whatever the catalogue's size; what it bounds is garbage.
const memoryLimit = 64 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	// Output that nobody reads any more fails to be written, and does not end the process.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := untilSignalled()
	code := execute(ctx, os.Args[1:], terminal{in: os.Stdin, out: standard(os.Stdout), err: standard(os.Stderr)}, processEnvironment())
	stop()
	os.Exit(code)
}

// untilSignalled is a context that Ctrl-C, SIGTERM or the end of the terminal ends. A second
// signal ends the process at once.
func untilSignalled() (ctx context.Context, stop func()) {
	ctx, end := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		cause := context.Canceled
		if <-signals == syscall.SIGINT {
			cause = app.ErrInterrupted
		}
		signal.Stop(signals)
		end(cause)
	}()
	return ctx, func() { end(context.Canceled) }
}
