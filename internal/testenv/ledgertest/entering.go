package ledgertest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

// entering is how runs come into a ledger.
var entering = map[string]func(*testing.T, Fixture){
	"a request is kept whole":         testSubmit,
	"one id or key is one run":        testOneRun,
	"each slot has one run":           testSlots,
	"messages become runs":            testAccept,
	"what has not begun is discarded": testDiscard,
	"a run begins at once":            testBegin,
	"a stale run gives its slot away": testBeginOverStale,
}

func testSubmit(t *testing.T, l Fixture) {
	request := wanting(t, keyed("k"), recent, func(r *run.Request) {
		r.Mode, r.BatchSize, r.MaxRepairs, r.Reason = run.Direct, 7, 9, "weil's muß \\u0000"
		r.Repair = run.Kinds{"missing", "stale"}
		r.Expires = time.Now().Add(time.Hour).UTC()
	})
	record, err := l.Submit(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if record.ID != request.ID || record.Version != 1 || record.Status != run.StatusQueued || record.Wanted != run.WantRun || !record.Started.IsZero() || record.Takeovers != 0 {
		t.Errorf("the run is %+v", record)
	}
	same := found(t, l, record.ID).Request
	if !same.At.Equal(request.At) || !same.Since.Equal(request.Since.Time) || !same.Expires.Equal(request.Expires) || !slices.Equal(same.Repair, request.Repair) ||
		same.Reason != request.Reason || same.Mode != request.Mode || same.Key != "k" || same.BatchSize != 7 || same.MaxRepairs != 9 || same.By != "somebody" {
		t.Errorf("the request is %+v, want %+v", same, request)
	}
}

func testOneRun(t *testing.T, l Fixture) {
	request := wanting(t, keyed("noon"))
	first, err := l.Submit(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	for name, again := range map[string]run.Request{
		"the same id":                        request,
		"the same key":                       wanting(t, keyed("noon")),
		"the same key for the other slot":    wanting(t, keyed("noon"), look),
		"the same id for the other slot":     wanting(t, look, func(r *run.Request) { r.ID = request.ID }),
		"the same id, and expired meanwhile": wanting(t, late, func(r *run.Request) { r.ID = request.ID }),
	} {
		if record, err := l.Submit(t.Context(), again); err != nil || record.ID != first.ID {
			t.Errorf("%s, submitted: run %s, %v, want %s", name, record.ID, err, first.ID)
		}
		if record, err := l.Accept(t.Context(), again); err != nil || record.ID != first.ID {
			t.Errorf("%s, accepted: run %s, %v, want %s", name, record.ID, err, first.ID)
		}
	}
	if page, err := l.Runs(t.Context(), run.Filter{}); err != nil || len(page.Runs) != 1 {
		t.Errorf("%d runs, %v", len(page.Runs), err)
	}
}

func testSlots(t *testing.T, l Fixture) {
	repair, comparison := submitted(t, l), submitted(t, l, look)
	_, err := l.Submit(t.Context(), wanting(t))
	isActive(t, err, repair.ID)
	_, err = l.Submit(t.Context(), wanting(t, look))
	isActive(t, err, comparison.ID)
	_, err = l.Begin(t.Context(), wanting(t), "cli", long)
	isActive(t, err, repair.ID)
	for slot, want := range map[run.Slot]string{run.RepairSlot: repair.ID, run.LookSlot: comparison.ID} {
		if active, err := l.Active(t.Context(), slot); err != nil || active == nil || active.ID != want {
			t.Errorf("%s: active is %v, %v", slot, active, err)
		}
	}
	if _, err := l.Ask(t.Context(), repair.ID, run.WantCancel, ann); err != nil {
		t.Fatal(err)
	}
	if active, err := l.Active(t.Context(), run.RepairSlot); err != nil || active != nil {
		t.Errorf("active is %v, %v", active, err)
	}
}

func testAccept(t *testing.T, l Fixture) {
	for _, unknown := range []run.Request{wanting(t, recorded), wanting(t, recorded, late)} {
		if _, err := l.Accept(t.Context(), unknown); !errors.Is(err, run.ErrNotFound) {
			t.Errorf("a recorded run that is not there: %v", err)
		}
	}
	if _, err := l.Accept(t.Context(), wanting(t, func(r *run.Request) { r.Pipeline = "elsewhere" })); !errors.As(err, new(*run.InvalidError)) {
		t.Errorf("a request for another pipeline: %v", err)
	}
	expired, err := l.Accept(t.Context(), wanting(t, late))
	if err != nil || expired.Status != run.StatusSkipped || !strings.HasPrefix(expired.Error, "expired: no worker began it by 20") || expired.Finished.IsZero() {
		t.Errorf("an expired request became %+v, %v", expired, err)
	}
	record, err := l.Accept(t.Context(), wanting(t, func(r *run.Request) { r.Pipeline = "products" }))
	if err != nil || record.Status != run.StatusQueued {
		t.Fatalf("a request became %+v, %v", record, err)
	}
	request := record.Request
	request.Recorded = true
	if again, err := l.Accept(t.Context(), request); err != nil || again.ID != record.ID {
		t.Errorf("a recorded run: %v, %v", again.ID, err)
	}
	skipped, err := l.Accept(t.Context(), wanting(t, keyed("noon")))
	if err != nil || skipped.Status != run.StatusSkipped || skipped.ActiveRun != record.ID || !strings.Contains(skipped.Error, record.ID) || skipped.Finished.IsZero() {
		t.Errorf("a request for a slot that is taken became %+v, %v", skipped, err)
	}
	if again, err := l.Accept(t.Context(), wanting(t, keyed("noon"))); err != nil || again.ID != skipped.ID {
		t.Errorf("the same occasion became run %s, %v", again.ID, err)
	}
}

func testDiscard(t *testing.T, l Fixture) {
	record := submitted(t, l)
	for range 2 { // the answer to the first may be lost
		if err := l.Discard(t.Context(), record.ID); err != nil {
			t.Error(err)
		}
	}
	if _, err := l.Run(t.Context(), record.ID); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("the discarded run: %v", err)
	}
	if err := l.Discard(t.Context(), "no run"); err != nil {
		t.Error(err)
	}
	submitted(t, l)
	lease := claimed(t, l, "worker", long)
	isRefused(t, l.Discard(t.Context(), lease.Record().ID), lease.Record().ID)
	if err := lease.HandBack(t.Context(), "", 0); err != nil {
		t.Fatal(err)
	}
	isRefused(t, l.Discard(t.Context(), lease.Record().ID), lease.Record().ID) // queued, and it has begun
}

func testBegin(t *testing.T, l Fixture) {
	request := wanting(t, from(run.ByCLI), naming("a"))
	lease, err := l.Begin(t.Context(), request, "cli", long)
	if err != nil {
		t.Fatal(err)
	}
	record := lease.Record()
	if record.Status != run.StatusRunning || record.Owner != "cli" || record.Started.IsZero() || record.Takeovers != 0 || len(record.Request.IDs) != 1 {
		t.Errorf("the run is %+v", record)
	}
	again, err := l.Begin(t.Context(), request, "cli", long) // the answer was lost
	if err != nil || again.Record().ID != record.ID {
		t.Errorf("begun again: %v, %v", again, err)
	}
	_, err = l.Begin(t.Context(), request, "another", long)
	isRefused(t, err, record.ID)
	_, err = l.Begin(t.Context(), wanting(t), "another", long)
	isActive(t, err, record.ID)
	ended(t, lease, run.StatusSucceeded)
	_, err = l.Begin(t.Context(), request, "cli", long)
	isRefused(t, err, record.ID)
}

func testBeginOverStale(t *testing.T, l Fixture) {
	for _, status := range []run.Status{run.StatusRunning, run.StatusPaused} {
		stale := begun(t, l, gone, from(run.ByCLI))
		if _, err := stale.Beat(t.Context(), status, run.Progress{}); err != nil {
			t.Fatal(err)
		}
		lease := begun(t, l, long, from(run.ByCLI))
		record := found(t, l, stale.Record().ID)
		if record.Status != run.StatusFailed || !strings.HasPrefix(record.Error, "its process gave no sign of life any more") ||
			!strings.Contains(record.Error, lease.Record().ID) || record.Finished.IsZero() {
			t.Errorf("the stale run is %+v", record)
		}
		if _, err := stale.Beat(t.Context(), status, run.Progress{}); !errors.Is(err, run.ErrFenced) {
			t.Errorf("the stale run's lease: %v", err)
		}
		ended(t, lease, run.StatusSucceeded)
	}
	// A stale run is not ended by a process that then cannot begin.
	done := finished(t, l, run.StatusSucceeded, keyed("noon"))
	stale := begun(t, l, gone)
	_, err := l.Begin(t.Context(), wanting(t, keyed("noon")), "cli", long)
	isRefused(t, err, done.ID)
	if record := found(t, l, stale.Record().ID); record.Status != run.StatusRunning {
		t.Errorf("the stale run is %s", record.Status)
	}
}
