package ledgertest

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

// steering is what people ask of runs and of the service.
var steering = map[string]func(*testing.T, Fixture){
	"a queued run is asked":     testAskQueued,
	"a running run is asked":    testAskRunning,
	"a run that ended is asked": testAskEnded,
	"the scheduler's switch":    testSwitch,
	"the last health check":     testHealth,
}

func testAskQueued(t *testing.T, l Fixture) {
	record := submitted(t, l)
	for i, wanted := range []run.Wanted{run.WantPause, run.WantPause, run.WantRun, run.WantRun} {
		asked, err := l.Ask(t.Context(), record.ID, wanted)
		if err != nil || asked.Wanted != wanted || asked.Status != run.StatusQueued || asked.Version != int64(2+i/2) {
			t.Errorf("asked to %s, it is %+v, %v", wanted, asked, err)
		}
	}
	for range 2 {
		asked, err := l.Ask(t.Context(), record.ID, run.WantCancel)
		if err != nil || asked.Status != run.StatusCancelled || asked.Finished.IsZero() || asked.Version != 4 {
			t.Errorf("asked to cancel, it is %+v, %v", asked, err)
		}
	}
	submitted(t, l) // the slot is free
}

func testAskRunning(t *testing.T, l Fixture) {
	id := begun(t, l, long).Record().ID
	for i, wanted := range []run.Wanted{run.WantPause, run.WantRun, run.WantCancel, run.WantCancel} {
		asked, err := l.Ask(t.Context(), id, wanted)
		if err != nil || asked.Wanted != wanted || asked.Status != run.StatusRunning || asked.Version != int64(min(2+i, 4)) || !asked.Finished.IsZero() {
			t.Errorf("asked to %s, it is %+v, %v", wanted, asked, err)
		}
	}
	for _, wanted := range []run.Wanted{run.WantPause, run.WantRun} {
		_, err := l.Ask(t.Context(), id, wanted)
		isRefused(t, err, id)
	}
}

func testAskEnded(t *testing.T, l Fixture) {
	for _, status := range []run.Status{run.StatusSucceeded, run.StatusPartial, run.StatusFailed, run.StatusCancelled} {
		record := finished(t, l, status)
		for _, wanted := range []run.Wanted{run.WantPause, run.WantRun, run.WantCancel} {
			_, err := l.Ask(t.Context(), record.ID, wanted)
			isRefused(t, err, record.ID)
		}
	}
	if _, err := l.Ask(t.Context(), run.NewRunID(), run.WantCancel); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("no run: %v", err)
	}
	if _, err := l.Ask(t.Context(), run.NewRunID(), "stop"); err == nil || errors.Is(err, run.ErrNotFound) {
		t.Errorf("asked to stop: %v", err)
	}
}

func testSwitch(t *testing.T, l Fixture) {
	now := func() run.Switch {
		t.Helper()
		s, err := l.Switch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := now(); s != (run.Switch{On: true}) {
		t.Errorf("at first it is %+v", s)
	}
	for _, on := range []bool{false, true, false} {
		set, err := l.SetSwitch(t.Context(), on, "ada@shop.example")
		if err != nil || set.On != on || set.By != "ada@shop.example" || set.At.IsZero() {
			t.Errorf("set to %+v, %v", set, err)
		}
		if s := now(); s != set {
			t.Errorf("it is %+v, want %+v", s, set)
		}
	}
}

func testHealth(t *testing.T, l Fixture) {
	if last, err := l.LastHealth(t.Context()); err != nil || last != nil {
		t.Errorf("at first it is %+v, %v", last, err)
	}
	at := time.Now().UTC().Truncate(time.Microsecond)
	for _, h := range []run.HealthRecord{
		{At: at, Healthy: true, Document: json.RawMessage(`{"mongodb":"up \u0000"}`)},
		{At: at, Document: json.RawMessage(`{"mongodb":"down"}`)}, // the answer to the first was lost
		{At: at.Add(-time.Minute), Healthy: true},
	} {
		if err := l.SaveHealth(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	last, err := l.LastHealth(t.Context())
	if err != nil || !last.At.Equal(at) || last.Healthy || string(last.Document) != `{"mongodb":"down"}` {
		t.Errorf("the last is %+v, %v", last, err)
	}
	if err := l.SaveHealth(t.Context(), run.HealthRecord{Healthy: true}); err != nil {
		t.Fatal(err)
	}
	if last, err := l.LastHealth(t.Context()); err != nil || !last.Healthy || last.At.Before(at) {
		t.Errorf("the last is %+v, %v", last, err)
	}
}
