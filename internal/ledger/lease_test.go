package ledger

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestBeat(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	lease := begun(t, l, long)
	id := lease.Record().ID
	at := time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC)
	progress := run.Progress{
		Phase: run.PhaseProving, Compared: 1 << 60, Total: 7, Scanned: true, Acted: 3, Verified: 2, Round: 4,
		Suspects: map[product.Kind]int64{product.Missing: 5, product.Stale: 0, product.Orphaned: 1 << 62},
		Throttle: "no consumer <on> the \x00 queue",
		Phases:   []run.PhaseTime{{Phase: run.PhasePlanning, Entered: at, Milliseconds: 12}, {Phase: run.PhaseProving, Entered: at}},
	}
	wanted, err := lease.Beat(t.Context(), run.StatusRunning, progress)
	if err != nil || wanted != run.WantRun {
		t.Fatalf("wanted is %q, %v", wanted, err)
	}
	record := found(t, l, id)
	progress.Throttle = strings.ReplaceAll(progress.Throttle, "\x00", "\uFFFD")
	if record.Progress == nil || !reflect.DeepEqual(*record.Progress, progress) {
		t.Errorf("the progress is\n%+v, want\n%+v", record.Progress, progress)
	}
	if record.Version != 2 {
		t.Errorf("version %d", record.Version)
	}
	for version, ask := range []run.Wanted{run.WantPause, run.WantRun, run.WantCancel} {
		if _, err := l.Ask(t.Context(), id, ask); err != nil {
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
	_, err = lease.Beat(t.Context(), run.StatusQueued, progress)
	testenv.CheckMessage(t, err, "queued")
}

func TestFinish(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	for _, status := range []run.Status{run.StatusSucceeded, run.StatusPartial, run.StatusFailed, run.StatusCancelled} {
		lease := begun(t, l, long, look)
		settle(t, lease, run.Settlement{Report: &run.Report{Notes: []string{"so far"}}})
		for range 2 { // the answer to the first may be lost
			if err := lease.Finish(t.Context(), status, nil, "the words"); err != nil {
				t.Fatal(err)
			}
		}
		record := found(t, l, lease.Record().ID)
		if record.Status != status || record.Error != "the words" || record.Finished.Before(record.Started) || record.Version != 3 || record.Report == nil || record.Owner == "" {
			t.Errorf("the run is %+v", record)
		}
		if err := lease.Finish(t.Context(), status, nil, "other words"); !errors.Is(err, run.ErrFenced) {
			t.Errorf("finished with other words: %v", err)
		}
	}
	testenv.CheckMessage(t, begun(t, l, long).Finish(t.Context(), run.StatusPaused, nil, ""), "paused is no end")
}

// Every exported field of a report comes back, but for the samples.
func TestReportIsKept(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	at := time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC)
	report := run.Report{
		Run: "run", Mode: run.Direct, DryRun: true, Result: run.Stopped, Started: at, Finished: at.Add(time.Hour), Duration: 3,
		Source: "shop.products", Target: "cart.public.product", Products: 4, Rows: 5, Unsupported: map[string]int64{"double": 6}, Suspects: 7, Resolved: 8,
		Found: map[product.Kind]int64{product.Missing: 9, product.Orphaned: 10}, Acted: 11, Rounds: 12,
		Outcomes: map[run.State]int64{run.InFlight: 13}, Samples: outcomesOf(run.Lost, "a"), Notes: []string{"one", "a \x00 \\u0000"}, Error: "it failed", Unrepaired: 14,
	}
	lease := begun(t, l, long)
	if err := lease.Finish(t.Context(), run.StatusPartial, &report, ""); err != nil {
		t.Fatal(err)
	}
	kept := *found(t, l, lease.Record().ID).Report
	want := report
	want.Samples, want.Notes = []run.Outcome{}, []string{"one", "a \uFFFD \\u0000"}
	if !reflect.DeepEqual(kept, want) {
		t.Errorf("the report is\n%+v, want\n%+v", kept, want)
	}
	if len(report.Samples) != 1 || report.Notes[1] != "a \x00 \\u0000" {
		t.Error("the caller's report has changed")
	}
	document, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, member := range []string{`"orphaned":10`, `"in flight":13`, `"samples":[]`} {
		if !strings.Contains(string(document), member) {
			t.Errorf("%s is not in %s", member, document)
		}
	}
}

func TestLongTextsAreCut(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	text := "x" + strings.Repeat("ö", 100_000)
	lease := begun(t, l, long)
	settle(t, lease, run.Settlement{Outcomes: []run.Outcome{{ID: "a", Kind: product.Missing, State: run.Failed, Column: text, Reason: text}}})
	if _, err := lease.Beat(t.Context(), run.StatusRunning, run.Progress{Throttle: text}); err != nil {
		t.Fatal(err)
	}
	notes := make([]string, 2*maxNotes)
	notes[0] = text
	if err := lease.Finish(t.Context(), run.StatusFailed, &run.Report{Error: text, Notes: notes}, text); err != nil {
		t.Fatal(err)
	}
	record, outcome := found(t, l, lease.Record().ID), outcomes(t, l, lease.Record().ID, run.OutcomeFilter{})[0]
	for most, got := range map[int][]string{
		run.MaxError: {record.Error, record.Report.Error, record.Report.Notes[0]}, maxReason: {outcome.Reason, record.Progress.Throttle}, maxText: {outcome.Column},
	} {
		for _, s := range got {
			if len(s) > most || len(s) < most-4 || !utf8.ValidString(s) || !strings.HasPrefix(s, "xööö") || !strings.HasSuffix(s, "ö…") {
				t.Errorf("%d bytes where %d are kept: %.10q", len(s), most, s)
			}
		}
	}
	if len(record.Report.Notes) != maxNotes {
		t.Errorf("%d notes", len(record.Report.Notes))
	}
}

func TestOutcomesAreKeptWhole(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	lease := begun(t, l, long)
	want := []run.Outcome{
		{ID: "a", Kind: product.Missing, State: run.Blocked, Column: "price", Reason: "9.99 does not fit \x00 <integer>"},
		{ID: "a", Kind: product.Stale, State: run.Found, Fields: []run.FieldChange{{Field: "title", Source: "\x00 new", Cart: "old"}, {Field: "price", Source: "1", Cart: "2"}}},
		{ID: "b", Kind: product.Orphaned, State: run.InFlight, Remedy: "what the caller says"},
	}
	settle(t, lease, run.Settlement{Outcomes: want})
	want[0].Reason, want[0].Remedy = "9.99 does not fit \uFFFD <integer>", run.Blocked.Remedy()
	want[2].Remedy = run.InFlight.Remedy()
	if got := outcomes(t, l, lease.Record().ID, run.OutcomeFilter{}); !reflect.DeepEqual(got, want) {
		t.Errorf("the outcomes are\n%+v, want\n%+v", got, want)
	}
}
