package ledgertest

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// leasing is what whoever holds a run's lease may do.
var leasing = map[string]func(*testing.T, Fixture){
	"a beat shows progress and hears what is wanted": testBeat,
	"a run is finished":                    testFinish,
	"a run without its lease does nothing": testFenced,
	"a fresh run resumes nowhere":          testResumeNowhere,
	"a run resumes where it was":           testCheckpoint,
	"another process resumes a run":        testResumeOfAnother,
	"what was acted on is judged":          testJudged,
}

func testBeat(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	id := lease.Record().ID
	progress := run.Progress{Phase: run.PhaseProving, Compared: 1 << 60, Attempts: 4, Found: map[product.Kind]int64{product.Stale: 3},
		Waits: []run.Wait{{Phase: run.PhaseProving, Kind: product.Missing, Products: 2, Reason: run.Reason{Code: run.ReasonQueue, Ready: 7}}}}
	wanted, err := lease.Beat(t.Context(), run.StatusRunning, progress)
	if err != nil || wanted != run.WantRun {
		t.Fatalf("wanted is %q, %v", wanted, err)
	}
	if record := found(t, l, id); record.Progress == nil || !reflect.DeepEqual(*record.Progress, progress) || record.Version != 2 {
		t.Errorf("the progress is\n%+v, want\n%+v", record.Progress, progress)
	}
	for version, ask := range []run.Wanted{run.WantPause, run.WantRun, run.WantCancel} {
		if _, err := l.Ask(t.Context(), id, ask, ann); err != nil {
			t.Fatal(err)
		}
		wanted, err := lease.Beat(t.Context(), run.StatusPaused, run.Progress{})
		if err != nil || wanted != ask {
			t.Errorf("wanted is %q, %v, want %q", wanted, err, ask)
		}
		if record := found(t, l, id); record.Status != run.StatusPaused || record.Version != int64(4+2*version) {
			t.Errorf("the run is %s, version %d", record.Status, record.Version)
		}
	}
	if _, err = lease.Beat(t.Context(), run.StatusQueued, progress); err == nil || errors.Is(err, run.ErrFenced) {
		t.Errorf("a beat of a queued run: %v", err)
	}
}

func testFinish(t *testing.T, l Fixture) {
	for _, status := range []run.Status{run.StatusSucceeded, run.StatusPartial, run.StatusFailed, run.StatusCancelled} {
		lease := begun(t, l, long, look)
		settled(t, lease, run.Settlement{Report: &run.Report{Notes: []run.Note{{Code: run.NoteNacked, Number: 3}},
			Samples: outcomes(run.Lost, product.Missing, "a")}})
		for range 2 { // the answer to the first may be lost
			if err := lease.Finish(t.Context(), status, nil, "the words"); err != nil {
				t.Fatal(err)
			}
		}
		record := found(t, l, lease.Record().ID)
		if record.Status != status || record.Error != "the words" || record.Finished.Before(record.Started) || record.Version != 3 || record.Owner == "" {
			t.Errorf("the run is %+v", record)
		}
		if record.Report == nil || len(record.Report.Samples) > 0 || len(record.Report.Notes) != 1 {
			t.Errorf("the report is %+v", record.Report)
		}
		if err := lease.Finish(t.Context(), status, nil, "other words"); !errors.Is(err, run.ErrFenced) {
			t.Errorf("finished with other words: %v", err)
		}
	}
	if err := begun(t, l, long).Finish(t.Context(), run.StatusPaused, nil, ""); err == nil || errors.Is(err, run.ErrFenced) {
		t.Errorf("finished as paused: %v", err)
	}
}

// After another process has claimed the run, or it has ended, nothing of the first has
// any effect.
func testFenced(t *testing.T, l Fixture) {
	zombie := begun(t, l, gone)
	id := zombie.Record().ID
	ranges := []product.Range{{Class: product.Strings}}
	if err := zombie.Plan(t.Context(), ranges); err != nil {
		t.Fatal(err)
	}
	settled(t, zombie, run.Settlement{Memory: json.RawMessage("1"), Outcomes: outcomes(run.Found, product.Missing, "a")})
	methods := map[string]func() error{
		"Resume": func() error { _, err := zombie.Resume(t.Context()); return err },
		"Plan":   func() error { return zombie.Plan(t.Context(), nil) },
		"Begin": func() error {
			return zombie.Begin(t.Context(), []run.Hand{{Key: run.Key{ID: "a", Kind: product.Missing}, Attempt: 1}})
		},
		"Settle": func() error {
			return zombie.Settle(t.Context(), run.Settlement{Restart: true, Outcomes: outcomes(run.Lost, product.Missing, "a", "b"),
				Finished: []run.FinishedRange{{Range: ranges[0]}}, Look: &run.Look{Products: 1}, Report: &run.Report{}, Memory: json.RawMessage("2")})
		},
		"Judged":   func() error { _, err := zombie.Judged(t.Context(), []product.ID{"a"}); return err },
		"Measured": func() error { return zombie.Measured(t.Context(), long) },
		"Beat": func() error {
			_, err := zombie.Beat(t.Context(), run.StatusRunning, run.Progress{})
			return err
		},
		"Finish":   func() error { return zombie.Finish(t.Context(), run.StatusFailed, nil, "no") },
		"HandBack": func() error { return zombie.HandBack(t.Context(), "", 0) },
	}
	fenced := func(when string) {
		t.Helper()
		before := found(t, l, id)
		for name, method := range methods {
			if err := method(); !errors.Is(err, run.ErrFenced) {
				t.Errorf("%s, %s: %v", when, name, err)
			}
		}
		if after := found(t, l, id); !reflect.DeepEqual(before, after) {
			t.Errorf("%s: the run was %+v and is %+v", when, before, after)
		}
		if got := names(told(t, l, id, run.OutcomeFilter{})); !slices.Equal(got, []string{"a missing found"}) {
			t.Errorf("%s: the outcomes are %q", when, got)
		}
	}
	next := claimed(t, l, "next", long)
	fenced("taken over")
	if at := resumed(t, next); string(at.Memory) != "1" || len(at.Ranges) != 1 || len(at.InHand) > 0 {
		t.Errorf("the next process resumes at %+v", at)
	}
	if err := next.HandBack(t.Context(), "", 0); err != nil {
		t.Fatal(err)
	}
	fenced("handed back")
	next = claimed(t, l, "third", long)
	if gap, err := next.Gap(t.Context()); err != nil || gap != 0 {
		t.Errorf("the longest gap is %s, %v", gap, err)
	}
	if last, err := next.LastLook(t.Context()); err != nil || last != (run.Look{}) {
		t.Errorf("the last look is %+v, %v", last, err)
	}
	if err := next.Finish(t.Context(), run.StatusFailed, nil, "other words"); err != nil {
		t.Fatal(err)
	}
	fenced("ended")
}

func testResumeNowhere(t *testing.T, l Fixture) {
	if at := resumed(t, begun(t, l, long)); at != nil {
		t.Errorf("it resumes at %+v", at)
	}
}

func testCheckpoint(t *testing.T, l Fixture) {
	lease := begun(t, l, long)
	ranges := []product.Range{
		{Class: product.Strings, Through: "m\x00\xff"}, // bounds come back exactly
		{Class: product.Strings, After: "m\x00\xff"},
		{Class: product.ObjectIDs, Through: "65f2a1b2c3d4e5f6a7b8c9d0"},
		{Class: product.ObjectIDs, After: "65f2a1b2c3d4e5f6a7b8c9d0"},
	}
	check := func(step string, want run.Checkpoint) {
		t.Helper()
		want.Planned = true
		at := resumed(t, lease)
		if at == nil {
			t.Fatalf("%s: it resumes nowhere", step)
		}
		if !slices.Equal(at.Ranges, want.Ranges) || !slices.Equal(at.InHand, want.InHand) ||
			at.Stage != want.Stage || string(at.Memory) != string(want.Memory) || at.Products != want.Products || at.Rows != want.Rows || at.Matched != want.Matched || !at.Planned {
			t.Errorf("%s: it resumes at\n%+v, want\n%+v", step, *at, want)
		}
	}
	for range 2 { // the second in place of the first
		if err := lease.Plan(t.Context(), ranges); err != nil {
			t.Fatal(err)
		}
	}
	check("planned", run.Checkpoint{Ranges: ranges})

	memory := json.RawMessage("{ \"b\": 1e2, \"a\": \"\\u0000<\" }") // as it was written
	settled(t, lease, run.Settlement{Stage: run.Counting, Memory: memory, Outcomes: outcomes(run.Found, product.Missing, "c", "a", "b"),
		Finished: []run.FinishedRange{{Range: ranges[0], Products: 10, Rows: 8, Matched: 7}, {Range: ranges[3], Products: 1}}})
	check("counted", run.Checkpoint{Stage: run.Counting, Memory: memory, Ranges: ranges[1:3], Products: 11, Rows: 8, Matched: 7})

	inHand(t, lease, product.Missing, "z", "a", "b", "a")
	hand := func(id product.ID) run.Hand { return run.Hand{Key: run.Key{ID: id, Kind: product.Missing}, Attempt: 1} }
	check("begun", run.Checkpoint{Stage: run.Counting, Memory: memory, Ranges: ranges[1:3], Products: 11, Rows: 8, Matched: 7,
		InHand: []run.Hand{hand("a"), hand("b"), hand("z")}})

	settled(t, lease, run.Settlement{Outcomes: outcomes(run.Lost, product.Missing, "b"), Finished: []run.FinishedRange{{Range: ranges[1], Products: 5, Rows: 5, Matched: 5}}})
	check("settled", run.Checkpoint{Stage: run.Repairing, Memory: memory, Ranges: ranges[2:3], Products: 16, Rows: 13, Matched: 12,
		InHand: []run.Hand{hand("a"), hand("z")}})

	settled(t, lease, run.Settlement{Restart: true, Memory: json.RawMessage("2"), Outcomes: outcomes(run.Gone, product.Missing, "a", "z"),
		Finished: []run.FinishedRange{{Range: ranges[2], Products: 3, Rows: 2, Matched: 1}}})
	check("restarted", run.Checkpoint{Stage: run.Repairing, Memory: json.RawMessage("2"), Products: 3, Rows: 2, Matched: 1,
		Ranges: []product.Range{ranges[0], ranges[1], ranges[3]}})
}

func testResumeOfAnother(t *testing.T, l Fixture) {
	lease := begun(t, l, gone)
	settled(t, lease, run.Settlement{Stage: run.Counting, Memory: json.RawMessage("1"), Report: &run.Report{Acted: 3}})
	settled(t, lease, run.Settlement{Stage: run.Repairing}) // leaves what it does not say
	next := claimed(t, l, "next", long)
	if at := resumed(t, next); at == nil || at.Planned || at.Stage != run.Repairing || string(at.Memory) != "1" || len(at.InHand) > 0 {
		t.Errorf("it resumes at %+v", at)
	}
	if record := next.Record(); record.Report == nil || record.Report.Acted != 3 {
		t.Errorf("the report so far is %+v", record.Report)
	}
}

// areJudged checks which of the asked differences have an outcome of the run.
func areJudged(t *testing.T, lease run.Lease, asked []product.ID, keys ...run.Key) {
	t.Helper()
	want := make(map[run.Key]bool, len(keys))
	for _, key := range keys {
		want[key] = true
	}
	if judged, err := lease.Judged(t.Context(), asked); err != nil || !maps.Equal(judged, want) {
		t.Errorf("of %q judged are %v, %v, want %v", asked, judged, err, want)
	}
}

// What a run did about a product counts once, whoever takes the run over. What it merely
// found is found, and counted, again.
func testJudged(t *testing.T, l Fixture) {
	earlier := begun(t, l, long)
	keep(t, earlier, run.Lost, product.Stale, "other")
	ended(t, earlier, run.StatusPartial)
	lease := begun(t, l, gone)
	asked := []product.ID{"other", "nothing", "hand"}
	var acted []run.Key
	for _, rule := range run.States() {
		id := product.ID(rule.State)
		keep(t, lease, rule.State, product.Missing, id)
		asked = append(asked, id)
		if rule.Acted {
			acted = append(acted, run.Key{ID: id, Kind: product.Missing})
		}
	}
	inHand(t, lease, product.Missing, "hand") // it is resumed
	keep(t, lease, run.Lost, product.Orphaned, "lost")
	keep(t, lease, run.Failed, product.Stale, "lost")
	keep(t, lease, run.Found, product.Orphaned, "lost") // in its place
	acted = append(acted, run.Key{ID: "lost", Kind: product.Stale})
	next := claimed(t, l, "next", gone)
	areJudged(t, next, asked, acted...)
	areJudged(t, next, nil)
	// What it found is judged once it is acted on.
	keep(t, next, run.Verified, product.Missing, "found", "in flight")
	acted = append(acted, run.Key{ID: "found", Kind: product.Missing}, run.Key{ID: "in flight", Kind: product.Missing})
	areJudged(t, claimed(t, l, "last", long), asked, acted...)
}
