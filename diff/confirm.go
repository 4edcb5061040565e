package diff

import (
	"context"
	"errors"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// Difference is a confirmed one.
type Difference struct {
	ID   product.ID
	Kind product.Kind
	// Fields lists what differs in a stale product.
	Fields []FieldDifference
}

// FieldDifference is one field as each side has it.
type FieldDifference struct {
	Field        product.Field
	Source, Cart product.Value
}

// Verdict is what became of a window of suspects.
type Verdict struct {
	Confirmed []Difference
	// Resolved is the number of suspects that were merely on their way.
	Resolved int
	// InFlight are suspects that could not be settled, and why.
	InFlight []InFlight
}

// InFlight is a suspect that is possibly still on its way.
type InFlight struct {
	Suspect
	Reason string
}

// maxLooks bounds how often a product that keeps changing is looked at.
const maxLooks = 3

// Confirm decides a window's suspects: it waits until each suspect has settled and what was
// queued for it has been consumed, then looks again by id on both sides. A
// product that changed meanwhile is a new suspect and starts anew.
func (e *Engine) Confirm(ctx context.Context, suspects []Suspect) (Verdict, error) {
	var v Verdict
	pending := dedupe(suspects)
	for range maxLooks {
		ready, err := e.settle(ctx, pending, &v)
		if err != nil {
			return v, err
		}
		if pending, err = e.lookAgain(ctx, ready, &v); err != nil {
			return v, err
		}
		if len(pending) == 0 {
			return v, nil
		}
	}
	for _, s := range pending {
		v.InFlight = append(v.InFlight, InFlight{s, "the product keeps changing"})
	}
	return v, nil
}

// dedupe keeps the first suspect of each product: a cursor may return one twice.
func dedupe(suspects []Suspect) []Suspect {
	seen := make(map[product.ID]bool, len(suspects))
	unique := make([]Suspect, 0, len(suspects))
	for _, s := range suspects {
		if !seen[s.ID] {
			seen[s.ID] = true
			unique = append(unique, s)
		}
	}
	return unique
}

// settle waits for the suspects' settling time and their queues; those whose
// queue stalls go to the verdict as in flight, the others are returned.
func (e *Engine) settle(ctx context.Context, suspects []Suspect, v *Verdict) ([]Suspect, error) {
	until := make(map[product.Kind]time.Time)
	for _, s := range suspects {
		if t := e.settled(s); t.After(until[s.Kind]) {
			until[s.Kind] = t
		}
	}
	stalled := make(map[product.Kind]string)
	for kind, t := range until {
		if err := SleepUntil(ctx, t); err != nil {
			return nil, err
		}
		if e.barrier == nil {
			continue
		}
		var stall *StalledError
		if err := e.barrier.Wait(ctx, kind, t); errors.As(err, &stall) {
			stalled[kind] = stall.Error()
		} else if err != nil {
			return nil, err
		}
	}
	ready := suspects[:0]
	for _, s := range suspects {
		if reason, is := stalled[s.Kind]; is {
			v.InFlight = append(v.InFlight, InFlight{s, reason})
			continue
		}
		ready = append(ready, s)
	}
	return ready, nil
}

// settled is the moment from which a suspect counts. The settling time runs from
// the product's creation or update, from our first sight where that is unknown
// or in the future, and so never ends later than Settle after first sight.
func (e *Engine) settled(s Suspect) time.Time {
	from := s.Stamp
	if from.IsZero() || from.After(s.FirstSeen) {
		from = s.FirstSeen
	}
	if t := from.Add(e.config.Settle); t.After(s.FirstSeen) {
		return t
	}
	return s.FirstSeen
}

// lookAgain reads the suspects by id on both sides. It returns those that have
// become another difference than the one that settled.
func (e *Engine) lookAgain(ctx context.Context, suspects []Suspect, v *Verdict) ([]Suspect, error) {
	var again []Suspect
	ids := make([]product.ID, len(suspects))
	for i, s := range suspects {
		ids[i] = s.ID
	}
	for batch := range batches(ids, e.config.Batch) {
		products, rows, err := e.look(ctx, batch)
		if err != nil {
			return nil, err
		}
		for i, s := range suspects[:len(batch)] {
			fresh := Suspect{ID: s.ID, FirstSeen: time.Now()}
			var p *product.Product
			if found, is := products[batch[i]]; is {
				p = &found
			}
			row, inCart := rows[batch[i]]
			kind, fields := e.difference(p, rowIf(inCart, &row))
			fresh.Kind = kind
			switch kind {
			case "":
				v.Resolved++
				continue
			case product.Missing:
				fresh.Stamp = p.Created
			case product.Stale:
				fresh.Stamp = p.Updated
			}
			if kind != s.Kind || !fresh.Stamp.Equal(s.Stamp) {
				again = append(again, fresh)
				continue
			}
			d := Difference{ID: s.ID, Kind: kind}
			for _, f := range fields {
				d.Fields = append(d.Fields, FieldDifference{f, p.Values[f], row.Values[f]})
			}
			v.Confirmed = append(v.Confirmed, d)
		}
		suspects = suspects[len(batch):]
	}
	return again, nil
}

// SleepUntil waits until t or until ctx is done.
func SleepUntil(ctx context.Context, t time.Time) error {
	wait := time.Until(t)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
