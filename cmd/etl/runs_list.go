package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/run"
)

func newRunsListCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	var statuses, attentions []string
	var since string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List runs, the latest first",
		Args:  cobra.NoArgs,
	}
	output := outputFlag(cmd)
	cmd.Flags().StringSliceVar(&statuses, "status", nil, "only runs of these `statuses`, such as running,paused")
	cmd.Flags().StringSliceVar(&attentions, "attention", nil, "only runs of which `something` waits for a person: apply, blocked, lost")
	cmd.Flags().StringVar(&since, "since", "", "only runs requested at this `time` or later: 2h, 2026-11-26, 2026-11-26T10:00:00Z")
	cmd.Flags().IntVar(&limit, "limit", 20, fmt.Sprintf("list at most `N`, 1..%d", run.MaxPage))
	var names []string
	for _, s := range run.Statuses() {
		names = append(names, string(s))
	}
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter := run.Filter{Limit: limit}
		if limit < 1 || limit > run.MaxPage {
			return usageError{fmt.Errorf("--limit is %d, it must be 1..%d", limit, run.MaxPage)}
		}
		for _, s := range statuses {
			if !slices.Contains(names, s) {
				return usageError{fmt.Errorf("--status: there is no status %q, there are %s", s, strings.Join(names, ", "))}
			}
			filter.Status = append(filter.Status, run.Status(s))
		}
		for _, a := range attentions {
			if !slices.Contains(run.Attentions(), run.Attention(a)) {
				return usageError{fmt.Errorf("--attention: there is none called %q, there are apply, blocked, lost and none", a)}
			}
			filter.Attention = append(filter.Attention, run.Attention(a))
		}
		if since != "" {
			var err error
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
		page, err := memory.Runs(cmd.Context(), filter)
		if err != nil {
			return err
		}
		if output.value == outputJSON {
			documents := make([]runDocument, len(page.Runs))
			for i := range page.Runs {
				documents[i] = documentOf(&page.Runs[i])
			}
			return printJSON(t.out, map[string]any{"runs": documents})
		}
		if len(page.Runs) == 0 {
			_, err = fmt.Fprintln(t.out, "There are no such runs.")
			return err
		}
		rows := screenOf(t.out).newSheet()
		rows.AppendHeader(table.Row{"run", "requested (UTC)", "what", "status", ""})
		for i := range page.Runs {
			r := &page.Runs[i]
			status := string(r.Status)
			if r.Attention != run.NoAttention {
				status += " (" + string(r.Attention) + ")"
			}
			rows.AppendRow(table.Row{r.ID, r.Request.At.UTC().Format(time.DateTime), whatOf(r), status, stateOf(r)})
		}
		more := ""
		if page.Next != "" {
			more = "\n… and more: --limit, --since and --status pick others"
		}
		_, err = fmt.Fprintln(t.out, rows.Render()+more)
		return err
	}
	return cmd
}

// moment reads a time, or how long ago it was.
func moment(text string) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return time.Now().Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("is %q, it must be a time or how long ago it was: 2h, 2026-11-26, 2026-11-26T10:00:00Z", printable(text))
}
