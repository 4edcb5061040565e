package memoryshop

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ecom-micro/etl/internal/product"
)

// contents are those of both stores at one moment, in their orders.
type contents struct {
	products []product.Product // of each class by itself
	rows     []product.Row
}

// look is what the stores hold, or held when the scan began.
func (s *Stores) look(anew bool) contents {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if s.Still && !anew && s.still.products != nil {
		return s.still
	}
	s.still = contents{
		products: slices.SortedFunc(maps.Values(s.Products), func(a, b product.Product) int {
			if a.Key.Class != b.Key.Class {
				return strings.Compare(string(a.Key.Class), string(b.Key.Class))
			}
			return CompareKeys(a.Key, b.Key)
		}),
		rows: slices.SortedFunc(maps.Values(s.Rows), func(a, b product.Row) int { return s.Order(a.ID, b.ID) }),
	}
	return s.still
}

// Look returns all products, class by class, and all rows, in their orders. A still scan
// sees these from now on.
func (s *Stores) Look() ([]product.Product, []product.Row) {
	all := s.look(true)
	return all.products, all.rows
}

// Within are the products of a range, created since then, in key order.
func (s *Stores) Within(r product.Range, since time.Time) []product.Product {
	all := s.look(false).products
	first := sort.Search(len(all), func(i int) bool { return all[i].Key.Class >= r.Class })
	all = all[first:]
	all = all[:sort.Search(len(all), func(i int) bool { return all[i].Key.Class > r.Class })]
	found := between(all, func(p *product.Product) bool {
		return r.After == "" || CompareKeys(p.Key, product.Key{Class: r.Class, ID: r.After}) > 0
	}, func(p *product.Product) bool {
		return r.Through != "" && CompareKeys(p.Key, product.Key{Class: r.Class, ID: r.Through}) > 0
	})
	if since.IsZero() {
		return found
	}
	return slices.DeleteFunc(slices.Clone(found), func(p product.Product) bool { return p.Created.Before(since) })
}

// between are those of a sorted list that are inside its lower bound and not beyond its
// upper one.
func between[T any](sorted []T, inside, beyond func(*T) bool) []T {
	end := sort.Search(len(sorted), func(i int) bool { return beyond(&sorted[i]) })
	begin := sort.Search(end, func(i int) bool { return inside(&sorted[i]) })
	return sorted[begin:end]
}

func (s *Stores) before(ctx context.Context, r Read, ids []product.ID) error {
	if s.Before != nil {
		if err := s.Before(ctx, r, ids); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// Scan yields the products of a range page by page, with these fields.
func (s Source) Scan(ctx context.Context, r product.Range, fields []product.Field, since time.Time) iter.Seq2[[]product.Product, error] {
	return func(yield func([]product.Product, error) bool) {
		s.look(r.After == "")
		pages(ctx, s.Stores, Scan, 1, func() []product.Product {
			found := slices.Clone(s.Within(r, since))
			for i := range found {
				found[i].Values = only(found[i].Values, fields)
			}
			return found
		},
			func(p, last *product.Product) bool { return CompareKeys(p.Key, last.Key) > 0 }, yield)
	}
}

// Span yields the rows in (after, through] page by page, from the first on where after is
// empty, and to the last where through is.
func (s Target) Span(ctx context.Context, after, through product.ID, fields []product.Field) iter.Seq2[[]product.Row, error] {
	return func(yield func([]product.Row, error) bool) {
		if !Storable(after) || !Storable(through) {
			yield(nil, errors.New(`invalid byte sequence for encoding "UTF8"`)) // as PostgreSQL
			return
		}
		pages(ctx, s.Stores, Span, 0, func() []product.Row {
			found := slices.Clone(between(s.look(false).rows,
				func(row *product.Row) bool { return after == "" || s.Order(row.ID, after) > 0 },
				func(row *product.Row) bool { return through != "" && s.Order(row.ID, through) > 0 }))
			for i := range found {
				found[i].Values = only(found[i].Values, fields)
			}
			return found
		}, func(row, last *product.Row) bool { return s.Order(row.ID, last.ID) > 0 }, yield)
	}
}

// only are the values of these fields; the others were not read.
func only(all [product.NumFields]product.Value, fields []product.Field) (read [product.NumFields]product.Value) {
	for _, f := range fields {
		read[f] = all[f]
	}
	return read
}

// pages yields what there is, page by page. As the real stores do it ends with the page
// behind which nothing is left; where there is nothing, that takes a read. Of the pages
// that were yielded before only the last stay ones are left as they are.
func pages[T any](ctx context.Context, s *Stores, r Read, stay int, all func() []T, behind func(item, last *T) bool, yield func([]T, error) bool) {
	found := all()
	var last []T // the page before, without what it repeated
	var at *T
	var yielded [][]T
	left := func() []T {
		if !s.Still {
			found = all()
		}
		if at == nil {
			return found
		}
		return found[sort.Search(len(found), func(i int) bool { return behind(&found[i], at) }):]
	}
	for n := 0; n == 0 || len(left()) > 0; n++ {
		if err := s.before(ctx, r, nil); err != nil {
			yield(nil, err)
			return
		}
		rest := left()
		if len(rest) == 0 {
			return
		}
		size, again := s.Page(n)
		page := rest[:min(size, len(rest))]
		if len(page) > 0 {
			at = &page[len(page)-1]
		}
		repeated := last[len(last)-min(again, len(last)):]
		last = page
		handed := slices.Concat(repeated, page)
		if !yield(handed, nil) {
			return
		}
		if yielded = append(yielded, handed); len(yielded) > stay {
			clear(yielded[0])
			yielded = yielded[1:]
		}
	}
}

// Find reads products by id.
func (s Source) Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Product, error) {
	found, err := s.find(ctx, ids)
	return atOnce(s.Held, found, err)
}

// Present tells which products are there.
func (s Source) Present(ctx context.Context, ids []product.ID) (map[product.ID]bool, error) {
	found, err := s.find(ctx, ids)
	return keysOf(found), err
}

func (s Source) find(ctx context.Context, ids []product.ID) (map[product.ID]product.Product, error) {
	if err := s.before(ctx, FindProducts, ids); err != nil {
		return nil, err
	}
	s.Mu.Lock()
	defer s.Mu.Unlock()
	found := make(map[product.ID]product.Product)
	for _, id := range ids {
		delete(found, id) // named twice
		for _, class := range product.Classes() {
			if p, there := s.Products[product.Key{Class: class, ID: id}]; there {
				_, p.Ambiguous = found[id]
				found[id] = p
			}
		}
	}
	return found, nil
}

// Find reads rows by id.
func (s Target) Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Row, error) {
	found, err := s.find(ctx, ids)
	return atOnce(s.Held, found, err)
}

// Present tells which rows are there.
func (s Target) Present(ctx context.Context, ids []product.ID) (map[product.ID]bool, error) {
	found, err := s.find(ctx, ids)
	return keysOf(found), err
}

func (s Target) find(ctx context.Context, ids []product.ID) (map[product.ID]product.Row, error) {
	if err := s.before(ctx, FindRows, ids); err != nil {
		return nil, err
	}
	s.Mu.Lock()
	defer s.Mu.Unlock()
	found := make(map[product.ID]product.Row)
	for _, id := range ids {
		if row, there := s.Rows[id]; there {
			found[id] = row
		}
	}
	return found, nil
}

// atOnce is what was found by id where so much is held at once; held may be 0 for any.
func atOnce[T any](held int, found map[product.ID]T, err error) (map[product.ID]T, error) {
	if err == nil && held > 0 && len(found) > held {
		return nil, fmt.Errorf("find: %w", &product.TooLargeError{Fits: held})
	}
	return found, err
}

func keysOf[T any](found map[product.ID]T) map[product.ID]bool {
	present := make(map[product.ID]bool, len(found))
	for id := range found {
		present[id] = true
	}
	return present
}

// Storable tells whether PostgreSQL takes an id for text.
func Storable(id product.ID) bool {
	return utf8.ValidString(string(id)) && !strings.Contains(string(id), "\x00")
}
