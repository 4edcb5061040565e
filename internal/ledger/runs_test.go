package ledger

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

func TestRunThatIsNotThere(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	for _, id := range []string{"", "run", run.NewRunID(), "\x00", "65f2a1b2c3d4e5f6a7b8c9d065f2a1b2", "' OR true --"} {
		if _, err := l.Run(t.Context(), id); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("Run %q: %v", id, err)
		}
		if _, err := l.Outcomes(t.Context(), id, run.OutcomeFilter{}); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("Outcomes of %q: %v", id, err)
		}
		if _, _, err := l.Findings(t.Context(), id); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("Findings of %q: %v", id, err)
		}
	}
}

// list reads all runs that a filter picks, page by page.
func list(t *testing.T, l *Ledger, filter run.RunFilter) (ids []string) {
	t.Helper()
	limit := filter.Limit
	if limit == 0 {
		limit = run.DefaultPage
	}
	for {
		page, err := l.Runs(t.Context(), filter)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Runs) > limit || page.Runs == nil {
			t.Errorf("a page of %d runs", len(page.Runs))
		}
		for _, r := range page.Runs {
			ids = append(ids, r.ID)
		}
		if page.Next == "" {
			return ids
		}
		filter.Before = page.Next
	}
}

func TestRunsAreListedInPages(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	noon := time.Date(2026, 11, 22, 12, 0, 0, 999_999_999, time.UTC)
	var all []string // the latest first
	for i := range 60 {
		record := finished(t, l, run.StatusSucceeded, func(r *run.Request) {
			r.At = noon.Add(time.Duration(i/3) * time.Microsecond) // three at one instant
			r.ID = fmt.Sprintf("01a203e8-a114-7bc7-969a-%012x", i)
		})
		all = slices.Insert(all, 0, record.ID)
	}
	finished(t, open(t, l.pool.Config().ConnString(), "another"), run.StatusSucceeded)
	for _, limit := range []int{0, 1, 7, 59, 60, run.MaxPage} {
		if got := list(t, l, run.RunFilter{Limit: limit}); !slices.Equal(got, all) {
			t.Errorf("in pages of %d: %v", limit, got)
		}
	}
	for limit, want := range map[int]int{0: run.DefaultPage, -1: run.DefaultPage, run.MaxPage + 1: 60} {
		if page, err := l.Runs(t.Context(), run.RunFilter{Limit: limit}); err != nil || len(page.Runs) != want {
			t.Errorf("a page of %d has %d runs, %v", limit, len(page.Runs), err)
		}
	}
	if page, err := l.Runs(t.Context(), run.RunFilter{Since: noon.Add(time.Hour)}); err != nil || page.Runs == nil || len(page.Runs) != 0 {
		t.Errorf("an empty page is %+v, %v", page, err)
	}
}

func TestRunsAreFiltered(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	early := time.Now().Add(-time.Hour)
	a := finished(t, l, run.StatusSucceeded, from(run.BySchedule), func(r *run.Request) { r.At = early })
	b := finished(t, l, run.StatusFailed, from(run.ByCLI), func(r *run.Request) { r.Mode = run.Direct; r.At = early.Add(time.Minute) })
	c := finished(t, l, run.StatusPartial, look, func(r *run.Request) { r.At = early.Add(2 * time.Minute) })
	d := submitted(t, l, look)
	yes, no := true, false
	for name, tt := range map[string]struct {
		filter run.RunFilter
		want   []string
	}{
		"all":      {run.RunFilter{}, []string{d.ID, c.ID, b.ID, a.ID}},
		"status":   {run.RunFilter{Status: []run.Status{run.StatusFailed, run.StatusQueued}}, []string{d.ID, b.ID}},
		"trigger":  {run.RunFilter{Trigger: []run.Trigger{run.BySchedule, run.ByCLI}}, []string{b.ID, a.ID}},
		"mode":     {run.RunFilter{Mode: run.Direct}, []string{b.ID}},
		"looks":    {run.RunFilter{DryRun: &yes}, []string{d.ID, c.ID}},
		"repairs":  {run.RunFilter{DryRun: &no}, []string{b.ID, a.ID}},
		"since":    {run.RunFilter{Since: b.Request.At}, []string{d.ID, c.ID, b.ID}},
		"together": {run.RunFilter{DryRun: &yes, Status: []run.Status{run.StatusPartial}, Since: early, Mode: run.Replay}, []string{c.ID}},
		"nothing":  {run.RunFilter{Status: []run.Status{"no status"}}, nil},
	} {
		for _, limit := range []int{0, 1} {
			tt.filter.Limit = limit
			if got := list(t, l, tt.filter); !slices.Equal(got, tt.want) {
				t.Errorf("%s: %v, want %v", name, got, tt.want)
			}
		}
	}
}

func TestLatest(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	latest := func(slot run.Slot, want string) {
		t.Helper()
		record, err := l.Latest(t.Context(), slot)
		if err != nil || (record == nil) != (want == "") || record != nil && record.ID != want {
			t.Errorf("the latest %s is %+v, %v, want %q", slot, record, err, want)
		}
	}
	latestLook := func(since time.Time, want string) {
		t.Helper()
		record, err := l.LatestLook(t.Context(), since)
		if err != nil || (record == nil) != (want == "") || record != nil && record.ID != want {
			t.Errorf("the latest comparison since %s is %+v, %v, want %q", since, record, err, want)
		}
	}
	latest(run.RepairSlot, "")
	latestLook(time.Time{}, "")
	repair := finished(t, l, run.StatusFailed)
	active := submitted(t, l)
	if _, err := l.Accept(t.Context(), wanting(t)); err != nil { // skipped
		t.Fatal(err)
	}
	latest(run.RepairSlot, repair.ID)
	latest(run.LookSlot, "")
	latestLook(time.Time{}, "")
	whole := finished(t, l, run.StatusPartial, look)
	finished(t, l, run.StatusFailed, look)
	finished(t, l, run.StatusSucceeded, look, func(r *run.Request) { r.IDs = []product.ID{"a"} })
	part := finished(t, l, run.StatusSucceeded, look, func(r *run.Request) { r.Since.Time = time.Now().Add(-time.Hour) })
	latest(run.LookSlot, part.ID)
	latest(run.RepairSlot, repair.ID)
	latestLook(time.Time{}, whole.ID)
	latestLook(whole.Finished, whole.ID)
	latestLook(whole.Finished.Add(time.Microsecond), "")
	newer := finished(t, l, run.StatusSucceeded, look)
	latestLook(whole.Finished, newer.ID)
	if _, err := l.Ask(t.Context(), active.ID, run.WantCancel); err != nil {
		t.Fatal(err)
	}
	latest(run.RepairSlot, active.ID)
}

func TestOutcomesAreListedInPages(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	lease := begun(t, l, long)
	var all []run.Outcome
	for i := range 20 {
		for _, kind := range []product.Kind{product.Missing, product.Orphaned, product.Stale} { // in the order of their names
			all = append(all, run.Outcome{ID: product.ID(fmt.Sprintf("product %02d", i)), Kind: kind, State: run.States()[i%3]})
		}
	}
	mixed := slices.Clone(all)
	slices.Reverse(mixed)
	settle(t, lease, run.Settlement{Outcomes: mixed})
	picked := func(pick func(run.Outcome) bool) []string {
		return names(slices.DeleteFunc(slices.Clone(all), func(o run.Outcome) bool { return !pick(o) }))
	}
	for name, tt := range map[string]struct {
		filter run.OutcomeFilter
		want   []string
	}{
		"all":   {run.OutcomeFilter{}, names(all)},
		"state": {run.OutcomeFilter{State: []run.State{run.Lost, run.Gone}}, picked(func(o run.Outcome) bool { return o.State == run.Lost })},
		"kind":  {run.OutcomeFilter{Kind: []product.Kind{product.Stale, product.Missing}}, picked(func(o run.Outcome) bool { return o.Kind != product.Orphaned })},
		"both": {run.OutcomeFilter{Kind: []product.Kind{product.Stale}, State: []run.State{run.Verified}},
			picked(func(o run.Outcome) bool { return o.Kind == product.Stale && o.State == run.Verified })},
	} {
		for _, limit := range []int{0, 1, 7, 60} {
			tt.filter.Limit = limit
			if got := names(outcomes(t, l, lease.Record().ID, tt.filter)); !slices.Equal(got, tt.want) {
				t.Errorf("%s in pages of %d: %q, want %q", name, limit, got, tt.want)
			}
		}
	}
	empty, err := l.Outcomes(t.Context(), lease.Record().ID, run.OutcomeFilter{State: []run.State{"no state"}})
	if err != nil || empty.Outcomes == nil || len(empty.Outcomes) != 0 {
		t.Errorf("an empty page is %+v, %v", empty, err)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	states := []run.State{run.Found, run.Lost, run.Blocked}
	var runs []string
	for _, state := range states {
		lease := begun(t, l, long)
		settle(t, lease, run.Settlement{Outcomes: outcomesOf(state, "a", "b")})
		if err := lease.Finish(t.Context(), run.StatusPartial, nil, ""); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, lease.Record().ID)
	}
	elsewhere := begun(t, open(t, l.pool.Config().ConnString(), "another"), long)
	settle(t, elsewhere, run.Settlement{Outcomes: outcomesOf(run.Failed, "a")})
	for limit, want := range map[int]int{0: 3, 1: 1, 2: 2, 9: 3} {
		past, err := l.History(t.Context(), "a", limit)
		if err != nil || len(past) != want {
			t.Fatalf("%d entries, %v, want %d", len(past), err, want)
		}
		for i, p := range past {
			if n := len(runs) - 1 - i; p.Run != runs[n] || p.State != states[n] || p.ID != "a" || p.Remedy != p.State.Remedy() || time.Since(p.At).Abs() > time.Hour {
				t.Errorf("entry %d is %+v", i, p)
			}
		}
	}
	if past, err := l.History(t.Context(), "c", 9); err != nil || len(past) != 0 {
		t.Errorf("the history of another product is %v, %v", past, err)
	}
}

func TestCursors(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	record := submitted(t, l)
	for _, bad := range []string{"x", "!", cursor("", ""), cursor("1", "no id"), cursor("one", record.ID), cursor("9223372036854775807", record.ID),
		cursor("-9223372036854775808", record.ID), record.ID, "AA==", cursor("missing", "\x00"), cursor("missing", "\xff")} {
		if _, err := l.Runs(t.Context(), run.RunFilter{Before: bad}); !errors.Is(err, run.ErrCursor) {
			t.Errorf("runs before %q: %v", bad, err)
		}
	}
	for _, bad := range []string{"x", "!", record.ID, "AA==", cursor("missing", "\x00"), cursor("missing", "\xff"), cursor("\xff", "a")} {
		if _, err := l.Outcomes(t.Context(), record.ID, run.OutcomeFilter{After: bad}); !errors.Is(err, run.ErrCursor) {
			t.Errorf("outcomes after %q: %v", bad, err)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(cursor("1", "01a203e8-a114-7bc7-969a-08bb4f36c436"))
	f.Add(cursor("missing", "a b"))
	f.Add("AA==")
	f.Fuzz(func(t *testing.T, text string) {
		first, second, err := parseCursor(text)
		if err != nil {
			if !errors.Is(err, run.ErrCursor) {
				t.Error(err)
			}
		} else if again := cursor(first, second); again != text {
			t.Errorf("%q is %q", text, again)
		}
		if at, id, err := parseRunCursor(text); err == nil {
			if again, sameID, err := parseRunCursor(cursor(fmt.Sprint(at.UnixMicro()), id.String())); err != nil || !again.Equal(at) || sameID != id {
				t.Errorf("%q comes back as %s, %s, %v", text, again, sameID, err)
			}
		}
	})
}
