package diff_test

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"golang.org/x/text/collate"
	"golang.org/x/text/language"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv/memoryshop"
)

// stores are the two stores in memory, each page as the store is when it is read.
type stores struct {
	*memoryshop.Stores
	order order
	// pages are the sizes of the pages that both sides yield, in turn; overlap is
	// how many products of the page before the cursor returns again, in turn.
	pages, overlap []int
	// onRead, if set, is called before each read of either side; its error is the read's.
	onRead func(ctx context.Context, r read) error
}

type (
	read   = memoryshop.Read
	source = memoryshop.Source
	target = memoryshop.Target
)

const (
	scanRead       = memoryshop.Scan
	sourceFindRead = memoryshop.FindProducts
	spanRead       = memoryshop.Span
	targetFindRead = memoryshop.FindRows
)

func newStores(o order) *stores {
	s := &stores{Stores: memoryshop.New(3), order: o, pages: []int{3}, overlap: []int{0}}
	s.Order, s.Columns.HexOrdered, s.Columns.BytewiseOrdered = o.compare, o.hex, o.bytewise
	s.Page = func(n int) (size, again int) { return s.pages[n%len(s.pages)], s.overlap[n%len(s.overlap)] }
	s.Before = func(ctx context.Context, r read, _ []product.ID) error {
		if s.onRead == nil {
			return nil
		}
		return s.onRead(ctx, r)
	}
	return s
}

// change changes the stores while they are read.
func (s *stores) change(how func(*stores)) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	how(s)
}

// put puts products into the source, and rows into the cart.
func (s *stores) put(products ...product.Product) {
	for _, p := range products {
		s.Products[p.Key] = p
	}
}

func (s *stores) putRows(rows ...product.Row) {
	for _, row := range rows {
		s.Rows[row.ID] = row
	}
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
