package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/text"
)

// Bounds of columns, in bytes.
const (
	maxText   = 200
	maxReason = 1000 // of one text in it
	maxCode   = 50
	maxID     = 2300 // with the other columns of an index, what a B-tree page takes
)

// cut is a text as a column of so many bytes holds it.
func cut(s string, most int) string { return text.Cut(text.Stored(s), most) }

// stored is an id as a column holds it. One that no column holds, nor the cart's,
// keeps its beginning and a hash.
func stored(id product.ID) string {
	s := text.Stored(string(id))
	if len(s) <= maxID {
		return s
	}
	hash := sha256.Sum256([]byte(id))
	sign := hex.EncodeToString(hash[:8])
	return cut(s, maxID-len(sign)) + sign
}

// asStored are ids by what columns hold of them. Several that no column holds may look
// alike.
func asStored(ids []product.ID) map[string][]product.ID {
	all := make(map[string][]product.ID, len(ids))
	for _, id := range ids {
		if s := stored(id); !slices.Contains(all[s], id) {
			all[s] = append(all[s], id)
		}
	}
	return all
}

func storedAll(ids []product.ID) []string {
	all := make([]string, len(ids))
	for i, id := range ids {
		all[i] = stored(id)
	}
	return all
}

// texts is nil where there are none, which is NULL in SQL.
func texts[T ~string](values []T) []string {
	var all []string
	for _, v := range values {
		all = append(all, string(v))
	}
	return all
}

// document is a value as a column of JSON takes it.
func document(value any) (string, error) {
	written, err := json.Marshal(value)
	return string(written), err
}

// reasonDocument is a reason as it is kept.
func reasonDocument(r run.Reason) (string, error) { return document(storableReason(r)) }

// storableReason is a reason that JSON can say and jsonb can hold.
func storableReason(r run.Reason) run.Reason {
	r.Code, r.Detail, r.Queue = run.Code(cut(string(r.Code), maxText)), cut(r.Detail, maxReason), cut(r.Queue, maxText)
	r.Since, r.Until = sayable(r.Since), sayable(r.Until)
	return r
}

// sayable is the time, zero where JSON has no words for it.
func sayable(t time.Time) time.Time {
	if t = t.UTC(); t.Year() < 0 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

const maxNotes = 100

// reportDocument is a report as it is kept, nil where there is none: without
// samples, because the outcomes are kept one by one, and with bounded texts.
func reportDocument(r *run.Report) (*string, error) {
	if r == nil {
		return nil, nil
	}
	kept := *r
	kept.Samples = []run.Outcome{}
	kept.Error = cut(r.Error, run.MaxError)
	kept.Notes = slices.Clone(r.Notes[:min(len(r.Notes), maxNotes)])
	for i := range kept.Notes {
		kept.Notes[i].Detail = cut(kept.Notes[i].Detail, run.MaxError)
	}
	written, err := document(&kept)
	return &written, err
}
