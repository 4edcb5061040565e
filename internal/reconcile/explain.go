package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// explanation is one while it is put together.
type explanation struct{ run.Explanation }

// Explain looks at one product on both sides. The cart's catalogue must have been
// read (Target.Table). The history is left to the caller.
func Explain(ctx context.Context, source Source, target Target, config Config, id product.ID) (*run.Explanation, error) {
	ids := []product.ID{id}
	compared, err := config.Fields()
	if err != nil {
		return nil, err
	}
	products, err := source.Find(ctx, ids)
	if err != nil {
		return nil, err
	}
	rows, err := target.Find(ctx, ids)
	if err != nil {
		return nil, err
	}
	e := &explanation{run.Explanation{ID: id, Fields: []run.FieldComparison{}, History: []run.PastOutcome{}}}
	var p product.Product
	var row product.Row
	p, e.InSource = products[id]
	row, e.InCart = rows[id]
	e.Created, e.Updated = p.Created, p.Updated
	differing := e.compare(target.Table(), &p, &row, compared)
	switch {
	case !e.InSource && !e.InCart:
		e.say(run.VerdictUnknown, "neither store has it", "check the id: an ObjectId is 24 lower-case hexadecimal digits")
	case !e.InSource:
		return &e.Explanation, e.explainOrphan(ctx, target, ids)
	case !e.InCart:
		return &e.Explanation, e.explainMissing(ctx, target, &p, config.Settle)
	case len(differing) > 0:
		e.say(run.VerdictStale, "the cart's row differs in "+list(differing), "save the product in the Product Service, which announces it again; stale rows are reported, not repaired")
	default:
		e.say(run.VerdictInSync, "both sides agree in "+list(compared), "")
	}
	return &e.Explanation, nil
}

func (e *explanation) say(v run.Verdict, why, next string) { e.Verdict, e.Why, e.Next = v, why, next }

// compare fills in the fields, and returns those of compared that differ.
func (e *explanation) compare(table *product.Table, p *product.Product, row *product.Row, compared []product.Field) (differing []product.Field) {
	for _, f := range product.CartFields() {
		c := run.FieldComparison{FieldChange: run.FieldChange{Field: f.String()}}
		if e.InSource {
			c.Source = shown(p.Values[f])
		}
		if e.InCart {
			c.Cart = shown(row.Values[f])
		}
		c.Equal = e.InSource && e.InCart && len(table.Differing(p, row, []product.Field{f})) == 0
		for _, counts := range compared {
			if counts == f {
				c.Compared = true
				if e.InSource && e.InCart && !c.Equal {
					differing = append(differing, f)
				}
			}
		}
		e.Fields = append(e.Fields, c)
	}
	return differing
}

func (e *explanation) explainMissing(ctx context.Context, target Target, p *product.Product, settle time.Duration) error {
	row, err := target.Table().Fit(p)
	var misfit *product.Misfit
	if err == nil {
		misfits, err := target.Check(ctx, []product.Row{row})
		if err != nil {
			return err
		}
		misfit = misfits[e.ID]
	} else if !errors.As(err, &misfit) {
		return err
	}
	switch {
	case misfit != nil:
		e.say(run.VerdictBlocked, "the cart cannot hold it: "+misfit.Error(), run.Blocked.Remedy())
	case time.Since(p.Created) < settle:
		e.say(run.VerdictOnItsWay, fmt.Sprintf("it is younger than SYNC_SETTLE (%s), so its event may still come", settle), "look again in a moment")
	default:
		e.say(run.VerdictMissing, "the source has it and the cart does not; its event may still wait in the cart's queue", fmt.Sprintf("`etl sync --id %s` waits for the queue, replays it if it is still missing, and proves that it arrived", e.ID))
	}
	return nil
}

func (e *explanation) explainOrphan(ctx context.Context, target Target, ids []product.ID) error {
	referenced, err := target.Referenced(ctx, ids)
	if err != nil {
		return err
	}
	why := "the cart has it and the source does not"
	if table, is := referenced[e.ID]; is {
		why += "; rows of " + table + " refer to it"
	}
	e.say(run.VerdictOrphaned, why, "orphaned rows are reported, not removed")
	return nil
}

func list(fields []product.Field) string {
	text := ""
	for i, f := range fields {
		if i > 0 {
			text += ", "
		}
		text += f.String()
	}
	return text
}
