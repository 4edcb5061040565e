package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/words"
)

func newStatsCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count products, rows and waiting events",
		Args:  cobra.NoArgs,
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := gatherStatistics(cmd.Context(), t, env)
		if err != nil {
			return err
		}
		if output.value == outputJSON {
			return printJSON(t.out, s)
		}
		_, err = fmt.Fprintln(t.out, statisticsTable(&s, screenOf(t.out)).Render())
		return err
	}
	return cmd
}

// gatherStatistics counts both stores.
func gatherStatistics(ctx context.Context, t terminal, env envconfig.Lookuper) (api.Statistics, error) {
	c, err := load(ctx, env, func(c *config) []section { return []section{&c.Source, &c.Target} })
	if err != nil {
		return api.Statistics{}, err
	}
	var clean app.Cleanup
	defer t.end(ctx, &clean)
	stores, err := app.OpenStores(ctx, &c.Config, &clean)
	if err != nil {
		return api.Statistics{}, err
	}
	return stores.Statistics(ctx, app.ConnectMonitor(&c.Config, &clean))
}

func statisticsTable(s *api.Statistics, on screen) *sheet {
	t := on.newFigures()
	t.AppendRow(table.Row{"products", grouped(s.Products), s.Source})
	for _, kind := range slices.Sorted(maps.Keys(s.Unsupported)) {
		t.AppendRow(table.Row{"unsupported ids", grouped(s.Unsupported[kind]), "_id of type " + kind})
	}
	t.AppendRow(table.Row{"cart rows", grouped(s.Rows), s.Target})
	t.AppendSeparator()
	for _, rule := range product.Rules() {
		if q, seen := s.Queues[rule.Queue]; seen {
			t.AppendRow(table.Row{rule.Queue, grouped(int64(q.Ready)), "events waiting, " + words.Counted(q.Consumers, "consumer")})
		}
	}
	if s.Broker != "" {
		t.AppendRow(table.Row{"queues", "?", s.Broker})
	}
	return t
}
