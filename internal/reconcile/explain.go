package reconcile

import (
	"context"
	"slices"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Explain looks at one product on both sides, as a run in the given mode would. The
// cart's catalogue must have been read (Target.Table). The history is left to the
// caller.
func Explain(ctx context.Context, source Source, target Target, config Config, mode run.Mode, id product.ID) (*run.Explanation, error) {
	compared, err := config.Fields()
	if err != nil {
		return nil, err
	}
	r := &Run{Parts: Parts{Source: source, Target: target}, config: config, options: Options{Mode: mode}}
	r.finder = diff.New(source, target, diff.Config{Compare: compared, Batch: 1})
	pairs, err := r.finder.Look(ctx, []product.ID{id})
	if err != nil {
		return nil, err
	}
	pair := &pairs[0]
	e := &run.Explanation{ID: id, InSource: pair.Product != nil, InCart: pair.Row != nil, Fields: comparison(target.Table(), pair, compared), History: []run.PastOutcome{}}
	if pair.Product != nil {
		e.Created, e.Updated = pair.Product.Created, pair.Product.Updated
	}
	kind, _ := r.finder.Differs(*pair)
	if kind == "" {
		e.Verdict = run.VerdictInSync
		if !e.InSource {
			e.Verdict = run.VerdictUnknown
		}
		return e, nil
	}
	it := &item{Key: run.Key{ID: id, Kind: kind}, pair: pair}
	fits, err := r.fit(ctx, kind, []*item{it})
	if err != nil {
		return nil, err
	}
	e.Verdict = run.Verdict(kind)
	e.Column, e.Reason = fits[id].column, fits[id].reason
	settled := pair.Stamp(kind).Add(config.Settle)
	switch {
	case e.Reason.Code == run.ReasonMisfit:
		e.Verdict = run.VerdictBlocked
	case e.Reason.Code == "" && kind == product.Missing && settled.After(time.Now()):
		e.Verdict, e.Reason = run.VerdictOnItsWay, run.Reason{Code: run.ReasonSettling, Until: settled}
	}
	return e, nil
}

// comparison is every field of the cart as each side has it.
func comparison(table *product.Table, pair *diff.Pair, compared []product.Field) []run.FieldComparison {
	var all []run.FieldComparison
	for _, f := range product.CartFields() {
		var source, cart string
		if pair.Product != nil {
			source = pair.Product.Values[f].String()
		}
		if pair.Row != nil {
			cart = pair.Row.Values[f].String()
		}
		c := run.FieldComparison{FieldChange: change(f, source, cart), Compared: slices.Contains(compared, f)}
		c.Equal = pair.Product != nil && pair.Row != nil && len(table.Differing(pair.Product, pair.Row, []product.Field{f})) == 0
		all = append(all, c)
	}
	return all
}
