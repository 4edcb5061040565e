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
// which it never closes. It blocks while nobody takes a full window. On an error
// what was sent before stays valid, and nothing of the part that failed was sent
// as missing.
func (e *Engine) Scan(ctx context.Context, scope Scope, windows chan<- Window) error {
	out := &collector{size: e.config.Window, windows: windows}
	if len(scope.IDs) > 0 {
		return e.inspect(ctx, scope.IDs, out)
	}
	if scope.Orphans == "" {
		scope.Orphans = e.Orphans(scope)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(max(scope.Parallel, 1))
	for _, r := range scope.Ranges {
		group.Go(func() error {
			s := rangeScan{Engine: e, out: out.part(), orphans: scope.Orphans == OrphansJoined, seen: FinishedRange{Range: r}}
			if err := s.run(groupCtx, r, scope.Since); err != nil {
				return fmt.Errorf("compare %s: %w", r, err)
			}
			return s.out.end(groupCtx, &s.seen)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if scope.Orphans == OrphansApart {
		part := out.part()
		if err := e.scanOrphans(ctx, part); err != nil {
			return fmt.Errorf("look for orphaned rows: %w", err)
		}
		if err := part.end(ctx, nil); err != nil {
			return err
		}
	}
	return out.flush(ctx)
}

// collector gathers what concurrent scans found into windows. The ends of several
// ranges may share a window, but never a range that goes on: a window that is
// settled then settles ranges.
type collector struct {
	mu      sync.Mutex
	window  Window
	size    int
	windows chan<- Window
}

// part is what one scan has found and not yet handed on.
type part struct {
	*collector
	suspects []Suspect
}

func (c *collector) part() *part { return &part{collector: c} }

func (p *part) add(ctx context.Context, s Suspect) error {
	// The id may share memory with a whole page; a suspect outlives it.
	s.ID = product.ID(strings.Clone(string(s.ID)))
	p.suspects = append(p.suspects, s)
	if len(p.suspects) < p.size {
		return nil
	}
	full := Window{Suspects: p.suspects}
	p.suspects = nil
	return p.send(ctx, full)
}

// end hands on what is left of a scan, and its range if it has one. What was
// gathered goes out at once if somebody waits for it, else when there is more.
func (p *part) end(ctx context.Context, seen *FinishedRange) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.window.Suspects)+len(p.suspects) > p.size {
		if err := p.flush(ctx); err != nil {
			return err
		}
	}
	p.window.Suspects = append(p.window.Suspects, p.suspects...)
	if seen != nil {
		p.window.Finished = append(p.window.Finished, *seen)
	}
	if p.window.empty() {
		return nil
	}
	select {
	case p.windows <- p.window:
		p.window = Window{}
	default:
	}
	return nil
}

func (c *collector) flush(ctx context.Context) error {
	last := c.window
	c.window = Window{}
	return c.send(ctx, last)
}

func (c *collector) send(ctx context.Context, w Window) error {
	if w.empty() {
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
	out     *part
	orphans bool
	page    map[product.ID]int // reused from page to page
	seen    FinishedRange
}

// saw counts what was compared.
func (s *rangeScan) saw(products, rows, matched int) {
	s.Counters.Compared.Add(int64(products))
	s.Counters.Rows.Add(int64(rows))
	s.Counters.Matched.Add(int64(matched))
	s.seen.Products += int64(products)
	s.seen.Rows += int64(rows)
	s.seen.Matched += int64(matched)
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
				s.saw(0, 1, 1)
				if err := s.compare(ctx, s.out, &page[at], row); err != nil {
					return err
				}
			case s.orphans:
				s.saw(0, 1, 0)
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
	s.saw(len(page), 0, 0)
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
	matched := 0
	for i := range page {
		row, found := rows[page[i].ID()]
		if found {
			matched++
		}
		if err := s.compare(ctx, s.out, &page[i], rowIf(found, &row)); err != nil {
			return err
		}
	}
	s.saw(len(page), len(rows), matched)
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
func (e *Engine) compare(ctx context.Context, out *part, p *product.Product, row *product.Row) error {
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

func (e *Engine) suspect(ctx context.Context, out *part, s Suspect) error {
	s.FirstSeen = time.Now()
	e.Counters.of(s.Kind).Add(1)
	return out.add(ctx, s)
}

// scanOrphans goes over the cart's rows in their own order and looks each page
// up in the source by id.
func (e *Engine) scanOrphans(ctx context.Context, out *part) error {
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
func (e *Engine) inspect(ctx context.Context, ids []product.ID, gathered *collector) error {
	out := gathered.part()
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
	if err := out.end(ctx, nil); err != nil {
		return err
	}
	return gathered.flush(ctx)
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
