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

// Rule is everything in which one kind of difference is unlike the others. All that
// finds, repairs, proves and records differences reads it from here.
type Rule struct {
	Kind    Kind
	Meaning string // for people
	// InSource and InCart tell on which sides the product is while it differs so.
	InSource, InCart bool
	// Queue is the cart's queue, named like its routing key, whose events make such a
	// difference go away by themselves, and Event the type of the event that repairs it.
	Queue, Event string
	// Proof lists the fields that are compared once it is repaired: those that the
	// repair sets and that nothing but a product event changes.
	Proof []Field
}

var rules = []Rule{
	{Missing, "in the source, not in the cart", true, false, "product-created", "ProductCreated", ProofFields()},
	{Stale, "in both, compared fields differ", true, true, "product-updated", "ProductUpdated", ProofFields()},
	{Orphaned, "in the cart, not in the source", false, true, "product-deleted", "ProductDeleted", nil},
}

// Rules are those of all kinds, the gravest kind first.
func Rules() []Rule { return rules }

// Kinds lists all kinds of difference, the gravest first.
func Kinds() []Kind {
	kinds := make([]Kind, len(rules))
	for i := range rules {
		kinds[i] = rules[i].Kind
	}
	return kinds
}

// Rule is the one of this kind. It must be one of Kinds.
func (k Kind) Rule() *Rule {
	for i := range rules {
		if rules[i].Kind == k {
			return &rules[i]
		}
	}
	panic("there is no kind of difference " + string(k))
}

// KindOf is how a product differs that is on the given sides; "" where it is on
// neither, or on both, which its fields decide.
func KindOf(inSource, inCart bool) Kind {
	for i := range rules {
		if r := &rules[i]; r.InSource == inSource && r.InCart == inCart && inSource != inCart {
			return r.Kind
		}
	}
	return ""
}

// Repair is one product whose difference is to be repaired.
type Repair struct {
	// Product is the document as just read from the source; zero where the source
	// does not have it.
	Product Product
	// Row is what the cart shall hold, known to fit; only the ID where it shall hold
	// nothing.
	Row Row
	// Was is the row that the cart holds as just read, and Fields are those in which it
	// differs, for a product that is in both stores.
	Was    Row
	Fields []Field
	// Undo says that an earlier repair of the same run is taken back.
	Undo bool
}

// Fate is what was seen of a repair right after it was tried.
type Fate uint8

// The fates of a repair.
const (
	// Untried: nothing was sent, and it may be tried again at once.
	Untried Fate = iota
	// Confirmed: the broker has taken the event, or the statement is committed.
	Confirmed
	// Unknown: it was sent, and no answer came. It may be there, so only a comparison
	// after the queue was drained decides.
	Unknown
	// Nacked: the broker refused the event. It is not there.
	Nacked
)

// MayArrive tells whether the cart may yet see, or have seen, the repair.
func (f Fate) MayArrive() bool { return f == Confirmed || f == Unknown }

// Result is what became of one Repair.
type Result struct {
	ID   ID
	Fate Fate
	// Err says why nothing was done, where Fate is Untried. A *Misfit is a product that
	// the cart cannot hold; anything else is a failure of the service that was asked.
	Err error
	// Bytes is how large the event was, 0 where none was made.
	Bytes int
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
