package main

import (
	"fmt"
	"os"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/run"
)

// newSchedulerCommand turns the scheduled runs of all replicas on and off.
func newSchedulerCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scheduler",
		Short: "See, stop and start the scheduled runs of all replicas, or trigger one",
		Long:  "Works on the ledger itself, so also while the HTTP API cannot be reached.",
		RunE:  subcommand,
	}
	cmd.AddCommand(
		newSchedulerStatusCommand(t, env),
		newSchedulerSwitchCommand(t, env, "stop", "No scheduled run begins any more, until start", false),
		newSchedulerSwitchCommand(t, env, "start", "Scheduled runs begin again", true),
		newSchedulerTriggerCommand(t, env),
	)
	return cmd
}

func newSchedulerStatusCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Say whether scheduled runs are on, and how the last one ended", Args: cobra.NoArgs}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		var clean app.Cleanup
		defer t.end(ctx, &clean)
		memory, _, err := openRuns(ctx, env, &clean)
		if err != nil {
			return err
		}
		wanted, err := memory.Switch(ctx)
		if err != nil {
			return err
		}
		page, err := memory.Runs(ctx, run.Filter{Trigger: []run.Trigger{run.BySchedule}, Limit: 1})
		if err != nil {
			return err
		}
		var last *run.Record
		if len(page.Runs) > 0 {
			last = &page.Runs[0]
		}
		if output.value == outputJSON {
			shown := map[string]any{"on": wanted.On, "changedBy": wanted.By, "lastRun": nil}
			if !wanted.At.IsZero() {
				shown["changedAt"] = wanted.At
			}
			if last != nil {
				shown["lastRun"] = documentOf(last)
			}
			return printJSON(t.out, shown)
		}
		text := saidOf(wanted) + "\n"
		if last != nil {
			text += fmt.Sprintf("The last one, run %s, was asked for at %s: %s. %s\n", last.ID, last.Request.At.UTC().Format(time.RFC3339), last.Status, stateOf(last))
		} else {
			text += "There was none yet.\n"
		}
		_, err = fmt.Fprint(t.out, text)
		return err
	}
	return cmd
}

// saidOf is the switch in words.
func saidOf(s run.Switch) string {
	text := "Scheduled runs are off"
	if s.On {
		text = "Scheduled runs are on"
	}
	if s.By != "" {
		text += fmt.Sprintf(", by %s since %s", printable(s.By), s.At.UTC().Format(time.RFC3339))
	}
	return text + "."
}

func newSchedulerSwitchCommand(t terminal, env envconfig.Lookuper, action, short string, on bool) *cobra.Command {
	return &cobra.Command{
		Use:   action,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var clean app.Cleanup
			defer t.end(cmd.Context(), &clean)
			memory, _, err := openRuns(cmd.Context(), env, &clean)
			if err != nil {
				return err
			}
			now, err := memory.SetSwitch(cmd.Context(), on, terminalActor())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(t.out, saidOf(now))
			return err
		},
	}
}

// actor names the person at the terminal in the ledger.
func actor() string {
	by := commandRequest().By
	if host, err := os.Hostname(); err == nil {
		by += "@" + host
	}
	return by
}

func terminalActor() run.Actor { return run.Actor{Name: actor(), Trigger: run.ByCLI} }

func newSchedulerTriggerCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:   "trigger",
		Short: "Ask the service's workers for what a tick would do, now",
		Args:  cobra.NoArgs,
	}
	output := outputFlag(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "follow the run to its end, as `etl runs watch` does")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		c, err := load(ctx, env, func(c *config) []section { return []section{&c.Ledger, &c.Tick} })
		if err != nil {
			return err
		}
		var clean app.Cleanup
		defer t.end(ctx, &clean)
		memory, _, err := openRuns(ctx, env, &clean)
		if err != nil {
			return err
		}
		request := commandRequest()
		request.Trigger, request.Pipeline, request.Order, request.At = run.BySchedule, c.Ledger.Pipeline, c.Tick.Order(), time.Now()
		request.Expires = request.At.Add(applyExpires)
		return submit(ctx, t, output.value, memory, request, wait)
	}
	return cmd
}
