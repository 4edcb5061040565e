package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/text"
)

// fit is the row that the cart shall hold, or, with a reason, why it cannot.
type fit struct {
	row    product.Row
	column string
	reason run.Reason
}

// fit asks for items of one kind, whose pairs have just been read, whether the cart can
// hold what a repair would make of it.
func (r *Run) fit(ctx context.Context, kind product.Kind, items []*item) (map[product.ID]fit, error) {
	if kind.Rule().InSource {
		return r.fitRows(ctx, items)
	}
	referenced, err := r.Target.Referenced(ctx, idsOf(items))
	if err != nil {
		return nil, err
	}
	fits := make(map[product.ID]fit, len(items))
	for _, it := range items {
		f := fit{row: product.Row{ID: it.ID}}
		if table, is := referenced[it.ID]; is {
			f.reason = run.Reason{Code: run.ReasonReferenced, Detail: table}
		}
		fits[it.ID] = f
	}
	return fits, nil
}

func (r *Run) fitRows(ctx context.Context, items []*item) (map[product.ID]fit, error) {
	fits := make(map[product.ID]fit, len(items))
	rows := make([]product.Row, 0, len(items))
	for _, it := range items {
		if it.pair.Product == nil {
			continue // deleted meanwhile, which decides
		}
		f, err := r.fitRow(it.pair)
		if err != nil {
			return nil, err
		}
		fits[it.ID] = f
		if f.reason.Code == "" {
			rows = append(rows, f.row)
		}
	}
	misfits, err := r.Target.Check(ctx, rows)
	if err != nil {
		return nil, err
	}
	for id, misfit := range misfits {
		fits[id] = misfitting(misfit)
	}
	return fits, nil
}

func (r *Run) fitRow(pair *diff.Pair) (fit, error) {
	row, err := r.Target.Table().Fit(pair.Product)
	var misfit *product.Misfit
	switch {
	case errors.As(err, &misfit):
		return misfitting(misfit), nil
	case err != nil:
		return fit{}, err
	}
	if pair.Row != nil && r.options.Mode == run.Replay {
		// An event never changes the seller of a row that is there.
		_, fields := r.finder.Differs(*pair)
		if slices.Equal(fields, []product.Field{product.SellerID}) {
			return fit{column: product.SellerID.String(), reason: useDirect}, nil
		}
	}
	return fit{row: row}, nil
}

// useDirect is the reason of what an event does not change.
var useDirect = run.Reason{Code: run.ReasonUseDirect, Detail: product.SellerID.String()}

func misfitting(m *product.Misfit) fit {
	return fit{column: m.Column, reason: run.Reason{Code: run.ReasonMisfit, Detail: m.Reason}}
}

// changes are the fields in which a pair differs, as each side has them.
func changes(fields []product.Field, pair *diff.Pair) []run.FieldChange {
	if pair.Product == nil || pair.Row == nil {
		return nil
	}
	all := make([]run.FieldChange, len(fields))
	for i, f := range fields {
		all[i] = change(f, pair.Product.Values[f].String(), pair.Row.Values[f].String())
	}
	return all
}

// change is a field as each side has it, bounded.
func change(f product.Field, source, cart string) run.FieldChange {
	c := run.FieldChange{Field: f.String()}
	c.Source, c.Cart = text.Apart(source, cart, run.MaxValue)
	c.SourceWhole, c.CartWhole = whole(source, c.Source), whole(cart, c.Cart)
	return c
}

// whole tells of a value that is shown in part.
func whole(value, shown string) (w run.Whole) {
	if shown != value {
		sum := sha256.Sum256([]byte(value))
		w = run.Whole{Bytes: len(value), SHA256: hex.EncodeToString(sum[:])}
	}
	return w
}
