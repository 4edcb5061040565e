package diff_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/text/collate"
	"golang.org/x/text/language"

	"github.com/ecom-micro/etl/internal/product"
)

// stores are the two stores in memory. Their reads behave as those of the real
// ones: each class of keys in its own order, rows in the order of the id column, each
// page as the store is when it is read.
type stores struct {
	order order
	table product.Table
	// pages are the sizes of the pages that both sides yield, in turn; overlap is
	// how many products of the page before the cursor returns again, in turn.
	pages, overlap []int
	// held, if set, is how many products, or rows, are held at once when they are found by id.
	held int
	// onRead, if set, is called before each read of either side; its error is the read's.
	onRead func(ctx context.Context, r read) error

	mu       sync.Mutex
	products []product.Product
	rows     []product.Row
}

// read names one read of a page or by id.
type read string

const (
	scanRead       read = "scan of the source"
	sourceFindRead read = "find in the source"
	spanRead       read = "span of the target"
	targetFindRead read = "find in the target"
)

func newStores(o order) *stores {
	s := &stores{order: o, pages: []int{3}, overlap: []int{0}}
	s.table = product.Table{Name: "public.product", HexOrdered: o.hex, BytewiseOrdered: o.bytewise}
	s.table.ID = product.Column{Name: "id", Type: product.TextColumn}
	for _, f := range product.CartFields() {
		s.table.Fields[f] = product.Column{Name: f.String(), Type: product.TextColumn, TypeName: "text"}
	}
	s.table.Fields[product.Price] = product.Column{Name: "price", Type: product.IntegerColumn, TypeName: "integer", Bits: 32}
	return s
}

func (s *stores) before(ctx context.Context, r read) error {
	if s.onRead != nil {
		if err := s.onRead(ctx, r); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// source and target are the two sides of stores.
type (
	source struct{ *stores }
	target struct{ *stores }
)

func (s source) Scan(ctx context.Context, r product.Range, since time.Time) iter.Seq2[[]product.Product, error] {
	return func(yield func([]product.Product, error) bool) {
		var page []product.Product // without what it repeated
		var last product.ID
		begun := false
		for n := 0; ; n++ {
			if err := s.before(ctx, scanRead); err != nil {
				yield(nil, err)
				return
			}
			repeated := page[len(page)-min(s.overlap[n%len(s.overlap)], len(page)):]
			left := slices.DeleteFunc(s.within(r, since), func(p product.Product) bool {
				return begun && compareKeys(p.Key, product.Key{Class: r.Class, ID: last}) <= 0
			})
			if len(left) == 0 {
				return
			}
			page = left[:min(s.pages[n%len(s.pages)], len(left))]
			if len(page) > 0 {
				last, begun = page[len(page)-1].ID(), true
			}
			if !yield(slices.Concat(repeated, page), nil) {
				return
			}
		}
	}
}

// within are the products of r, in key order.
func (s *stores) within(r product.Range, since time.Time) []product.Product {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []product.Product
	for _, p := range s.products {
		if p.Key.Class == r.Class && (r.After == "" || compareKeys(p.Key, product.Key{Class: r.Class, ID: r.After}) > 0) &&
			(r.Through == "" || compareKeys(p.Key, product.Key{Class: r.Class, ID: r.Through}) <= 0) &&
			(since.IsZero() || !p.Created.Before(since)) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b product.Product) int { return compareKeys(a.Key, b.Key) })
	return found
}

// change changes the stores while they are read.
func (s *stores) change(how func(*stores)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	how(s)
}

// compareKeys orders keys of one class as MongoDB does.
func compareKeys(a, b product.Key) int {
	if a.Class == product.Integers {
		m, _ := strconv.ParseInt(string(a.ID), 10, 64)
		n, _ := strconv.ParseInt(string(b.ID), 10, 64)
		return cmp.Compare(m, n)
	}
	return strings.Compare(string(a.ID), string(b.ID))
}

func (s source) Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Product, error) {
	found, err := s.find(ctx, ids)
	if err == nil && s.held > 0 && len(found) > s.held {
		return nil, fmt.Errorf("find: %w", &product.TooLargeError{Fits: s.held})
	}
	return found, err
}

func (s source) find(ctx context.Context, ids []product.ID) (map[product.ID]product.Product, error) {
	if err := s.before(ctx, sourceFindRead); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make(map[product.ID]product.Product)
	for _, p := range s.products {
		if slices.Contains(ids, p.ID()) {
			_, p.Ambiguous = found[p.ID()]
			found[p.ID()] = p
		}
	}
	return found, nil
}

func (s source) Present(ctx context.Context, ids []product.ID) (map[product.ID]bool, error) {
	found, err := s.find(ctx, ids)
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
	found, err := s.find(ctx, ids)
	return keysOf(found), err
}

func (s target) Table() *product.Table { return &s.table }

func (s target) Span(ctx context.Context, after, through product.ID) iter.Seq2[[]product.Row, error] {
	return func(yield func([]product.Row, error) bool) {
		if !storable(after) || !storable(through) {
			yield(nil, errors.New(`invalid byte sequence for encoding "UTF8"`)) // as PostgreSQL
			return
		}
		begun := after != ""
		for n := 0; ; n++ {
			if err := s.before(ctx, spanRead); err != nil {
				yield(nil, err)
				return
			}
			left := s.between(after, through, begun)
			if len(left) == 0 {
				return
			}
			page := left[:min(s.pages[n%len(s.pages)], len(left))]
			if len(page) == 0 {
				continue
			}
			after, begun = page[len(page)-1].ID, true
			if !yield(page, nil) {
				return
			}
		}
	}
}

// between are the rows in (after, through], in the column's order; from the first on
// unless begun.
func (s *stores) between(after, through product.ID, begun bool) []product.Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []product.Row
	for _, row := range s.rows {
		if (!begun || s.order.compare(row.ID, after) > 0) && (through == "" || s.order.compare(row.ID, through) <= 0) {
			found = append(found, row)
		}
	}
	slices.SortFunc(found, func(a, b product.Row) int { return s.order.compare(a.ID, b.ID) })
	return found
}

func (s target) Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Row, error) {
	found, err := s.find(ctx, ids)
	if err == nil && s.held > 0 && len(found) > s.held {
		return nil, fmt.Errorf("find: %w", &product.TooLargeError{Fits: s.held})
	}
	return found, err
}

func (s target) find(ctx context.Context, ids []product.ID) (map[product.ID]product.Row, error) {
	if err := s.before(ctx, targetFindRead); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make(map[product.ID]product.Row)
	for _, row := range s.rows {
		if slices.Contains(ids, row.ID) {
			found[row.ID] = row
		}
	}
	return found, nil
}

func storable(id product.ID) bool {
	return utf8.ValidString(string(id)) && !strings.Contains(string(id), "\x00")
}

// order is how the id column sorts, and what the table says of it.
type order struct {
	name          string
	compare       func(a, b product.ID) int
	hex, bytewise bool
}

func orders() []order {
	return []order{
		{name: "bytewise", compare: cmp.Compare[product.ID], hex: true, bytewise: true},
		{name: "English", compare: english(), hex: true},
		{name: "letters before digits", compare: lettersFirst},
	}
}

// english sorts like a column with an English collation: case counts last. Texts
// that it finds equal are sorted as bytes, as PostgreSQL does.
func english() func(a, b product.ID) int {
	var mu sync.Mutex // a collator is for one goroutine at a time
	collator := collate.New(language.AmericanEnglish)
	return func(a, b product.ID) int {
		mu.Lock()
		defer mu.Unlock()
		return cmp.Or(collator.CompareString(string(a), string(b)), cmp.Compare(a, b))
	}
}

// lettersFirst sorts as EBCDIC collations do, in which not even hexadecimal texts
// sort as bytes.
func lettersFirst(a, b product.ID) int {
	turned := func(id product.ID) []byte {
		text := []byte(id)
		for i, c := range text {
			if c >= '0' && c <= '9' {
				text[i] = c + 0x80
			}
		}
		return text
	}
	return cmp.Or(slices.Compare(turned(a), turned(b)), cmp.Compare(a, b))
}
