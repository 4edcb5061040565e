package product

import (
	"fmt"
	"time"
)

// Kind is a kind of difference between the two stores.
type Kind string

// The kinds of difference.
const (
	Missing  Kind = "missing"  // in the source, not in the cart
	Stale    Kind = "stale"    // in both, compared fields differ
	Orphaned Kind = "orphaned" // in the cart, not in the source
)

// Kinds lists all kinds of difference, the gravest first.
func Kinds() []Kind { return []Kind{Missing, Stale, Orphaned} }

// Repair is one product that a repairer is to bring to the cart: the document as
// just read from the source, and the row that the cart shall hold, known to fit.
type Repair struct {
	Product Product
	Row     Row
}

// Result is what became of one Repair or removal.
type Result struct {
	ID ID
	// Acted is set when the event was confirmed or the row written, and also when
	// that is unknown (a connection lost before the answer): either way the next
	// comparison decides, and the product is not acted on again before it.
	Acted bool
	// Err says why nothing was done. A *Misfit is a product that the cart cannot
	// hold; anything else is a failure of the service that was asked.
	Err error
}

// PausedError says that a repairer had to wait so long that it gave up. What it
// did not act on is left for a later run.
type PausedError struct {
	Reason string
	Waited time.Duration
}

func (e *PausedError) Error() string {
	return fmt.Sprintf("paused for %s: %s", e.Waited.Round(time.Second), e.Reason)
}
