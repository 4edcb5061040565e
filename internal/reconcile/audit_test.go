package reconcile_test

import (
	"fmt"
	"sync"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// audit watches a run from the outside and notes whatever breaks the rules of
// acting. Its methods are called in the order of the run's own operations.
type audit struct {
	mu         sync.Mutex // the scan may look at ids too
	unseen     bool       // no queue can be seen, so no wait is asked for
	problems   []string
	now        int // the number of the present operation
	rowLooks   map[product.ID]look[product.Row]
	looks      map[product.ID]look[product.Product]
	acts       map[product.ID]act // the last one of each product
	acted      int
	reserve    int // when something was last reserved
	productsAt int // when products were last read by id
	drain      drain
	took       bool // a repairer was called at all
}

// look is what a side showed of one product.
type look[T any] struct {
	at    int
	drain drain // the last completed wait before it
	found bool
	value T
}

// drain is a completed wait for the queue of new products.
type drain struct {
	at    int
	since time.Time // what was queued by then has been consumed
}

type act struct {
	at   int
	when time.Time
}

func newAudit() *audit {
	return &audit{rowLooks: make(map[product.ID]look[product.Row]), looks: make(map[product.ID]look[product.Product]), acts: make(map[product.ID]act)}
}

func (a *audit) wrong(format string, args ...any) {
	a.problems = append(a.problems, fmt.Sprintf(format, args...))
}

func (a *audit) sawRows(ids []product.ID, rows map[product.ID]product.Row) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now++
	for _, id := range ids {
		row, found := rows[id]
		a.rowLooks[id] = look[product.Row]{a.now, a.drain, found, row}
	}
}

func (a *audit) sawProducts(ids []product.ID, products map[product.ID]product.Product) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now++
	a.productsAt = a.now
	for _, id := range ids {
		p, found := products[id]
		a.looks[id] = look[product.Product]{a.now, a.drain, found, p}
	}
}

func (a *audit) reserved() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now++
	a.reserve, a.took = a.now, true
}

func (a *audit) drained(kind product.Kind, t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now++
	if t.After(time.Now()) {
		a.wrong("a wait for what will be queued at %s", t)
	}
	if kind == product.Missing {
		a.drain = drain{a.now, t}
	}
}

// acting judges one product in a call of Repair; really is whether it is acted on.
func (a *audit) acting(repair *product.Repair, really bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now++
	a.took = true
	id := repair.Row.ID
	before, row, p := a.acts[id], a.rowLooks[id], a.looks[id]
	switch {
	case id != repair.Product.ID():
		a.wrong("%s is repaired with the row of %s", repair.Product.ID(), id)
	case !p.found || p.at != a.productsAt || p.at < a.reserve:
		a.wrong("%s is repaired and was not read right before", id)
	case p.value.Values != repair.Product.Values:
		a.wrong("%s is repaired with something else than was read right before", id)
	case row.at == 0 || row.found:
		a.wrong("%s is repaired and was not seen to be missing", id)
	case !a.unseen && row.drain.at == 0:
		a.wrong("%s is repaired before its queue was drained", id)
	case before.at > 0 && row.at < before.at:
		a.wrong("%s is repaired again and was not looked at in between", id)
	case !a.unseen && before.at > 0 && (row.drain.at < before.at || row.drain.since.Before(before.when)):
		a.wrong("%s is repaired again before its queue was drained", id)
	}
	if really {
		a.acts[id] = act{a.now, time.Now()}
		a.acted++
	}
}

// removing judges one removal: only what this run brought, what is gone from the
// source, and what no other table refers to.
func (a *audit) removing(id product.ID, references string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now++
	a.took = true
	if references != "" || a.acts[id].at == 0 || a.looks[id].found || a.looks[id].at < a.acts[id].at || !a.rowLooks[id].found {
		a.wrong("%s is removed", id)
	}
}

// verified judges a product that the report counts as verified: both sides were
// seen after its repair had been consumed, the cart first, and agree.
func (a *audit) verified(table *product.Table, id product.ID) {
	acted, row, p := a.acts[id], a.rowLooks[id], a.looks[id]
	switch {
	case !row.found || !p.found || row.at < acted.at || p.at < row.at:
		a.wrong("%s is verified and was not seen on both sides", id)
	case !a.unseen && (row.drain.at < acted.at || row.drain.since.Before(acted.when)):
		a.wrong("%s is verified before its queue was drained", id)
	case len(table.Differing(&p.value, &row.value, product.ProofFields())) > 0:
		a.wrong("%s is verified and differs", id)
	}
}
