package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/consumer"
	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/rabbit"
	plain "github.com/ecom-micro/etl/internal/text"
)

// newDeadCommand deals with sync requests that nobody could use.
func newDeadCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "Look at sync requests that could not be used (queue " + consumer.DeadQueue + "), requeue or drop them",
		RunE:  subcommand,
	}
	cmd.AddCommand(
		newDeadListCommand(t, env),
		newDeadPickCommand(t, env, "requeue", "Put dead letters back into the queue of sync requests", "requeued", consumer.RequeueDead),
		newDeadPickCommand(t, env, "drop", "Delete dead letters", "dropped", consumer.DropDead),
	)
	return cmd
}

// openDead connects to the broker.
func openDead(ctx context.Context, env envconfig.Lookuper, clean *app.Cleanup) (*rabbit.Connection, error) {
	c, err := load(ctx, env, func(c *config) []section { return []section{&c.Rabbit} })
	if err != nil {
		return nil, err
	}
	return app.ConnectConsumer(&c.Config, clean), nil
}

// shownLetter is a dead letter as `etl dead list` prints it.
type shownLetter struct {
	Number    int       `json:"number"` // 1 is the oldest
	MessageID string    `json:"messageId,omitempty"`
	AppID     string    `json:"appId,omitempty"`
	Reason    string    `json:"reason"`
	At        time.Time `json:"diedAt,omitzero"`
	Size      int       `json:"bytes"`
	Body      string    `json:"body"`
}

func newDeadListCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, the oldest first; they stay where they are",
		Args:  cobra.NoArgs,
	}
	output := outputFlag(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, "list at most `N`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if limit < 1 {
			return usageError{fmt.Errorf("--limit is %d, it must be at least 1", limit)}
		}
		var clean app.Cleanup
		defer t.end(cmd.Context(), &clean)
		conn, err := openDead(cmd.Context(), env, &clean)
		if err != nil {
			return err
		}
		letters, err := consumer.DeadLetters(cmd.Context(), conn, limit)
		if err != nil {
			return err
		}
		shown := make([]shownLetter, len(letters))
		for i, l := range letters {
			shown[i] = shownLetter{l.Number, l.MessageID, l.AppID, l.Reason, l.At, l.Size, string(l.Body)}
		}
		if output.value == outputJSON {
			return printJSON(t.out, shown)
		}
		return printLetters(t, shown)
	}
	return cmd
}

func printLetters(t terminal, letters []shownLetter) error {
	if len(letters) == 0 {
		_, err := fmt.Fprintln(t.out, "There are no dead letters.")
		return err
	}
	const bodyShown = 200
	rows := screenOf(t.out).newSheet()
	rows.AppendHeader(table.Row{"number", "died", "reason", "body"})
	for _, l := range letters {
		died := ""
		if !l.At.IsZero() {
			died = l.At.UTC().Format(time.RFC3339)
		}
		body := plain.Cut(printable(l.Body), bodyShown)
		rows.AppendRow(table.Row{l.Number, died, text.WrapSoft(printable(l.Reason), 40), text.WrapHard(body, 60)})
	}
	_, err := fmt.Fprintln(t.out, rows.Render())
	return err
}

type picker func(context.Context, *rabbit.Connection, func(consumer.DeadLetter) bool) (int, error)

func newDeadPickCommand(t terminal, env envconfig.Lookuper, verb, short, done string, act picker) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     verb + " NUMBER|MESSAGE-ID... | --all",
		Short:   short,
		Long:    short + ".\nNumbers are those of `etl dead list` and hold until letters come or go; message ids do not change.",
		Example: "  etl dead " + verb + " 1 3\n  etl dead " + verb + " --all",
	}
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if all == (len(args) > 0) {
			return usageError{errors.New("name dead letters by number or message id, or say --all")}
		}
		if slices.Contains(args, "") {
			return usageError{errors.New("an argument is empty: name dead letters by number or message id")}
		}
		picked := make(map[string]bool, len(args))
		for _, a := range args {
			picked[a] = false
		}
		var clean app.Cleanup
		defer t.end(cmd.Context(), &clean)
		conn, err := openDead(cmd.Context(), env, &clean)
		if err != nil {
			return err
		}
		n, err := act(cmd.Context(), conn, func(l consumer.DeadLetter) bool {
			for _, name := range []string{strconv.Itoa(l.Number), l.MessageID} {
				if _, named := picked[name]; named {
					picked[name] = true
					return true
				}
			}
			return all
		})
		fmt.Fprintf(t.out, "%d %s.\n", n, done)
		if err != nil {
			return err
		}
		for name, found := range picked {
			if !found {
				return usageError{fmt.Errorf("there is no dead letter %q; see `etl dead list`", name)}
			}
		}
		return nil
	}
	return cmd
}
