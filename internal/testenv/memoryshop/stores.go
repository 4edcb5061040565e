// Package memoryshop is the Product Service's store and the cart's table in memory, read
// as the real ones are. Tests of what compares them share it.
package memoryshop

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// Read is one read of a page or by id.
type Read string

// The reads.
const (
	Scan         Read = "scan the source" // a page
	Span         Read = "span the cart"   // a page
	FindProducts Read = "find products"   // by id
	FindRows     Read = "find rows"       // by id
)

// Stores are the two stores. Each class of keys has its own order, and rows have that of
// the id column. Source and Target are their sides.
type Stores struct {
	Columns product.Table
	// Order is that of the id column.
	Order func(a, b product.ID) int
	// Page is the size of the nth page of a scan or span, and how many products of the page
	// before a scan returns again.
	Page func(n int) (size, again int)
	// Held, if set, is how many products, or rows, are held at once when they are found by
	// id: more of them are too large.
	Held int
	// Before, if set, is called before each read, while nothing is locked; its error is the
	// read's. ids are those that are looked for.
	Before func(ctx context.Context, r Read, ids []product.ID) error
	// Still: a scan of everything sees both stores as they are when it begins. Else each
	// page is as they are when it is read.
	Still bool

	Mu       sync.Mutex // guards all below
	Products map[product.Key]product.Product
	Rows     map[product.ID]product.Row
	still    contents
}

// Source is the side of the Product Service.
type Source struct{ *Stores }

// Target is the side of the cart.
type Target struct{ *Stores }

// New makes empty stores, in pages of n, whose id column sorts as bytes do.
func New(n int) *Stores {
	return &Stores{
		Columns: table(), Order: cmp.Compare[product.ID], Page: func(int) (size, again int) { return n, 0 },
		Products: make(map[product.Key]product.Product), Rows: make(map[product.ID]product.Row),
	}
}

// table is one that holds any lamp, and whose collation says nothing but of hexadecimals.
func table() product.Table {
	text := func(name string) product.Column {
		return product.Column{Name: name, Type: product.TextColumn, TypeName: "text"}
	}
	t := product.Table{Name: "public.product", HexOrdered: true, ID: text("id")}
	for _, f := range product.CartFields() {
		t.Fields[f] = text(f.String())
	}
	for _, f := range []product.Field{product.Price, product.Quantity} {
		t.Fields[f] = product.Column{Name: f.String(), Type: product.IntegerColumn, TypeName: "integer", Bits: 32}
	}
	return t
}

// LongAgo is when lamps were made: they have settled.
var LongAgo = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)

// Lamp is a product that any cart holds.
func Lamp(class product.Class, id product.ID) product.Product {
	p := product.Product{Key: product.Key{Class: class, ID: id}, Created: LongAgo, Updated: LongAgo}
	p.Values[product.Title] = product.TextValue("Lamp")
	p.Values[product.Price] = product.IntegerValue(777)
	p.Values[product.Image] = product.TextValue("lamp.png")
	p.Values[product.SellerID] = product.TextValue("seller")
	p.Values[product.Quantity] = product.IntegerValue(5)
	return p
}

// CompareKeys orders keys of one class as MongoDB does.
func CompareKeys(a, b product.Key) int {
	if a.Class == product.Integers {
		m, _ := strconv.ParseInt(string(a.ID), 10, 64)
		n, _ := strconv.ParseInt(string(b.ID), 10, 64)
		return cmp.Compare(m, n)
	}
	return strings.Compare(string(a.ID), string(b.ID))
}

// Table is what the cart's table says of itself.
func (s Target) Table() *product.Table { return &s.Columns }
