// Command demo shows the whole job on the stack's real servers: products whose
// events were lost are found, replayed through the cart's own consumer, and
// proved to be there; then the same once more by direct writes. `demo service`
// shows the same through the long-running service.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo: "+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	tell := replay
	switch {
	case len(args) == 0:
	case slices.Equal(args, []string{"service"}):
		tell = func(ctx context.Context, s *stage) error { return serve(ctx, s, false) }
	case slices.Equal(args, []string{"service", "--keep"}):
		tell = func(ctx context.Context, s *stage) error { return serve(ctx, s, true) }
	default:
		return errors.New("wrong usage: it is `demo`, `demo service` or `demo service --keep`")
	}
	s, err := openStage(ctx, os.Stdout)
	if err != nil {
		return err
	}
	defer s.close()
	return tell(ctx, s)
}
