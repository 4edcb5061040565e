package run

import (
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
	VerdictBlocked  Verdict = "blocked"    // missing or stale, and the cart cannot hold it
	VerdictStale    Verdict = "stale"
	VerdictOrphaned Verdict = "orphaned"
	VerdictUnknown  Verdict = "unknown" // in neither store
)

// Explanation is all that can be said of one product at one moment.
type Explanation struct {
	ID      product.ID `json:"id"`
	Verdict Verdict    `json:"verdict"`
	// Column and Reason say more where the verdict alone does not say why.
	Column string `json:"column,omitempty"`
	Reason Reason `json:"reason,omitzero"`

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

// Differing are the compared fields that differ.
func (e *Explanation) Differing() []FieldChange {
	var fields []FieldChange
	for i := range e.Fields {
		if f := &e.Fields[i]; e.InSource && e.InCart && f.Compared && !f.Equal {
			fields = append(fields, f.FieldChange)
		}
	}
	return fields
}

// FieldComparison is one field on both sides. A side that lacks the product
// leaves its value empty.
type FieldComparison struct {
	FieldChange
	Compared bool `json:"compared"` // it counts when the two sides are compared
	Equal    bool `json:"equal"`
}
