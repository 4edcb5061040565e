package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
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
	_, err := io.WriteString(w, renderReport(report, screenOf(w)))
	return err
}

// printJSON prints a document for programs.
func printJSON(w io.Writer, document any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}

// grouped is a number with separators, as people read it.
func grouped(n int64) string { return words.Number(n) }

// printable keeps texts of strangers from breaking a line or steering a terminal.
func printable(s string) string { return plain.Line(s) }

// named is a product by its id and what it is called.
func named(o *run.Outcome) string {
	if o.Title == "" {
		return words.ID(o.ID)
	}
	return words.ID(o.ID) + " " + plain.Quoted(plain.Cut(o.Title, maxTitle))
}

func renderReport(r *run.Report, s screen) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n\n", s.paint(resultColour(r.Result), words.Result(r, words.CLI)))
	b.WriteString(countsTable(r, s).Render())
	b.WriteString("\n")
	if lines := causeText(r); lines != "" {
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

func countsTable(r *run.Report, s screen) *sheet {
	t := s.newFigures()
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

// Bounds of what a person is shown of products that need an eye.
const (
	causeLines  = 10
	causeSample = 3  // products of each
	causeFew    = 5  // of which all are shown
	maxTitle    = 40 // bytes
)

// severity is the order in which products are shown: what needs action comes first.
var severity = []run.State{run.Failed, run.Lost, run.Blocked, run.InFlight, run.Skipped, run.Found}

// cause is why products are in a state: all that have the same kind, state, column and
// reason, whatever it says of each.
type cause struct {
	outcomes []run.Outcome // the first that the report has
	more     bool          // than the report has
}

func (c *cause) first() *run.Outcome { return &c.outcomes[0] }

// causes are those of the products that need a person's eye, the worst first.
func causes(r *run.Report) []*cause {
	type key struct {
		state  run.State
		kind   product.Kind
		column string // or the fields that differ
		code   run.Code
	}
	var all []*cause
	known, sampled := make(map[key]*cause), make(map[key]int64)
	for _, o := range r.Samples {
		if !o.State.Rule().Open {
			continue
		}
		sampled[key{state: o.State, kind: o.Kind}]++
		k := key{o.State, o.Kind, o.Column + fieldsOf(&o), o.Reason.Code}
		if known[k] == nil {
			known[k] = &cause{}
			all = append(all, known[k])
		}
		known[k].outcomes = append(known[k].outcomes, o)
	}
	for k, c := range known {
		c.more = sampled[key{state: k.state, kind: k.kind}] < r.ByKind[k.kind][k.state]
	}
	slices.SortStableFunc(all, func(a, b *cause) int {
		return cmp.Or(cmp.Compare(slices.Index(severity, a.first().State), slices.Index(severity, b.first().State)),
			cmp.Compare(slices.Index(product.Kinds(), a.first().Kind), slices.Index(product.Kinds(), b.first().Kind)),
			-cmp.Compare(len(a.outcomes), len(b.outcomes)))
	})
	return all
}

// fieldsOf are the names of the fields in which a product differs.
func fieldsOf(o *run.Outcome) string {
	var names []string
	for _, f := range o.Fields {
		names = append(names, f.Field)
	}
	return strings.Join(names, ", ")
}

// why is the outcome's reason, behind the column that it speaks of.
func why(o *run.Outcome) string {
	reason := words.Reason(*o, words.CLI)
	if reason != "" && o.Column != "" {
		reason = o.Column + ": " + reason
	}
	return printable(reason)
}

// causeText lists causes with their first products, and what to do about them.
func causeText(r *run.Report) string {
	var b strings.Builder
	var remedies []string
	all := causes(r)
	for _, c := range all[:min(len(all), causeLines)] {
		o := c.first()
		what := string(o.Kind)
		if o.State != run.Found { // which all of them are
			what += " " + string(o.State)
		}
		b.WriteString(c.text(what))
		if line := what + ": " + words.Remedy(*o, words.CLI) + "\n"; !slices.Contains(remedies, line) {
			remedies = append(remedies, line)
		}
	}
	if len(all) > causeLines {
		fmt.Fprintf(&b, "… and %s; --output json names the first %s\n", words.Counted(len(all)-causeLines, "other cause"), words.Counted(run.MaxSamples, "product"))
	}
	b.WriteString(strings.Join(remedies, ""))
	return b.String()
}

// text is one line for a product alone, else one for all and some products below it.
func (c *cause) text(what string) string {
	line := func(parts ...string) string {
		return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "  ") + "\n"
	}
	shared := why(c.first())
	if len(c.outcomes) == 1 && !c.more {
		return line(named(c.first()), what, shared)
	}
	for i := range c.outcomes {
		if why(&c.outcomes[i]) != shared { // each has its own
			shared = ""
		}
	}
	about := shared
	if fields := fieldsOf(c.first()); about == "" && fields != "" {
		about = "in " + fields
	}
	count := grouped(int64(len(c.outcomes)))
	if c.more {
		count += " or more"
	}
	text := line(count+" × "+what, about)
	shown := c.outcomes
	if len(shown) > causeFew || c.more {
		shown = shown[:min(len(shown), causeSample)]
	}
	for i := range shown {
		own := ""
		if shared == "" {
			own = why(&shown[i])
		}
		text += "    " + line(named(&shown[i]), own)
	}
	if rest := len(c.outcomes) - len(shown); rest > 0 {
		text += "    … and " + grouped(int64(rest)) + " more\n"
	}
	return text
}
