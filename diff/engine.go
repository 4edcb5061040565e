// Package diff finds what the cart is missing. It scans the source in key order,
// joins each page in memory with the cart's matching rows, and turns what
// differs into suspects; a suspect becomes a confirmed difference only after it
// had time to settle, the cart's queue was drained since, and a second look by
// id on both sides still finds it different. Only differences are kept, so
// memory depends neither on the number of products nor on that of differences.
package diff

import (
	"context"
	"iter"
	"sync/atomic"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// Source is the Product Service's store.
type Source interface {
	// Scan yields the products of r in key order, in pages that the caller may
	// keep. With since set it yields only products created at or after it. An
	// error ends the iteration, and nothing after it has been read.
	Scan(ctx context.Context, r product.Range, since time.Time) iter.Seq2[[]product.Product, error]
	// Find reads products by id. An id that is not in the result is not in the
	// source; two documents with one canonical id come as one Ambiguous product.
	Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Product, error)
}

// Target is the cart's product table.
type Target interface {
	// Table describes the columns, as read when the run started.
	Table() *product.Table
	// Span yields the rows with after < id <= through in the id column's own
	// order; an empty bound is open. Rows are the caller's.
	Span(ctx context.Context, after, through product.ID) iter.Seq2[[]product.Row, error]
	// Find reads rows by id.
	Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Row, error)
}

// Suspect is a difference that was seen once.
type Suspect struct {
	ID        product.ID
	Kind      product.Kind
	FirstSeen time.Time
	// Stamp is the document's creation (missing) or update (stale) time, zero
	// where it is unknown; a later look that finds another stamp starts anew.
	Stamp time.Time
}

// Window is a bounded batch of suspects that is confirmed, repaired and proved
// together, and the ranges whose suspects are all in this window or an earlier one.
// It may have no suspects.
type Window struct {
	Suspects []Suspect
	Finished []FinishedRange
}

func (w *Window) empty() bool { return len(w.Suspects)+len(w.Finished) == 0 }

// FinishedRange is a range that was scanned to its end, and what was seen in it.
type FinishedRange struct {
	Range                   product.Range
	Products, Rows, Matched int64
}

// Counters tell how far a scan is. They may be read at any time.
type Counters struct {
	Compared atomic.Int64 // products of the source that were compared
	Rows     atomic.Int64 // rows of the cart that were seen, with their product or without one
	Matched  atomic.Int64 // products that have a row
	missing  atomic.Int64
	stale    atomic.Int64
	orphaned atomic.Int64
}

// Reset starts the counters anew, for another scan.
func (c *Counters) Reset() {
	for _, n := range []*atomic.Int64{&c.Compared, &c.Rows, &c.Matched, &c.missing, &c.stale, &c.orphaned} {
		n.Store(0)
	}
}

// Suspects is the number of suspects of one kind seen so far.
func (c *Counters) Suspects(kind product.Kind) int64 { return c.of(kind).Load() }

func (c *Counters) of(kind product.Kind) *atomic.Int64 {
	switch kind {
	case product.Missing:
		return &c.missing
	case product.Stale:
		return &c.stale
	default:
		return &c.orphaned
	}
}

// Config sets the engine's bounds and waits.
type Config struct {
	// Compare lists the fields that make a product stale when they differ.
	Compare []product.Field
	// Settle is how long after its creation (or update) a product may be on its
	// way before its absence (or difference) counts.
	Settle time.Duration
	// Window is the largest number of suspects that are handled together, 1..10,000.
	Window int
	// Batch is the number of products read by id at once.
	Batch int
}

// Engine finds differences between one source and one target.
type Engine struct {
	source  Source
	target  Target
	barrier Barriers
	config  Config
	// Counters of the scans so far.
	Counters Counters
}

// Barriers waits until everything that was queued for the cart at t has been
// consumed, per kind of difference (each kind has a queue of its own).
// *StalledError says that this did not happen in time.
type Barriers interface {
	Wait(ctx context.Context, kind product.Kind, t time.Time) error
}

// New makes an engine. barrier may be nil where the queue cannot be seen; then
// suspects are confirmed after settling alone.
func New(source Source, target Target, barrier Barriers, config Config) *Engine {
	return &Engine{source: source, target: target, barrier: barrier, config: config}
}

// Scope says what part of the two stores a run looks at.
type Scope struct {
	// Ranges cover the source's keys, each range once; of a scan that goes on where
	// another one ended, those that are left.
	Ranges []product.Range
	// Orphans says how orphaned rows are found; empty leaves it to the engine, which
	// must see all ranges to decide.
	Orphans Orphans
	// Since, if set, restricts a run to products created at or after it; such a
	// run finds no orphans.
	Since time.Time
	// IDs, if set, restricts a run to these products; Ranges are then ignored.
	IDs []product.ID
	// Parallel is the number of ranges scanned at once, at least 1.
	Parallel int
}

// Orphans is a way to find orphaned rows.
type Orphans string

// The ways to find orphaned rows.
const (
	OrphansJoined Orphans = "joined" // with the ranges, which together see every row
	OrphansApart  Orphans = "apart"  // in a pass of their own over the cart's rows
	NoOrphans     Orphans = "none"
)

// Orphans is how a scan of the whole scope finds them.
func (e *Engine) Orphans(s Scope) Orphans {
	switch {
	case !s.Since.IsZero() || len(s.IDs) > 0:
		return NoOrphans
	case e.joinsOrphans(s):
		return OrphansJoined
	}
	return OrphansApart
}

// joinsOrphans tells whether the scans of the ranges see every row of the cart
// by themselves: all keys are of one class, whose order the cart's id column shares.
func (e *Engine) joinsOrphans(s Scope) bool {
	for _, r := range s.Ranges {
		if r.Class != s.Ranges[0].Class || !e.joinable(r) {
			return false
		}
	}
	return len(s.Ranges) > 0
}

// joinable tells whether a range of the source can be joined with a range of the
// cart's rows. An id that is no valid text cannot bound a range in PostgreSQL.
func (e *Engine) joinable(r product.Range) bool {
	return e.ordersAgree(r.Class) && storable(r.After) && storable(r.Through)
}

// ordersAgree tells whether the keys of a class sort in the source as their
// texts sort in the cart's id column.
func (e *Engine) ordersAgree(class product.Class) bool {
	table := e.target.Table()
	switch class {
	case product.ObjectIDs:
		return table.HexOrdered || table.BytewiseOrdered
	case product.Strings, product.UUIDs:
		return table.BytewiseOrdered
	default:
		return false // integers sort by value, their texts do not
	}
}
