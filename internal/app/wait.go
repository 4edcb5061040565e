package app

import (
	"context"
	"log/slog"
	"regexp"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// await tries until something succeeds, or ctx ends.
func (s *Service) await(ctx context.Context, what string, try func(context.Context) error) {
	begun := time.Now()
	w := waitLog{log: s.log, what: what}
	const longestPause = 15 * time.Second
	pauses := backoff.NewExponentialBackOff()
	pauses.MaxInterval = longestPause
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := try(ctx)
		if err != nil {
			w.failed(ctx, err)
			s.waits.Store(what, err.Error())
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(0))
	s.waits.Delete(what)
	if err == nil && w.last != "" {
		s.log.Info("found "+what, "after", time.Since(begun))
	}
}

// waitLog says what something waits for, once for each reason.
type waitLog struct {
	log  *slog.Logger
	what string
	last string
	err  error // the last one
}

// numbers are what may differ in the same reason, such as a port of ours.
var numbers = regexp.MustCompile(`[0-9]+`)

func (w *waitLog) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		w.err = err
	}
	if reason := numbers.ReplaceAllString(err.Error(), "0"); reason != w.last && ctx.Err() == nil {
		w.last = reason
		w.log.Warn("waiting for "+w.what, "err", err)
	}
}
