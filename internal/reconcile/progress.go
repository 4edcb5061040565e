package reconcile

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// waits are the phases that consist of waiting, mostly.
var waits = map[run.Phase]string{
	run.PhaseConfirming: "until products have settled and the cart has consumed its queue",
	run.PhaseProving:    "until the cart has consumed its queue",
}

type progress struct {
	phase    atomic.Value
	total    atomic.Int64
	scanned  atomic.Bool
	acted    atomic.Int64
	verified atomic.Int64
	round    atomic.Int64
	ranges   atomic.Int64
	done     atomic.Int64 // of the ranges

	mu     sync.Mutex
	phases []run.PhaseTime
	since  time.Time // the present phase was entered
}

func (p *progress) enter(phase run.Phase) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if i := p.current(); i >= 0 {
		p.phases[i].Milliseconds += now.Sub(p.since).Milliseconds()
	}
	p.phase.Store(phase)
	p.since = now
	if p.current() < 0 {
		p.phases = append(p.phases, run.PhaseTime{Phase: phase, Entered: now})
	}
}

func (p *progress) current() int {
	phase, _ := p.phase.Load().(run.Phase)
	return slices.IndexFunc(p.phases, func(t run.PhaseTime) bool { return t.Phase == phase })
}

// times are the phases so far, the present one up to now.
func (p *progress) times() []run.PhaseTime {
	p.mu.Lock()
	defer p.mu.Unlock()
	times := slices.Clone(p.phases)
	if i := p.current(); i >= 0 {
		times[i].Milliseconds += time.Since(p.since).Milliseconds()
	}
	return times
}

// Progress tells how far the run is. It may be called at any time.
func (r *Run) Progress() run.Progress {
	phase, _ := r.progress.phase.Load().(run.Phase)
	p := run.Progress{
		Phase:    phase,
		Compared: r.engine.Counters.Compared.Load(),
		Total:    r.progress.total.Load(),
		Scanned:  r.progress.scanned.Load(),
		Suspects: make(map[product.Kind]int64),
		Acted:    r.progress.acted.Load(),
		Verified: r.progress.verified.Load(),
		Round:    int(r.progress.round.Load()),
		Ranges:   int(r.progress.ranges.Load()), RangesDone: int(r.progress.done.Load()),
		Phases: r.progress.times(),
	}
	p.Waiting = waits[phase]
	if r.Throttle != nil {
		p.Throttle = r.Throttle()
	}
	for _, kind := range product.Kinds() {
		p.Suspects[kind] = r.engine.Counters.Suspects(kind)
	}
	return p
}
