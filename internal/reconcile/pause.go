package reconcile

import (
	"context"
	"sync"
)

// pause holds a run: before it lets suspects in, before it judges, and before it takes
// credit for a repair. What was sent is proved.
type pause struct {
	mu     sync.Mutex
	opened chan struct{} // nil while the run goes on, closed when it goes on again
}

// Pause holds the run.
func (r *Run) Pause() {
	r.pause.mu.Lock()
	defer r.pause.mu.Unlock()
	if r.pause.opened == nil {
		r.pause.opened = make(chan struct{})
	}
}

// Continue lets a paused run go on.
func (r *Run) Continue() {
	r.pause.mu.Lock()
	defer r.pause.mu.Unlock()
	if r.pause.opened != nil {
		close(r.pause.opened)
		r.pause.opened = nil
	}
}

// holds tells whether the run is paused.
func (p *pause) holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opened != nil
}

func (p *pause) wait(ctx context.Context) error {
	p.mu.Lock()
	opened := p.opened
	p.mu.Unlock()
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
