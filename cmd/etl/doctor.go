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
)

func newDoctorCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check everything that a first run needs, one line each",
		Long:  "Checks the configuration, every connection, the rights, the cart's columns, the\ncart's exchange and queues, their consumers, and the clocks. Nothing is changed. The\nexit code is 0 when nothing failed, 2 for a wrong configuration, else 3.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &doctor{out: t.out, colour: wantsColour(t.out)}
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
			if d.failed > 0 {
				return fmt.Errorf("%d checks failed", d.failed)
			}
			return nil
		},
	}
}

// doctor prints one line a check.
type doctor struct {
	out    io.Writer
	colour bool
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
	fmt.Fprintf(d.out, "%s  %-22s %s\n", coloured(d.colour, c, fmt.Sprintf("%-4s", mark)), what, detail)
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
