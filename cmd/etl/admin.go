package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/ledger"
)

// maxTokenTTL bounds what a token that got lost may do.
const maxTokenTTL = 24 * time.Hour

// newTokenCommand prints a token for operators, signed as the platform's own are.
func newTokenCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	role := &choice{value: api.RoleOperator, allowed: []string{api.RoleViewer, api.RoleOperator}}
	var ttl time.Duration
	var email string
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print a token for the HTTP API, signed with JWT_KEY",
		Long: `Prints a token for the HTTP API, signed with JWT_KEY as the platform's own are. Give
it as "Authorization: Bearer TOKEN". Its roles mean something to this service alone: a
token for the role admin would open every service of the platform. Whoever has it acts
as that role until it expires: it is printed to standard output, so that it need not be
typed.`,
		Example: `  curl -H "Authorization: Bearer $(etl token --role etl:viewer --ttl 10m)" http://localhost:4000/api/etl/status`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := load(cmd.Context(), env, func(c *config) []section { return []section{&c.API} })
			if err != nil {
				return err
			}
			if ttl < time.Second || ttl > maxTokenTTL {
				return usageError{fmt.Errorf("--ttl is %s, it must be 1s..%s", ttl, maxTokenTTL)}
			}
			if email == "" {
				return usageError{errors.New("--email is empty: it says in the ledger who acted")}
			}
			token, err := api.NewToken(c.API.JWTKey, api.User{ID: "etl-operator", Email: email, Role: role.value}, ttl)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(t.out, token)
			return err
		},
	}
	cmd.Flags().Var(role, "role", "what its bearer may do, read or steer: `etl:viewer|etl:operator`")
	cmd.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it is valid, at most 24h")
	cmd.Flags().StringVar(&email, "email", "operator@etl", "who its bearer is; the ledger shows it")
	return cmd
}

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
				Variables []setting `json:"variables"`
				Unknown   []string  `json:"unknown"`
				Remarks   []string  `json:"remarks"`
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

// subcommand refuses to run a group of commands by itself.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown command %q for %q%s; see `%s --help`", printable(args[0]), cmd.CommandPath(), meantCommand(cmd, args), cmd.CommandPath())}
	}
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	return usageError{errors.New("say which: " + cmd.CommandPath() + " " + strings.Join(names, "|"))}
}
