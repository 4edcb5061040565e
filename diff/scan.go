package diff

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/ecom-micro/etl/internal/product"
)

// Scan compares the two stores within scope and sends what differs to windows,
// which it never closes. It blocks while nobody takes a window. On an error what
// was sent before stays valid, and nothing of the part that failed was sent as
// missing.
func (e *Engine) Scan(ctx context.Context, scope Scope, windows chan<- Window) error {
	out := &collector{size: e.config.Window, windows: windows}
	if len(scope.IDs) > 0 {
		return e.inspect(ctx, scope.IDs, out)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(max(scope.Parallel, 1))
	orphans := e.joinsOrphans(scope) && scope.Since.IsZero()
	for _, r := range scope.Ranges {
		group.Go(func() error {
			s := rangeScan{Engine: e, out: out, orphans: orphans}
			if err := s.run(groupCtx, r, scope.Since); err != nil {
				return fmt.Errorf("compare %s: %w", r, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if !orphans && scope.Since.IsZero() {
		if err := e.scanOrphans(ctx, out); err != nil {
			return fmt.Errorf("look for orphaned rows: %w", err)
		}
	}
	return out.flush(ctx)
}

// collector gathers suspects of concurrent scans into windows.
type collector struct {
	mu      sync.Mutex
	window  Window
	size    int
	windows chan<- Window
}

func (c *collector) add(ctx context.Context, s Suspect) error {
	// The id may share memory with a whole page; a suspect outlives it.
	s.ID = product.ID(strings.Clone(string(s.ID)))
	var full Window
	c.mu.Lock()
	c.window = append(c.window, s)
	if len(c.window) == c.size {
		full, c.window = c.window, nil
	}
	c.mu.Unlock()
	return c.send(ctx, full)
}

func (c *collector) flush(ctx context.Context) error {
	last := c.window
	c.window = nil
	return c.send(ctx, last)
}

func (c *collector) send(ctx context.Context, w Window) error {
	if len(w) == 0 {
		return nil
	}
	select {
	case c.windows <- w:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// rangeScan compares one key range.
type rangeScan struct {
	*Engine
	out     *collector
	orphans bool
	page    map[product.ID]int // reused from page to page
}

// run reads the source ahead by one page while the cart's rows for the page
// before it are read and joined.
func (s *rangeScan) run(ctx context.Context, r product.Range, since time.Time) error {
	ordered := s.joinable(r) && since.IsZero()
	low := r.After
	source := func(ctx context.Context) iter.Seq2[[]product.Product, error] { return s.source.Scan(ctx, r, since) }
	for products, err := range ahead(ctx, source) {
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
		if id <= low || !storable(id) {
			return false
		}
		low = id
	}
	return true
}

// storable tells whether PostgreSQL takes id as a text.
func storable(id product.ID) bool {
	return utf8.ValidString(string(id)) && strings.IndexByte(string(id), 0) < 0
}

// join compares a page with the cart's rows in (low, high].
func (s *rangeScan) join(ctx context.Context, page []product.Product, low, high product.ID) error {
	if s.page == nil {
		s.page = make(map[product.ID]int, len(page))
	}
	clear(s.page)
	for i := range page {
		s.page[page[i].ID()] = i
	}
	for rows, err := range s.target.Span(ctx, low, high) {
		if err != nil {
			return err
		}
		for i := range rows {
			row := &rows[i]
			at, found := s.page[row.ID]
			switch {
			case found:
				delete(s.page, row.ID)
				s.Counters.Rows.Add(1)
				s.Counters.Matched.Add(1)
				if err := s.compare(ctx, s.out, &page[at], row); err != nil {
					return err
				}
			case s.orphans:
				s.Counters.Rows.Add(1)
				if err := s.suspect(ctx, s.out, Suspect{ID: row.ID, Kind: product.Orphaned}); err != nil {
					return err
				}
			}
		}
	}
	for _, i := range s.page { // what no row matched
		if err := s.compare(ctx, s.out, &page[i], nil); err != nil {
			return err
		}
	}
	s.Counters.Compared.Add(int64(len(page)))
	return nil
}

func (s *rangeScan) lookUp(ctx context.Context, page []product.Product) error {
	ids := make([]product.ID, len(page))
	for i := range page {
		ids[i] = page[i].ID()
	}
	rows, err := s.target.Find(ctx, ids)
	if err != nil {
		return err
	}
	s.Counters.Rows.Add(int64(len(rows)))
	for i := range page {
		row, found := rows[page[i].ID()]
		if found {
			s.Counters.Matched.Add(1)
		}
		if err := s.compare(ctx, s.out, &page[i], rowIf(found, &row)); err != nil {
			return err
		}
	}
	s.Counters.Compared.Add(int64(len(page)))
	return nil
}

func rowIf(found bool, row *product.Row) *product.Row {
	if found {
		return row
	}
	return nil
}

// compare turns one product and its row (nil where the cart has none) into a
// suspect if they differ.
func (e *Engine) compare(ctx context.Context, out *collector, p *product.Product, row *product.Row) error {
	kind, _ := e.difference(p, row)
	switch kind {
	case product.Missing:
		return e.suspect(ctx, out, Suspect{ID: p.ID(), Kind: kind, Stamp: p.Created})
	case product.Stale:
		return e.suspect(ctx, out, Suspect{ID: p.ID(), Kind: kind, Stamp: p.Updated})
	}
	return nil
}

// difference classifies what one look at both sides shows; "" is none. Both nil is none.
func (e *Engine) difference(p *product.Product, row *product.Row) (product.Kind, []product.Field) {
	switch {
	case p == nil && row == nil:
		return "", nil
	case p == nil:
		return product.Orphaned, nil
	case row == nil:
		return product.Missing, nil
	}
	if fields := e.target.Table().Differing(p, row, e.config.Compare); len(fields) > 0 {
		return product.Stale, fields
	}
	return "", nil
}

func (e *Engine) suspect(ctx context.Context, out *collector, s Suspect) error {
	s.FirstSeen = time.Now()
	e.Counters.of(s.Kind).Add(1)
	return out.add(ctx, s)
}

// scanOrphans goes over the cart's rows in their own order and looks each page
// up in the source by id.
func (e *Engine) scanOrphans(ctx context.Context, out *collector) error {
	all := func(ctx context.Context) iter.Seq2[[]product.Row, error] { return e.target.Span(ctx, "", "") }
	for rows, err := range ahead(ctx, all) {
		if err != nil {
			return err
		}
		ids := make([]product.ID, len(rows))
		for i := range rows {
			ids[i] = rows[i].ID
		}
		products, err := e.source.Find(ctx, ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if _, found := products[id]; !found { // the others were seen with their products
				e.Counters.Rows.Add(1)
				if err := e.suspect(ctx, out, Suspect{ID: id, Kind: product.Orphaned}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// inspect compares the given products by id on both sides.
func (e *Engine) inspect(ctx context.Context, ids []product.ID, out *collector) error {
	for batch := range batches(ids, e.config.Batch) {
		products, rows, err := e.look(ctx, batch)
		if err != nil {
			return err
		}
		for _, id := range batch {
			p, inSource := products[id]
			row, inCart := rows[id]
			switch {
			case inSource:
				if inCart {
					e.Counters.Matched.Add(1)
				}
				err = e.compare(ctx, out, &p, rowIf(inCart, &row))
			case inCart:
				err = e.suspect(ctx, out, Suspect{ID: id, Kind: product.Orphaned})
			}
			if err != nil {
				return err
			}
		}
		e.Counters.Compared.Add(int64(len(products)))
		e.Counters.Rows.Add(int64(len(rows)))
	}
	return out.flush(ctx)
}

// look reads the same ids on both sides, the cart last: a row that arrives in
// between counts, so that its product does not look missing.
func (e *Engine) look(ctx context.Context, ids []product.ID) (map[product.ID]product.Product, map[product.ID]product.Row, error) {
	products, err := e.source.Find(ctx, ids)
	if err != nil {
		return nil, nil, err
	}
	rows, err := e.target.Find(ctx, ids)
	if err != nil {
		return nil, nil, err
	}
	return products, rows, nil
}

// batches splits ids into slices of at most n.
func batches(ids []product.ID, n int) iter.Seq[[]product.ID] {
	return func(yield func([]product.ID) bool) {
		for len(ids) > 0 {
			batch := ids[:min(n, len(ids))]
			ids = ids[len(batch):]
			if !yield(batch) {
				return
			}
		}
	}
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
