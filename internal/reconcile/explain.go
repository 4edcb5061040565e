package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// Verdict is what one look at both sides says of one product.
type Verdict string

// The verdicts.
const (
	VerdictInSync   Verdict = "in sync"
	VerdictMissing  Verdict = "missing"
	VerdictOnItsWay Verdict = "on its way" // missing, and so young that its event may still come
	VerdictBlocked  Verdict = "blocked"    // missing, and the cart cannot hold it
	VerdictStale    Verdict = "stale"
	VerdictOrphaned Verdict = "orphaned"
	VerdictUnknown  Verdict = "unknown" // in neither store
)

// Explanation is all that can be said of one product at one moment.
type Explanation struct {
	ID      product.ID `json:"id"`
	Verdict Verdict    `json:"verdict"`
	Why     string     `json:"why"`
	Next    string     `json:"nextStep,omitempty"`

	InSource bool      `json:"inSource"`
	InCart   bool      `json:"inCart"`
	Created  time.Time `json:"createdAt,omitzero"` // in the source
	Updated  time.Time `json:"updatedAt,omitzero"`
	// Fields are the cart's fields as each side has them.
	Fields []FieldComparison `json:"fields"`
	// History is what became of the product in the runs that the ledger knows, the
	// latest first.
	History []PastOutcome `json:"history"`
}

// FieldComparison is one field on both sides. A side that lacks the product leaves
// its value empty.
type FieldComparison struct {
	FieldChange
	Compared bool `json:"compared"` // it counts when the two sides are compared
	Equal    bool `json:"equal"`
}

// Explain looks at one product on both sides. The cart's catalogue must have been
// read (Target.Table). The history is left to the caller.
func Explain(ctx context.Context, source Source, target Target, config Config, id product.ID) (*Explanation, error) {
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
	e := &Explanation{ID: id, Fields: []FieldComparison{}, History: []PastOutcome{}}
	var p product.Product
	var row product.Row
	p, e.InSource = products[id]
	row, e.InCart = rows[id]
	e.Created, e.Updated = p.Created, p.Updated
	differing := e.compare(target.Table(), &p, &row, compared)
	switch {
	case !e.InSource && !e.InCart:
		e.say(VerdictUnknown, "neither store has it", "check the id: an ObjectId is 24 lower-case hexadecimal digits")
	case !e.InSource:
		return e, e.explainOrphan(ctx, target, ids)
	case !e.InCart:
		return e, e.explainMissing(ctx, target, &p, config.Settle)
	case len(differing) > 0:
		e.say(VerdictStale, "the cart's row differs in "+list(differing), "save the product in the Product Service, which announces it again; stale rows are reported, not repaired")
	default:
		e.say(VerdictInSync, "both sides agree in "+list(compared), "")
	}
	return e, nil
}

func (e *Explanation) say(v Verdict, why, next string) { e.Verdict, e.Why, e.Next = v, why, next }

// compare fills in the fields, and returns those of compared that differ.
func (e *Explanation) compare(table *product.Table, p *product.Product, row *product.Row, compared []product.Field) (differing []product.Field) {
	for _, f := range product.CartFields() {
		c := FieldComparison{FieldChange: FieldChange{Field: f.String()}}
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

func (e *Explanation) explainMissing(ctx context.Context, target Target, p *product.Product, settle time.Duration) error {
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
		e.say(VerdictBlocked, "the cart cannot hold it: "+misfit.Error(), Blocked.Remedy())
	case time.Since(p.Created) < settle:
		e.say(VerdictOnItsWay, fmt.Sprintf("it is younger than SYNC_SETTLE (%s), so its event may still come", settle), "look again in a moment")
	default:
		e.say(VerdictMissing, "the source has it and the cart does not; its event may still wait in the cart's queue", fmt.Sprintf("`etl sync --id %s` waits for the queue, replays it if it is still missing, and proves that it arrived", e.ID))
	}
	return nil
}

func (e *Explanation) explainOrphan(ctx context.Context, target Target, ids []product.ID) error {
	referenced, err := target.Referenced(ctx, ids)
	if err != nil {
		return err
	}
	why := "the cart has it and the source does not"
	if table, is := referenced[e.ID]; is {
		why += "; rows of " + table + " refer to it"
	}
	e.say(VerdictOrphaned, why, "orphaned rows are reported, not removed")
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
