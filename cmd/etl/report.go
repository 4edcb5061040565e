package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	plain "github.com/ecom-micro/etl/internal/text"
	"github.com/ecom-micro/etl/internal/words"
)

// printReport prints a run for a program, or for a person.
func printReport(w io.Writer, output string, report *run.Report) error {
	if output == outputJSON {
		return printJSON(w, words.CLI.Report(report))
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

// coloured paints s where that is wanted.
func coloured(on bool, c text.Color, s string) string {
	if !on {
		return s
	}
	return c.Sprint(s)
}

// grouped is a number with separators, as people read it.
func grouped(n int64) string { return words.Number(n) }

// printable keeps texts of strangers from breaking a line or steering a terminal.
func printable(s string) string { return plain.Line(s) }

func renderReport(r *run.Report, colour bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n\n", coloured(colour, resultColour(r.Result), words.Result(r, words.CLI)))
	b.WriteString(countsTable(r).Render())
	b.WriteString("\n")
	if lines := sampleText(r); lines != "" {
		b.WriteString("\n" + lines)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "\nNote: %s\n", printable(words.Note(note, words.CLI)))
	}
	if r.Error != "" {
		fmt.Fprintf(&b, "\nEnded early: %s\n", printable(r.Error))
	}
	return b.String()
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
	for _, rule := range product.Rules() {
		t.AppendRow(table.Row{"found " + string(rule.Kind), grouped(r.Found[rule.Kind]), rule.Meaning})
	}
	if r.Resolved > 0 {
		t.AppendRow(table.Row{"resolved", grouped(r.Resolved), "differed at first sight, arrived by themselves"})
	}
	separated := false
	for _, rule := range run.States() {
		// What is merely found was counted above.
		n := r.Outcomes[rule.State]
		if rule.State == run.Found || n == 0 && (rule.State != run.Verified || r.Acted == 0) {
			continue
		}
		if !separated {
			t.AppendSeparator()
			separated = true
		}
		t.AppendRow(table.Row{string(rule.State), grouped(n), rule.Meaning})
	}
	if r.Attempts > 1 {
		t.AppendRow(table.Row{"attempts", grouped(int64(r.Attempts)), "at most, for one product; " + grouped(r.Acted) + " repairs in all"})
	}
	return t
}

// Bounds of the products that a person is shown one by one.
const (
	sampleLines = 10
	sampleShare = 3 // of each kind and state, before any has more
)

// severity is the order in which products are shown: what needs action comes first.
var severity = []run.State{run.Failed, run.Lost, run.Blocked, run.InFlight, run.Skipped, run.Found}

// samples are those products that need a person's eye, the worst first, and how many
// there are. A few of each kind and state are always among them.
func samples(r *run.Report) (shown []run.Outcome, all int) {
	type group struct {
		run.State
		product.Kind
	}
	var open []run.Outcome
	for _, o := range r.Samples {
		if o.State.Rule().Open {
			open = append(open, o)
		}
	}
	slices.SortStableFunc(open, func(a, b run.Outcome) int {
		return cmp.Or(cmp.Compare(slices.Index(severity, a.State), slices.Index(severity, b.State)),
			cmp.Compare(slices.Index(product.Kinds(), a.Kind), slices.Index(product.Kinds(), b.Kind)))
	})
	room := sampleLines
	share := make(map[group]int)
	for _, o := range open {
		g := group{o.State, o.Kind}
		if share[g]++; share[g] <= sampleShare {
			room--
		}
	}
	seen := make(map[group]int)
	for _, o := range open {
		g := group{o.State, o.Kind}
		if seen[g]++; seen[g] > sampleShare {
			if room <= 0 {
				continue
			}
			room--
		}
		shown = append(shown, o)
	}
	return shown, len(open)
}

// sampleText lists products that need a person's eye, and what to do about them.
func sampleText(r *run.Report) string {
	var b strings.Builder
	shown, all := samples(r)
	var remedies []string
	for _, o := range shown {
		what := string(o.Kind)
		if o.State != run.Found { // which all of them are
			what += " " + string(o.State)
		}
		b.WriteString(words.ID(o.ID) + "  " + what)
		if reason := words.Reason(o, words.CLI); reason != "" {
			if o.Column != "" {
				reason = o.Column + ": " + reason
			}
			b.WriteString("  " + printable(reason))
		}
		b.WriteString("\n")
		if line := what + ": " + words.Remedy(o, words.CLI) + "\n"; !slices.Contains(remedies, line) {
			remedies = append(remedies, line)
		}
	}
	if all > len(shown) {
		fmt.Fprintf(&b, "… and more; --output json names the first %s\n", grouped(run.MaxSamples))
	}
	b.WriteString(strings.Join(remedies, ""))
	return b.String()
}
