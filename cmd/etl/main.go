// Command etl finds the products that the Cart Service is missing, replays them
// as events for its normal consumer, and proves that they arrived.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// memoryLimit is where the garbage collector begins to work harder. Live data
// stays far below it whatever the catalogue's size; what it bounds is garbage.
const memoryLimit = 64 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	code := execute(ctx, os.Args[1:], terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr}, processEnvironment())
	stop()
	os.Exit(code)
}
