package diff

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/text"
)

// Scan compares the two stores within scope and sends what differs to out, which it
// never closes, as it finds it. It blocks while nobody takes it. On an error what was
// sent before stays valid, and nothing of the part that failed was sent as missing.
func (f *Finder) Scan(ctx context.Context, scope Scope, out chan<- Batch) error {
	if len(scope.IDs) > 0 {
		return f.inspect(ctx, scope.IDs, &part{n: len(scope.Ranges), out: out})
	}
	if scope.Orphans == "" {
		scope.Orphans = f.Orphans(scope)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(max(scope.Parallel, 1))
	for i, r := range scope.Ranges {
		group.Go(func() error {
			s := rangeScan{Finder: f, out: part{n: i, out: out, seen: FinishedRange{Range: r}}, orphans: scope.Orphans == OrphansJoined}
			if err := s.run(groupCtx, r, scope.Since); err != nil {
				return fmt.Errorf("compare %s: %w", r, err)
			}
			return s.out.end(groupCtx)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if scope.Orphans == OrphansApart {
		apart := &part{n: len(scope.Ranges), out: out}
		if err := f.scanOrphans(ctx, apart); err != nil {
			return fmt.Errorf("look for orphaned rows: %w", err)
		}
		return apart.end(ctx)
	}
	return nil
}

// part is what one part of a scan has found and not yet sent.
type part struct {
	n        int
	out      chan<- Batch
	suspects []Suspect
	seen     FinishedRange
}

// maxBatch bounds the suspects that are sent at once.
const maxBatch = 1000

func (p *part) add(ctx context.Context, s Suspect) error {
	s.FirstSeen = time.Now()
	// The id is the page's, which a suspect outlives.
	s.ID = product.ID(strings.Clone(string(s.ID)))
	p.suspects = append(p.suspects, s)
	if len(p.suspects) < maxBatch {
		return nil
	}
	return p.send(ctx, Batch{Part: p.n, Suspects: p.suspects})
}

// flush sends what there is, so that no suspect waits for another page.
func (p *part) flush(ctx context.Context) error {
	if len(p.suspects) == 0 {
		return nil
	}
	return p.send(ctx, Batch{Part: p.n, Suspects: p.suspects})
}

func (p *part) end(ctx context.Context) error {
	return p.send(ctx, Batch{Part: p.n, Suspects: p.suspects, Ended: true, Finished: p.seen})
}

func (p *part) send(ctx context.Context, b Batch) error {
	p.suspects = nil
	select {
	case p.out <- b:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// saw counts what was compared.
func (p *part) saw(c *Counters, products, rows, matched int) {
	c.Compared.Add(int64(products))
	c.Rows.Add(int64(rows))
	c.Matched.Add(int64(matched))
	p.seen.Products += int64(products)
	p.seen.Rows += int64(rows)
	p.seen.Matched += int64(matched)
}

// rangeScan compares one key range.
type rangeScan struct {
	*Finder
	out     part
	orphans bool
	matched []bool // which products of the page have been seen in the cart
}

// run reads the source ahead by one page while the cart's rows for the page
// before it are read and joined.
func (s *rangeScan) run(ctx context.Context, r product.Range, since time.Time) error {
	ordered := s.joinable(r) && since.IsZero()
	low := r.After
	source := func(ctx context.Context) iter.Seq2[[]product.Product, error] {
		return s.source.Scan(ctx, r, s.config.Compare, since)
	}
	for products, err := range ahead(ctx, source) {
		if err == nil {
			err = s.wait(ctx, len(products))
		}
		if err != nil {
			return err
		}
		if ordered && inOrder(low, products) {
			high := products[len(products)-1].ID()
			if err := s.join(ctx, products, low, high); err != nil {
				return err
			}
			low = product.ID(strings.Clone(string(high)))
			continue
		}
		if err := s.lookUp(ctx, products); err != nil {
			return err
		}
	}
	if ordered && s.orphans {
		return s.join(ctx, nil, low, r.Through)
	}
	return nil
}

// inOrder tells whether a page continues strictly upwards in byte order from
// low. A cursor that returned something twice, or a class whose order does not
// hold, fails this, and its page is looked up by id instead; so does an id that
// cannot bound a range of rows.
func inOrder(low product.ID, page []product.Product) bool {
	if len(page) == 0 {
		return false
	}
	for i := range page {
		id := page[i].ID()
		if id <= low || !text.Storable(string(id)) {
			return false
		}
		low = id
	}
	return true
}

// join compares a page with the cart's rows in (low, high].
func (s *rangeScan) join(ctx context.Context, page []product.Product, low, high product.ID) error {
	s.matched = append(s.matched[:0], make([]bool, len(page))...)
	next := 0 // the page's product behind the last one that was seen in the cart
	for rows, err := range s.target.Span(ctx, low, high, s.config.Compare) {
		if err != nil {
			return err
		}
		for i := range rows {
			row := &rows[i]
			at := next
			if at >= len(page) || page[at].ID() != row.ID {
				at = position(page, row.ID)
			}
			switch {
			case at >= 0 && !s.matched[at]:
				s.matched[at], next = true, at+1
				s.out.saw(&s.Counters, 0, 1, 1)
				if err := s.compare(ctx, &s.out, Pair{row.ID, &page[at], row}); err != nil {
					return err
				}
			case s.orphans:
				s.out.saw(&s.Counters, 0, 1, 0)
				if err := s.compare(ctx, &s.out, Pair{ID: row.ID, Row: row}); err != nil {
					return err
				}
			}
		}
	}
	for i := range page {
		if s.matched[i] {
			continue
		}
		if err := s.compare(ctx, &s.out, Pair{ID: page[i].ID(), Product: &page[i]}); err != nil {
			return err
		}
	}
	s.out.saw(&s.Counters, len(page), 0, 0)
	return s.out.flush(ctx)
}

// position is where a page that is in order has a product, -1 where it has not.
func position(page []product.Product, id product.ID) int {
	at, found := slices.BinarySearchFunc(page, id, func(p product.Product, id product.ID) int { return cmp.Compare(p.ID(), id) })
	if !found {
		return -1
	}
	return at
}

func (s *rangeScan) lookUp(ctx context.Context, page []product.Product) error {
	for len(page) > 0 {
		ids := make([]product.ID, len(page))
		for i := range page {
			ids[i] = page[i].ID()
		}
		rows, n, err := s.Rows(ctx, ids)
		if err != nil {
			return err
		}
		matched := 0
		for i, id := range ids[:n] {
			pair := Pair{ID: id, Product: &page[i]}
			if row, found := rows[id]; found {
				matched++
				pair.Row = &row
			}
			if err := s.compare(ctx, &s.out, pair); err != nil {
				return err
			}
		}
		s.out.saw(&s.Counters, n, len(rows), matched)
		page = page[n:]
	}
	return s.out.flush(ctx)
}

// compare turns a pair that differs into a suspect.
func (f *Finder) compare(ctx context.Context, out *part, pair Pair) error {
	kind, _ := f.Differs(pair)
	if kind == "" {
		return nil
	}
	return out.add(ctx, Suspect{ID: pair.ID, Kind: kind, Stamp: pair.Stamp(kind)})
}

// scanOrphans goes over the cart's rows in their own order and looks each page
// up in the source by id.
func (f *Finder) scanOrphans(ctx context.Context, out *part) error {
	for ids, err := range ahead(ctx, f.rowIDs) {
		if err == nil {
			err = f.wait(ctx, len(ids))
		}
		if err != nil {
			return err
		}
		present, err := f.source.Present(ctx, ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if !present[id] { // the others were seen with their products
				out.saw(&f.Counters, 0, 1, 0)
				if err := f.compare(ctx, out, Pair{ID: id, Row: &product.Row{ID: id}}); err != nil {
					return err
				}
			}
		}
		if err := out.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// rowIDs yields the ids of the cart's rows in their order.
func (f *Finder) rowIDs(ctx context.Context) iter.Seq2[[]product.ID, error] {
	return func(yield func([]product.ID, error) bool) {
		for rows, err := range f.target.Span(ctx, "", "", nil) {
			ids := make([]product.ID, len(rows))
			for i := range rows {
				ids[i] = product.ID(strings.Clone(string(rows[i].ID))) // they outlive the page
			}
			if !yield(ids, err) {
				return
			}
		}
	}
}

// inspect compares the given products by id on both sides.
func (f *Finder) inspect(ctx context.Context, ids []product.ID, out *part) error {
	for len(ids) > 0 {
		found, err := f.Look(ctx, ids)
		if err != nil {
			return err
		}
		ids = ids[len(found):]
		for _, pair := range found {
			switch {
			case pair.Product != nil && pair.Row != nil:
				out.saw(&f.Counters, 1, 1, 1)
			case pair.Product != nil:
				out.saw(&f.Counters, 1, 0, 0)
			case pair.Row != nil:
				out.saw(&f.Counters, 0, 1, 0)
			case len(f.nowhere) < maxNowhere:
				f.nowhere = append(f.nowhere, pair.ID)
			}
			if err := f.compare(ctx, out, pair); err != nil {
				return err
			}
		}
		if err := out.flush(ctx); err != nil {
			return err
		}
	}
	return out.end(ctx)
}

// ahead reads a sequence one page ahead of its consumer, in a goroutine that has
// ended when the iteration ends: a read that goes on by then is cancelled.
func ahead[T any](ctx context.Context, read func(context.Context) iter.Seq2[T, error]) iter.Seq2[T, error] {
	type item struct {
		value T
		err   error
	}
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		stop := make(chan struct{}) // not ctx: its end is an error that the consumer must see
		items := make(chan item)
		var reader sync.WaitGroup
		reader.Go(func() {
			defer close(items)
			for value, err := range read(ctx) {
				select {
				case items <- item{value, err}:
				case <-stop:
					return
				}
			}
		})
		defer reader.Wait()
		defer cancel()
		defer close(stop)
		for it := range items {
			if !yield(it.value, it.err) {
				return
			}
		}
	}
}
