package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/api"
)

// maxTokenTTL bounds what a token that got lost may do.
const maxTokenTTL = 24 * time.Hour

// maxTokenEmail is what an address has at most, in bytes: RFC 5321, section 4.5.3.1.
const maxTokenEmail = 320

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
			if len(email) > maxTokenEmail || strings.TrimSpace(email) != email || printable(email) != email || email == "" {
				return usageError{fmt.Errorf("--email is %q, it must be 1..%d bytes of one line without blanks around them: it says in the ledger who acted", email, maxTokenEmail)}
			}
			token, err := api.NewToken(c.API.JWTKey, api.User{ID: "etl-operator", Email: email, Role: role.value}, ttl)
			if err != nil {
				return err
			}
			for _, remark := range c.API.Remarks() {
				_, _ = fmt.Fprintln(t.err, "warning: "+remark)
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
