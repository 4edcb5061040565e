package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/words"
)

// said runs a command, which must end with the code, and returns what it printed.
func (s *shop) said(t *testing.T, code int, args ...string) string {
	t.Helper()
	o := s.etl(t.Context(), args...)
	if o.code != code {
		t.Fatalf("%v ended with %d, want %d\n%s%s", args, o.code, code, o.stdout, o.stderr)
	}
	return o.stdout + o.stderr
}

// wantAll insists that a text says all of these.
func wantAll(t *testing.T, text string, all ...string) {
	t.Helper()
	for _, what := range all {
		if !strings.Contains(text, what) {
			t.Errorf("it lacks %q:\n%s", what, text)
		}
	}
}

// A dry run over HTTP is found, shown, applied and followed from the terminal, and what
// became of each product is listed, without the API.
func TestRunsFromTheTerminal(t *testing.T) {
	t.Parallel()
	s := newShop(t, 40, every(4))
	s.consumer()
	wantAll(t, s.said(t, exitService, "runs", "list"), "there is no ledger yet", "`etl serve`, `etl sync` or `etl migrate` creates schema etl_ledger")
	r := s.serve(nil).ready()
	wantAll(t, s.said(t, exitOK, "runs", "list"), "There are no such runs.")
	wantAll(t, s.said(t, exitUsage, "runs", "show", "last"), "the ledger has no run yet")
	found := r.ended(r.post("/api/etl/sync", `{"dryRun": true, "reason": "a look\u001b[31m"}`).ID)

	wantAll(t, s.said(t, exitOK, "runs", "list", "--since", "1h", "--status", "partial,running"), found.ID, "comparison by http (ann@shop)", "partial", "Differences found: 10 missing")
	wantAll(t, s.said(t, exitOK, "runs", "list", "--attention", "apply"), found.ID, "partial (apply)")
	shown := s.said(t, exitOK, "runs", "show", found.ID[24:])
	wantAll(t, shown, found.ID, "a look", "found missing      │ 10", "10 × missing", "etl sync")
	if strings.Contains(shown, "\x1b") {
		t.Error("a reason steers the terminal")
	}
	wantAll(t, s.said(t, exitOK, "runs", "products", "last", "--kind", "missing", "--limit", "3"), s.products.Key(0), "TITLE", "Café Crème Mug", "… and more: --after ")
	wantAll(t, s.said(t, exitOK, "runs", "apply", "last", "--wait"), "Repaired: 10 of 10 missing products verified in the cart")
	s.wantComplete()

	wantAll(t, s.said(t, exitOK, "runs", "list", "--attention", "apply,lost"), "There are no such runs.")
	var page struct{ Runs []runDocument }
	if err := json.Unmarshal([]byte(s.etl(t.Context(), "runs", "list", "-o", "json").stdout), &page); err != nil || len(page.Runs) != 2 {
		t.Fatalf("%v: %+v", err, page)
	}
	if applied := page.Runs[0]; applied.Request.Apply != found.ID || applied.Request.Trigger != run.ByCLI || applied.Request.By == "" {
		t.Errorf("%+v", applied.Request)
	}
	wantAll(t, s.said(t, exitOK, "runs", "watch", "last"), "Repaired: 10 of 10 missing")
	wantAll(t, s.said(t, exitService, "runs", "apply", "last"), "repaired what it found: only a dry run, or a run that stopped at its findings, is applied")
	wantAll(t, s.said(t, exitService, "runs", "cancel", "last"), "is succeeded, so it cannot be cancelled")
	shared := 0 // what both ids begin with: they are of one minute or of two
	for found.ID[:shared+1] == page.Runs[0].ID[:shared+1] {
		shared++
	}
	for line, want := range map[string]string{
		"runs show 0": `"0" is too short for a part of a run's id`, "runs show zzzz": "no run has zzzz in its id", "runs show " + found.ID[:shared]: "stands in the ids of 2 runs",
		"runs show 00000000-0000-7000-8000-000000000000": "there is no run 00000000-0000-7000-8000-000000000000",
		"runs list --status done":                        `there is no status "done", there are waiting, queued, running`, "runs list --since soon": `--since is "soon", it must be a time or how long ago it was`,
		"runs list --limit 0": "--limit is 0, it must be 1..500", "runs products last --state done": `there is no state "done"`, "runs": "", "runs shwo": "did you mean show?",
		"sync --wait": "--wait goes with --enqueue",
	} {
		wantAll(t, s.said(t, exitUsage, strings.Fields(line)...), want)
	}
}

// Runs of other processes are steered from the terminal.
func TestRunsAreSteeredFromTheTerminal(t *testing.T) {
	t.Parallel()
	s := newShop(t, 400, every(2))
	s.consumer(slowly)
	r := s.serve(map[string]string{"REPLAY_MAX_QUEUE_DEPTH": "5"}).ready()
	shown := r.post("/api/etl/sync", `{"maxRepairs": 200, "batchSize": 5}`)
	r.while(shown, "the first events", func(p *words.ProgressDocument) bool { return p.Acted > 5 })
	wantAll(t, s.said(t, exitOK, "runs", "pause", "last"), "Run "+shown.ID+" is told to pause.")
	status := func(want run.Status) {
		t.Helper()
		testenv.Eventually(t, watchFor, func() bool {
			return strings.Contains(s.said(t, exitOK, "runs", "list"), string(want))
		}, "the run to be "+string(want))
	}
	status(run.StatusPaused)
	wantAll(t, s.said(t, exitActive, "sync"), "another repairing run is active: run "+shown.ID+", paused: `etl runs resume "+shown.ID+"` lets it go on, `etl runs cancel "+shown.ID+"` ends it")
	wantAll(t, s.said(t, exitOK, "runs", "resume", shown.ID), "is told to resume")
	status(run.StatusRunning)
	wantAll(t, s.said(t, exitOK, "runs", "cancel", shown.ID), "is told to cancel")
	wantAll(t, s.said(t, exitService, "runs", "watch", shown.ID), "run "+shown.ID+" is cancelled", "Interrupted after")
	wantAll(t, s.said(t, exitOK, "runs", "show", shown.ID), "resume by "+actor()+" (cli) at 20", "cancel by "+actor()+" (cli) at 20")
	wantAll(t, s.said(t, exitOK, "runs", "actions", "--since", "1h"), "cancel ", shown.ID, actor()+" (cli)")
}

// The scheduler's switch is turned without the API, by name.
func TestSchedulerFromTheTerminal(t *testing.T) {
	t.Parallel()
	s := newShop(t, 20, every(4))
	s.consumer()
	r := s.serve(nil).ready()
	wantAll(t, s.said(t, exitOK, "scheduler", "status"), "Scheduled runs are on.", "There was none yet.")
	wantAll(t, s.said(t, exitOK, "runs", "actions"), "Nobody has steered anything.")
	wantAll(t, s.said(t, exitUsage, "runs", "actions", "--before", "x"), `--before is "x", it must be what an earlier page says`)
	wantAll(t, s.said(t, exitOK, "scheduler", "stop"), "Scheduled runs are off, by "+actor()+" since 20")
	var status struct {
		Status struct {
			Switch struct {
				On        bool
				ChangedBy string
			}
		}
	}
	testenv.Eventually(t, watchFor, func() bool {
		r.get("/api/etl/scheduler/status", &status)
		return !status.Status.Switch.On && status.Status.Switch.ChangedBy == actor()
	}, "the API to show it")
	wantAll(t, s.said(t, exitOK, "scheduler", "trigger", "--wait"), "Repaired: 5 of 5 missing")
	wantAll(t, s.said(t, exitOK, "scheduler", "start"), "Scheduled runs are on, by ")
	wantAll(t, s.said(t, exitOK, "scheduler", "status"), "The last one, run ", "succeeded")
	s.wantComplete()
}

// What a service left when it was stopped in the middle of a run is seen, named with what
// ends it, and no obstacle for ever.
func TestCaseE11AnAbandonedRun(t *testing.T) {
	t.Parallel()
	s := newShop(t, 400, every(2))
	events := s.consumer(slowly)
	env := map[string]string{"REPLAY_MAX_QUEUE_DEPTH": "5"}
	r := s.serve(env).ready()
	shown := r.post("/api/etl/sync", `{"maxRepairs": 200, "batchSize": 5}`)
	r.while(shown, "the first events", func(p *words.ProgressDocument) bool { return p.Acted > 5 })
	r.stop()
	r.wait()
	cancel := "`etl runs cancel " + shown.ID + "` ends it"
	wantAll(t, s.said(t, exitOK, "doctor"), "warn  active run", "another repairing run is active: run "+shown.ID+", queued since 20", cancel)
	wantAll(t, s.said(t, exitActive, "sync"), "another repairing run is active: run "+shown.ID+", queued since 20", "a worker of `etl serve` takes it up", cancel)
	wantAll(t, s.said(t, exitOK, "runs", "cancel", shown.ID), "Run "+shown.ID+" is cancelled.")
	wantAll(t, s.said(t, exitOK, "sync", "--max-repairs", "200"), "products verified in the cart")
	s.wantComplete()
	if c := events.Counts(); c.Ignored != 0 {
		t.Errorf("%+v", c)
	}
	wantAll(t, s.said(t, exitOK, "doctor"), "ok    active run")
}

// A request that is sent to the service may be waited for, like a run of one's own.
func TestEnqueueAndWait(t *testing.T) {
	t.Parallel()
	s := newShop(t, 40, every(4))
	s.consumer()
	r := s.serve(nil).ready()
	wantAll(t, s.said(t, exitDifferences, "sync", "--dry-run", "--enqueue", "--wait"), "Differences found: 10 missing")
	wantAll(t, s.said(t, exitOK, "sync", "--enqueue", "--wait"), "Repaired: 10 of 10 missing products verified")
	s.wantComplete()
	r.stop()
	r.wait()
	sent := s.start(t.Context(), "sync", "--enqueue", "--wait", "--dry-run")
	testenv.Eventually(t, watchFor, func() bool {
		return strings.Contains(sent.stderr.String(), "waits for a worker since ")
	}, "the command to say what it waits for")
	s.serve(nil)
	if o := sent.wait(); o.code != exitOK || !strings.Contains(o.stdout, "In sync: 40 products") {
		t.Errorf("%d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

func TestMoment(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"2026-11-26T10:00:00Z": time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC), "2026-11-26T10:00:00+02:00": time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC),
		"2026-11-26": time.Date(2026, 11, 26, 0, 0, 0, 0, time.Local), "2026-11-26T10:30": time.Date(2026, 11, 26, 10, 30, 0, 0, time.Local), "2h": time.Now().Add(-2 * time.Hour),
	} {
		if got, err := moment(text); err != nil || got.Sub(want).Abs() > time.Minute {
			t.Errorf("%s is %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-2h", "0s", "yesterday", "2026-13-01", "10:00"} {
		if got, err := moment(text); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}
