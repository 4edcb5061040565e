package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/source"
	"github.com/ecom-micro/etl/internal/target"
)

func newStatsCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count products, rows and waiting events",
		Args:  cobra.NoArgs,
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := gatherStatistics(cmd.Context(), env)
		if err != nil {
			return err
		}
		if output.value == outputJSON {
			return printJSON(t.out, s)
		}
		_, err = fmt.Fprintln(t.out, statisticsTable(&s).Render())
		return err
	}
	return cmd
}

// gatherStatistics counts both stores.
func gatherStatistics(ctx context.Context, env envconfig.Lookuper) (api.Statistics, error) {
	c, err := load(ctx, env, func(c *config) []section { return []section{&c.Source, &c.Target} })
	if err != nil {
		return api.Statistics{}, err
	}
	var clean cleanup
	defer clean.run(ctx)
	stores, err := openStores(ctx, c, &clean)
	if err != nil {
		return api.Statistics{}, err
	}
	monitor := rabbit.NewConnection(c.Rabbit, monitorName)
	clean.add(func(context.Context) { monitor.Close() })
	return countAll(ctx, stores.source, stores.target, monitor)
}

// countAll counts both stores exactly. A broker that is away is told, not an error:
// the databases' figures do not need it.
func countAll(ctx context.Context, src *source.Source, tgt *target.Target, monitor *rabbit.Connection) (s api.Statistics, err error) {
	s = api.Statistics{Source: src.Name(), Target: tgt.Name(), Queues: make(map[string]api.QueueStatistics)}
	if s.Products, err = src.Count(ctx); err != nil {
		return s, err
	}
	if s.Unsupported, err = src.Unsupported(ctx); err != nil {
		return s, err
	}
	if s.Rows, err = tgt.Count(ctx); err != nil {
		return s, err
	}
	states, err := monitor.Look(ctx)
	if err != nil {
		s.Broker = err.Error()
	}
	for name, state := range states {
		s.Queues[name] = api.QueueStatistics{Ready: state.Ready, Consumers: state.Consumers}
	}
	return s, nil
}

func statisticsTable(s *api.Statistics) table.Writer {
	t := newTable()
	t.AppendRow(table.Row{"products", grouped(s.Products), s.Source})
	for _, kind := range slices.Sorted(maps.Keys(s.Unsupported)) {
		t.AppendRow(table.Row{"unsupported ids", grouped(s.Unsupported[kind]), "_id of type " + kind})
	}
	t.AppendRow(table.Row{"cart rows", grouped(s.Rows), s.Target})
	t.AppendSeparator()
	for _, name := range rabbit.CartQueues() {
		if q, seen := s.Queues[name]; seen {
			t.AppendRow(table.Row{name, grouped(int64(q.Ready)), "events waiting, " + consumers(q.Consumers)})
		}
	}
	if s.Broker != "" {
		t.AppendRow(table.Row{"queues", "?", text.WrapSoft(s.Broker, 70)})
	}
	return t
}

func consumers(n int) string {
	if n == 1 {
		return "1 consumer"
	}
	return fmt.Sprintf("%d consumers", n)
}
