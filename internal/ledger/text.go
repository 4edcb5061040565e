package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Bounds of columns, in bytes.
const (
	maxText   = 200
	maxReason = 1000
	maxID     = 2600 // with the other columns of an index, what a B-tree page takes
)

// storable is the text with what PostgreSQL cannot hold replaced byte by byte.
func storable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == 0 {
			return utf8.RuneError
		}
		return r // also RuneError, for a byte that is not UTF-8
	}, s)
}

// cut is the text as a column of so many bytes holds it.
func cut(s string, most int) string {
	s = storable(s)
	if len(s) <= most {
		return s
	}
	const sign = "…"
	end := most - len(sign)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + sign
}

// stored is an id as a column holds it. One that no column holds, nor the cart's,
// keeps its beginning and a hash.
func stored(id product.ID) string {
	s := storable(string(id))
	if len(s) <= maxID {
		return s
	}
	hash := sha256.Sum256([]byte(id))
	sign := hex.EncodeToString(hash[:8])
	return cut(s, maxID-len(sign)) + sign
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
	text, err := json.Marshal(value)
	return string(text), err
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
	for i, note := range kept.Notes {
		kept.Notes[i] = cut(note, run.MaxError)
	}
	text, err := document(&kept)
	return &text, err
}
