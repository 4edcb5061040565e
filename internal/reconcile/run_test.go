package reconcile_test

import (
	"context"
	"errors"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
)

const lookInterval = 10 * time.Millisecond

func pauseFor(ctx context.Context, d time.Duration) error {
	return reconcile.SleepUntil(ctx, time.Now().Add(d))
}

// setting is a run to be.
type setting struct {
	reconcile.Parts
	options  reconcile.Options
	config   reconcile.Config
	capacity int
	blind    bool // the queues cannot be seen
}

// replay is a run that repairs by events, with the variables' defaults.
func (s *shop) replay(kinds ...product.Kind) setting {
	return setting{
		Parts: reconcile.Parts{Source: s.source(), Target: s.target(), Replay: &repairer{shop: s, depth: 200}},
		options: reconcile.Options{
			Run: "run", Mode: run.Replay, BatchSize: 100, Repair: kinds,
		},
		config: reconcile.Config{
			BatchSize: 100, Settle: settle, SettleMax: settleMax, Grace: grace, StallTimeout: stallTimeout, MaxRounds: 20,
			Compare: []string{"title", "price", "image", "sellerId"}, Parallel: 1, MaxDeletes: 100, MaxShrink: 20,
		},
		capacity: reconcile.Capacity,
	}
}

// direct is a run that writes rows.
func (s *shop) direct(kinds ...product.Kind) setting {
	set := s.replay(kinds...)
	set.options.Mode, set.Replay = run.Direct, nil
	set.Direct = &repairer{shop: s, direct: true}
	return set
}

func (s *shop) dryRun(kinds ...product.Kind) setting {
	set := s.replay(kinds...)
	set.options.DryRun = true
	return set
}

// do executes the run and checks everything that holds for all runs.
func (s *shop) do(ctx context.Context, t rapid.TB, set setting) (*run.Report, error) {
	t.Helper()
	s.mu.Lock()
	s.calls = make(map[operation]int)
	s.audit = newAudit()
	if s.carried != nil {
		s.audit.acts = s.carried
	}
	s.mu.Unlock()
	watermarks, stop := s.open(ctx)
	defer stop()
	if !set.blind {
		set.Watermarks = watermarks
	}
	engine, err := reconcile.NewWithCapacity(set.Parts, set.config, set.options, set.capacity)
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
	s.mu.Lock()
	defer s.mu.Unlock()
	s.check(ctx, t, set, report, err)
	if p := engine.Progress(); p.Phase != run.PhaseDone || p.Acted != report.Acted || p.Compared != report.Products {
		t.Errorf("after the run its progress is %+v, the report %+v", p, report)
	}
	for _, problem := range s.audit.problems {
		t.Error(problem)
	}
	return report, err
}

// check holds for the report of every run.
func (s *shop) check(ctx context.Context, t rapid.TB, set setting, report *run.Report, err error) {
	t.Helper()
	attempts := set.config.MaxRounds + 2 + set.config.MaxRounds // for one that becomes another difference, and is taken back in the end
	if set.Replay != nil && set.Direct != nil {
		attempts++ // the fallback's
	}
	if len(report.Samples) > run.MaxSamples || report.Attempts > attempts || set.Ledger == nil && report.Acted != int64(s.audit.acted) {
		t.Errorf("%d samples, %d attempts, %d repairs where %d were made", len(report.Samples), report.Attempts, report.Acted, s.audit.acted)
	}
	if most := set.options.MaxRepairs; most > 0 && s.repaired() > most {
		t.Errorf("%d products were repaired, at most %d may be", s.repaired(), most)
	}
	if set.options.DryRun && s.audit.acted > 0 {
		t.Errorf("a dry run has acted")
	}
	total := make(map[run.State]int64)
	for kind, states := range report.ByKind {
		var outcomes int64
		for state, n := range states {
			total[state] += n
			outcomes += n
			if n < 0 {
				t.Errorf("%d %s %s", n, kind, state)
			}
		}
		if found := report.Found[kind]; found > outcomes || outcomes-found > states[run.InFlight] {
			t.Errorf("%d outcomes of %d %s products, %d of them in flight: %v", outcomes, found, kind, states[run.InFlight], report.ByKind)
		}
	}
	for _, rule := range run.States() {
		if report.Outcomes[rule.State] != total[rule.State] {
			t.Errorf("the report counts %d %s, and there are %d", report.Outcomes[rule.State], rule.State, total[rule.State])
		}
	}
	s.checkSamples(t, report)
	checkEnd(ctx, t, report, err)
}

// repaired is how many products were acted on, but for those taken back only.
func (s *shop) repaired() (n int) {
	for _, acts := range s.audit.acts {
		for _, one := range acts {
			if !one.undo {
				n++
				break
			}
		}
	}
	return n
}

// checkSamples compares each outcome with what the run has seen and done.
func (s *shop) checkSamples(t rapid.TB, report *run.Report) {
	t.Helper()
	seen := make(map[product.ID]bool)
	for _, o := range report.Samples {
		acted := len(s.audit.acts[o.ID]) > 0
		row, p := s.audit.rowLooks[o.ID], s.audit.looks[o.ID]
		wrong := seen[o.ID]
		seen[o.ID] = true
		switch o.State {
		case run.Verified:
			wrong = true // counted only
		case run.Lost:
			wrong = wrong || o.Kind == product.Missing && row.found || o.Reason.Code == ""
		case run.Gone:
			wrong = wrong || p.found != row.found
		case run.Undone:
			wrong = wrong || !acted || p.found || row.found
		case run.Blocked, run.InFlight, run.Failed, run.Skipped:
			wrong = wrong || o.Reason.Code == ""
		case run.Found:
		}
		if wrong {
			t.Errorf("%+v, and it was acted on: %v, its row was seen: %v, its product: %v", o, acted, row.found, p.found)
		}
	}
}

// checkEnd compares a report's result with the error and with its own counts.
func checkEnd(ctx context.Context, t rapid.TB, report *run.Report, err error) {
	t.Helper()
	unknown := func(n run.Note) bool { return n.Code == run.NoteUnknownIDs }
	remaining := report.Unrepaired > 0 || len(report.Unsupported) > 0 || slices.ContainsFunc(report.Notes, unknown)
	agrees, stores := false, report.Stores()
	switch report.Result {
	case run.InSync:
		agrees = err == nil && !remaining && report.Acted == 0 && stores.InSync()
	case run.Succeeded:
		agrees = err == nil && !remaining && !report.DryRun && (!stores.InSync() || report.Acted+report.Outcomes[run.Verified]+report.Outcomes[run.Undone] > 0)
	case run.Partial:
		agrees = err == nil && (remaining || report.DryRun)
	case run.Stopped:
		agrees = err == nil && len(report.Notes) > 0
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

var errReset = errors.New("the connection was reset")
