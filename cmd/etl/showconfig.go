package main

import (
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/api/ui"
)

// newConfigCommand prints what is in effect.
func newConfigCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the effective configuration, secrets masked",
		Args:  cobra.NoArgs,
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := load(cmd.Context(), env, func(*config) []section { return nil })
		if err != nil {
			return err
		}
		all, remarks := c.settings(env), c.remarks(env)
		if output.value == outputJSON {
			return printJSON(t.out, struct {
				Variables []ui.Setting `json:"variables"`
				Unknown   []string     `json:"unknown"`
				Remarks   []string     `json:"remarks"`
			}{all, append([]string{}, unknownVariables(env)...), append([]string{}, remarks...)})
		}
		rows := screenOf(t.out).newSheet()
		for _, s := range all {
			origin := "environment"
			if s.Default {
				origin = "default"
			}
			rows.AppendRow(table.Row{s.Name, printable(s.Value), origin})
		}
		fmt.Fprintln(t.out, rows.Render())
		for _, remark := range remarks {
			fmt.Fprintln(t.err, "etl: "+remark)
		}
		// What is wrong is said after what there is, and decides the exit code.
		_, err = load(cmd.Context(), env, func(c *config) []section { return c.sections() })
		return err
	}
	return cmd
}
