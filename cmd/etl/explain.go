package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// maxHistory is how many runs of the past an explanation tells of.
const maxHistory = 20

func newExplainCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "explain ID",
		Short:   "Say all that is known of one product: both sides, verdict, next step, history",
		Example: `  etl explain 65f2a1b2c3d4e5f6a7b8c9d0`,
		Args:    cobra.ExactArgs(1),
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := load(cmd.Context(), env, func(c *config) []section { return []section{&c.Source, &c.Target, &c.Sync, &c.Ledger, &c.Tick} })
		if err != nil {
			return err
		}
		if args[0] == "" {
			return usageError{fmt.Errorf("the id is empty; see `%s --help`", cmd.CommandPath())}
		}
		var clean app.Cleanup
		defer t.end(cmd.Context(), &clean)
		stores, err := app.OpenStores(cmd.Context(), &c.Config, &clean)
		if err != nil {
			return err
		}
		e, err := stores.Explain(cmd.Context(), product.ID(args[0]))
		if err != nil {
			return err
		}
		remark := ""
		if e.History, err = history(cmd.Context(), &c.Config, &clean, e.ID); err != nil {
			remark = "The ledger's history cannot be read: " + err.Error() + "\n"
		}
		if output.value == outputJSON {
			if err := printJSON(t.out, words.CLI.Explanation(e)); err != nil {
				return err
			}
		} else {
			fmt.Fprint(t.out, renderExplanation(e, screenOf(t.out))+remark)
		}
		if e.Verdict != run.VerdictInSync {
			return errDifferences
		}
		return nil
	}
	return cmd
}

// history asks the ledger, if there is one: a command that only looks creates none.
func history(ctx context.Context, c *app.Config, clean *app.Cleanup, id product.ID) ([]run.PastOutcome, error) {
	memory, err := app.ConnectLedger(ctx, c, clean)
	if err != nil {
		return nil, err
	}
	if current, err := memory.Check(ctx); err != nil || !current {
		return nil, err
	}
	return memory.History(ctx, id, maxHistory)
}

func renderExplanation(e *run.Explanation, s screen) string {
	var b strings.Builder
	why, next := words.Explain(e, words.CLI)
	fmt.Fprintf(&b, "\n%s: %s. %s.\n", words.ID(e.ID), e.Verdict, sentence(why))
	if next != "" {
		fmt.Fprintf(&b, "Next: %s\n", printable(next))
	}
	if e.InSource || e.InCart {
		b.WriteString("\n" + sidesTable(e, s).Render() + "\n")
	}
	if len(e.History) > 0 {
		b.WriteString("\nIn earlier runs:\n")
	}
	for _, h := range e.History {
		line := fmt.Sprintf("%s  %s  %s %s  %s", h.At.UTC().Format(time.RFC3339), cmp.Or(h.Run, "a detector"), h.Kind, h.State, printable(words.Reason(h.Outcome, words.CLI)))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// sidesTable shows the fields of both sides, around their first difference where they
// are long.
func sidesTable(e *run.Explanation, s screen) *sheet {
	rows := s.newSheet()
	rows.AppendHeader(table.Row{"", "product service", "cart", ""})
	for _, f := range e.Fields {
		source, cart := words.Values(f.FieldChange)
		if !e.InSource {
			source = ""
		}
		if !e.InCart {
			cart = ""
		}
		mark := ""
		switch {
		case !f.Compared:
			mark = "not compared"
		case e.InSource && e.InCart && f.Equal:
			mark = "equal"
		case e.InSource && e.InCart:
			mark = "differs"
		}
		rows.AppendRow(table.Row{f.Field, source, cart, mark})
	}
	if !e.Created.IsZero() {
		rows.AppendRow(table.Row{"created", e.Created.UTC().Format(time.RFC3339), "", ""})
	}
	if !e.Updated.IsZero() {
		rows.AppendRow(table.Row{"updated", e.Updated.UTC().Format(time.RFC3339), "", ""})
	}
	return rows
}

// sentence begins with a capital letter.
func sentence(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + printable(s[size:])
}
