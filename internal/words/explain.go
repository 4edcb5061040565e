package words

import (
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Explain says why a product has its verdict, and what to do: empty is nothing.
func Explain(e *run.Explanation, t Terms) (why, next string) {
	o := run.Outcome{Key: run.Key{ID: e.ID, Kind: product.KindOf(e.InSource, e.InCart)}, Column: e.Column, Reason: e.Reason}
	if e.InSource && e.InCart {
		o.Kind = product.Stale
	}
	named := func(mode run.Mode) string {
		order := repair(&o, mode)
		order.IDs = []product.ID{e.ID}
		return t.sync(order)
	}
	switch e.Verdict {
	case run.VerdictInSync:
		return "both sides agree in " + listed(compared(e)), ""
	case run.VerdictUnknown:
		return "neither store has it", "check the id: an ObjectId is 24 lower-case hexadecimal digits"
	case run.VerdictOnItsWay:
		return sides(o.Kind) + ": " + Reason(o, t), "look again in a moment"
	case run.VerdictBlocked:
		return "the cart cannot hold it: " + inColumn(o, t), Remedy(o, t)
	case run.VerdictOrphaned:
		if e.Reason.Code != "" {
			return sides(o.Kind) + "; " + Reason(o, t), Remedy(o, t)
		}
		return sides(o.Kind), named("") + " deletes it if the source still does not have it"
	case run.VerdictStale:
		why = Changes(e.Differing())
		if e.Reason.Code == run.ReasonUseDirect {
			return why + "; " + Reason(o, t), named(run.Direct) + " writes it"
		}
		return why, named("") + " waits for the queue, announces it again if it still differs, and proves that the cart took it"
	}
	return sides(o.Kind) + "; its event may still wait in the cart's queue",
		named("") + " waits for the queue, replays it if it is still missing, and proves that it arrived"
}

// sides says which side has the product.
func sides(kind product.Kind) string {
	switch kind {
	case product.Missing:
		return "the source has it and the cart does not"
	case product.Orphaned:
		return "the cart has it and the source does not"
	}
	return "both sides have it"
}

// inColumn is the reason behind the column that it speaks of.
func inColumn(o run.Outcome, t Terms) string {
	if o.Column == "" {
		return Reason(o, t)
	}
	return o.Column + ": " + Reason(o, t)
}

// compared are the names of the fields that count.
func compared(e *run.Explanation) (names []string) {
	for i := range e.Fields {
		if f := &e.Fields[i]; f.Compared {
			names = append(names, f.Field)
		}
	}
	return names
}
