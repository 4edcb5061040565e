package diff

import (
	"context"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// Pair is one product as both sides have it; nil where a side does not.
type Pair struct {
	ID      product.ID
	Product *product.Product
	Row     *product.Row
}

// Look reads products by id on both sides, in the order of ids, and counts nothing.
// The cart is read last, so that a row that arrives in between counts, and its
// product does not look missing. After an error nothing is known of any.
func (f *Finder) Look(ctx context.Context, ids []product.ID) ([]Pair, error) {
	products, err := f.source.Find(ctx, ids)
	if err != nil {
		return nil, err
	}
	rows, err := f.target.Find(ctx, ids)
	if err != nil {
		return nil, err
	}
	return pairs(ids, products, rows), nil
}

// LookBack is Look with the source read last: a product that is still there then
// was not deleted before its row was seen.
func (f *Finder) LookBack(ctx context.Context, ids []product.ID) ([]Pair, error) {
	rows, err := f.target.Find(ctx, ids)
	if err != nil {
		return nil, err
	}
	products, err := f.source.Find(ctx, ids)
	if err != nil {
		return nil, err
	}
	return pairs(ids, products, rows), nil
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
