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

	"github.com/ecom-micro/etl/internal/rabbit"
)

// statistics is what `etl stats` prints.
type statistics struct {
	Source      string                `json:"source"`
	Products    int64                 `json:"products"`
	Unsupported map[string]int64      `json:"unsupportedIds"`
	Target      string                `json:"target"`
	Rows        int64                 `json:"rows"`
	Queues      map[string]queueStats `json:"queues"`
	Broker      string                `json:"brokerError,omitempty"`
}

type queueStats struct {
	Ready     int `json:"ready"`
	Consumers int `json:"consumers"`
}

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
		_, err = fmt.Fprintln(t.out, s.table().Render())
		return err
	}
	return cmd
}

// gatherStatistics counts both stores exactly. A broker that is away is told, not
// an error: the databases' figures do not need it.
func gatherStatistics(ctx context.Context, env envconfig.Lookuper) (*statistics, error) {
	c, err := load(ctx, env, func(c *config) []section { return []section{&c.Source, &c.Target} })
	if err != nil {
		return nil, err
	}
	var clean cleanup
	defer clean.run(ctx)
	stores, err := openStores(ctx, c, &clean)
	if err != nil {
		return nil, err
	}
	s := &statistics{Source: stores.source.Name(), Target: stores.target.Name(), Queues: make(map[string]queueStats)}
	if s.Products, err = stores.source.Count(ctx); err != nil {
		return nil, err
	}
	if s.Unsupported, err = stores.source.Unsupported(ctx); err != nil {
		return nil, err
	}
	if s.Rows, err = stores.target.Count(ctx); err != nil {
		return nil, err
	}
	monitor := rabbit.NewConnection(c.Rabbit, "etl monitor")
	clean.add(func(context.Context) { monitor.Close() })
	for _, name := range rabbit.CartQueues() {
		state, err := monitor.Queue(name).State(ctx)
		if err != nil {
			s.Broker = err.Error()
			break
		}
		s.Queues[name] = queueStats{state.Ready, state.Consumers}
	}
	return s, nil
}

func (s *statistics) table() table.Writer {
	t := newTable()
	t.AppendRow(table.Row{"products", grouped(s.Products), s.Source})
	for _, kind := range slices.Sorted(maps.Keys(s.Unsupported)) {
		t.AppendRow(table.Row{"unsupported ids", grouped(s.Unsupported[kind]), "_id of type " + kind})
	}
	t.AppendRow(table.Row{"cart rows", grouped(s.Rows), s.Target})
	t.AppendSeparator()
	for _, name := range rabbit.CartQueues() {
		if q, seen := s.Queues[name]; seen {
			t.AppendRow(table.Row{name, grouped(int64(q.Ready)), fmt.Sprintf("events waiting, %d consumers", q.Consumers)})
		}
	}
	if s.Broker != "" {
		t.AppendRow(table.Row{"queues", "?", text.WrapSoft(s.Broker, 70)})
	}
	return t
}
