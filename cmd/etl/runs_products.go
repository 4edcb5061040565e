package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

func newRunsProductsCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	var states, kinds []string
	var limit int
	var after string
	cmd := &cobra.Command{
		Use:   "products RUN",
		Short: "List what became of each product in a run",
		Args:  cobra.ExactArgs(1),
	}
	output := outputFlag(cmd)
	var names []string
	for _, rule := range run.States() {
		names = append(names, string(rule.State))
	}
	cmd.Flags().StringSliceVar(&states, "state", nil, "only products in these `states`: "+strings.Join(names, ", "))
	cmd.Flags().StringSliceVar(&kinds, "kind", nil, "only these `kinds` of difference: missing, stale, orphaned")
	cmd.Flags().StringVar(&after, "after", "", "the page behind the one that ended with this `cursor`")
	cmd.Flags().IntVar(&limit, "limit", run.DefaultPage, fmt.Sprintf("list at most `N`, 1..%d", run.MaxPage))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter := run.OutcomeFilter{Limit: limit, After: after}
		if limit < 1 || limit > run.MaxPage {
			return usageError{fmt.Errorf("--limit is %d, it must be 1..%d", limit, run.MaxPage)}
		}
		for _, s := range states {
			if !slices.Contains(names, s) {
				return usageError{fmt.Errorf("--state: there is no state %q, there are %s", s, strings.Join(names, ", "))}
			}
			filter.State = append(filter.State, run.State(s))
		}
		if len(kinds) > 0 {
			parsed, err := run.ParseKinds(kinds)
			if err != nil {
				return usageError{fmt.Errorf("--kind %w", err)}
			}
			filter.Kind = parsed
		}
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
		page, err := memory.Outcomes(cmd.Context(), record.ID, filter)
		switch {
		case errors.Is(err, run.ErrCursor):
			return usageError{errors.New("--after is no cursor that an earlier page ended with")}
		case err != nil:
			return err
		case output.value == outputJSON:
			return printJSON(t.out, map[string]any{"products": words.CLI.Outcomes(page.Outcomes), "next": page.Next})
		case len(page.Outcomes) == 0:
			_, err = fmt.Fprintln(t.out, "There are no such products.")
			return err
		}
		rows := screenOf(t.out).newSheet()
		rows.AppendHeader(table.Row{"product", "title", "kind", "state", "why"})
		for i := range page.Outcomes {
			o := &page.Outcomes[i]
			rows.AppendRow(table.Row{words.ID(o.ID), printable(o.Title), o.Kind, o.State, why(o)})
		}
		more := ""
		if page.Next != "" {
			more = "\n… and more: --after " + page.Next
		}
		_, err = fmt.Fprintln(t.out, rows.Render()+more)
		return err
	}
	return cmd
}
