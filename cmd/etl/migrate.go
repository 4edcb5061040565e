package main

import (
	"fmt"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/ledger"
)

// newMigrateCommand brings the ledger's schema up to date.
func newMigrateCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	var printSQL bool
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Create or update the ledger's schema (etl_ledger)",
		Long: `Creates or updates the schema etl_ledger in PostgreSQL, which keeps runs and their
outcomes. The service and repairing commands do so themselves when they start. Where
their role may not, --print-sql prints the script that a database administrator runs
once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if printSQL {
				script, err := ledger.Script()
				if err != nil {
					return err
				}
				_, err = fmt.Fprint(t.out, script)
				return err
			}
			c, err := load(cmd.Context(), env, func(c *config) []section { return []section{&c.Target, &c.Ledger} })
			if err != nil {
				return err
			}
			var clean app.Cleanup
			defer t.end(cmd.Context(), &clean)
			if _, err := app.OpenLedger(cmd.Context(), &c.Config, &clean); err != nil {
				return err
			}
			_, err = fmt.Fprintln(t.out, "The ledger's schema is up to date.")
			return err
		},
	}
	cmd.Flags().BoolVar(&printSQL, "print-sql", false, "print the script instead of running it; needs no connection")
	return cmd
}
