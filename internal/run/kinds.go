package run

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/ecom-micro/etl/internal/product"
)

// Kinds are kinds of difference that a run is to repair, each once, the gravest
// first. In a document they are a list, or one text with commas.
type Kinds []product.Kind

// UnmarshalJSON reads either form.
func (k *Kinds) UnmarshalJSON(data []byte) error {
	var text string
	var list []string
	if json.Unmarshal(data, &text) == nil {
		list = strings.Split(text, ",")
		if text == "" {
			list = nil
		}
	} else if err := json.Unmarshal(data, &list); err != nil {
		return errKinds
	}
	all, err := ParseKinds(list)
	*k = all
	return err
}

var errKinds = errors.New(`must name missing, stale or orphaned, or several of them such as "missing,stale"`)

// ParseKinds reads names of kinds; none are none.
func ParseKinds(names []string) (Kinds, error) {
	var all Kinds
	for _, name := range names {
		kind := product.Kind(strings.TrimSpace(name))
		if !slices.Contains(product.Kinds(), kind) {
			return nil, errKinds
		}
		all = append(all, kind)
	}
	return all.ordered(), nil
}

// ordered is each kind once, the gravest first.
func (k Kinds) ordered() Kinds {
	var once Kinds
	for _, kind := range product.Kinds() {
		if k.Has(kind) {
			once = append(once, kind)
		}
	}
	return once
}

// Has tells whether a kind is among them.
func (k Kinds) Has(kind product.Kind) bool { return slices.Contains(k, kind) }

// String is the kinds with commas.
func (k Kinds) String() string {
	names := make([]string, len(k))
	for i, kind := range k {
		names[i] = string(kind)
	}
	return strings.Join(names, ",")
}
