package main

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/run"
)

// deedOf says what somebody did, and with a run that it made.
func deedOf(a *run.Action) string {
	if a.NewRun != "" {
		return string(a.Deed) + " as run " + a.NewRun
	}
	return string(a.Deed)
}

// whoOf is who did it, and how.
func whoOf(a *run.Action) string {
	return cmp.Or(printable(a.By), "somebody") + " (" + string(a.Trigger) + ")"
}

func newRunsActionsCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	var since, before string
	var limit int
	cmd := &cobra.Command{
		Use:   "actions",
		Short: "List who steered runs and the scheduler, the latest first",
		Args:  cobra.NoArgs,
	}
	output := outputFlag(cmd)
	cmd.Flags().StringVar(&since, "since", "", "only actions at this `time` or later: 2h, 2026-11-26, 2026-11-26T10:00:00Z")
	cmd.Flags().StringVar(&before, "before", "", "go on behind an earlier page, which says where")
	cmd.Flags().IntVar(&limit, "limit", 20, fmt.Sprintf("list at most `N`, 1..%d", run.MaxPage))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter := run.ActionFilter{Before: before, Limit: limit}
		if limit < 1 || limit > run.MaxPage {
			return usageError{fmt.Errorf("--limit is %d, it must be 1..%d", limit, run.MaxPage)}
		}
		var err error
		if since != "" {
			if filter.Since, err = moment(since); err != nil {
				return usageError{fmt.Errorf("--since %w", err)}
			}
		}
		var clean app.Cleanup
		defer t.end(cmd.Context(), &clean)
		memory, _, err := openRuns(cmd.Context(), env, &clean)
		if err != nil {
			return err
		}
		page, err := memory.Actions(cmd.Context(), filter)
		switch {
		case errors.Is(err, run.ErrCursor):
			return usageError{fmt.Errorf("--before is %q, it must be what an earlier page says", printable(before))}
		case err != nil:
			return err
		case output.value == outputJSON:
			return printJSON(t.out, map[string]any{"actions": page.Actions, "next": page.Next})
		case len(page.Actions) == 0:
			_, err = fmt.Fprintln(t.out, "Nobody has steered anything.")
			return err
		}
		rows := screenOf(t.out).newSheet()
		rows.AppendHeader(table.Row{"at (UTC)", "action", "run", "by"})
		for i := range page.Actions {
			a := &page.Actions[i]
			rows.AppendRow(table.Row{a.At.UTC().Format(time.DateTime), deedOf(a), a.Run, whoOf(a)})
		}
		more := ""
		if page.Next != "" {
			more = "\n… and more: --before " + page.Next
		}
		_, err = fmt.Fprintln(t.out, rows.Render()+more)
		return err
	}
	return cmd
}
