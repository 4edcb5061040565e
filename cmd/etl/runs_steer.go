package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/ledger"
	"github.com/ecom-micro/etl/internal/run"
)

func newRunsAskCommand(t terminal, env envconfig.Lookuper, action, short string, wanted run.Wanted) *cobra.Command {
	return &cobra.Command{
		Use:   action + " RUN",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
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
			if record, err = memory.Ask(cmd.Context(), record.ID, wanted, terminalActor()); err != nil {
				return err
			}
			said := "is told to " + action
			if !record.Status.Active() || wanted == run.WantPause && record.Status == run.StatusPaused {
				said = "is " + string(record.Status)
			}
			_, err = fmt.Fprintf(t.out, "Run %s %s.\n", record.ID, said)
			return err
		},
	}
}

func newRunsApplyCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	var repair []string
	var wait bool
	mode := &choice{value: string(run.Replay), allowed: []string{string(run.Replay), string(run.Direct)}}
	cmd := &cobra.Command{
		Use:   "apply RUN",
		Short: "Repair what a dry run found, or a run that stopped at its findings",
		Long: `Asks the workers of ` + "`etl serve`" + ` for a run that repairs what RUN has found and what still
stands. It waits in the ledger for one at most ` + applyExpires.String() + `.`,
		Args: cobra.ExactArgs(1),
	}
	output := outputFlag(cmd)
	cmd.Flags().Var(mode, "mode", "how to repair: `replay|direct`")
	cmd.Flags().StringSliceVar(&repair, "repair", nil, "the `kinds` of difference to repair (default those that RUN looked for)")
	cmd.Flags().BoolVar(&wait, "wait", false, "follow the new run to its end, as watch does")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		var clean app.Cleanup
		defer t.end(ctx, &clean)
		memory, c, err := openRuns(ctx, env, &clean)
		if err != nil {
			return err
		}
		found, err := pick(ctx, memory, args[0])
		if err != nil {
			return err
		}
		request := commandRequest()
		request.Pipeline, request.Mode, request.Apply, request.Repair = c.Ledger.Pipeline, run.Mode(mode.value), found.ID, found.Request.Repair
		if len(repair) > 0 {
			if request.Repair, err = run.ParseKinds(repair); err != nil {
				return usageError{fmt.Errorf("--repair %w", err)}
			}
		}
		request.At = time.Now()
		request.Expires = request.At.Add(applyExpires)
		if err := request.Check(); err != nil {
			return usageError{err}
		}
		if err := applicable(ctx, memory, &found, request.Repair); err != nil {
			return err
		}
		return submit(ctx, t, output.value, memory, request, wait)
	}
	return cmd
}

// submit queues a run for the workers, and follows it where that is wished for.
func submit(ctx context.Context, t terminal, output string, memory *ledger.Ledger, request run.Request, wait bool) error {
	record, err := memory.Submit(ctx, request)
	switch {
	case err != nil:
		return blocked(err)
	case wait:
		return follow(ctx, t, output, memory, record)
	case output == outputJSON:
		return printJSON(t.out, documentOf(&record))
	}
	_, err = fmt.Fprintf(t.out, "Queued as run %s for the workers of `etl serve`; `etl runs watch %s` follows it.\n", record.ID, record.ID)
	return err
}

// applyExpires is how long a run that applies findings waits for a worker.
const applyExpires = 10 * time.Minute

// applicable tells why the findings of a run cannot be applied.
func applicable(ctx context.Context, memory *ledger.Ledger, found *run.Record, kinds run.Kinds) error {
	if problem := run.NotApplicable(found); problem != "" {
		return errors.New("apply " + problem)
	}
	keys, complete, err := memory.Findings(ctx, found.ID, kinds)
	switch {
	case err != nil:
		return err
	case !complete:
		return fmt.Errorf("run %s found more %s products than the ledger keeps (%d): `etl sync --max-repairs N` repairs what is found anew", found.ID, kinds, run.MaxOutcomes)
	case len(keys) == 0:
		return fmt.Errorf("run %s found no %s products that still stand, so there is nothing to apply", found.ID, kinds)
	}
	return nil
}

// blocked says beside the error of a taken slot what ends the run that has it.
func blocked(err error) error {
	var active *run.ActiveError
	if !errors.As(err, &active) {
		return err
	}
	r := &active.Active
	switch r.Status {
	case run.StatusQueued:
		return fmt.Errorf("%w since %s: a worker of `etl serve` takes it up; where there is none, `etl runs cancel %s` ends it", err, r.Request.At.UTC().Format(time.RFC3339), r.ID)
	case run.StatusPaused:
		return fmt.Errorf("%w: `etl runs resume %s` lets it go on, `etl runs cancel %s` ends it", err, r.ID, r.ID)
	}
	return fmt.Errorf("%w: `etl runs watch %s` follows it", err, r.ID)
}
