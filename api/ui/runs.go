package ui

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// runList is a page of runs under filters.
type runList struct {
	Runs    []run.Record
	Filters []filter
	Next    string // the address of the page behind
	First   bool
}

// filter is one thing that a list is filtered by.
type filter struct {
	Name, Label, Chosen string
	Options             []option
}

type option struct{ Value, Label string }

// choices are values as options, with one for all of them.
func choices[T ~string](name, label string, chosen string, values []T) filter {
	f := filter{Name: name, Label: label, Chosen: chosen, Options: []option{{"", "any"}}}
	for _, v := range values {
		f.Options = append(f.Options, option{string(v), string(v)})
	}
	return f
}

// chosen is a value of the address that is one of those known, empty where it is not.
func chosen[T ~string](q url.Values, name string, known []T) []T {
	if v := T(q.Get(name)); slices.Contains(known, v) {
		return []T{v}
	}
	return nil
}

func (u *UI) getRuns(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f := run.Filter{
		Status: chosen(q, "status", run.Statuses()), Trigger: chosen(q, "trigger", run.Triggers()),
		Attention: chosen(q, "attention", run.Attentions()), Before: q.Get("before"), Limit: run.DefaultPage,
	}
	page, err := u.parts.Runs.Runs(r.Context(), f)
	if errors.Is(err, run.ErrCursor) {
		return refused(http.StatusBadRequest, "there is no such page of runs")
	}
	if err != nil {
		return err
	}
	list := runList{Runs: page.Runs, First: f.Before == "", Filters: []filter{
		choices("status", "Status", q.Get("status"), run.Statuses()), choices("trigger", "Started by", q.Get("trigger"), run.Triggers()),
		choices("attention", "Waits for", q.Get("attention"), run.Attentions()),
	}}
	if page.Next != "" {
		q.Set("before", page.Next)
		list.Next = "?" + q.Encode()
	}
	return u.render(w, r, http.StatusOK, "runs", "Runs", list)
}

// oneRun is a run, while it goes on and afterwards.
type oneRun struct {
	running
	Report   *words.ReportDocument
	Applies  bool // its findings may be repaired now
	Steers   bool
	Events   string // where a browser hears of changes; empty of a run that has ended
	Outcomes []outcomeGroup
	Causes   []cause
	More     bool // there is more than the causes count
	Products []words.OutcomeDocument
	Filters  []filter
	Next     string
	Actions  []run.Action
}

// outcomeGroup is what became of the products of one kind.
type outcomeGroup struct {
	Kind   product.Kind
	States []stateCount
}

// cause is why products are in a state that somebody should look at.
type cause struct {
	State   run.State
	Column  string
	Number  int
	Example words.OutcomeDocument
}

// causes groups what is left of a run by why it is, the most first. They count the first
// products only, which show every cause that is frequent.
func (u *UI) causes(ctx context.Context, id string) (causes []cause, more bool, err error) {
	page, err := u.parts.Runs.Outcomes(ctx, id, run.OutcomeFilter{State: []run.State{run.Blocked, run.Lost, run.Failed, run.InFlight, run.Skipped}, Limit: run.MaxPage})
	if err != nil {
		return nil, false, err
	}
	type key struct {
		state  run.State
		column string
		code   run.Code
	}
	at := make(map[key]int)
	for _, o := range words.Pages.Outcomes(page.Outcomes) {
		k := key{o.State, o.Column, o.Code}
		if _, known := at[k]; !known {
			at[k] = len(causes)
			causes = append(causes, cause{State: o.State, Column: o.Column, Example: o})
		}
		causes[at[k]].Number++
	}
	slices.SortStableFunc(causes, func(a, b cause) int { return b.Number - a.Number })
	return causes, page.Next != "", nil
}

type stateCount struct {
	State  run.State
	Number int64
}

// ofRun reads the run that the path names.
func (u *UI) ofRun(r *http.Request) (run.Record, error) {
	id, err := api.RunID(r.PathValue("id"))
	if err != nil {
		return run.Record{}, err
	}
	return u.parts.Runs.Run(r.Context(), id)
}

func (u *UI) getRun(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	record, err := u.ofRun(r)
	if err != nil {
		return err
	}
	v := oneRun{running: runningOf(record), Report: words.Pages.Report(record.Report), Steers: api.Caller(ctx).Steers(),
		Applies: record.Applicable() == run.Applicable && record.Attention == run.ToApply}
	if record.Status.Active() {
		v.Events = api.Prefix + "/runs/" + record.ID + "/events"
	}
	if record.Report != nil {
		v.Outcomes = groupsOf(record.Report)
		if v.Causes, v.More, err = u.causes(ctx, record.ID); err != nil {
			return err
		}
	}
	actions, err := u.parts.Runs.Actions(ctx, run.ActionFilter{Run: record.ID, Limit: run.MaxPage})
	if err != nil {
		return err
	}
	v.Actions = actions.Actions
	q := r.URL.Query()
	page, err := u.parts.Runs.Outcomes(ctx, record.ID, outcomeFilter(q, run.DefaultPage))
	if errors.Is(err, run.ErrCursor) {
		return refused(http.StatusBadRequest, "there is no such page of products")
	}
	if err != nil {
		return err
	}
	v.Products = words.Pages.Outcomes(page.Outcomes)
	v.Filters = []filter{choices("state", "What became of it", q.Get("state"), run.StateNames()), choices("kind", "Difference", q.Get("kind"), product.Kinds())}
	if page.Next != "" {
		q.Set("after", page.Next)
		v.Next = "?" + q.Encode() + "#products"
	}
	return u.render(w, r, http.StatusOK, "run", "Run "+short(record.ID), v)
}

func outcomeFilter(q url.Values, limit int) run.OutcomeFilter {
	return run.OutcomeFilter{State: chosen(q, "state", run.StateNames()), Kind: chosen(q, "kind", product.Kinds()), After: q.Get("after"), Limit: limit}
}

func groupsOf(report *run.Report) []outcomeGroup {
	var groups []outcomeGroup
	for _, kind := range product.Kinds() {
		g := outcomeGroup{Kind: kind}
		for _, state := range run.StateNames() {
			if n := report.ByKind[kind][state]; n > 0 {
				g.States = append(g.States, stateCount{state, n})
			}
		}
		if len(g.States) > 0 {
			groups = append(groups, g)
		}
	}
	return groups
}

// getProductsCSV is what became of the products of a run, as a table for other programs.
func (u *UI) getProductsCSV(w http.ResponseWriter, r *http.Request) error {
	record, err := u.ofRun(r)
	if err != nil {
		return err
	}
	filter := outcomeFilter(r.URL.Query(), run.MaxPage)
	page, err := u.parts.Runs.Outcomes(r.Context(), record.ID, filter)
	if errors.Is(err, run.ErrCursor) {
		return refused(http.StatusBadRequest, "there is no such page of products")
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="run-%s.csv"`, record.ID))
	table := csv.NewWriter(w)
	row := func(cells ...string) {
		for i := range cells {
			cells[i] = cell(cells[i])
		}
		_ = table.Write(cells) // Flush says whether it worked
	}
	row("product", "title", "difference", "state", "attempts", "reason", "remedy")
	for {
		for _, o := range words.Pages.Outcomes(page.Outcomes) {
			row(string(o.ID), o.Title, string(o.Kind), string(o.State), fmt.Sprint(o.Attempts), o.Reason, o.Remedy)
		}
		if table.Flush(); page.Next == "" {
			return nil
		}
		filter.After = page.Next
		if page, err = u.parts.Runs.Outcomes(r.Context(), record.ID, filter); err != nil {
			panic(http.ErrAbortHandler) // what was sent is not all: the browser is to see that
		}
	}
}

// cell is a value that no spreadsheet takes for a formula.
func cell(value string) string {
	if value != "" && strings.ContainsRune("=+-@\t\r", rune(value[0])) {
		return "'" + value
	}
	return value
}

// postAction steers a run, or repairs what it found.
func (u *UI) postAction(w http.ResponseWriter, r *http.Request) error {
	id, err := api.RunID(r.PathValue("id"))
	if err != nil {
		return err
	}
	next := id
	switch action := r.PathValue("action"); action {
	case "pause", "resume", "cancel":
		wanted := map[string]run.Wanted{"pause": run.WantPause, "resume": run.WantRun, "cancel": run.WantCancel}[action]
		if _, err := u.api.Steer(r.Context(), id, wanted); err != nil {
			return err
		}
	case "apply":
		order, err := orderOf(r)
		if err != nil {
			return err
		}
		record, err := u.api.Apply(r.Context(), id, order)
		if err != nil {
			return err
		}
		next = record.ID
	default:
		return notHere
	}
	goTo(w, r, Path+"runs/"+next)
	return nil
}
