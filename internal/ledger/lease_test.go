package ledger

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Every exported field of a report comes back, but for the samples.
func TestReportIsKept(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	at := time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC)
	report := run.Report{
		Run: "run", Mode: run.Direct, DryRun: true, Result: run.Stopped, Started: at, Finished: at.Add(time.Hour), Duration: 3,
		Source: "shop.products", Target: "cart.public.product", Products: 4, Rows: 5, Unsupported: map[string]int64{"double": 6}, Suspects: 7, Resolved: 8,
		Repair: run.Kinds{product.Missing, product.Stale}, Found: map[product.Kind]int64{product.Missing: 9, product.Orphaned: 10}, Acted: 11, Attempts: 12,
		Outcomes: map[run.State]int64{run.InFlight: 13}, ByKind: map[product.Kind]map[run.State]int64{product.Stale: {run.Found: 15}},
		Samples: outcomesOf(run.Lost, "a"), Error: "it failed", Unrepaired: 14,
		Notes: []run.Note{{Code: run.NoteTooMany, Kind: product.Stale, Number: 16, Of: 17, Detail: "20 %"}, {Code: run.NoteLedger, Detail: "a \x00 \\u0000"}},
	}
	lease := begun(t, l, long)
	if err := lease.Finish(t.Context(), run.StatusPartial, &report, ""); err != nil {
		t.Fatal(err)
	}
	kept := *found(t, l, lease.Record().ID).Report
	want := report
	want.Samples, want.Notes = []run.Outcome{}, slices.Clone(report.Notes)
	want.Notes[1].Detail = "a \uFFFD \\u0000"
	if !reflect.DeepEqual(kept, want) {
		t.Errorf("the report is\n%+v, want\n%+v", kept, want)
	}
	if len(report.Samples) != 1 || report.Notes[1].Detail != "a \x00 \\u0000" {
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

func TestTextsAreCut(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	text := "x" + strings.Repeat("ö", 100_000)
	lease := begun(t, l, long)
	reason := run.Reason{Detail: text}
	settle(t, lease, run.Settlement{Outcomes: []run.Outcome{{Key: run.Key{ID: "a", Kind: product.Missing}, State: run.Failed, Column: text, Reason: reason}}})
	if _, err := lease.Beat(t.Context(), run.StatusRunning, run.Progress{Throttle: text, Waits: []run.Wait{{Reason: reason}}}); err != nil {
		t.Fatal(err)
	}
	notes := make([]run.Note, 2*maxNotes)
	notes[0].Detail = text
	if err := lease.Finish(t.Context(), run.StatusFailed, &run.Report{Error: text, Notes: notes}, text); err != nil {
		t.Fatal(err)
	}
	record, outcome := found(t, l, lease.Record().ID), outcomes(t, l, lease.Record().ID, run.OutcomeFilter{})[0]
	for most, got := range map[int][]string{
		run.MaxError: {record.Error, record.Report.Error, record.Report.Notes[0].Detail}, maxReason: {outcome.Reason.Detail, record.Progress.Throttle, record.Progress.Waits[0].Reason.Detail}, maxText: {outcome.Column},
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
