package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/ledger"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

func newRunsShowCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show RUN",
		Short: "Show one run: who asked for what, how it stands, its report",
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
		if err := withSamples(cmd.Context(), memory, &record); err != nil {
			return err
		}
		did, err := memory.Actions(cmd.Context(), run.ActionFilter{Run: record.ID, Limit: run.MaxPage})
		if err != nil {
			return err
		}
		if output.value == outputJSON {
			d := documentOf(&record)
			d.Actions = did.Actions
			return printJSON(t.out, d)
		}
		_, err = fmt.Fprint(t.out, renderRun(&record, did.Actions, screenOf(t.out)))
		return err
	}
	return cmd
}

// withSamples gives a report the products that the ledger keeps beside it.
func withSamples(ctx context.Context, memory *ledger.Ledger, r *run.Record) error {
	if r.Report == nil {
		return nil
	}
	page, err := memory.Outcomes(ctx, r.ID, run.OutcomeFilter{Limit: run.MaxPage})
	r.Report.Samples = page.Outcomes
	return err
}

// renderRun is a run for a person.
func renderRun(r *run.Record, did []run.Action, s screen) string {
	rows := s.newSheet()
	add := func(name, value string) {
		if value != "" {
			rows.AppendRow(table.Row{name, value})
		}
	}
	at := func(moment time.Time) string {
		if moment.IsZero() {
			return ""
		}
		return moment.UTC().Format(time.RFC3339)
	}
	add("run", r.ID)
	add("asked for", whatOf(r))
	add("reason", printable(r.Request.Reason))
	add("applies", r.Request.Apply)
	add("status", string(r.Status))
	add("", stateOf(r))
	add("requested", at(r.Request.At))
	add("started", at(r.Started))
	add("finished", at(r.Finished))
	add("owner", printable(r.Owner))
	if r.Takeovers > 0 {
		add("taken over", words.Counted(r.Takeovers, "time"))
	}
	for i, a := range slices.Backward(did) {
		name := ""
		if i == len(did)-1 {
			name = "steered"
		}
		add(name, deedOf(&a)+" by "+whoOf(&a)+" at "+at(a.At))
	}
	text := rows.Render() + "\n"
	if r.Report != nil && !r.Status.Active() {
		text += renderReport(r.Report, s)
	}
	return text
}
