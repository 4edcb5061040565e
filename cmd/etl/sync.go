package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/consumer"
	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// runFlags are the flags that sync and validate share.
type runFlags struct {
	ids           []string
	since         string
	fields        []string
	withoutBroker bool
	output        *choice
}

func (f *runFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.ids, "id", nil, "look at the product `ID` only; may be repeated")
	cmd.Flags().StringVar(&f.since, "since", "", "look only at products created at this `TIME` or later: 2h ago, 2026-11-26, 2026-11-26T10:00:00Z")
	cmd.Flags().StringSliceVar(&f.fields, "fields", nil, "of a look: the `fields` that make a row stale, or none to compare ids alone (default SYNC_COMPARE_FIELDS)")
	cmd.Flags().BoolVar(&f.withoutBroker, "without-broker", false, "do not look at the cart's queue: products that are waiting in it count as missing")
	f.output = outputFlag(cmd)
}

// apply checks the flags and puts them into an order.
func (f *runFlags) apply(cmd *cobra.Command, order *run.Order) error {
	seen := make(map[string]bool)
	for _, id := range f.ids {
		if id == "" {
			return usageError{errors.New("--id is empty")}
		}
		if !seen[id] {
			seen[id] = true
			order.IDs = append(order.IDs, product.ID(id))
		}
	}
	if cmd.Flags().Changed("since") {
		since, err := moment(f.since)
		if err != nil {
			return usageError{fmt.Errorf("--since %w", err)}
		}
		if since.After(time.Now()) {
			return usageError{fmt.Errorf("--since is %s, which is in the future", since.Format(time.RFC3339))}
		}
		if len(f.ids) > 0 {
			return usageError{errors.New("--id and --since exclude each other")}
		}
		order.Since.Time = since
	}
	if cmd.Flags().Changed("fields") && !order.DryRun {
		return usageError{errors.New("--fields goes with --dry-run and validate: a repair compares what SYNC_COMPARE_FIELDS says")}
	}
	return nil
}

func newSyncCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	var flags runFlags
	var batchSize, maxRepairs, maxDeletes int
	var dryRun bool
	mode := &choice{value: string(run.Replay), allowed: []string{string(run.Replay), string(run.Direct)}}
	repair := []string{string(product.Missing)}
	fallback := &choice{value: string(run.NoFallback), allowed: []string{string(run.NoFallback), string(run.DirectFallback)}}
	var enqueue, wait bool
	var reason string
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Find how the cart differs, repair what is asked for, and prove it",
		Long: `Compares all products with the cart's rows, repairs the missing ones and proves on
both sides that they arrived. All differences are reported; --repair names the kinds
that are repaired: missing (the default), stale, orphaned.

A repair replays an event to the cart's own consumer (--mode replay, the default), or
writes the row itself (--mode direct). A replayed ProductUpdated event is the whole
event, so it sets the cart's stock quantity too.

When more than 1,000 products and more than 20 % differ so, or the two stores share
no product at all, nothing is repaired: --max-repairs N says that this is meant.
Orphaned rows are deleted only after the source was read completely and is not
smaller than it was, and never more than --max-deletes.`,
		Example: `  etl sync --dry-run
  etl sync
  etl sync --mode direct --batch-size 1000
  etl sync --repair missing,stale
  etl sync --since 2h
  etl sync --id 65f2a1b2c3d4e5f6a7b8c9d0
  etl sync --enqueue --reason "the cart was down from 10 to 11"`,
		Args: cobra.NoArgs,
	}
	flags.register(cmd)
	cmd.Flags().Var(mode, "mode", "how to repair: `replay|direct`")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "find and report only")
	cmd.Flags().IntVar(&batchSize, "batch-size", 0, "read and repair `N` products at once, 1..1000 (default SYNC_BATCH_SIZE)")
	cmd.Flags().StringSliceVar(&repair, "repair", repair, "the `kinds` of difference to repair: missing, stale, orphaned")
	cmd.Flags().IntVar(&maxDeletes, "max-deletes", 0, "delete at most `N` orphaned rows (default SYNC_MAX_DELETES)")
	cmd.Flags().IntVar(&maxRepairs, "max-repairs", 0, "repair at most `N` products, and do not stop because they are many")
	cmd.Flags().Var(fallback, "fallback", "what to do with products that a replay loses in the end: `none|direct`")
	cmd.Flags().BoolVar(&enqueue, "enqueue", false, "do not run here: send the request to the service's workers through the broker")
	cmd.Flags().BoolVar(&wait, "wait", false, "with --enqueue: follow the run to its end, with its report and exit code")
	cmd.Flags().StringVar(&reason, "reason", "", "why, in a few words; the ledger keeps it")
	for name, c := range map[string]*choice{"mode": mode, "fallback": fallback} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(c.allowed, cobra.ShellCompDirectiveNoFileComp))
	}
	_ = cmd.RegisterFlagCompletionFunc("repair", cobra.FixedCompletions([]string{"missing", "stale", "orphaned"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		request := commandRequest()
		var err error
		if request.Repair, err = run.ParseKinds(repair); err != nil {
			return usageError{fmt.Errorf("--repair %w", err)}
		}
		request.MaxDeletes = maxDeletes
		request.Mode, request.DryRun, request.BatchSize, request.MaxRepairs = run.Mode(mode.value), dryRun, batchSize, maxRepairs
		request.Fallback, request.Reason = run.Fallback(fallback.value), reason
		if err := flags.apply(cmd, &request.Order); err != nil {
			return err
		}
		switch {
		case cmd.Flags().Changed("batch-size") && run.CheckBatchSize(batchSize) != nil:
			return usageError{fmt.Errorf("--batch-size: %w", run.CheckBatchSize(batchSize))}
		case cmd.Flags().Changed("max-repairs") && maxRepairs < 1:
			return usageError{fmt.Errorf("--max-repairs is %d, it must be at least 1", maxRepairs)}
		case cmd.Flags().Changed("max-deletes") && maxDeletes < 1:
			return usageError{fmt.Errorf("--max-deletes is %d, it must be at least 1", maxDeletes)}
		case flags.withoutBroker && request.Mode == run.Replay && !dryRun:
			return usageError{errors.New("--without-broker needs --mode direct or --dry-run: a replay goes through the broker")}
		case request.Fallback != run.NoFallback && request.Mode != run.Replay:
			return usageError{errors.New("--fallback direct goes with --mode replay")}
		case len(reason) > run.MaxReason:
			return usageError{fmt.Errorf("--reason has %d bytes, at most %d are kept", len(reason), run.MaxReason)}
		case enqueue && len(flags.fields) > 0:
			return usageError{errors.New("--fields is for a look of this process, so --enqueue does not go with it")}
		case enqueue && flags.withoutBroker:
			return usageError{errors.New("--enqueue goes through the broker, so --without-broker does not go with it")}
		case wait && !enqueue:
			return usageError{errors.New("--wait goes with --enqueue: a run of this process is waited for anyhow")}
		case enqueue:
			return enqueueRequest(cmd.Context(), t, env, flags.output.value, request, wait)
		}
		report, err := perform(cmd.Context(), t, env, &flags, request)
		return conclude(t, flags.output.value, report, err)
	}
	return cmd
}

// commandRequest is a request from the command line for the defaults.
func commandRequest() run.Request {
	r := run.Request{Version: run.RequestVersion, ID: run.NewRunID(), Trigger: run.ByCLI}
	if who, err := user.Current(); err == nil {
		r.By = who.Username
	}
	return r
}

// enqueueRequest sends a request to the service's workers.
func enqueueRequest(ctx context.Context, t terminal, env envconfig.Lookuper, output string, request run.Request, wait bool) error {
	c, err := load(ctx, env, func(c *config) []section { return []section{&c.Rabbit, &c.Ledger} })
	if err != nil {
		return err
	}
	request.Pipeline = c.Ledger.Pipeline
	if err := request.Check(); err != nil {
		return usageError{err}
	}
	var clean app.Cleanup
	defer t.end(ctx, &clean)
	memory, _, err := openRuns(ctx, env, &clean)
	if err != nil {
		return err
	}
	request.At = time.Now()
	request.Expires = request.At.Add(applyExpires)
	record, err := memory.Submit(ctx, request)
	if err != nil {
		return blocked(err)
	}
	request.Recorded = true
	doorbell := consumer.NewDoorbell(app.ConnectProducer(&c.Config, &clean))
	defer doorbell.Close()
	if err := doorbell.Ring(ctx, request); err != nil {
		return errors.Join(err, memory.Discard(context.WithoutCancel(ctx), record.ID))
	}
	switch {
	case wait:
		return follow(ctx, t, output, memory, record)
	case output == outputJSON:
		return printJSON(t.out, request)
	}
	_, err = fmt.Fprintf(t.out, "Sent as run %s to queue %s; `etl runs watch %s` follows it.\n", request.ID, consumer.RequestQueue, request.ID)
	return err
}

// conclude prints the report and turns its result into the command's error.
func conclude(t terminal, output string, report *run.Report, err error) error {
	if report != nil {
		if printErr := printReport(t.out, output, report); printErr != nil {
			return printErr
		}
	}
	if err == nil && report.Result != run.InSync && report.Result != run.Succeeded {
		return errDifferences
	}
	return err
}

// perform executes one run and shows its progress. The report is nil where the run could
// not begin.
func perform(ctx context.Context, t terminal, env envconfig.Lookuper, flags *runFlags, request run.Request) (*run.Report, error) {
	output, withoutBroker := flags.output.value, flags.withoutBroker
	c, err := load(ctx, env, func(c *config) []section {
		used := []section{&c.Source, &c.Target, &c.Sync, &c.Ledger}
		if !withoutBroker {
			used = append(used, &c.Rabbit, &c.Replay)
		}
		return used
	})
	if err != nil {
		return nil, err
	}
	if err := request.Check(); err != nil {
		return nil, usageError{err}
	}
	if len(flags.fields) > 0 {
		c.Sync.Compare = flags.fields
		if _, err := c.Sync.Fields(); err != nil {
			return nil, usageError{fmt.Errorf("--fields: %w", err)}
		}
	}
	var clean app.Cleanup
	defer t.end(ctx, &clean)
	command := app.Command{Config: &c.Config, Request: request, WithoutBroker: withoutBroker, Partial: len(flags.fields) > 0,
		Show: func(kept bool, progress func() run.Progress) {
			if kept && output == outputText {
				fmt.Fprintf(t.err, "run %s\n", request.ID)
			}
			display := newDisplay(t, output, progress, request.Repair)
			display.start()
			clean.Add("the display", app.Closing(display.stop))
		},
		Unkept: func(why error) {
			fmt.Fprintf(t.err, "etl: this look is not kept, so it cannot be applied: %s\n", printable(why.Error()))
		},
	}
	report, err := command.Run(ctx, &clean)
	return report, blocked(err)
}
