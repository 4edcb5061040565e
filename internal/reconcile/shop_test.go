package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv/memoryshop"
)

// operation is something that a run asks of a store or a repairer.
type operation string

const (
	planning     operation = "plan"   // ranges, counts, unsupported ids
	sampling     operation = "sample" // keys, for the guard
	scanning               = operation(memoryshop.Scan)
	spanning               = operation(memoryshop.Span)
	findProducts           = operation(memoryshop.FindProducts)
	findRows               = operation(memoryshop.FindRows)
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

// shop is the two stores, the cart's queues and the cart's consumer, in memory. What a
// scan sees is taken at its start: that lets a test fail the same way each time, and the
// products that change later look like those that change between the scan and the
// confirmation.
type shop struct {
	*memoryshop.Stores
	// before, if set, is called before each operation, by one goroutine at a time; its
	// error is the operation's.
	before func(ctx context.Context, c call) error
	// hangs, if set, picks operations that last until they are stopped.
	hangs func(c call) bool
	// page is the number of products, and of rows, in a page.
	page        int
	repeats     bool // the cursor returns each page twice
	ranges      []product.Range
	unsupported map[string]int64
	// quick leaves out that each operation takes a moment, and the audit of single
	// products, which cost a test with many of them real time.
	quick bool

	turn       sync.Mutex // of before
	mu         *sync.Mutex
	calls      map[operation]int
	references map[product.ID]string          // ids that another table holds
	refused    map[product.ID]*product.Misfit // rows that a constraint refuses
	queues     map[product.Kind]*queue
	away       time.Time // the last time that a server did not answer
	audit      *audit
	carried    map[product.ID][]act // what earlier processes of the run did
}

// longAgo is when products were made that have settled.
var longAgo = memoryshop.LongAgo

func id(i int) product.ID { return product.ID(fmt.Sprintf("%024x", i)) }

func newProduct(id product.ID) product.Product { return memoryshop.Lamp(product.ObjectIDs, id) }

// newShop has products 1 to n; the cart lacks the rows of those that lost picks.
func newShop(n int, lost func(i int) bool) *shop {
	s := &shop{
		Stores: memoryshop.New(0), page: 4, ranges: []product.Range{{Class: product.ObjectIDs}}, calls: make(map[operation]int),
		references: make(map[product.ID]string), refused: make(map[product.ID]*product.Misfit), audit: newAudit(),
		queues: make(map[product.Kind]*queue),
	}
	s.mu, s.Still = &s.Mu, true
	s.Page = func(int) (size, again int) { return s.page, 0 }
	s.Before = func(ctx context.Context, r memoryshop.Read, ids []product.ID) error {
		o := operation(r)
		if o == findRows && ctx.Value(seeing) != nil {
			o = seeing
		}
		return s.enter(ctx, call{operation: o, ids: ids})
	}
	for _, kind := range product.Kinds() {
		s.queues[kind] = &queue{shop: s, kind: kind, came: make(chan struct{}, 1)}
	}
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
	s.put(p)
	if row {
		s.Rows[p.ID()] = s.rowOf(p)
	}
}

// put puts a product into the source in the place of one with its id. product is the one
// that is there.
func (s *shop) put(p product.Product) {
	for _, class := range product.Classes() {
		delete(s.Products, product.Key{Class: class, ID: p.ID()})
	}
	s.Products[p.Key] = p
}

func (s *shop) product(id product.ID) (found product.Product, there bool) {
	for _, class := range product.Classes() {
		if p, is := s.Products[product.Key{Class: class, ID: id}]; is {
			return p, true
		}
	}
	return found, false
}

func (s *shop) rowOf(p product.Product) product.Row {
	row, err := s.Columns.Fit(&p)
	if err != nil {
		panic(err) // the test puts a row into the cart that it cannot hold
	}
	return row
}

// change changes a product in the source, now, and returns it.
func (s *shop) change(id product.ID, change func(*product.Product)) product.Product {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, _ := s.product(id)
	change(&p)
	p.Updated = time.Now()
	s.put(p)
	return p
}

func (s *shop) delete(id product.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, _ := s.product(id)
	delete(s.Products, p.Key)
}

// arrive puts a row into the cart if it has none, as a live event does.
func (s *shop) arrive(row product.Row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.Rows[row.ID]; !there {
		s.Rows[row.ID] = row
	}
}

func (s *shop) removeRow(id product.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.Rows, id)
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
			s.mu.Lock()
			defer s.mu.Unlock()
			if errors.As(err, new(*product.AwayError)) {
				s.away = time.Now()
			}
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
	source struct {
		memoryshop.Source
		*shop
	}
	target struct {
		memoryshop.Target
		*shop
	}
)

func (s *shop) source() source { return source{memoryshop.Source{Stores: s.Stores}, s} }

func (s *shop) target() target { return target{memoryshop.Target{Stores: s.Stores}, s} }

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
	for key := range s.shop.Products { // in no order
		if len(ids) < n {
			ids = append(ids, key.ID)
		}
	}
	return ids, nil
}

func (s source) EstimatedCount(ctx context.Context) (int64, error) {
	err := s.enter(ctx, call{operation: planning})
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.shop.Products)), err
}

func (s source) Unsupported(ctx context.Context) (map[string]int64, error) {
	return s.unsupported, s.enter(ctx, call{operation: planning})
}

func (s source) Scan(ctx context.Context, r product.Range, fields []product.Field, since time.Time) iter.Seq2[[]product.Product, error] {
	return func(yield func([]product.Product, error) bool) {
		for page, err := range s.Source.Scan(ctx, r, fields, since) {
			if !yield(page, err) || s.repeats && err == nil && !yield(slices.Clone(page), nil) {
				return
			}
		}
	}
}

func (s source) Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Product, error) {
	found, err := s.Source.Find(ctx, ids)
	if err == nil && !s.quick {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.audit.sawProducts(ids, found)
	}
	return found, err
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

func (s target) Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Row, error) {
	found, err := s.Target.Find(ctx, ids)
	if err == nil && !s.quick {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.audit.sawRows(ids, found)
	}
	return found, err
}

func (s target) Check(ctx context.Context, rows []product.Row) (map[product.ID]*product.Misfit, error) {
	var ids []product.ID
	for _, row := range rows {
		ids = append(ids, row.ID)
	}
	return pick(ctx, s.shop, checking, ids, s.refused)
}

func (s target) Referenced(ctx context.Context, ids []product.ID) (map[product.ID]string, error) {
	return pick(ctx, s.shop, referencing, ids, s.references)
}

// pick is what is known of ids.
func pick[T any](ctx context.Context, s *shop, o operation, ids []product.ID, known map[product.ID]T) (map[product.ID]T, error) {
	if err := s.enter(ctx, call{operation: o, ids: ids}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	picked := make(map[product.ID]T)
	for _, id := range ids {
		if is, there := known[id]; there {
			picked[id] = is
		}
	}
	return picked, nil
}
