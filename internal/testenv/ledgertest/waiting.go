package ledgertest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

// waiting is what becomes of requests that only a newer program can read.
var waiting = map[string]func(*testing.T, Fixture){
	"a request waits for a newer program": testDefer,
	"a newer program reads it":            testReadDeferred,
	"it waits for its slot":               testDeferredSlot,
	"it does not wait for ever":           testDeferredExpires,
	"it is cancelled":                     testDeferredCancelled,
	"a newer program's run is left to it": testNewerRun,
}

const why = "needs a newer version of etl"

// deferred enters such a request.
func deferred(t *testing.T, l Fixture, document string, changes ...change) run.Record {
	t.Helper()
	record, err := l.Defer(t.Context(), wanting(t, changes...), []byte(document), why)
	if err != nil || record.Status != run.StatusWaiting || record.Error != why || !record.Finished.IsZero() {
		t.Fatalf("it is %+v, %v", record, err)
	}
	return record
}

func testDefer(t *testing.T, l Fixture) {
	submitted(t, l)
	begun := claimed(t, l, "worker", long)
	request := wanting(t)
	for range 2 { // the message may come again
		record, err := l.Defer(t.Context(), request, []byte("{}"), why)
		if err != nil || record.ID != request.ID || record.Status != run.StatusWaiting || record.Error != why {
			t.Errorf("it is %+v, %v", record, err)
		}
	}
	deferred(t, l, "{}") // any number may wait
	nothingToClaim(t, l)
	page, err := l.Runs(t.Context(), run.Filter{Status: []run.Status{run.StatusWaiting}})
	if err != nil || len(page.Runs) != 2 || page.Runs[1].Error != why {
		t.Errorf("of those that wait %+v are listed, %v", page.Runs, err)
	}
	if active, err := l.Active(t.Context(), run.RepairSlot); err != nil || active.ID != begun.Record().ID {
		t.Errorf("active is %+v, %v", active, err)
	}
	ended(t, begun, run.StatusSucceeded)
	if last, err := l.Latest(t.Context(), run.RepairSlot); err != nil || last.ID != begun.Record().ID {
		t.Errorf("the latest is %+v, %v", last, err)
	}
	l.Age(30 * time.Minute)
	forgets(t, l, false)
	submitted(t, l) // the slot is free

	// Our own requests are in the ledger before their messages.
	if _, err := l.Defer(t.Context(), wanting(t, recorded), []byte("{}"), why); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("a recorded run that is not there: %v", err)
	}
	own := begun.Record().Request
	own.Recorded = true
	if record, err := l.Defer(t.Context(), own, []byte("{}"), why); err != nil || record.ID != own.ID || record.Status != run.StatusSucceeded {
		t.Errorf("a recorded run: %+v, %v", record, err)
	}
	other := wanting(t, func(r *run.Request) { r.Pipeline = "elsewhere" })
	if _, err := l.Defer(t.Context(), other, []byte("{}"), why); !errors.As(err, new(*run.InvalidError)) {
		t.Errorf("a request for another pipeline: %v", err)
	}
}

// swept lets the ledger look after what waits.
func swept(ctx context.Context, t *testing.T, l Fixture) {
	t.Helper()
	if _, err := l.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
}

func testReadDeferred(t *testing.T, l Fixture) {
	read := deferred(t, l, `{"version":1,"dryRun":true,"ids":["a","b"],"reason":"by hand"}`)
	unknown := deferred(t, l, `{"version":1,"dryrun":true}`)
	wrong := deferred(t, l, `{"version":1,"mode":"magic"}`)
	swept(t.Context(), t, l)
	for _, record := range []run.Record{read, unknown, wrong} {
		if same := found(t, l, record.ID); same.Status != run.StatusWaiting || same.Version != 1 {
			t.Errorf("the same program reads %+v", same)
		}
	}
	l.Upgrade()
	for range 2 {
		swept(t.Context(), t, l)
	}
	record := claimed(t, l, "worker", long).Record()
	if record.ID != read.ID || !record.Request.DryRun || record.IDCount != 2 || record.Request.Reason != "by hand" || record.Error != "" || record.Version != 3 || !record.Request.At.Equal(read.Request.At) {
		t.Errorf("claimed %+v", record)
	}
	if record := found(t, l, unknown.ID); record.Status != run.StatusWaiting || !strings.Contains(record.Error, "which knows the field dryrun") || record.Version != 2 {
		t.Errorf("what this one cannot read either is %+v", record)
	}
	if record := found(t, l, wrong.ID); record.Status != run.StatusFailed || !strings.Contains(record.Error, "mode must be replay or direct") || record.Finished.IsZero() {
		t.Errorf("what nobody can read is %+v", record)
	}
	nothingToClaim(t, l)
}

func testDeferredSlot(t *testing.T, l Fixture) {
	first := deferred(t, l, `{"version":1}`)
	lease := begun(t, l, long)
	l.Upgrade()
	swept(t.Context(), t, l)
	if record := found(t, l, first.ID); record.Status != run.StatusWaiting {
		t.Errorf("while its slot is taken it is %+v", record)
	}
	ended(t, lease, run.StatusSucceeded)
	swept(t.Context(), t, l)
	if record := claimed(t, l, "worker", long).Record(); record.ID != first.ID {
		t.Errorf("claimed %+v", record)
	}
}

func testDeferredExpires(t *testing.T, l Fixture) {
	soon := deferred(t, l, "{}", func(r *run.Request) { r.Expires = time.Now().Add(10 * time.Minute) })
	never := deferred(t, l, "{}", func(r *run.Request) { r.Expires = time.Now().Add(10_000 * time.Hour) })
	l.Age(20 * time.Minute)
	swept(t.Context(), t, l)
	if record := found(t, l, soon.ID); record.Status != run.StatusSkipped || !strings.HasPrefix(record.Error, "expired: no worker began it by 20") || record.Finished.IsZero() {
		t.Errorf("it is %+v", record)
	}
	if record := found(t, l, never.ID); record.Status != run.StatusWaiting {
		t.Errorf("the other one is %+v", record)
	}
	l.Age(100 * 24 * time.Hour)
	swept(t.Context(), t, l)
	if record := found(t, l, never.ID); record.Status != run.StatusSkipped {
		t.Errorf("much later it is %+v", record)
	}
	record, err := l.Defer(t.Context(), wanting(t, late), []byte("{}"), why)
	if err != nil || record.Status != run.StatusSkipped {
		t.Errorf("one that expired before became %+v, %v", record, err)
	}
}

func testDeferredCancelled(t *testing.T, l Fixture) {
	record := deferred(t, l, "{}")
	for _, wanted := range []run.Wanted{run.WantPause, run.WantRun} {
		_, err := l.Ask(t.Context(), record.ID, wanted, ann)
		isRefused(t, err, record.ID)
	}
	for range 2 {
		asked, err := l.Ask(t.Context(), record.ID, run.WantCancel, ann)
		if err != nil || asked.Status != run.StatusCancelled || asked.Error != "" || asked.Finished.IsZero() || asked.Version != 2 {
			t.Errorf("asked to cancel, it is %+v, %v", asked, err)
		}
	}
	l.Upgrade()
	swept(t.Context(), t, l)
	nothingToClaim(t, l)
}

// What a newer program entered, or has begun, is claimed by none that cannot read it,
// and says so.
func testNewerRun(t *testing.T, l Fixture) {
	newer := wanting(t)
	newer.Version++
	record, err := l.Submit(t.Context(), newer)
	if err != nil {
		t.Fatal(err)
	}
	nothingToClaim(t, l)
	if record := found(t, l, record.ID); record.Status != run.StatusQueued || !strings.HasPrefix(record.Error, why) {
		t.Errorf("it is %+v", record)
	}
	l.Upgrade()
	claimed(t, l, "worker", gone)
	if record := found(t, l, record.ID); record.Status != run.StatusRunning || record.Error != "" {
		t.Errorf("it is %+v", record)
	}
	isClaimable(t, l, true)
}
