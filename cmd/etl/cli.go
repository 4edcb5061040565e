package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/ecom-micro/etl/internal/app"
)

// The exit codes, part of the interface: see docs/commands.md.
const (
	exitOK          = 0   // in sync, or all repaired and verified
	exitDifferences = 1   // differences remain
	exitUsage       = 2   // wrong usage or configuration
	exitService     = 3   // a service failed
	exitActive      = 4   // another repairing run is active
	exitInterrupted = 130 // stopped by Ctrl-C or SIGTERM
)

// errDifferences ends a command that worked and found or left differences; the
// report has said so already.
var errDifferences = errors.New("differences remain")

// usageError is a mistake of the caller's: a flag, an argument or a variable.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// terminal is where a command reads and writes.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

// interactive tells whether w is a person's screen.
func interactive(w io.Writer) bool {
	f, is := w.(*os.File)
	return is && term.IsTerminal(int(f.Fd()))
}

// standard is a stream of the process.
func standard(f *os.File) io.Writer {
	if interactive(f) {
		return f
	}
	return dropping{f}
}

// dropping drops what nobody reads any more, as after "| head -1": that somebody has read
// enough is no reason to leave work undone.
type dropping struct{ io.Writer }

func (d dropping) Write(p []byte) (int, error) {
	n, err := d.Writer.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		return len(p), nil
	}
	return n, err
}

// end ends what a command has opened. What did not end is told, and changes neither the
// command's result nor its exit code.
func (t terminal) end(ctx context.Context, clean *app.Cleanup) {
	if err := clean.End(ctx); err != nil {
		fmt.Fprintln(t.err, "etl: "+strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, t terminal, env envconfig.Lookuper) int {
	root := newRootCommand(t, env)
	root.SetArgs(args)
	root.SetIn(t.in)
	root.SetOut(t.out)
	root.SetErr(t.err)
	err := root.ExecuteContext(ctx)
	code := exitCode(ctx, err)
	if err != nil && !errors.Is(err, errDifferences) && code != exitInterrupted {
		fmt.Fprintln(t.err, "etl: "+err.Error())
	}
	return code
}

func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errDifferences):
		return exitDifferences
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, new(usageError)):
		return exitUsage
	case app.Taken(err):
		return exitActive
	case errors.Is(err, context.Canceled):
		return exitInterrupted // through the API
	}
	return exitService
}

func newRootCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	root := &cobra.Command{
		Use:   "etl",
		Short: "Find missed product events, replay them to the cart, prove that they arrived",
		Long: `etl compares the products of the Product Service (MongoDB) with the Cart Service's
copy (PostgreSQL), repairs what the cart is missing by replaying ProductCreated
events through RabbitMQ to the cart's own consumer, or by writing directly, and
then proves that everything arrived.

Configuration comes from environment variables; ` + "`etl doctor`" + ` checks it.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w%s; see `%s --help`", err, meantFlag(cmd, err), cmd.CommandPath())}
	})
	root.Version = buildOf()
	root.SetVersionTemplate("etl {{.Version}}\n")
	root.AddCommand(
		newSyncCommand(t, env),
		newValidateCommand(t, env),
		newStatsCommand(t, env),
		newDoctorCommand(t, env),
		newExplainCommand(t, env),
		newServeCommand(t, env),
		newHealthCommand(t, env),
		newRunsCommand(t, env),
		newSchedulerCommand(t, env),
		newTokenCommand(t, env),
		newDeadCommand(t, env),
		newMigrateCommand(t, env),
		newConfigCommand(t, env),
		newVersionCommand(t),
	)
	checkArguments(root)
	return root
}

// checkArguments makes wrong arguments a mistake of the caller's, in all commands.
func checkArguments(root *cobra.Command) {
	root.SuggestionsMinimumDistance = 2
	if check := root.Args; check != nil {
		root.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{fmt.Errorf("%w%s; see `%s --help`", err, meantCommand(cmd, args), cmd.CommandPath())}
			}
			return nil
		}
	}
	for _, c := range root.Commands() {
		checkArguments(c)
	}
}

// outputFlag adds --output; the returned value is checked when the flag is set.
func outputFlag(cmd *cobra.Command) *choice {
	output := &choice{value: outputText, allowed: []string{outputText, outputJSON}}
	cmd.Flags().VarP(output, "output", "o", "how to print the result: `text|json`")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(output.allowed, cobra.ShellCompDirectiveNoFileComp))
	return output
}

const (
	outputText = "text"
	outputJSON = "json"
)

// choice is a flag with a fixed set of values.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }

// Type names the values in the help text.
func (c *choice) Type() string { return "name" }

// Set refuses what is not allowed.
func (c *choice) Set(value string) error {
	for _, a := range c.allowed {
		if a == value {
			c.value = value
			return nil
		}
	}
	return fmt.Errorf("must be one of %v", c.allowed)
}

// meantCommand proposes the command that an unknown one may stand for.
func meantCommand(cmd *cobra.Command, args []string) string {
	if !cmd.HasSubCommands() || len(args) == 0 {
		return ""
	}
	return meant(cmd.SuggestionsFor(args[0]), "")
}

// meantFlag proposes the flag that an unknown one may stand for.
func meantFlag(cmd *cobra.Command, err error) string {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return ""
	}
	flags := &cobra.Command{SuggestionsMinimumDistance: 2} // which knows how near a name is to others
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		flags.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	})
	return meant(flags.SuggestionsFor(unknown.GetSpecifiedName()), "--")
}

func meant(names []string, prefix string) string {
	if len(names) == 0 {
		return ""
	}
	return ", did you mean " + prefix + strings.Join(names, " or "+prefix) + "?"
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
