package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/ecom-micro/etl/internal/app"
	"github.com/ecom-micro/etl/internal/ledger"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// newRunsCommand deals with the runs that the ledger has, whether or not a service runs.
func newRunsCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "List the runs of the ledger, follow, steer and apply them",
		Long: `Works on the ledger itself, so also while the HTTP API cannot be reached. RUN is a run's
id, a part of it that no other of the latest 500 runs has, or last.`,
		RunE: subcommand,
	}
	cmd.AddCommand(
		newRunsListCommand(t, env),
		newRunsShowCommand(t, env),
		newRunsWatchCommand(t, env),
		newRunsProductsCommand(t, env),
		newRunsAskCommand(t, env, "cancel", "End a run; what it did stays", run.WantCancel),
		newRunsAskCommand(t, env, "pause", "Let a run hold before its next repair", run.WantPause),
		newRunsAskCommand(t, env, "resume", "Let a paused run go on", run.WantRun),
		newRunsApplyCommand(t, env),
		newRunsActionsCommand(t, env),
	)
	return cmd
}

// openRuns opens a ledger that is there. What is not is no reason to create it.
func openRuns(ctx context.Context, env envconfig.Lookuper, clean *app.Cleanup) (*ledger.Ledger, *config, error) {
	c, err := load(ctx, env, func(c *config) []section { return []section{&c.Ledger} })
	if err != nil {
		return nil, nil, err
	}
	memory, err := app.ConnectLedger(ctx, &c.Config, clean)
	if err != nil {
		return nil, nil, err
	}
	return memory, c, app.UsableLedger(ctx, memory)
}

// pick finds the run that a person means.
func pick(ctx context.Context, memory *ledger.Ledger, named string) (run.Record, error) {
	if uuid.Validate(named) == nil && len(named) == 36 {
		record, err := memory.Run(ctx, strings.ToLower(named))
		if errors.Is(err, run.ErrNotFound) {
			err = usageError{fmt.Errorf("there is no run %s: `etl runs list` shows them", named)}
		}
		return record, err
	}
	page, err := memory.Runs(ctx, run.Filter{Limit: run.MaxPage})
	if err != nil {
		return run.Record{}, err
	}
	const shortest = 4 // characters
	var found []string
	for _, r := range page.Runs {
		if named == "last" || len(named) >= shortest && strings.Contains(r.ID, strings.ToLower(named)) {
			found = append(found, r.ID)
		}
		if named == "last" {
			break
		}
	}
	switch {
	case len(found) == 1:
		return memory.Run(ctx, found[0])
	case len(found) > 1:
		return run.Record{}, usageError{fmt.Errorf("%s stands in the ids of %d runs: give more of it (%s, %s …)", printable(named), len(found), found[0], found[1])}
	case named == "last":
		return run.Record{}, usageError{errors.New("the ledger has no run yet")}
	case len(named) < shortest:
		return run.Record{}, usageError{fmt.Errorf("%q is too short for a part of a run's id: give %d characters or more, or last", printable(named), shortest)}
	}
	return run.Record{}, usageError{fmt.Errorf("no run has %s in its id: `etl runs list` shows them", printable(named))}
}

// runDocument is a run for programs.
type runDocument struct {
	*run.Record
	Progress *words.ProgressDocument `json:"progress,omitempty"`
	Report   *words.ReportDocument   `json:"report,omitempty"`
	Actions  []run.Action            `json:"actions,omitempty"`
}

func documentOf(r *run.Record) runDocument {
	return runDocument{Record: r, Progress: words.CLI.Progress(r.Progress), Report: words.CLI.Report(r.Report)}
}

// whatOf says in a few words what a run was asked to do, and by whom.
func whatOf(r *run.Record) string {
	what := string(r.Request.Mode)
	switch {
	case r.Request.DryRun:
		what = "comparison"
	case r.Request.Apply != "":
		what = "apply, " + what
	}
	what += " by " + string(r.Request.Trigger)
	if r.Request.By != "" {
		what += " (" + printable(r.Request.By) + ")"
	}
	return what
}

// stateOf says how a run stands.
func stateOf(r *run.Record) string {
	switch {
	case r.Status == run.StatusQueued && r.Error == "":
		return "waits for a worker since " + r.Request.At.UTC().Format(time.TimeOnly)
	case r.Error != "":
		return printable(r.Error)
	case r.Status.Active() && r.Progress != nil:
		return words.Progress(r.Progress, r.Request.Repair, words.CLI)
	case r.Report != nil:
		return words.Result(r.Report, words.CLI)
	}
	return ""
}
