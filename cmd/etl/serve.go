package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
)

func newServeCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the service: HTTP API, worker and scheduler",
		Long: `Runs until SIGTERM or Ctrl-C: serves the HTTP API on PORT, executes the runs that
anybody asks for, and asks for one at each instant of SYNC_CRON_SCHEDULE. ETL_ROLES
picks some of the roles api, worker and scheduler, so that they can run apart. Any
number of replicas may run.

What the service depends on may come later or go meanwhile: /api/etl/ready says what
it waits for. It logs to standard output, JSON unless NODE_ENV is development.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := load(cmd.Context(), env, func(c *config) []section { return c.sections() })
			if err != nil {
				return err
			}
			log := newLog(t.out, c.Service.Environment)
			for _, remark := range c.remarks(env) {
				log.Warn(remark)
			}
			var clean cleanup
			defer clean.run(cmd.Context())
			s, err := newService(cmd.Context(), c, log, &clean)
			if err != nil {
				return err
			}
			if err := s.run(cmd.Context()); err != nil {
				return fmt.Errorf("serve: %w", err)
			}
			return nil
		},
	}
}

// newLog is JSON for machines; in development it is readable and says more.
func newLog(w io.Writer, environment string) *slog.Logger {
	options := slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration { // JSON would show bare nanoseconds
			return slog.String(a.Key, a.Value.Duration().Round(time.Microsecond).String())
		}
		return a
	}}
	if environment == "development" {
		options.Level = slog.LevelDebug
		return slog.New(slog.NewTextHandler(w, &options))
	}
	return slog.New(slog.NewJSONHandler(w, &options))
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
