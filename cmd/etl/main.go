// Command etl finds the products that the Cart Service is missing, replays them
// as events for its normal consumer, and proves that they arrived.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/sethvargo/go-envconfig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr}, envconfig.OsLookuper())
	stop()
	os.Exit(code)
}
