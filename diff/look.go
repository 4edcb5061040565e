package diff

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/text"
)

// Pair is one product as both sides have it; nil where a side does not.
type Pair struct {
	ID      product.ID
	Product *product.Product
	Row     *product.Row
}

// Bytes is about how much memory the pair takes.
func (p *Pair) Bytes() (n int) {
	if p.Product != nil {
		n += p.Product.Bytes()
	}
	if p.Row != nil {
		n += p.Row.Bytes()
	}
	return n
}

// Title is what the product is called, of at most so many bytes, empty where nobody says. It
// does not keep the page that it was read with in memory.
func (p *Pair) Title(most int) string {
	var of product.Value
	switch {
	case p.Product != nil:
		of = p.Product.Values[product.Title]
	case p.Row != nil:
		of = p.Row.Values[product.Title]
	}
	if of.Kind() == product.Absent || of.Kind() == product.Null {
		return ""
	}
	return strings.Clone(text.Cut(of.String(), most))
}

// Look reads products by id on both sides, in the order of ids, and counts nothing: as
// many of ids, from the first on, as are held at once, which are all unless they are
// large. The cart is read last, so that a row that arrives in between counts, and its
// product does not look missing. After an error nothing is known of any.
func (f *Finder) Look(ctx context.Context, ids []product.ID) ([]Pair, error) {
	products, n, err := fitting(ctx, f.source.Find, f.documents, f.begin(ids), documentBytes)
	if err != nil {
		return nil, err
	}
	rows, n, err := fitting(ctx, f.target.Find, f.rows, ids[:n], rowBytes)
	if err != nil {
		return nil, err
	}
	return pairs(ids[:n], products, rows), nil
}

// LookBack is Look with the source read last: a product that is still there then
// was not deleted before its row was seen.
func (f *Finder) LookBack(ctx context.Context, ids []product.ID) ([]Pair, error) {
	rows, n, err := fitting(ctx, f.target.Find, f.rows, f.begin(ids), rowBytes)
	if err != nil {
		return nil, err
	}
	products, n, err := fitting(ctx, f.source.Find, f.documents, ids[:n], documentBytes)
	if err != nil {
		return nil, err
	}
	return pairs(ids[:n], products, rows), nil
}

// Rows reads the rows of ids, from the first on as many as are held at once, and returns
// of how many ids.
func (f *Finder) Rows(ctx context.Context, ids []product.ID) (rows map[product.ID]product.Row, n int, err error) {
	return fitting(ctx, f.target.Find, f.rows, ids, rowBytes)
}

// portionBytes is how many bytes are read by id at once, about. It is below what the
// stores hold of several products.
const portionBytes = 3 << 20

func documentBytes(p product.Product) int { return p.Bytes() }

func rowBytes(r product.Row) int { return r.Bytes() }

// Large tells whether documents, or rows, are of late so large that few are held at once.
func (f *Finder) Large() bool {
	return min(f.documents.Now(), f.rows.Now()) < min(f.config.Batch, few)
}

// few products in a portion are large ones: of 30 KB and more.
const few = 100

// begin are the ids to read at once, where both sides have their product.
func (f *Finder) begin(ids []product.ID) []product.ID {
	return ids[:min(len(ids), f.documents.Now(), f.rows.Now())]
}

// fitting finds as many of ids, from the first on, as are held at once, and returns how
// many it looked for.
func fitting[T any](ctx context.Context, find func(context.Context, []product.ID) (map[product.ID]T, error), portion *product.Portion, ids []product.ID, bytes func(T) int) (map[product.ID]T, int, error) {
	for {
		n := min(len(ids), portion.Now())
		found, err := find(ctx, ids[:n])
		var tooLarge *product.TooLargeError
		if errors.As(err, &tooLarge) && n > 1 {
			portion.Shrink(min(tooLarge.Fits, n-1))
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		size := 0
		for _, one := range found {
			size += bytes(one)
		}
		portion.Learn(len(found), size)
		return found, n, nil
	}
}

func pairs(ids []product.ID, products map[product.ID]product.Product, rows map[product.ID]product.Row) []Pair {
	all := make([]Pair, len(ids))
	for i, id := range ids {
		all[i].ID = id
		if p, found := products[id]; found {
			all[i].Product = &p
		}
		if row, found := rows[id]; found {
			all[i].Row = &row
		}
	}
	return all
}

// Differs tells how a pair differs, "" where it does not, and of one that is in both
// stores in which of the compared fields.
func (f *Finder) Differs(p Pair) (product.Kind, []product.Field) {
	if p.Product == nil || p.Row == nil {
		return product.KindOf(p.Product != nil, p.Row != nil), nil
	}
	if fields := f.target.Table().Differing(p.Product, p.Row, f.config.Compare); len(fields) > 0 {
		return product.Stale, fields
	}
	return "", nil
}

// Stamp is since when a difference of this kind may be on its way: the document's
// creation or update, zero where it is unknown or nothing is on its way.
func (p *Pair) Stamp(kind product.Kind) time.Time {
	switch {
	case p.Product == nil || kind == "":
		return time.Time{}
	case kind.Rule().InCart:
		return p.Product.Updated
	}
	return p.Product.CreatedAt()
}
