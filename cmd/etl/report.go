package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// printReport prints a run: document as JSON, or the report for a person.
func printReport(w io.Writer, output string, report *run.Report, document any) error {
	if output == outputJSON {
		return printJSON(w, document)
	}
	_, err := io.WriteString(w, renderReport(report, wantsColour(w)))
	return err
}

// printJSON prints a document for programs.
func printJSON(w io.Writer, document any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}

// wantsColour tells whether w is the screen of a person who wants colours.
func wantsColour(w io.Writer) bool { return interactive(w) && os.Getenv("NO_COLOR") == "" }

// newTable is a table of the project's look: what, how many, and what that means.
func newTable() table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleRounded)
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight}})
	return t
}

// sampleLines is how many products a person is shown one by one.
const sampleLines = 10

func renderReport(r *run.Report, colour bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n\n", coloured(colour, resultColour(r.Result), headline(r)))
	b.WriteString(countsTable(r).Render())
	b.WriteString("\n")
	if lines := sampleText(r); lines != "" {
		b.WriteString("\n" + lines)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "\nNote: %s\n", printable(note))
	}
	if r.Error != "" {
		fmt.Fprintf(&b, "\nEnded early: %s\n", printable(r.Error))
	}
	return b.String()
}

// printable keeps ids and values from breaking a line or steering a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return unicode.ReplacementChar
	}, s)
}

// headline is the run in one sentence.
func headline(r *run.Report) string {
	took := time.Duration(r.Duration) * time.Millisecond
	missing, verified := r.Found[product.Missing], r.Outcomes[run.Verified]
	switch {
	case r.Result == run.InSync && r.Found[product.Stale]+r.Found[product.Orphaned] > 0:
		return fmt.Sprintf("Nothing is missing; stale and orphaned rows are left as they are. (%s)", took)
	case r.Result == run.InSync:
		return fmt.Sprintf("In sync: %s products compared in %s.", grouped(r.Products), took)
	case r.Result == run.Succeeded:
		return fmt.Sprintf("Repaired: %s of %s missing products verified in the cart, in %s by %s.", grouped(verified), grouped(missing), took, r.Mode)
	case r.Result == run.Stopped:
		return fmt.Sprintf("Stopped at its findings: %s products are missing, nothing was repaired. (%s)", grouped(missing), took)
	case r.Result == run.Cancelled:
		return fmt.Sprintf("Interrupted after %s: %s of %s missing products found so far were repaired and verified.", took, grouped(verified), grouped(missing))
	case r.Result == run.Broken:
		return fmt.Sprintf("Failed after %s: %s of %s missing products found so far were repaired and verified.", took, grouped(verified), grouped(missing))
	case r.DryRun:
		return fmt.Sprintf("Differences found: %s missing, %s stale, %s orphaned. (%s, nothing was changed)", grouped(missing), grouped(r.Found[product.Stale]), grouped(r.Found[product.Orphaned]), took)
	case r.Unrepaired == 0: // what remains are ids that cannot be compared
		return fmt.Sprintf("Nothing is missing any more among the %s products that could be compared. (%s)", grouped(r.Products), took)
	}
	return fmt.Sprintf("Differences remain: %s of %s missing products verified in the cart, %s not, in %s by %s.", grouped(verified), grouped(missing), grouped(r.Unrepaired), took, r.Mode)
}

func resultColour(result run.Result) text.Color {
	switch result {
	case run.InSync, run.Succeeded:
		return text.FgGreen
	case run.Broken:
		return text.FgRed
	}
	return text.FgYellow
}

func countsTable(r *run.Report) table.Writer {
	t := newTable()
	t.AppendRow(table.Row{"products compared", grouped(r.Products), r.Source})
	t.AppendRow(table.Row{"cart rows compared", grouped(r.Rows), r.Target})
	t.AppendSeparator()
	for _, kind := range product.Kinds() {
		t.AppendRow(table.Row{string(kind), grouped(r.Found[kind]), kindMeanings[kind]})
	}
	if r.Resolved > 0 {
		t.AppendRow(table.Row{"resolved", grouped(r.Resolved), "differed at first sight, arrived by themselves"})
	}
	separated := false
	for _, state := range run.States() {
		n := r.Outcomes[state]
		if n == 0 && (state != run.Verified || r.DryRun || r.Found[product.Missing] == 0) {
			continue
		}
		if !separated {
			t.AppendSeparator()
			separated = true
		}
		t.AppendRow(table.Row{string(state), grouped(n), stateMeanings[state]})
	}
	if r.Rounds > 1 {
		t.AppendRow(table.Row{"rounds", r.Rounds, fmt.Sprintf("%s events published in all", grouped(r.Acted))})
	}
	return t
}

var kindMeanings = map[product.Kind]string{
	product.Missing:  "in the source, not in the cart",
	product.Stale:    "in both, compared fields differ",
	product.Orphaned: "in the cart, not in the source",
}

var stateMeanings = map[run.State]string{
	run.Verified: "repaired, seen on both sides",
	run.Lost:     "repair accepted, nothing arrived",
	run.Blocked:  "the cart cannot hold it",
	run.Gone:     "deleted in the source meanwhile",
	run.Undone:   "deleted meanwhile, taken back",
	run.InFlight: "possibly still on its way",
	run.Failed:   "not repaired",
	run.Skipped:  "beyond the limit",
}

// sampleText lists the first products that need a person's eye.
func sampleText(r *run.Report) string {
	var b strings.Builder
	shown, open := 0, 0
	for _, o := range r.Samples {
		if o.State == run.Gone || o.State == run.Undone {
			continue
		}
		if open++; shown == sampleLines {
			continue
		}
		shown++
		what := string(o.State)
		if o.State == run.Found {
			what = string(o.Kind)
		}
		fmt.Fprintf(&b, "%s  %s", printable(string(o.ID)), what)
		if o.Column != "" {
			fmt.Fprintf(&b, "  %s:", o.Column)
		}
		if o.Reason != "" {
			fmt.Fprintf(&b, "  %s", printable(o.Reason))
		}
		b.WriteString("\n")
	}
	if open > shown {
		fmt.Fprintf(&b, "… and more; --output json names the first %s\n", grouped(run.MaxSamples))
	}
	for _, state := range run.States() {
		if r.Outcomes[state] > 0 && state.Remedy() != "" {
			fmt.Fprintf(&b, "%s: %s\n", state, state.Remedy())
		}
	}
	return b.String()
}
