package ledger

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestAskAQueuedRun(t *testing.T) {
	t.Parallel()
	l := fresh(t)
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

// A run that was handed back and is cancelled has nobody to close its books.
func TestCancelAHandedBackRun(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	lease := begun(t, l, long)
	leaveBehind(t, lease)
	if err := lease.HandBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	record, err := l.Ask(t.Context(), lease.Record().ID, run.WantCancel)
	if err != nil || record.Status != run.StatusCancelled {
		t.Errorf("%+v, %v", record, err)
	}
	isAbandoned(t, l, record.ID)
}

func TestAskARunningRun(t *testing.T) {
	t.Parallel()
	l := fresh(t)
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
		testenv.CheckMessage(t, err, "it is being cancelled")
	}
}

func TestAskARunThatEnded(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	for _, status := range []run.Status{run.StatusSucceeded, run.StatusPartial, run.StatusFailed, run.StatusCancelled} {
		record := finished(t, l, status)
		for _, wanted := range []run.Wanted{run.WantPause, run.WantRun, run.WantCancel} {
			_, err := l.Ask(t.Context(), record.ID, wanted)
			isRefused(t, err, record.ID)
			testenv.CheckMessage(t, err, string(status), "cannot be ")
		}
	}
	if _, err := l.Ask(t.Context(), run.NewRunID(), run.WantCancel); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("no run: %v", err)
	}
	_, err := l.Ask(t.Context(), run.NewRunID(), "stop")
	testenv.CheckMessage(t, err, `"stop"`)
}

func TestSwitch(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	other := open(t, l.pool.Config().ConnString(), "another")
	now := func(l *Ledger) run.Switch {
		t.Helper()
		s, err := l.Switch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := now(l); s != (run.Switch{On: true}) {
		t.Errorf("at first it is %+v", s)
	}
	for _, on := range []bool{false, true, false} {
		set, err := l.SetSwitch(t.Context(), on, "ada@shop.example"+strings.Repeat("!", maxText))
		if err != nil || set.On != on || !strings.HasPrefix(set.By, "ada@shop.example") || len(set.By) > maxText || time.Since(set.At).Abs() > time.Hour {
			t.Errorf("set to %+v, %v", set, err)
		}
		if s := now(l); s != set {
			t.Errorf("it is %+v, want %+v", s, set)
		}
	}
	if !now(other).On {
		t.Error("the switch of another pipeline is off")
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	l := fresh(t)
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
	testenv.CheckMessage(t, l.SaveHealth(t.Context(), run.HealthRecord{Document: json.RawMessage(`{`)}), "keep the health check")
	if err := l.SaveHealth(t.Context(), run.HealthRecord{Healthy: true}); err != nil {
		t.Fatal(err)
	}
	if last, err := l.LastHealth(t.Context()); err != nil || !last.Healthy || last.At.Before(at) || string(last.Document) != "null" {
		t.Errorf("the last is %+v, %v", last, err)
	}
}
