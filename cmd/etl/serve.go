package main

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/internal/app"
)

func newServeCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the service: HTTP API, worker, scheduler and tap",
		Long: `Runs until SIGTERM or Ctrl-C: serves the HTTP API on PORT, executes the runs that
anybody asks for, and asks for one at each instant of SYNC_CRON_SCHEDULE. Lost events
are found and replayed within a minute or two: the tap looks at what the platform has
announced, and SYNC_RECENT_SCHEDULE at what was created lately. ETL_ROLES picks some of
the roles api, worker, scheduler and tap, so that they can run apart. Any number of
replicas may run.

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
			s, err := app.New(cmd.Context(), &c.Config, app.About{Version: version, Revision: revision(), Settings: c.settings(env)}, log)
			if err != nil {
				return err
			}
			err = s.Run(cmd.Context())
			if problem := s.Stop(cmd.Context()); problem != nil {
				log.Warn("the service has left something open", "err", problem)
			}
			if err != nil {
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
