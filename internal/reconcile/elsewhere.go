package reconcile

import (
	"sync"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// elsewhere remembers events of ours that may still be queued, of products that are not
// followed in those queues any more: the proof was given up, or the product has become
// another difference, which has another queue. The cart would take two events of one product
// in any order. Credit bounds how many there are.
type elsewhere struct {
	mu   sync.Mutex
	sent map[product.ID]map[product.Kind]time.Time // the last event of a kind, by its queue
}

// add notes the last event of an item.
func (e *elsewhere) add(it *item) {
	if !it.queued || it.acted.IsZero() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sent == nil {
		e.sent = make(map[product.ID]map[product.Kind]time.Time)
	}
	if e.sent[it.ID] == nil {
		e.sent[it.ID] = make(map[product.Kind]time.Time)
	}
	e.sent[it.ID][it.Kind] = later(e.sent[it.ID][it.Kind], it.acted)
}

// queuedElsewhere is a kind in whose queue an event of ours about the product may still be,
// other than the item's own, whose watermark it waits for anyhow; empty where there is none.
func (r *Run) queuedElsewhere(it *item) product.Kind {
	if r.Watermarks == nil {
		return ""
	}
	passed := func(kind product.Kind, at time.Time) bool { return r.Watermarks[kind].Sight().Passed.After(at) }
	for _, known := range it.known {
		if known.Kind != it.Kind && !known.Acted.IsZero() && !passed(known.Kind, known.Acted) {
			return known.Kind
		}
	}
	e := &r.elsewhere
	e.mu.Lock()
	defer e.mu.Unlock()
	for kind, at := range e.sent[it.ID] {
		switch {
		case passed(kind, at):
			if delete(e.sent[it.ID], kind); len(e.sent[it.ID]) == 0 {
				delete(e.sent, it.ID)
			}
		case kind != it.Kind:
			return kind
		}
	}
	return ""
}

// postponed tells whether an item may not be repaired yet because of an event in another
// queue. It is judged again later, or left in flight where that queue stands.
func (r *Run) postponed(it *item) bool {
	kind := r.queuedElsewhere(it)
	if kind == "" {
		return false
	}
	if time.Since(r.moved(kind, r.Watermarks[kind].Sight())) >= r.config.StallTimeout {
		r.books.outcome(it, run.InFlight, "", r.queueReason(kind))
		return true
	}
	it.until = time.Now().Add(idleInterval)
	r.line.move(judging, it)
	return true
}
