package reconcile_test

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// operation is something that a run asks of a store or a repairer.
type operation string

const (
	planning     operation = "plan"              // ranges, counts, unsupported ids
	sampling     operation = "sample"            // keys, for the guard
	scanning     operation = "scan the source"   // a page
	spanning     operation = "span the cart"     // a page
	findProducts operation = "find products"     // by id
	findRows     operation = "find rows"         // by id
	checking     operation = "check constraints" // of the cart's table
	referencing  operation = "look for references"
	reserving    operation = "reserve"
	seeing       operation = "see what has arrived" // the rows of repairs, by id
	repairing    operation = "repair"
)

// call is one operation; nth counts those of its kind from 1.
type call struct {
	operation
	nth  int
	ids  []product.ID // what it is about, where that is known
	kind product.Kind // what is repaired
}

// shop is the two stores, the cart's queues and the cart's consumer, in memory.
type shop struct {
	// before, if set, is called before each operation, by one goroutine at a time; its
	// error is the operation's.
	before func(ctx context.Context, c call) error
	// hangs, if set, picks operations that last until they are stopped.
	hangs func(c call) bool
	// page is the number of products, and of rows, in a page.
	page        int
	repeats     bool // the cursor returns each page twice
	table       product.Table
	ranges      []product.Range
	unsupported map[string]int64
	// quick leaves out that each operation takes a moment, which costs a test real time.
	quick bool

	turn       sync.Mutex // of before
	mu         sync.Mutex
	calls      map[operation]int
	products   map[product.ID]product.Product
	rows       map[product.ID]product.Row
	references map[product.ID]string          // ids that another table holds
	refused    map[product.ID]*product.Misfit // rows that a constraint refuses
	queues     map[product.Kind]*queue
	scanned    snapshot
	audit      *audit
	carried    map[product.ID][]act // what earlier processes of the run did
}

// snapshot is what a scan sees. Taking it at the scan's start lets a test fail
// the same way each time, and the products that change later look like those that
// change between the scan and the confirmation.
type snapshot struct {
	products []product.Product
	rows     []product.Row
}

// longAgo is when products were made that have settled.
var longAgo = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)

func id(i int) product.ID { return product.ID(fmt.Sprintf("%024x", i)) }

func newProduct(id product.ID) product.Product {
	p := product.Product{Key: product.Key{Class: product.ObjectIDs, ID: id}, Created: longAgo, Updated: longAgo}
	p.Values[product.Title] = product.TextValue("Lamp")
	p.Values[product.Price] = product.IntegerValue(777)
	p.Values[product.Image] = product.TextValue("lamp.png")
	p.Values[product.SellerID] = product.TextValue("seller")
	p.Values[product.Quantity] = product.IntegerValue(5)
	return p
}

// newShop has products 1 to n; the cart lacks the rows of those that lost picks.
func newShop(n int, lost func(i int) bool) *shop {
	s := &shop{
		page: 4, ranges: []product.Range{{Class: product.ObjectIDs}},
		calls: make(map[operation]int), products: make(map[product.ID]product.Product), rows: make(map[product.ID]product.Row),
		references: make(map[product.ID]string), refused: make(map[product.ID]*product.Misfit), audit: newAudit(),
		queues: make(map[product.Kind]*queue),
	}
	for _, kind := range product.Kinds() {
		s.queues[kind] = &queue{shop: s, kind: kind, came: make(chan struct{}, 1)}
	}
	s.table = product.Table{Name: "public.product", HexOrdered: true, ID: product.Column{Name: "id", Type: product.TextColumn, TypeName: "text"}}
	for _, f := range product.CartFields() {
		s.table.Fields[f] = product.Column{Name: f.String(), Type: product.TextColumn, TypeName: "text"}
	}
	s.table.Fields[product.Price] = product.Column{Name: "price", Type: product.IntegerColumn, TypeName: "integer", Bits: 32}
	s.table.Fields[product.Quantity] = product.Column{Name: "quantity", Type: product.IntegerColumn, TypeName: "integer", Bits: 32}
	for i := 1; i <= n; i++ {
		s.add(newProduct(id(i)), !lost(i))
	}
	return s
}

func all(int) bool { return true }

func none(int) bool { return false }

func first(n int) func(int) bool { return func(i int) bool { return i <= n } }

// add puts a product into the source, and its row into the cart.
func (s *shop) add(p product.Product, row bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.products[p.ID()] = p
	if row {
		s.rows[p.ID()] = s.rowOf(p)
	}
}

func (s *shop) rowOf(p product.Product) product.Row {
	row, err := s.table.Fit(&p)
	if err != nil {
		panic(err) // the test puts a row into the cart that it cannot hold
	}
	return row
}

// change changes a product in the source, now, and returns it.
func (s *shop) change(id product.ID, change func(*product.Product)) product.Product {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.products[id]
	change(&p)
	p.Updated = time.Now()
	s.products[id] = p
	return p
}

func (s *shop) delete(id product.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.products, id)
}

// arrive puts a row into the cart if it has none, as a live event does.
func (s *shop) arrive(row product.Row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.rows[row.ID]; !there {
		s.rows[row.ID] = row
	}
}

func (s *shop) removeRow(id product.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rows, id)
}

// enter begins an operation. Each takes a moment, so that no two have one time.
func (s *shop) enter(ctx context.Context, c call) error {
	s.mu.Lock()
	s.calls[c.operation]++
	c.nth = s.calls[c.operation]
	hook := s.before
	s.mu.Unlock()
	if !s.quick {
		time.Sleep(time.Millisecond)
	}
	if s.hangs != nil && s.hangs(c) {
		<-ctx.Done()
		return errReset // a driver need not say that it was stopped
	}
	if hook != nil {
		s.turn.Lock()
		defer s.turn.Unlock()
		if err := hook(ctx, c); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// intercept puts a hook before the one that is there.
func (s *shop) intercept(hook func(ctx context.Context, c call) error) {
	next := s.before
	s.before = func(ctx context.Context, c call) error {
		if err := hook(ctx, c); err != nil || next == nil {
			return err
		}
		return next(ctx, c)
	}
}

// fail lets the nth operation of a kind fail.
func (s *shop) fail(o operation, nth int) {
	s.intercept(func(_ context.Context, c call) error {
		if c.operation == o && c.nth == nth {
			return errReset
		}
		return nil
	})
}

// count is how often an operation was begun.
func (s *shop) count(o operation) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[o]
}

// source and target are the two sides of the shop.
type (
	source struct{ *shop }
	target struct{ *shop }
)

func (s source) Name() string { return "shop.products" }

func (s source) Ranges(ctx context.Context, _ int) ([]product.Range, error) {
	return s.ranges, s.enter(ctx, call{operation: planning})
}

func (s source) Sample(ctx context.Context, n int) ([]product.ID, error) {
	if err := s.enter(ctx, call{operation: sampling}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []product.ID
	for id := range s.products { // in no order
		if len(ids) < n {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (s source) EstimatedCount(ctx context.Context) (int64, error) {
	err := s.enter(ctx, call{operation: planning})
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.products)), err
}

func (s source) Unsupported(ctx context.Context) (map[string]int64, error) {
	return s.unsupported, s.enter(ctx, call{operation: planning})
}

func (s source) Scan(ctx context.Context, r product.Range, since time.Time) iter.Seq2[[]product.Product, error] {
	return func(yield func([]product.Product, error) bool) {
		if r.After == "" {
			s.look()
		}
		var found []product.Product
		for _, p := range s.scanned.products {
			if p.ID() > r.After && (r.Through == "" || p.ID() <= r.Through) && !p.Created.Before(since) {
				found = append(found, p)
			}
		}
		pages(ctx, s.shop, scanning, found, yield)
	}
}

// look takes the snapshot that a scan sees.
func (s *shop) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scanned.products = slices.SortedFunc(maps.Values(s.products), func(a, b product.Product) int { return cmp.Compare(a.ID(), b.ID()) })
	s.scanned.rows = slices.SortedFunc(maps.Values(s.rows), func(a, b product.Row) int { return cmp.Compare(a.ID, b.ID) })
}

func pages[T any](ctx context.Context, s *shop, o operation, found []T, yield func([]T, error) bool) {
	for page := range slices.Chunk(found, s.page) {
		if err := s.enter(ctx, call{operation: o}); err != nil {
			yield(nil, err)
			return
		}
		if !yield(slices.Clone(page), nil) || o == scanning && s.repeats && !yield(slices.Clone(page), nil) {
			return
		}
	}
}

func (s source) Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Product, error) {
	if err := s.enter(ctx, call{operation: findProducts, ids: ids}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make(map[product.ID]product.Product)
	for _, id := range ids {
		if p, there := s.products[id]; there {
			found[id] = p
		}
	}
	s.audit.sawProducts(ids, found)
	return found, nil
}

func (s source) Present(ctx context.Context, ids []product.ID) (map[product.ID]bool, error) {
	found, err := s.Find(ctx, ids)
	return keysOf(found), err
}

func keysOf[T any](found map[product.ID]T) map[product.ID]bool {
	present := make(map[product.ID]bool, len(found))
	for id := range found {
		present[id] = true
	}
	return present
}

func (s target) Present(ctx context.Context, ids []product.ID) (map[product.ID]bool, error) {
	found, err := s.Find(ctx, ids)
	return keysOf(found), err
}

func (s target) Name() string { return "cart.public.product" }

func (s target) Table() *product.Table { return &s.table }

func (s target) Span(ctx context.Context, after, through product.ID) iter.Seq2[[]product.Row, error] {
	return func(yield func([]product.Row, error) bool) {
		var found []product.Row
		for _, row := range s.scanned.rows {
			if row.ID > after && (through == "" || row.ID <= through) {
				found = append(found, row)
			}
		}
		pages(ctx, s.shop, spanning, found, yield)
	}
}

func (s target) Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Row, error) {
	o := findRows
	if ctx.Value(seeing) != nil {
		o = seeing
	}
	if err := s.enter(ctx, call{operation: o, ids: ids}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make(map[product.ID]product.Row)
	for _, id := range ids {
		if row, there := s.rows[id]; there {
			found[id] = row
		}
	}
	s.audit.sawRows(ids, found)
	return found, nil
}

func (s target) Check(ctx context.Context, rows []product.Row) (map[product.ID]*product.Misfit, error) {
	var ids []product.ID
	for _, row := range rows {
		ids = append(ids, row.ID)
	}
	if err := s.enter(ctx, call{operation: checking, ids: ids}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	misfits := make(map[product.ID]*product.Misfit)
	for _, id := range ids {
		if m, is := s.refused[id]; is {
			misfits[id] = m
		}
	}
	return misfits, nil
}

func (s target) Referenced(ctx context.Context, ids []product.ID) (map[product.ID]string, error) {
	if err := s.enter(ctx, call{operation: referencing, ids: ids}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	held := make(map[product.ID]string)
	for _, id := range ids {
		if table, is := s.references[id]; is {
			held[id] = table
		}
	}
	return held, nil
}
