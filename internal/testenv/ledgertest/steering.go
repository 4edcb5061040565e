package ledgertest

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
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
	"who steered is kept":       testActions,
	"the last health check":     testHealth,
}

func testAskQueued(t *testing.T, l Fixture) {
	record := submitted(t, l)
	for i, wanted := range []run.Wanted{run.WantPause, run.WantPause, run.WantRun, run.WantRun} {
		asked, err := l.Ask(t.Context(), record.ID, wanted, ann)
		if err != nil || asked.Wanted != wanted || asked.Status != run.StatusQueued || asked.Version != int64(2+i/2) {
			t.Errorf("asked to %s, it is %+v, %v", wanted, asked, err)
		}
	}
	for range 2 {
		asked, err := l.Ask(t.Context(), record.ID, run.WantCancel, ann)
		if err != nil || asked.Status != run.StatusCancelled || asked.Finished.IsZero() || asked.Version != 4 {
			t.Errorf("asked to cancel, it is %+v, %v", asked, err)
		}
	}
	submitted(t, l) // the slot is free
}

func testAskRunning(t *testing.T, l Fixture) {
	id := begun(t, l, long).Record().ID
	for i, wanted := range []run.Wanted{run.WantPause, run.WantRun, run.WantCancel, run.WantCancel} {
		asked, err := l.Ask(t.Context(), id, wanted, ann)
		if err != nil || asked.Wanted != wanted || asked.Status != run.StatusRunning || asked.Version != int64(min(2+i, 4)) || !asked.Finished.IsZero() {
			t.Errorf("asked to %s, it is %+v, %v", wanted, asked, err)
		}
	}
	for _, wanted := range []run.Wanted{run.WantPause, run.WantRun} {
		_, err := l.Ask(t.Context(), id, wanted, ann)
		isRefused(t, err, id)
	}
}

func testAskEnded(t *testing.T, l Fixture) {
	for _, status := range []run.Status{run.StatusSucceeded, run.StatusPartial, run.StatusFailed, run.StatusCancelled} {
		record := finished(t, l, status)
		for _, wanted := range []run.Wanted{run.WantPause, run.WantRun, run.WantCancel} {
			_, err := l.Ask(t.Context(), record.ID, wanted, ann)
			isRefused(t, err, record.ID)
		}
	}
	if _, err := l.Ask(t.Context(), run.NewRunID(), run.WantCancel, ann); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("no run: %v", err)
	}
	if _, err := l.Ask(t.Context(), run.NewRunID(), "stop", ann); err == nil || errors.Is(err, run.ErrNotFound) {
		t.Errorf("asked to stop: %v", err)
	}
}

// ann steers in tests.
var ann = run.Actor{Name: "ann", Trigger: run.ByHTTP}

// Each change is kept with who made it and when, and nothing that changed nothing.
func testActions(t *testing.T, l Fixture) {
	began := time.Now().Add(-time.Minute)
	bob := run.Actor{Name: "bob@terminal \x00\xff", Trigger: run.ByCLI}
	steer := func(id string, wanted run.Wanted, by run.Actor) {
		t.Helper()
		if _, err := l.Ask(t.Context(), id, wanted, by); err != nil {
			t.Fatal(err)
		}
	}
	looked := finished(t, l, run.StatusPartial, look).ID
	apply := submitted(t, l, func(r *run.Request) { r.By, r.Trigger, r.Apply = "cleo", run.ByMessage, looked })
	if _, err := l.Submit(t.Context(), apply.Request); err != nil { // once more
		t.Fatal(err)
	}
	steer(apply.ID, run.WantPause, ann)
	steer(apply.ID, run.WantPause, bob)
	steer(apply.ID, run.WantRun, bob)
	steer(apply.ID, run.WantCancel, ann)
	steer(apply.ID, run.WantCancel, bob)
	if _, err := l.Ask(t.Context(), apply.ID, run.WantRun, bob); err == nil {
		t.Error("a run that was cancelled is resumed")
	}
	for _, on := range []bool{true, false, false, true} {
		if _, err := l.SetSwitch(t.Context(), on, bob); err != nil {
			t.Fatal(err)
		}
	}
	const bobs = "bob@terminal "
	want := []run.Action{ // the latest first
		{Deed: run.DidStart, By: bobs, Trigger: run.ByCLI},
		{Deed: run.DidStop, By: bobs, Trigger: run.ByCLI},
		{Deed: run.DidCancel, By: "ann", Trigger: run.ByHTTP, Run: apply.ID},
		{Deed: run.DidResume, By: bobs, Trigger: run.ByCLI, Run: apply.ID},
		{Deed: run.DidPause, By: "ann", Trigger: run.ByHTTP, Run: apply.ID},
		{Deed: run.DidApply, By: "cleo", Trigger: run.ByMessage, Run: looked, NewRun: apply.ID},
	}
	list := func(filter run.ActionFilter) (all []run.Action) {
		t.Helper()
		for {
			page, err := l.Actions(t.Context(), filter)
			if err != nil || page.Actions == nil {
				t.Fatalf("%+v, %v", page, err)
			}
			for _, a := range page.Actions {
				if a.At.Before(began) {
					t.Errorf("%s at %s", a.Deed, a.At)
				}
				a.At = time.Time{}
				if strings.HasPrefix(a.By, bobs) { // ledgers differ in what stands for what is no text
					a.By = bobs
				}
				all = append(all, a)
			}
			if page.Next == "" {
				return all
			}
			filter.Before = page.Next
		}
	}
	for _, limit := range []int{0, 1, 4, 6} {
		if got := list(run.ActionFilter{Limit: limit}); !slices.Equal(got, want) {
			t.Errorf("in pages of %d: %+v", limit, got)
		}
	}
	if got := list(run.ActionFilter{Run: apply.ID, Limit: 2}); !slices.Equal(got, want[2:5]) {
		t.Errorf("of one run: %+v", got)
	}
	if got := list(run.ActionFilter{Run: looked}); !slices.Equal(got, want[5:]) {
		t.Errorf("of the run that was applied: %+v", got)
	}
	if got := list(run.ActionFilter{Since: time.Now().Add(time.Hour)}); len(got) > 0 {
		t.Errorf("of the future: %+v", got)
	}
	for _, before := range []string{"x", "before", "before x", "before 100"} {
		if _, err := l.Actions(t.Context(), run.ActionFilter{Before: before}); !errors.Is(err, run.ErrCursor) {
			t.Errorf("before %q: %v", before, err)
		}
	}
	l.Age(32 * 24 * time.Hour)
	if _, err := l.Forget(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := list(run.ActionFilter{}); len(got) > 0 {
		t.Errorf("after a month: %+v", got)
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
	if set, err := l.SetSwitch(t.Context(), true, run.Actor{Name: "bob@shop.example", Trigger: run.ByHTTP}); err != nil || set != (run.Switch{On: true}) {
		t.Errorf("set to what it is: %+v, %v", set, err)
	}
	for _, on := range []bool{false, true, false} {
		set, err := l.SetSwitch(t.Context(), on, run.Actor{Name: "ada@shop.example", Trigger: run.ByHTTP})
		if err != nil || set.On != on || set.By != "ada@shop.example" || set.At.IsZero() {
			t.Errorf("set to %+v, %v", set, err)
		}
		if s := now(); s != set {
			t.Errorf("it is %+v, want %+v", s, set)
		}
		if again, err := l.SetSwitch(t.Context(), on, run.Actor{Name: "bob@shop.example", Trigger: run.ByHTTP}); err != nil || again != set || now() != set {
			t.Errorf("set to what it is: %+v, %v, want %+v", again, err, set)
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
