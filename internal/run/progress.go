package run

import (
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// Phase is what a run is doing.
type Phase string

// The phases of a run. Products are judged, repaired and proved while the comparison
// goes on; the phase is the last of these that has something to do.
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
	Found      map[product.Kind]int64 `json:"found"` // confirmed so far
	Acted      int64                  `json:"acted"` // events published or rows changed, all attempts together
	Verified   int64                  `json:"verified"`
	Attempts   int                    `json:"attempts"` // the largest number for one product
	// Waits are what is waited for at this moment.
	Waits []Wait `json:"waits,omitempty"`
	// Throttle is why publishing pauses at this moment.
	Throttle string `json:"throttle,omitempty"`
	// Phases are the phases entered so far, in the order in which they were first entered.
	Phases []PhaseTime `json:"phases"`
}

// Wait is what products of one kind wait for in one phase, or, without a kind, the run
// as a whole.
type Wait struct {
	Phase    Phase        `json:"phase"`
	Kind     product.Kind `json:"kind,omitempty"`
	Products int          `json:"products"`
	Reason   Reason       `json:"reason"`
}

// PhaseTime is how long a run was in one phase, all times together.
type PhaseTime struct {
	Phase        Phase     `json:"phase"`
	Entered      time.Time `json:"enteredAt"` // for the first time
	Milliseconds int64     `json:"durationMs"`
}
