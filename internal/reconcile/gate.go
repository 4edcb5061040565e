package reconcile

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// gate holds a run while it is paused.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // nil while the gate is open, closed when it opens
}

// Pause holds the run before it reads the source again, which it does before each
// page and before each batch it acts on. What was published stays published.
func (r *Run) Pause() {
	r.gate.mu.Lock()
	defer r.gate.mu.Unlock()
	if r.gate.opened == nil {
		r.gate.opened = make(chan struct{})
	}
}

// Continue lets a paused run go on.
func (r *Run) Continue() {
	r.gate.mu.Lock()
	defer r.gate.mu.Unlock()
	if r.gate.opened != nil {
		close(r.gate.opened)
		r.gate.opened = nil
	}
}

func (g *gate) wait(ctx context.Context) error {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	if opened == nil {
		return nil
	}
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// gated is a source that is not read while the run is paused.
type gated struct {
	Source
	gate *gate
}

func (g gated) Scan(ctx context.Context, r product.Range, since time.Time) iter.Seq2[[]product.Product, error] {
	return func(yield func([]product.Product, error) bool) {
		for page, err := range g.Source.Scan(ctx, r, since) {
			if err == nil {
				err = g.gate.wait(ctx)
			}
			if !yield(page, err) || err != nil {
				return
			}
		}
	}
}

func (g gated) Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Product, error) {
	if err := g.gate.wait(ctx); err != nil {
		return nil, err
	}
	return g.Source.Find(ctx, ids)
}
