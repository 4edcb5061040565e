package run

import (
	"errors"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// ErrCursor says that a page was asked for with something that no page's Next was.
var ErrCursor = errors.New("this is no page's next")

// Outcomes of a run, and runs, are read in pages.
const (
	DefaultPage = 50
	MaxPage     = 500
)

// Filter picks runs. Zero fields pick all.
type Filter struct {
	Status  []Status
	Trigger []Trigger
	// Attention picks runs that ask for one of these.
	Attention []Attention
	Mode      Mode
	DryRun    *bool
	Since     time.Time // requested at or after
	Before    string    // a page's Next
	Limit     int       // 1..MaxPage, 0 is DefaultPage
}

// Page is a page of runs, the latest first; Next is empty on the last one.
type Page struct {
	Runs []Record `json:"runs"`
	Next string   `json:"next,omitempty"`
}

// OutcomeFilter picks outcomes of a run. Zero fields pick all.
type OutcomeFilter struct {
	State []State
	Kind  []product.Kind
	After string // a page's Next
	Limit int
}

// OutcomePage is a page of outcomes, by product id; Next is empty on the last one.
type OutcomePage struct {
	Outcomes []Outcome `json:"products"`
	Next     string    `json:"next,omitempty"`
}

// PastOutcome is what became of a product in one run.
type PastOutcome struct {
	Run string    `json:"run"` // empty where a detector has seen it
	At  time.Time `json:"at"`
	Outcome
}
