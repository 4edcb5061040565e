package stack

import (
	"fmt"
	"io"
	"sync"
)

// progress writes lines for people, from several goroutines, one line at a time.
type progress struct {
	mu  sync.Mutex
	out io.Writer
}

func newProgress(out io.Writer) *progress {
	if out == nil {
		out = io.Discard
	}
	return &progress{out: out}
}

// printf writes one line. That it cannot be written is not worth failing for.
func (p *progress) printf(format string, arguments ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.out, format+"\n", arguments...)
}
