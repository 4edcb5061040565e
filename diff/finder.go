// Package diff finds in what the two stores differ. It scans the source in key
// order, joins each page in memory with the cart's matching rows, and tells what
// differs as suspects; and it sees how far the cart has consumed its queues.
// Whether a suspect is a difference, or merely on its way, is decided by others.
// Memory depends neither on the number of products nor on that of differences.
package diff

import (
	"context"
	"iter"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/text"
)

// Source is the Product Service's store.
type Source interface {
	// Scan yields the products of r in key order, with these of the cart's fields and what
	// tells their age, in pages that stay as they are, their
	// texts included, until the one after the next is asked for. With since set it yields
	// only products created at or after it. An error ends the iteration, and nothing after
	// it has been read.
	Scan(ctx context.Context, r product.Range, fields []product.Field, since time.Time) iter.Seq2[[]product.Product, error]
	// Find reads products by id. An id that is not in the result is not in the
	// source; two documents with one canonical id come as one Ambiguous product.
	// Several that are too large to be held together are a *product.TooLargeError.
	Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Product, error)
	// Present tells which of ids are in the source.
	Present(ctx context.Context, ids []product.ID) (map[product.ID]bool, error)
}

// Target is the cart's product table.
type Target interface {
	// Table describes the columns, as read when the run started.
	Table() *product.Table
	// Span yields the rows with after < id <= through in the id column's own
	// order, with these fields; an empty bound is open. A page stays as it is, its texts included, until the
	// next one is asked for.
	Span(ctx context.Context, after, through product.ID, fields []product.Field) iter.Seq2[[]product.Row, error]
	// Find reads rows by id. Several that are too large to be held together are a
	// *product.TooLargeError.
	Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Row, error)
	// Present tells which of ids have a row.
	Present(ctx context.Context, ids []product.ID) (map[product.ID]bool, error)
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

// Batch is what a part of a scan has found since its last batch.
type Batch struct {
	// Part is the index of the range in Scope.Ranges. The pass of its own that looks
	// for orphans, or for named products, has the number behind them.
	Part     int
	Suspects []Suspect
	// Ended is set with the last batch of a part. Finished is what was seen in it.
	Ended    bool
	Finished FinishedRange
}

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
}

// Reset starts the counters anew, for another scan.
func (c *Counters) Reset() {
	for _, n := range []*atomic.Int64{&c.Compared, &c.Rows, &c.Matched} {
		n.Store(0)
	}
}

// Config sets what is compared and how much is read at once.
type Config struct {
	// Compare lists the fields that make a product stale when they differ.
	Compare []product.Field
	// Batch is the number of products read by id at once.
	Batch int
	// Rate is how many products a second are scanned at most, all parts together; 0 is without a limit.
	Rate int
}

// Finder finds differences between one source and one target.
type Finder struct {
	source Source
	target Target
	config Config
	// How many documents, and rows, are read by id at once.
	documents, rows *product.Portion
	// Counters of the scans so far.
	Counters Counters
	pace     *rate.Limiter // of Config.Rate, nil without
	// nowhere are the first of the named products that are in neither store.
	nowhere []product.ID
}

// New makes a finder.
func New(source Source, target Target, config Config) *Finder {
	f := &Finder{source: source, target: target, config: config,
		documents: product.NewPortion(config.Batch, portionBytes), rows: product.NewPortion(config.Batch, portionBytes)}
	if config.Rate > 0 {
		f.pace = rate.NewLimiter(rate.Limit(config.Rate), max(config.Rate/10, 1)) // as evenly as pages allow
	}
	return f
}

// wait holds a scan back that has read n products, so that it keeps to its rate.
func (f *Finder) wait(ctx context.Context, n int) error {
	if f.pace == nil {
		return nil
	}
	for n > 0 {
		some := min(n, f.pace.Burst())
		if err := f.pace.WaitN(ctx, some); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			// The limiter sees that the deadline would pass before: it is waited for.
			<-ctx.Done()
			return context.Cause(ctx)
		}
		n -= some
	}
	return nil
}

// maxNowhere is how many products that are in neither store are told by name.
const maxNowhere = 10

// Nowhere are the first of the named products that a scan found in neither store. It has ended.
func (f *Finder) Nowhere() []product.ID { return f.nowhere }

// Scope says what part of the two stores a run looks at.
type Scope struct {
	// Ranges cover the source's keys, each range once; of a scan that goes on where
	// another one ended, those that are left.
	Ranges []product.Range
	// Orphans says how orphaned rows are found; empty leaves it to the finder, which
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

// Whole tells whether the scope is the whole catalogue.
func (s *Scope) Whole() bool { return len(s.IDs) == 0 && s.Since.IsZero() }

// Orphans is a way to find orphaned rows.
type Orphans string

// The ways to find orphaned rows.
const (
	OrphansJoined Orphans = "joined" // with the ranges, which together see every row
	OrphansApart  Orphans = "apart"  // in a pass of their own over the cart's rows
	NoOrphans     Orphans = "none"
)

// Orphans is how a scan of the whole scope finds them.
func (f *Finder) Orphans(s Scope) Orphans {
	switch {
	case !s.Whole():
		return NoOrphans
	case f.joinsOrphans(s):
		return OrphansJoined
	}
	return OrphansApart
}

// joinsOrphans tells whether the scans of the ranges see every row of the cart
// by themselves: all keys are of one class, whose order the cart's id column shares.
func (f *Finder) joinsOrphans(s Scope) bool {
	for _, r := range s.Ranges {
		if r.Class != s.Ranges[0].Class || !f.joinable(r) {
			return false
		}
	}
	return len(s.Ranges) > 0
}

// joinable tells whether a range of the source can be joined with a range of the
// cart's rows. An id that is no valid text cannot bound a range in PostgreSQL.
func (f *Finder) joinable(r product.Range) bool {
	return f.ordersAgree(r.Class) && text.Storable(string(r.After)) && text.Storable(string(r.Through))
}

// ordersAgree tells whether the keys of a class sort in the source as their
// texts sort in the cart's id column.
func (f *Finder) ordersAgree(class product.Class) bool {
	table := f.target.Table()
	switch class {
	case product.ObjectIDs:
		return table.HexOrdered || table.BytewiseOrdered
	case product.Strings, product.UUIDs:
		return table.BytewiseOrdered
	default:
		return false // integers sort by value, their texts do not
	}
}
