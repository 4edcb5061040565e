package reconcile_test

import (
	"context"
	"errors"
	"strings"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
)

// setting is a run to be.
type setting struct {
	reconcile.Parts
	options reconcile.Options
	config  reconcile.Config
	window  int
}

// replay is a run that repairs by events, with the variables' defaults and a small
// window.
func (s *shop) replay() setting {
	return setting{
		Parts: reconcile.Parts{Source: source{s}, Target: target{s}, Barriers: &watch{shop: s}, Repairer: &repairer{shop: s}},
		options: reconcile.Options{
			Run: "run", Mode: run.Replay, BatchSize: 5,
		},
		config: reconcile.Config{
			BatchSize: 100, Settle: settle, Grace: grace, StallTimeout: stallTimeout, MaxRounds: 20,
			Compare: []string{"title", "price", "image", "sellerId"}, Parallel: 1,
		},
		window: 1000,
	}
}

// direct is a run that writes rows.
func (s *shop) direct() setting {
	set := s.replay()
	set.options.Mode, set.Repairer = run.Direct, &repairer{shop: s, direct: true}
	return set
}

func (s *shop) dryRun() setting {
	set := s.replay()
	set.options.DryRun = true
	return set
}

// do executes the run and checks everything that holds for all runs.
func (s *shop) do(ctx context.Context, t rapid.TB, set setting) (*run.Report, error) {
	t.Helper()
	s.mu.Lock()
	s.calls = make(map[operation]int)
	s.audit = newAudit()
	s.audit.unseen = set.Barriers == nil
	s.mu.Unlock()
	engine, err := reconcile.NewWithWindow(set.Parts, set.config, set.options, set.window)
	if err != nil {
		t.Fatal(err)
	}
	if p := engine.Progress(); p.Phase != "" || p.Compared != 0 {
		t.Errorf("before the run its progress is %+v", p)
	}
	report, err := engine.Do(ctx)
	if report == nil {
		t.Fatalf("no report, error %v", err)
	}
	s.check(ctx, t, set, report, err)
	if p := engine.Progress(); p.Phase != run.PhaseDone || p.Acted != report.Acted || p.Compared != report.Products {
		t.Errorf("after the run its progress is %+v, the report %+v", p, report)
	}
	for _, problem := range s.audit.problems {
		t.Error(problem)
	}
	return report, err
}

// ledger is what a report says of missing products, one by one.
type ledger struct {
	states   map[run.State]int64
	unjudged int64 // in flight, and never confirmed
}

// read takes the samples of a report apart. It wants all products to be named:
// tests with more than MaxSamples look at the counts.
func (s *shop) read(t rapid.TB, report *run.Report) ledger {
	t.Helper()
	l := ledger{states: make(map[run.State]int64)}
	seen := make(map[product.ID]bool)
	var others int64
	for _, o := range report.Samples {
		if o.Remedy != o.State.Remedy() {
			t.Errorf("the remedy of %+v is not that of its state", o)
		}
		if o.Kind != product.Missing {
			if o.State == run.InFlight {
				others++
			}
			continue
		}
		if seen[o.ID] {
			t.Errorf("%s has two outcomes", o.ID)
		}
		seen[o.ID] = true
		l.states[o.State]++
		s.judge(t, &l, o)
	}
	for id := range s.audit.acts {
		if !seen[id] {
			l.states[run.Verified]++
			s.audit.verified(&s.table, id)
		}
	}
	for _, state := range run.States() {
		want := l.states[state]
		if state == run.InFlight {
			want += others
		}
		if got := report.Outcomes[state]; got != want {
			t.Errorf("the report counts %d %s, and there are %d", got, state, want)
		}
	}
	return l
}

// judge compares one outcome with what the run has seen and done.
func (s *shop) judge(t rapid.TB, l *ledger, o run.Outcome) {
	t.Helper()
	_, acted := s.audit.acts[o.ID]
	row, p := s.audit.rowLooks[o.ID], s.audit.looks[o.ID]
	wrong := false
	switch o.State {
	case run.Verified:
		wrong = true // counted only
	case run.Lost:
		wrong = !acted || row.found
	case run.Blocked:
		wrong = o.Reason == "" || (acted && s.references[o.ID] == "" && o.Column == "")
	case run.Gone:
		wrong = p.found || (acted && row.found)
	case run.Undone:
		wrong = !acted || p.found || row.found
	case run.InFlight:
		if !acted {
			l.unjudged++
		}
		wrong = o.Reason == ""
	case run.Failed:
		wrong = o.Reason == ""
	case run.Skipped, run.Found:
		wrong = acted
	}
	if wrong {
		t.Errorf("%+v, and it was acted on: %v, its row was seen: %v, its product: %v", o, acted, row.found, p.found)
	}
	if strings.ContainsAny(o.Reason, "\n") || len(o.Reason) > 1000 {
		t.Errorf("the reason is no line: %q", o.Reason)
	}
}

// check holds for the report of every run.
func (s *shop) check(ctx context.Context, t rapid.TB, set setting, report *run.Report, err error) {
	t.Helper()
	missing := report.Found[product.Missing]
	if len(report.Samples) > run.MaxSamples || report.Rounds > set.config.MaxRounds || report.Acted != int64(s.audit.acted) {
		t.Errorf("%d samples, %d rounds, %d repairs where %d were made", len(report.Samples), report.Rounds, report.Acted, s.audit.acted)
	}
	if most := set.options.MaxRepairs; most > 0 && len(s.audit.acts) > most {
		t.Errorf("%d products were repaired, at most %d may be", len(s.audit.acts), most)
	}
	checkEnd(ctx, t, report, err)
	switch {
	case len(report.Samples) == run.MaxSamples:
		return
	case set.options.DryRun || report.Result == run.Stopped:
		l := s.read(t, report)
		if s.audit.took || report.Rounds != 0 {
			t.Errorf("a repairer was asked, and nothing is to be repaired")
		}
		if named := l.states[run.Found] + l.states[run.Blocked] + l.states[run.Gone]; err == nil && set.options.DryRun && named != missing {
			t.Errorf("%d missing products are named, there are %d", named, missing)
		}
		if want := missing + l.unjudged - l.states[run.Gone]; report.Unrepaired != want {
			t.Errorf("%d unrepaired, want %d", report.Unrepaired, want)
		}
	default:
		l := s.read(t, report)
		var outcomes, repaired int64
		for state, n := range l.states {
			outcomes += n
			switch state {
			case run.Verified, run.Gone, run.Undone:
				repaired += n
			}
		}
		// A pass that only counts decides nothing, and an error may end the run in it.
		counting := err != nil && !s.audit.took && set.options.MaxRepairs == 0 && len(set.options.IDs) == 0 && outcomes == l.unjudged
		if outcomes != missing+l.unjudged && !counting {
			t.Errorf("%d outcomes for %d missing products and %d that were not judged: %v", outcomes, missing, l.unjudged, report.Outcomes)
		}
		if want := missing + l.unjudged - repaired; report.Unrepaired != want {
			t.Errorf("%d unrepaired, want %d", report.Unrepaired, want)
		}
	}
}

// checkEnd compares a report's result with the error and with its own counts.
func checkEnd(ctx context.Context, t rapid.TB, report *run.Report, err error) {
	t.Helper()
	remaining := report.Unrepaired > 0 || len(report.Unsupported) > 0
	differing := report.Found[product.Stale]+report.Found[product.Orphaned]+report.Outcomes[run.InFlight] > 0
	agrees := false
	switch report.Result {
	case run.InSync:
		agrees = err == nil && !remaining && (report.DryRun && !differing || !report.DryRun && report.Found[product.Missing] == 0)
	case run.Succeeded:
		agrees = err == nil && !remaining && !report.DryRun && report.Found[product.Missing] > 0
	case run.Partial:
		agrees = err == nil && (remaining || report.DryRun && differing)
	case run.Stopped:
		agrees = err == nil && report.Unrepaired > 0 && report.Acted == 0 && len(report.Notes) > 0
	case run.Cancelled:
		agrees = err != nil && errors.Is(context.Cause(ctx), context.Canceled)
	case run.Broken:
		agrees = err != nil && !errors.Is(context.Cause(ctx), context.Canceled)
	}
	if err != nil {
		agrees = agrees && report.Error == err.Error() && (ctx.Err() == nil || errors.Is(err, context.Cause(ctx)))
	} else {
		agrees = agrees && report.Error == ""
	}
	if !agrees {
		t.Errorf("the result is %q, the error %v, the report %+v", report.Result, err, report)
	}
	if report.Samples == nil || report.Notes == nil || report.Finished.Before(report.Started) || report.Duration != report.Finished.Sub(report.Started).Milliseconds() {
		t.Errorf("the report is not whole: %+v", report)
	}
}
