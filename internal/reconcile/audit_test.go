package reconcile_test

import (
	"fmt"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// audit watches a run from the outside and notes whatever breaks the rules of
// acting. The shop's mutex guards it.
type audit struct {
	problems []string
	looks    map[product.ID]look[product.Product]
	rowLooks map[product.ID]look[product.Row]
	acts     map[product.ID][]act
	acted    int
}

// look is what a side showed of one product.
type look[T any] struct {
	when  time.Time
	found bool
	value T
}

type act struct {
	when time.Time
	kind product.Kind
	undo bool
}

func newAudit() *audit {
	return &audit{looks: make(map[product.ID]look[product.Product]), rowLooks: make(map[product.ID]look[product.Row]), acts: make(map[product.ID][]act)}
}

func (a *audit) wrong(format string, args ...any) {
	a.problems = append(a.problems, fmt.Sprintf(format, args...))
}

func (a *audit) sawRows(ids []product.ID, rows map[product.ID]product.Row) {
	for _, id := range ids {
		row, found := rows[id]
		a.rowLooks[id] = look[product.Row]{time.Now(), found, row}
	}
}

func (a *audit) sawProducts(ids []product.ID, products map[product.ID]product.Product) {
	for _, id := range ids {
		p, found := products[id]
		a.looks[id] = look[product.Product]{time.Now(), found, p}
	}
}

// fresh is how old a look may be that is acted on, and late where a server was waited
// for since.
const fresh, late = time.Second + 50*time.Millisecond, 5*time.Second + 50*time.Millisecond

// acting judges one product in a call of Repair; really is whether it is acted on.
func (s *shop) acting(kind product.Kind, repair *product.Repair, really bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, id := s.audit, repair.Row.ID
	if really {
		a.acted++
	}
	if s.quick {
		return
	}
	row, p := a.rowLooks[id], a.looks[id]
	most := fresh
	if s.away.After(p.when) {
		most = late
	}
	rule := kind.Rule()
	switch {
	case id == "":
		a.wrong("a %s repair without an id", kind)
	case rule.InSource && id != repair.Product.ID():
		a.wrong("%s is repaired with the row of %s", repair.Product.ID(), id)
	case p.when.IsZero() || row.when.IsZero() || time.Since(p.when) > most || time.Since(row.when) > most:
		a.wrong("%s is repaired as %s and was not read right before", id, kind)
	case p.found != rule.InSource || row.found != rule.InCart:
		a.wrong("%s is repaired as %s, and was seen in the source: %v, in the cart: %v", id, kind, p.found, row.found)
	case rule.InSource && p.value.Values != repair.Product.Values:
		a.wrong("%s is repaired with something else than was read right before", id)
	case rule.InSource && rule.InCart && (repair.Was.Values != row.value.Values || len(repair.Fields) == 0):
		a.wrong("%s is repaired as stale from another row than was read right before", id)
	case kind == product.Orphaned && s.references[id] != "":
		a.wrong("%s is removed although it is referenced", id)
	case repair.Undo && !a.brought(id):
		a.wrong("%s is taken back and was not brought", id)
	case s.queues[product.Missing].holds(id) || s.queues[product.Stale].holds(id) || s.queues[product.Orphaned].holds(id):
		a.wrong("%s is repaired as %s while an event of ours about it is queued", id, kind)
	}
	if really {
		a.acts[id] = append(a.acts[id], act{time.Now(), kind, repair.Undo})
	}
}

// brought tells whether the run has repaired a product as missing.
func (a *audit) brought(id product.ID) bool {
	for _, one := range a.acts[id] {
		if one.kind == product.Missing {
			return true
		}
	}
	return false
}
