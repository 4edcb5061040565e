package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jedib0t/go-pretty/v6/table"
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
	switch current, err := memory.Check(ctx); {
	case err != nil:
		return nil, nil, err
	case !current:
		return nil, nil, errors.New("there is no ledger yet: `etl serve`, `etl sync` or `etl migrate` creates schema etl_ledger")
	}
	return memory, c, nil
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

func newRunsListCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	var statuses, attentions []string
	var since string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List runs, the latest first",
		Args:  cobra.NoArgs,
	}
	output := outputFlag(cmd)
	cmd.Flags().StringSliceVar(&statuses, "status", nil, "only runs of these `statuses`, such as running,paused")
	cmd.Flags().StringSliceVar(&attentions, "attention", nil, "only runs of which `something` waits for a person: apply, blocked, lost")
	cmd.Flags().StringVar(&since, "since", "", "only runs requested at this `time` or later: 2h, 2026-11-26, 2026-11-26T10:00:00Z")
	cmd.Flags().IntVar(&limit, "limit", 20, fmt.Sprintf("list at most `N`, 1..%d", run.MaxPage))
	var names []string
	for _, s := range run.Statuses() {
		names = append(names, string(s))
	}
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter := run.Filter{Limit: limit}
		if limit < 1 || limit > run.MaxPage {
			return usageError{fmt.Errorf("--limit is %d, it must be 1..%d", limit, run.MaxPage)}
		}
		for _, s := range statuses {
			if !slices.Contains(names, s) {
				return usageError{fmt.Errorf("--status: there is no status %q, there are %s", s, strings.Join(names, ", "))}
			}
			filter.Status = append(filter.Status, run.Status(s))
		}
		for _, a := range attentions {
			if !slices.Contains(run.Attentions(), run.Attention(a)) {
				return usageError{fmt.Errorf("--attention: there is none called %q, there are apply, blocked, lost and none", a)}
			}
			filter.Attention = append(filter.Attention, run.Attention(a))
		}
		if since != "" {
			var err error
			if filter.Since, err = moment(since); err != nil {
				return usageError{fmt.Errorf("--since %w", err)}
			}
		}
		var clean app.Cleanup
		defer t.end(cmd.Context(), &clean)
		memory, _, err := openRuns(cmd.Context(), env, &clean)
		if err != nil {
			return err
		}
		page, err := memory.Runs(cmd.Context(), filter)
		if err != nil {
			return err
		}
		if output.value == outputJSON {
			documents := make([]runDocument, len(page.Runs))
			for i := range page.Runs {
				documents[i] = documentOf(&page.Runs[i])
			}
			return printJSON(t.out, map[string]any{"runs": documents})
		}
		if len(page.Runs) == 0 {
			_, err = fmt.Fprintln(t.out, "There are no such runs.")
			return err
		}
		rows := screenOf(t.out).newSheet()
		rows.AppendHeader(table.Row{"run", "requested (UTC)", "what", "status", ""})
		for i := range page.Runs {
			r := &page.Runs[i]
			status := string(r.Status)
			if r.Attention != run.NoAttention {
				status += " (" + string(r.Attention) + ")"
			}
			rows.AppendRow(table.Row{r.ID, r.Request.At.UTC().Format(time.DateTime), whatOf(r), status, stateOf(r)})
		}
		more := ""
		if page.Next != "" {
			more = "\n… and more: --limit, --since and --status pick others"
		}
		_, err = fmt.Fprintln(t.out, rows.Render()+more)
		return err
	}
	return cmd
}

// moment reads a time, or how long ago it was.
func moment(text string) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return time.Now().Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("is %q, it must be a time or how long ago it was: 2h, 2026-11-26, 2026-11-26T10:00:00Z", printable(text))
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

func newRunsShowCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show RUN",
		Short: "Show one run: who asked for what, how it stands, its report",
		Args:  cobra.ExactArgs(1),
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var clean app.Cleanup
		defer t.end(cmd.Context(), &clean)
		memory, _, err := openRuns(cmd.Context(), env, &clean)
		if err != nil {
			return err
		}
		record, err := pick(cmd.Context(), memory, args[0])
		if err != nil {
			return err
		}
		if err := withSamples(cmd.Context(), memory, &record); err != nil {
			return err
		}
		did, err := memory.Actions(cmd.Context(), run.ActionFilter{Run: record.ID, Limit: run.MaxPage})
		if err != nil {
			return err
		}
		if output.value == outputJSON {
			d := documentOf(&record)
			d.Actions = did.Actions
			return printJSON(t.out, d)
		}
		_, err = fmt.Fprint(t.out, renderRun(&record, did.Actions, screenOf(t.out)))
		return err
	}
	return cmd
}

// withSamples gives a report the products that the ledger keeps beside it.
func withSamples(ctx context.Context, memory *ledger.Ledger, r *run.Record) error {
	if r.Report == nil {
		return nil
	}
	page, err := memory.Outcomes(ctx, r.ID, run.OutcomeFilter{Limit: run.MaxPage})
	r.Report.Samples = page.Outcomes
	return err
}

// renderRun is a run for a person.
func renderRun(r *run.Record, did []run.Action, s screen) string {
	rows := s.newSheet()
	add := func(name, value string) {
		if value != "" {
			rows.AppendRow(table.Row{name, value})
		}
	}
	at := func(moment time.Time) string {
		if moment.IsZero() {
			return ""
		}
		return moment.UTC().Format(time.RFC3339)
	}
	add("run", r.ID)
	add("asked for", whatOf(r))
	add("reason", printable(r.Request.Reason))
	add("applies", r.Request.Apply)
	add("status", string(r.Status))
	add("", stateOf(r))
	add("requested", at(r.Request.At))
	add("started", at(r.Started))
	add("finished", at(r.Finished))
	add("owner", printable(r.Owner))
	if r.Takeovers > 0 {
		add("taken over", words.Counted(r.Takeovers, "time"))
	}
	for i, a := range slices.Backward(did) {
		name := ""
		if i == len(did)-1 {
			name = "steered"
		}
		add(name, deedOf(&a)+" by "+whoOf(&a)+" at "+at(a.At))
	}
	text := rows.Render() + "\n"
	if r.Report != nil && !r.Status.Active() {
		text += renderReport(r.Report, s)
	}
	return text
}

func newRunsWatchCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch RUN",
		Short: "Follow a run to its end, and print its report; Ctrl-C leaves the run alone",
		Args:  cobra.ExactArgs(1),
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var clean app.Cleanup
		defer t.end(cmd.Context(), &clean)
		memory, _, err := openRuns(cmd.Context(), env, &clean)
		if err != nil {
			return err
		}
		record, err := pick(cmd.Context(), memory, args[0])
		if err != nil {
			return err
		}
		return follow(cmd.Context(), t, output.value, memory, record)
	}
	return cmd
}

// followInterval is how often a run that is followed is looked at.
const followInterval = 500 * time.Millisecond

// follow shows how a run goes on, and ends with its report and as the command would that
// had done it itself.
func follow(ctx context.Context, t terminal, output string, memory *ledger.Ledger, record run.Record) error {
	shown := make(chan run.Progress, 1)
	latest := run.Progress{}
	d := newDisplay(t, output, func() run.Progress {
		select {
		case latest = <-shown:
		default:
		}
		return latest
	}, record.Request.Repair)
	d.start()
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	waits := ""
	for record.Status.Active() || record.Status == run.StatusWaiting {
		if record.Progress != nil {
			select {
			case shown <- *record.Progress:
			default:
			}
		}
		if state := stateOf(&record); record.Status == run.StatusQueued && state != waits {
			waits = state
			fmt.Fprintf(t.err, "run %s %s\n", record.ID, state)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			d.stop()
			fmt.Fprintf(t.err, "run %s goes on; `etl runs watch %s` follows it again\n", record.ID, record.ID)
			return ctx.Err()
		}
		later, err := memory.Run(ctx, record.ID)
		switch {
		case err == nil:
			record = later
		case ctx.Err() == nil:
			d.stop()
			return fmt.Errorf("run %s cannot be followed: %w", record.ID, err)
		}
	}
	d.stop()
	if err := withSamples(ctx, memory, &record); err != nil {
		return err
	}
	return concluded(t, output, &record)
}

// concluded prints a run that has ended, and turns its end into the command's.
func concluded(t terminal, output string, record *run.Record) error {
	var err error
	if record.Status == run.StatusFailed || record.Status == run.StatusSkipped || record.Status == run.StatusCancelled {
		err = fmt.Errorf("run %s is %s", record.ID, record.Status)
		if record.Error != "" {
			err = fmt.Errorf("%w: %s", err, printable(record.Error))
		}
	}
	if record.Report == nil {
		return err
	}
	return conclude(t, output, record.Report, err)
}

func newRunsProductsCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	var states, kinds []string
	var limit int
	var after string
	cmd := &cobra.Command{
		Use:   "products RUN",
		Short: "List what became of each product in a run",
		Args:  cobra.ExactArgs(1),
	}
	output := outputFlag(cmd)
	var names []string
	for _, rule := range run.States() {
		names = append(names, string(rule.State))
	}
	cmd.Flags().StringSliceVar(&states, "state", nil, "only products in these `states`: "+strings.Join(names, ", "))
	cmd.Flags().StringSliceVar(&kinds, "kind", nil, "only these `kinds` of difference: missing, stale, orphaned")
	cmd.Flags().StringVar(&after, "after", "", "the page behind the one that ended with this `cursor`")
	cmd.Flags().IntVar(&limit, "limit", run.DefaultPage, fmt.Sprintf("list at most `N`, 1..%d", run.MaxPage))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter := run.OutcomeFilter{Limit: limit, After: after}
		if limit < 1 || limit > run.MaxPage {
			return usageError{fmt.Errorf("--limit is %d, it must be 1..%d", limit, run.MaxPage)}
		}
		for _, s := range states {
			if !slices.Contains(names, s) {
				return usageError{fmt.Errorf("--state: there is no state %q, there are %s", s, strings.Join(names, ", "))}
			}
			filter.State = append(filter.State, run.State(s))
		}
		if len(kinds) > 0 {
			parsed, err := run.ParseKinds(kinds)
			if err != nil {
				return usageError{fmt.Errorf("--kind %w", err)}
			}
			filter.Kind = parsed
		}
		var clean app.Cleanup
		defer t.end(cmd.Context(), &clean)
		memory, _, err := openRuns(cmd.Context(), env, &clean)
		if err != nil {
			return err
		}
		record, err := pick(cmd.Context(), memory, args[0])
		if err != nil {
			return err
		}
		page, err := memory.Outcomes(cmd.Context(), record.ID, filter)
		switch {
		case errors.Is(err, run.ErrCursor):
			return usageError{errors.New("--after is no cursor that an earlier page ended with")}
		case err != nil:
			return err
		case output.value == outputJSON:
			return printJSON(t.out, map[string]any{"products": words.CLI.Outcomes(page.Outcomes), "next": page.Next})
		case len(page.Outcomes) == 0:
			_, err = fmt.Fprintln(t.out, "There are no such products.")
			return err
		}
		rows := screenOf(t.out).newSheet()
		rows.AppendHeader(table.Row{"product", "title", "kind", "state", "why"})
		for i := range page.Outcomes {
			o := &page.Outcomes[i]
			rows.AppendRow(table.Row{words.ID(o.ID), printable(o.Title), o.Kind, o.State, why(o)})
		}
		more := ""
		if page.Next != "" {
			more = "\n… and more: --after " + page.Next
		}
		_, err = fmt.Fprintln(t.out, rows.Render()+more)
		return err
	}
	return cmd
}

func newRunsAskCommand(t terminal, env envconfig.Lookuper, action, short string, wanted run.Wanted) *cobra.Command {
	return &cobra.Command{
		Use:   action + " RUN",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var clean app.Cleanup
			defer t.end(cmd.Context(), &clean)
			memory, _, err := openRuns(cmd.Context(), env, &clean)
			if err != nil {
				return err
			}
			record, err := pick(cmd.Context(), memory, args[0])
			if err != nil {
				return err
			}
			if record, err = memory.Ask(cmd.Context(), record.ID, wanted, terminalActor()); err != nil {
				return err
			}
			said := "is told to " + action
			if !record.Status.Active() || wanted == run.WantPause && record.Status == run.StatusPaused {
				said = "is " + string(record.Status)
			}
			_, err = fmt.Fprintf(t.out, "Run %s %s.\n", record.ID, said)
			return err
		},
	}
}

func newRunsApplyCommand(t terminal, env envconfig.Lookuper) *cobra.Command {
	var repair []string
	var wait bool
	mode := &choice{value: string(run.Replay), allowed: []string{string(run.Replay), string(run.Direct)}}
	cmd := &cobra.Command{
		Use:   "apply RUN",
		Short: "Repair what a dry run found, or a run that stopped at its findings",
		Long: `Asks the workers of ` + "`etl serve`" + ` for a run that repairs what RUN has found and what still
stands. It waits in the ledger for one at most ` + applyExpires.String() + `.`,
		Args: cobra.ExactArgs(1),
	}
	output := outputFlag(cmd)
	cmd.Flags().Var(mode, "mode", "how to repair: `replay|direct`")
	cmd.Flags().StringSliceVar(&repair, "repair", nil, "the `kinds` of difference to repair (default those that RUN looked for)")
	cmd.Flags().BoolVar(&wait, "wait", false, "follow the new run to its end, as watch does")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		var clean app.Cleanup
		defer t.end(ctx, &clean)
		memory, c, err := openRuns(ctx, env, &clean)
		if err != nil {
			return err
		}
		found, err := pick(ctx, memory, args[0])
		if err != nil {
			return err
		}
		request := commandRequest()
		request.Pipeline, request.Mode, request.Apply, request.Repair = c.Ledger.Pipeline, run.Mode(mode.value), found.ID, found.Request.Repair
		if len(repair) > 0 {
			if request.Repair, err = run.ParseKinds(repair); err != nil {
				return usageError{fmt.Errorf("--repair %w", err)}
			}
		}
		request.At = time.Now()
		request.Expires = request.At.Add(applyExpires)
		if err := request.Check(); err != nil {
			return usageError{err}
		}
		if err := applicable(ctx, memory, &found, request.Repair); err != nil {
			return err
		}
		return submit(ctx, t, output.value, memory, request, wait)
	}
	return cmd
}

// submit queues a run for the workers, and follows it where that is wished for.
func submit(ctx context.Context, t terminal, output string, memory *ledger.Ledger, request run.Request, wait bool) error {
	record, err := memory.Submit(ctx, request)
	switch {
	case err != nil:
		return blocked(err)
	case wait:
		return follow(ctx, t, output, memory, record)
	case output == outputJSON:
		return printJSON(t.out, documentOf(&record))
	}
	_, err = fmt.Fprintf(t.out, "Queued as run %s for the workers of `etl serve`; `etl runs watch %s` follows it.\n", record.ID, record.ID)
	return err
}

// applyExpires is how long a run that applies findings waits for a worker.
const applyExpires = 10 * time.Minute

// applicable tells why the findings of a run cannot be applied.
func applicable(ctx context.Context, memory *ledger.Ledger, found *run.Record, kinds run.Kinds) error {
	if problem := run.NotApplicable(found); problem != "" {
		return errors.New("apply " + problem)
	}
	keys, complete, err := memory.Findings(ctx, found.ID, kinds)
	switch {
	case err != nil:
		return err
	case !complete:
		return fmt.Errorf("run %s found more %s products than the ledger keeps (%d): `etl sync --max-repairs N` repairs what is found anew", found.ID, kinds, run.MaxOutcomes)
	case len(keys) == 0:
		return fmt.Errorf("run %s found no %s products that still stand, so there is nothing to apply", found.ID, kinds)
	}
	return nil
}

// blocked says beside the error of a taken slot what ends the run that has it.
func blocked(err error) error {
	var active *run.ActiveError
	if !errors.As(err, &active) {
		return err
	}
	r := &active.Active
	switch r.Status {
	case run.StatusQueued:
		return fmt.Errorf("%w since %s: a worker of `etl serve` takes it up; where there is none, `etl runs cancel %s` ends it", err, r.Request.At.UTC().Format(time.RFC3339), r.ID)
	case run.StatusPaused:
		return fmt.Errorf("%w: `etl runs resume %s` lets it go on, `etl runs cancel %s` ends it", err, r.ID, r.ID)
	}
	return fmt.Errorf("%w: `etl runs watch %s` follows it", err, r.ID)
}
