package ledgertest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// listing is what runs there are.
var listing = map[string]func(*testing.T, Fixture){
	"runs are listed in pages":      testRunPages,
	"runs are filtered":             testRunFilters,
	"what waits for a person":       testAttention,
	"lists have no ids":             testRunsWithoutIDs,
	"the runs that finished last":   testLatest,
	"a run that is not there":       testNoRun,
	"a page that is no page's next": testCursors,
}

// list are the runs that a filter picks, page by page.
func list(t *testing.T, l Fixture, filter run.Filter) (ids []string) {
	t.Helper()
	for {
		page, err := l.Runs(t.Context(), filter)
		if err != nil {
			t.Fatal(err)
		}
		if filter.Limit > 0 && len(page.Runs) > filter.Limit || page.Runs == nil {
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

func testRunPages(t *testing.T, l Fixture) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var all []string // the latest first
	for i := range 60 {
		record := finished(t, l, run.StatusSucceeded, func(r *run.Request) {
			r.At = noon.Add(time.Duration(i/3) * time.Microsecond) // three at one instant
			r.ID = fmt.Sprintf("01a203e8-a114-7bc7-969a-%012x", i)
		})
		all = slices.Insert(all, 0, record.ID)
	}
	for _, limit := range []int{0, 1, 7, 59, 60, run.MaxPage} {
		if got := list(t, l, run.Filter{Limit: limit}); !slices.Equal(got, all) {
			t.Errorf("in pages of %d: %v", limit, got)
		}
	}
	for limit, want := range map[int]int{0: run.DefaultPage, -1: run.DefaultPage, run.MaxPage + 1: 60} {
		if page, err := l.Runs(t.Context(), run.Filter{Limit: limit}); err != nil || len(page.Runs) != want {
			t.Errorf("a page of %d has %d runs, %v", limit, len(page.Runs), err)
		}
	}
	if page, err := l.Runs(t.Context(), run.Filter{Since: noon.Add(time.Hour)}); err != nil || page.Runs == nil || len(page.Runs) != 0 {
		t.Errorf("an empty page is %+v, %v", page, err)
	}
}

// Lists, and what is asked for all the time, do not load the ids of runs that name many.
func testRunsWithoutIDs(t *testing.T, l Fixture) {
	named := submitted(t, l, naming("b", "a", "c"))
	plain := submitted(t, l, look)
	if len(named.Request.IDs) != 3 || named.IDCount != 3 {
		t.Errorf("the run itself is %+v", named)
	}
	check := func(what string, r *run.Record, want run.Record, ids int) {
		t.Helper()
		want.Request.IDs = nil
		if r == nil || r.ID != want.ID || r.Request.IDs != nil || r.IDCount != ids || r.Whole() == (ids > 0) ||
			!reflect.DeepEqual(r.Request, want.Request) {
			t.Errorf("%s is %+v, want %+v and %d ids", what, r, want, ids)
		}
	}
	page, err := l.Runs(t.Context(), run.Filter{})
	if err != nil || len(page.Runs) != 2 {
		t.Fatalf("%+v, %v", page, err)
	}
	check("the list's first", &page.Runs[0], plain, 0)
	check("the list's second", &page.Runs[1], named, 3)
	active, err := l.Active(t.Context(), run.RepairSlot)
	if err != nil {
		t.Fatal(err)
	}
	check("the active one", active, named, 3)
	if _, err := l.Ask(t.Context(), named.ID, run.WantCancel, ann); err != nil {
		t.Fatal(err)
	}
	latest, err := l.Latest(t.Context(), run.RepairSlot)
	if err != nil {
		t.Fatal(err)
	}
	check("the latest", latest, named, 3)
	if whole, err := l.Run(t.Context(), named.ID); err != nil || len(whole.Request.IDs) != 3 || whole.IDCount != 3 || whole.Whole() {
		t.Errorf("by its id it is %+v, %v", whole, err)
	}
}

func testRunFilters(t *testing.T, l Fixture) {
	early := time.Now().Add(-time.Hour)
	a := finished(t, l, run.StatusSucceeded, from(run.BySchedule), at(early))
	b := finished(t, l, run.StatusFailed, from(run.ByCLI), at(early.Add(time.Minute)), func(r *run.Request) { r.Mode = run.Direct })
	c := finished(t, l, run.StatusPartial, look, at(early.Add(2*time.Minute)))
	d := submitted(t, l, look)
	yes, no := true, false
	for name, tt := range map[string]struct {
		filter run.Filter
		want   []string
	}{
		"all":      {run.Filter{}, []string{d.ID, c.ID, b.ID, a.ID}},
		"status":   {run.Filter{Status: []run.Status{run.StatusFailed, run.StatusQueued}}, []string{d.ID, b.ID}},
		"trigger":  {run.Filter{Trigger: []run.Trigger{run.BySchedule, run.ByCLI}}, []string{b.ID, a.ID}},
		"mode":     {run.Filter{Mode: run.Direct}, []string{b.ID}},
		"looks":    {run.Filter{DryRun: &yes}, []string{d.ID, c.ID}},
		"repairs":  {run.Filter{DryRun: &no}, []string{b.ID, a.ID}},
		"since":    {run.Filter{Since: b.Request.At}, []string{d.ID, c.ID, b.ID}},
		"together": {run.Filter{DryRun: &yes, Status: []run.Status{run.StatusPartial}, Since: early, Mode: run.Replay}, []string{c.ID}},
		"nothing":  {run.Filter{Status: []run.Status{"no status"}}, nil},
	} {
		for _, limit := range []int{0, 1} {
			tt.filter.Limit = limit
			if got := list(t, l, tt.filter); !slices.Equal(got, tt.want) {
				t.Errorf("%s: %v, want %v", name, got, tt.want)
			}
		}
	}
}

// What a run leaves to a person stands until that was applied, or until a run speaks for all.
func testAttention(t *testing.T, l Fixture) {
	end := func(status run.Status, report run.Report, changes ...change) string {
		t.Helper()
		lease := begun(t, l, long, changes...)
		if err := lease.Finish(t.Context(), status, &report, ""); err != nil {
			t.Fatal(err)
		}
		return lease.Record().ID
	}
	wait := func(step string, attention run.Attention, want ...string) {
		t.Helper()
		if got := list(t, l, run.Filter{Attention: []run.Attention{attention}}); !slices.Equal(got, want) {
			t.Errorf("%s: %s is wanted by %v, want %v", step, attention, got, want)
		}
		for _, id := range want {
			if r := found(t, l, id); r.Attention != attention {
				t.Errorf("%s: run %s wants %q", step, id, r.Attention)
			}
		}
	}
	begin := time.Now().Add(-time.Hour)
	whole, part := at(begin), func(r *run.Request) { r.At, r.IDs = begin.Add(time.Minute), []product.ID{"a"} }
	looked := end(run.StatusPartial, run.Report{Result: run.Partial, DryRun: true, Outcomes: map[run.State]int64{run.Found: 2}}, whole, look)
	lost := end(run.StatusPartial, run.Report{Result: run.Partial, Outcomes: map[run.State]int64{run.Lost: 1, run.Verified: 1}}, part)
	wait("after both", run.ToApply, looked)
	wait("after both", run.LostProducts, lost)

	version := found(t, l, looked).Version
	clean := run.Report{Result: run.Succeeded, Outcomes: map[run.State]int64{run.Verified: 2}}
	end(run.StatusSucceeded, clean, func(r *run.Request) { r.Apply = looked })
	wait("after it was applied", run.ToApply)
	wait("after it was applied", run.LostProducts, lost)
	if now := found(t, l, looked); now.Attention != run.NoAttention || now.Version <= version {
		t.Errorf("after it was applied the run is %+v", now)
	}
	end(run.StatusFailed, clean)
	wait("after one that failed", run.LostProducts, lost)
	blocked := end(run.StatusPartial, run.Report{Result: run.Partial, Outcomes: map[run.State]int64{run.Blocked: 1}})
	wait("after one that speaks for all", run.LostProducts)
	wait("after one that speaks for all", run.ToUnblock, blocked)
}

func testLatest(t *testing.T, l Fixture) {
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
	finished(t, l, run.StatusSucceeded, look, naming("a"))
	part := finished(t, l, run.StatusSucceeded, look, recent)
	latest(run.LookSlot, part.ID)
	latest(run.RepairSlot, repair.ID)
	latestLook(time.Time{}, whole.ID)
	latestLook(whole.Finished, whole.ID)
	latestLook(whole.Finished.Add(time.Microsecond), "")
	newer := finished(t, l, run.StatusSucceeded, look)
	latestLook(whole.Finished, newer.ID)
	if _, err := l.Ask(t.Context(), active.ID, run.WantCancel, ann); err != nil {
		t.Fatal(err)
	}
	latest(run.RepairSlot, active.ID)
	latestLook(time.Time{}, newer.ID)
	repaired := finished(t, l, run.StatusPartial)
	latestLook(time.Time{}, repaired.ID)
	finished(t, l, run.StatusSucceeded, naming("a"))
	finished(t, l, run.StatusCancelled)
	latestLook(time.Time{}, repaired.ID)
}

func testNoRun(t *testing.T, l Fixture) {
	for _, id := range []string{"", "run", run.NewRunID(), "\x00", "65f2a1b2c3d4e5f6a7b8c9d065f2a1b2", "' OR true --"} {
		if _, err := l.Run(t.Context(), id); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("Run %q: %v", id, err)
		}
		if _, err := l.Outcomes(t.Context(), id, run.OutcomeFilter{}); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("Outcomes of %q: %v", id, err)
		}
		if _, _, err := l.Findings(t.Context(), id, nil); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("Findings of %q: %v", id, err)
		}
	}
}

func testCursors(t *testing.T, l Fixture) {
	record := submitted(t, l)
	for _, bad := range []string{"x", "!", record.ID, "AA=="} {
		if _, err := l.Runs(t.Context(), run.Filter{Before: bad}); !errors.Is(err, run.ErrCursor) {
			t.Errorf("runs before %q: %v", bad, err)
		}
		if _, err := l.Outcomes(t.Context(), record.ID, run.OutcomeFilter{After: bad}); !errors.Is(err, run.ErrCursor) {
			t.Errorf("outcomes after %q: %v", bad, err)
		}
	}
}
