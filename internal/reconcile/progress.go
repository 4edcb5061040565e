package reconcile

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// Phase is what a run is doing.
type Phase string

// The phases of a run. A window is confirmed, repaired and proved while the
// comparison goes on behind it.
const (
	PhasePlanning   Phase = "planning"
	PhaseComparing  Phase = "comparing"
	PhaseConfirming Phase = "confirming"
	PhaseRepairing  Phase = "repairing"
	PhaseProving    Phase = "proving"
	PhaseDone       Phase = "done"
)

// Progress is a run at one moment.
type Progress struct {
	Phase    Phase `json:"phase"`
	Compared int64 `json:"compared"` // products compared
	Total    int64 `json:"total"`    // products expected, an estimate; 0 is unknown
	Scanned  bool  `json:"scanned"`  // the comparison is complete
	// Ranges are the key ranges of the present pass; of those that are done the findings
	// are settled, and a process that takes the run over does not scan them again.
	Ranges     int                    `json:"ranges"`
	RangesDone int                    `json:"rangesDone"`
	Suspects   map[product.Kind]int64 `json:"suspects"`
	Acted      int64                  `json:"acted"` // events published or rows written, all rounds together
	Verified   int64                  `json:"verified"`
	Round      int                    `json:"round"`
	// Waiting is what the present phase waits for where nothing moves.
	Waiting string `json:"waiting,omitempty"`
	// Throttle is why publishing pauses at this moment.
	Throttle string `json:"throttle,omitempty"`
	// Phases are the phases entered so far, in the order in which they were first entered.
	Phases []PhaseTime `json:"phases"`
}

// PhaseTime is how long a run was in one phase, all times together.
type PhaseTime struct {
	Phase        Phase     `json:"phase"`
	Entered      time.Time `json:"enteredAt"` // for the first time
	Milliseconds int64     `json:"durationMs"`
}

// waits are the phases that consist of waiting, mostly.
var waits = map[Phase]string{
	PhaseConfirming: "until products have settled and the cart has consumed its queue",
	PhaseProving:    "until the cart has consumed its queue",
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
	phases []PhaseTime
	since  time.Time // the present phase was entered
}

func (p *progress) enter(phase Phase) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if i := p.current(); i >= 0 {
		p.phases[i].Milliseconds += now.Sub(p.since).Milliseconds()
	}
	p.phase.Store(phase)
	p.since = now
	if p.current() < 0 {
		p.phases = append(p.phases, PhaseTime{Phase: phase, Entered: now})
	}
}

func (p *progress) current() int {
	phase, _ := p.phase.Load().(Phase)
	return slices.IndexFunc(p.phases, func(t PhaseTime) bool { return t.Phase == phase })
}

// times are the phases so far, the present one up to now.
func (p *progress) times() []PhaseTime {
	p.mu.Lock()
	defer p.mu.Unlock()
	times := slices.Clone(p.phases)
	if i := p.current(); i >= 0 {
		times[i].Milliseconds += time.Since(p.since).Milliseconds()
	}
	return times
}

// Progress tells how far the run is. It may be called at any time.
func (r *Run) Progress() Progress {
	phase, _ := r.progress.phase.Load().(Phase)
	p := Progress{
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
