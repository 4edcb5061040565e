package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/ledger"
	"github.com/ecom-micro/etl/internal/run"
)

func newRunsWatchCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch RUN",
		Short: "Follow a run to its end, and print its report; Ctrl-C leaves the run alone",
		Args:  cobra.ExactArgs(1),
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var clean app.Cleanup
		defer t.end(cmd.Context(), &clean)
		memory, _, err := openRuns(cmd.Context(), env, &clean)
		if err != nil {
			return err
		}
		record, err := pick(cmd.Context(), memory, args[0])
		if err != nil {
			return err
		}
		return follow(cmd.Context(), t, output.value, memory, record)
	}
	return cmd
}

// followInterval is how often a run that is followed is looked at.
const followInterval = 500 * time.Millisecond

// follow shows how a run goes on, and ends with its report and as the command would that
// had done it itself.
func follow(ctx context.Context, t terminal, output string, memory *ledger.Ledger, record run.Record) error {
	shown := make(chan run.Progress, 1)
	latest := run.Progress{}
	d := newDisplay(t, output, func() run.Progress {
		select {
		case latest = <-shown:
		default:
		}
		return latest
	}, record.Request.Repair)
	d.start()
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	waits := ""
	for record.Status.Active() || record.Status == run.StatusWaiting {
		if record.Progress != nil {
			select {
			case shown <- *record.Progress:
			default:
			}
		}
		if state := stateOf(&record); record.Status == run.StatusQueued && state != waits {
			waits = state
			fmt.Fprintf(t.err, "run %s %s\n", record.ID, state)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			d.stop()
			fmt.Fprintf(t.err, "run %s goes on; `etl runs watch %s` follows it again\n", record.ID, record.ID)
			return ctx.Err()
		}
		later, err := memory.Run(ctx, record.ID)
		switch {
		case err == nil:
			record = later
		case ctx.Err() == nil:
			d.stop()
			return fmt.Errorf("run %s cannot be followed: %w", record.ID, err)
		}
	}
	d.stop()
	if err := withSamples(ctx, memory, &record); err != nil {
		return err
	}
	return concluded(t, output, &record)
}

// concluded prints a run that has ended, and turns its end into the command's.
func concluded(t terminal, output string, record *run.Record) error {
	var err error
	if record.Status == run.StatusFailed || record.Status == run.StatusSkipped || record.Status == run.StatusCancelled {
		err = fmt.Errorf("run %s is %s", record.ID, record.Status)
		if record.Error != "" {
			err = fmt.Errorf("%w: %s", err, printable(record.Error))
		}
	}
	if record.Report == nil {
		return err
	}
	return conclude(t, output, record.Report, err)
}
