package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

func newDoctorCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything that a first run needs, one line each",
		Long:  "Checks the configuration, every connection, the rights, the cart's columns, the\ncart's exchange and queues, their consumers, and the clocks. Nothing is changed. The\nexit code is 0 when nothing failed, 2 for a wrong configuration, else 3.",
		Args:  cobra.NoArgs,
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d := &doctor{out: t.out, screen: screenOf(t.out), json: output.value == outputJSON, checks: []diagnosis{}}
		c, err := load(cmd.Context(), env, func(c *config) []section {
			return []section{&c.Source, &c.Target, &c.Rabbit, &c.Replay, &c.Sync, &c.Ledger}
		})
		if err != nil {
			return err
		}
		d.pass("configuration", "all variables are there and well-formed")
		d.examineService(cmd.Context(), env)
		var clean app.Cleanup
		defer t.end(cmd.Context(), &clean)
		d.examineSource(cmd.Context(), &c.Config, &clean)
		d.examineTarget(cmd.Context(), &c.Config, &clean)
		d.examineLedger(cmd.Context(), &c.Config, &clean)
		d.examineBroker(cmd.Context(), &c.Config, &clean)
		if d.json {
			err = printJSON(t.out, struct {
				Failed int         `json:"failed"`
				Checks []diagnosis `json:"checks"`
			}{d.failed, d.checks})
		}
		if err == nil && d.failed > 0 {
			err = fmt.Errorf("%s failed", words.Counted(d.failed, "check"))
		}
		return err
	}
	return cmd
}

// diagnosis is the result of one check.
type diagnosis struct {
	State string `json:"state"` // ok, warn or fail
	Check string `json:"check"`
	Text  string `json:"text"` // what was seen, and what to do about it
}

// doctor prints one line a check.
type doctor struct {
	out    io.Writer
	screen screen
	json   bool // at the end, not line by line
	checks []diagnosis
	failed int
	kinds  run.Kinds // that the scheduled runs repair
}

func (d *doctor) pass(what, detail string) { d.line(text.FgGreen, "ok", what, detail) }

func (d *doctor) warn(what, detail string) { d.line(text.FgYellow, "warn", what, detail) }

func (d *doctor) fail(what string, err error) {
	d.failed++
	d.line(text.FgRed, "FAIL", what, strings.ReplaceAll(err.Error(), "\n", "; "))
}

func (d *doctor) line(c text.Color, mark, what, detail string) {
	if d.json {
		d.checks = append(d.checks, diagnosis{strings.ToLower(mark), what, detail})
		return
	}
	fmt.Fprintf(d.out, "%s  %-22s %s\n", d.screen.paint(c, fmt.Sprintf("%-4s", mark)), what, detail)
}

// skewLimit is how far a server's clock may be off before settling times suffer.
const skewLimit = 5 * time.Second

func (d *doctor) clock(what string, skew time.Duration) {
	if skew.Abs() > skewLimit {
		d.warn(what, fmt.Sprintf("is %s off ours: products settle too early or too late, so synchronise the clocks (NTP)", skew))
		return
	}
	d.pass(what, fmt.Sprintf("within %s of ours", max(skew.Abs(), time.Millisecond)))
}

// examineService looks at the variables that only `etl serve` reads.
func (d *doctor) examineService(ctx context.Context, env envconfig.Lookuper) {
	if _, err := load(ctx, env, func(c *config) []section {
		return []section{&c.Worker, &c.Schedule, &c.Tick, &c.API, &c.Service}
	}); err != nil {
		d.warn("service", strings.ReplaceAll(err.Error(), "\n", ";")+" (commands do without, `etl serve` does not)")
	} else {
		d.pass("service", "has the variables that `etl serve` needs")
	}
	d.kinds = run.Kinds{product.Missing}
	if c, err := load(ctx, env, func(c *config) []section { return []section{&c.Tick} }); err == nil {
		d.kinds = c.Tick.Order().Repair
	}
	if c, err := load(ctx, env, func(*config) []section { return nil }); err == nil {
		for _, remark := range c.remarks(env) {
			d.warn("variables", remark)
		}
	}
}
