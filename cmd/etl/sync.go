package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/producer"
)

// runFlags are the flags that sync and validate share.
type runFlags struct {
	ids           []string
	since         time.Duration
	withoutBroker bool
	output        *choice
}

func (f *runFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.ids, "id", nil, "look at the product `ID` only; may be repeated")
	cmd.Flags().DurationVar(&f.since, "since", 0, "look only at products created this long ago or later, such as 2h")
	cmd.Flags().BoolVar(&f.withoutBroker, "without-broker", false, "do not look at the cart's queue: products that are waiting in it count as missing")
	f.output = outputFlag(cmd)
}

// apply checks the flags and puts them into options.
func (f *runFlags) apply(cmd *cobra.Command, options *reconcile.Options) error {
	seen := make(map[string]bool)
	for _, id := range f.ids {
		if id == "" {
			return usageError{errors.New("--id is empty")}
		}
		if !seen[id] {
			seen[id] = true
			options.IDs = append(options.IDs, product.ID(id))
		}
	}
	if cmd.Flags().Changed("since") {
		if f.since <= 0 {
			return usageError{fmt.Errorf("--since is %s, it must be above 0", f.since)}
		}
		if len(f.ids) > 0 {
			return usageError{errors.New("--id and --since exclude each other")}
		}
		options.Since = time.Now().Add(-f.since)
	}
	return nil
}

func newSyncCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	var flags runFlags
	var batchSize, maxRepairs int
	var dryRun bool
	mode := &choice{value: string(reconcile.Replay), allowed: []string{string(reconcile.Replay), string(reconcile.Direct)}}
	repair := &choice{value: string(product.Missing), allowed: []string{string(product.Missing)}}
	fallback := &choice{value: "none", allowed: []string{"none", string(reconcile.Direct)}}
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Find what the cart is missing, repair it, and prove it",
		Long: `Compares all products with the cart's rows, repairs the missing ones and proves on
both sides that they arrived.

A repair replays a ProductCreated event to the cart's own consumer (--mode replay,
the default), or writes the row itself (--mode direct). Stale and orphaned rows are
reported, and left as they are.

When more than 1,000 products and more than 20 % are missing, or the two stores
share no product at all, nothing is repaired: --max-repairs N says that this is
meant.`,
		Example: `  etl sync --dry-run
  etl sync
  etl sync --mode direct --batch-size 1000
  etl sync --since 2h
  etl sync --id 65f2a1b2c3d4e5f6a7b8c9d0`,
		Args: cobra.NoArgs,
	}
	flags.register(cmd)
	cmd.Flags().Var(mode, "mode", "how to repair: `replay|direct`")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "find and report only")
	cmd.Flags().IntVar(&batchSize, "batch-size", 0, "read and repair `N` products at once, 1..1000 (default SYNC_BATCH_SIZE)")
	cmd.Flags().Var(repair, "repair", "the `kind` of difference to repair: missing")
	cmd.Flags().IntVar(&maxRepairs, "max-repairs", 0, "repair at most `N` products, and do not stop because they are many")
	cmd.Flags().Var(fallback, "fallback", "what to do with products that a replay loses in the end: `none|direct`")
	for name, c := range map[string]*choice{"mode": mode, "repair": repair, "fallback": fallback} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(c.allowed, cobra.ShellCompDirectiveNoFileComp))
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		options := reconcile.Options{Mode: reconcile.Mode(mode.value), DryRun: dryRun, BatchSize: batchSize, MaxRepairs: maxRepairs}
		if err := flags.apply(cmd, &options); err != nil {
			return err
		}
		switch {
		case cmd.Flags().Changed("batch-size") && reconcile.CheckBatchSize(batchSize) != nil:
			return usageError{fmt.Errorf("--batch-size: %w", reconcile.CheckBatchSize(batchSize))}
		case cmd.Flags().Changed("max-repairs") && maxRepairs < 1:
			return usageError{fmt.Errorf("--max-repairs is %d, it must be at least 1", maxRepairs)}
		case flags.withoutBroker && options.Mode == reconcile.Replay && !dryRun:
			return usageError{errors.New("--without-broker needs --mode direct or --dry-run: a replay goes through the broker")}
		case fallback.value != "none" && options.Mode != reconcile.Replay:
			return usageError{errors.New("--fallback direct goes with --mode replay")}
		}
		s := syncing{terminal: t, options: options, fallback: fallback.value == string(reconcile.Direct), withoutBroker: flags.withoutBroker}
		report, err := s.run(cmd.Context(), env, flags.output.value)
		return conclude(t, flags.output.value, report, err)
	}
	return cmd
}

// conclude prints the report and turns its result into the command's error.
func conclude(t terminal, output string, report *reconcile.Report, err error) error {
	if report != nil {
		if printErr := printReport(t.out, output, report, report); printErr != nil {
			return printErr
		}
	}
	if err == nil && report.Result != reconcile.InSync && report.Result != reconcile.Succeeded {
		return errDifferences
	}
	return err
}

// syncing is one run from the command line.
type syncing struct {
	terminal
	options       reconcile.Options
	fallback      bool
	withoutBroker bool
}

// run wires the rooms together, executes the run and shows its progress. The
// report is nil where the run could not begin.
func (s *syncing) run(ctx context.Context, env envconfig.Lookuper, output string) (*reconcile.Report, error) {
	c, err := load(ctx, env, func(c *config) []section {
		used := []section{&c.Source, &c.Target, &c.Sync}
		if !s.withoutBroker {
			used = append(used, &c.Rabbit, &c.Replay)
		}
		return used
	})
	if err != nil {
		return nil, err
	}
	if s.options.BatchSize == 0 {
		s.options.BatchSize = c.Sync.BatchSize
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	s.options.Run = id.String()

	var clean cleanup
	defer clean.run(ctx)
	stores, err := openStores(ctx, c, &clean)
	if err != nil {
		return nil, err
	}
	parts := reconcile.Parts{Source: stores.source, Target: stores.target}
	var throttle func() string
	if !s.withoutBroker {
		broker, err := openBroker(ctx, c, &clean)
		if err != nil {
			if s.options.Mode == reconcile.Direct || s.options.DryRun {
				return nil, fmt.Errorf("%w (without a look at the cart's queue, what waits in it counts as missing; --without-broker accepts that)", err)
			}
			return nil, err
		}
		parts.Barriers, parts.Diagnose = broker.watches, broker.diagnose
		if s.options.Mode == reconcile.Replay && !s.options.DryRun {
			if unchecked := stores.target.Unchecked(); len(unchecked) > 0 {
				return nil, fmt.Errorf("%s has constraints or triggers that only the database can judge (%v), and an event that it refuses would stop the cart's consumer: use --mode direct", stores.target.Name(), unchecked)
			}
			conn := rabbit.NewConnection(c.Rabbit, "etl producer")
			clean.add(func(context.Context) { conn.Close() })
			replay := producer.New(conn, broker.monitor, c.Replay, s.options.Run, c.Sync.StallTimeout)
			parts.Repairer, throttle = replay, replay.Throttle
		}
	}
	if !s.options.DryRun && (s.options.Mode == reconcile.Direct || s.fallback) {
		writer, err := stores.target.Writer(s.options.BatchSize)
		if err != nil {
			return nil, err
		}
		if s.fallback {
			parts.Fallback = writer
		} else {
			parts.Repairer = writer
		}
	}
	run, err := reconcile.New(parts, c.Sync, s.options)
	if err != nil {
		return nil, err
	}
	if !s.options.DryRun {
		lock, err := stores.target.Lock(ctx)
		if err != nil {
			return nil, err
		}
		clean.add(lock.Release)
		var stop context.CancelCauseFunc
		ctx, stop = context.WithCancelCause(ctx)
		defer stop(nil)
		go func() {
			<-lock.Lost()
			stop(errLockLost)
		}()
	}
	display := newDisplay(s.terminal, output, run, throttle)
	display.start()
	defer display.stop()
	return run.Do(ctx)
}

var errLockLost = errors.New("the connection that holds the run's lock was lost, so another run may have begun: run again")
