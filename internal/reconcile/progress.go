package reconcile

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// progress is how far a run is.
type progress struct {
	total   atomic.Int64
	scanned atomic.Bool
	ranges  atomic.Int64
	done    atomic.Int64 // of the ranges

	mu     sync.Mutex
	phases []run.PhaseTime
	since  time.Time // the present phase was entered
	phase  run.Phase
}

func (p *progress) begin() { p.enter(run.PhasePlanning) }

func (p *progress) finish() { p.enter(run.PhaseDone) }

func (p *progress) enter(phase run.Phase) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if phase == p.phase || p.phase == run.PhaseDone {
		return
	}
	now := time.Now()
	if i := p.index(p.phase); i >= 0 {
		p.phases[i].Milliseconds += now.Sub(p.since).Milliseconds()
	}
	p.phase, p.since = phase, now
	if p.index(phase) < 0 {
		p.phases = append(p.phases, run.PhaseTime{Phase: phase, Entered: now})
	}
}

func (p *progress) index(phase run.Phase) int {
	return slices.IndexFunc(p.phases, func(t run.PhaseTime) bool { return t.Phase == phase })
}

// times are the present phase, and the phases so far, the present one up to now.
func (p *progress) times() (run.Phase, []run.PhaseTime) {
	p.mu.Lock()
	defer p.mu.Unlock()
	times := slices.Clone(p.phases)
	if i := p.index(p.phase); i >= 0 {
		times[i].Milliseconds += time.Since(p.since).Milliseconds()
	}
	return p.phase, times
}

// phases by the stage that items wait for, the last stage first.
var phases = []struct {
	stage stage
	phase run.Phase
}{
	{proving, run.PhaseProving}, {undoing, run.PhaseRepairing}, {rescuing, run.PhaseRepairing},
	{repairing, run.PhaseRepairing}, {judging, run.PhaseConfirming},
}

// Progress tells how far the run is. It may be called at any time.
func (r *Run) Progress() run.Progress {
	waiting := r.line.waiting()
	phase, times := r.progress.times()
	if phase != run.PhasePlanning && phase != run.PhaseDone && phase != "" {
		r.progress.enter(r.phase(phase, waiting))
		phase, times = r.progress.times()
	}
	p := run.Progress{
		Phase:    phase,
		Compared: r.finder.Counters.Compared.Load(),
		Total:    r.progress.total.Load(),
		Scanned:  r.progress.scanned.Load(),
		Ranges:   int(r.progress.ranges.Load()), RangesDone: int(r.progress.done.Load()),
		Phases: times,
	}
	for _, s := range r.servers {
		p.Waits = append(p.Waits, s.waits(phase)...)
	}
	p.Waits = append(p.Waits, r.waits(waiting)...)
	r.books.show(&p)
	if r.Throttle != nil {
		p.Throttle = r.Throttle()
	}
	return p
}

// phase is the last one that has something to do, or else the present one: behind the
// scan a run does not compare again.
func (r *Run) phase(now run.Phase, waiting map[roomKey]int) run.Phase {
	if !r.progress.scanned.Load() {
		return run.PhaseComparing
	}
	for _, p := range phases {
		for _, kind := range product.Kinds() {
			if waiting[roomKey{p.stage, kind}] > 0 {
				return p.phase
			}
		}
	}
	return now
}

// waits says what items wait for that cannot move.
func (r *Run) waits(waiting map[roomKey]int) []run.Wait {
	var waits []run.Wait
	for _, p := range phases {
		if p.stage != judging && p.stage != proving {
			continue
		}
		for _, kind := range product.Kinds() {
			n := waiting[roomKey{p.stage, kind}]
			if n == 0 {
				continue
			}
			reason := run.Reason{Code: run.ReasonSettling, Until: r.line.next(roomKey{p.stage, kind})}
			if r.Watermarks != nil && !reason.Until.After(time.Now()) {
				reason = r.queueReason(kind)
			}
			waits = append(waits, run.Wait{Phase: p.phase, Kind: kind, Products: n, Reason: reason})
		}
	}
	return waits
}
