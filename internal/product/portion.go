package product

import (
	"crypto/sha256"
	"fmt"
	"sync/atomic"
)

// TooLargeError says that an answer would be larger than is held at once. One product
// alone never is.
type TooLargeError struct {
	Fits int // about so many of them are not, at least 1
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the answer is larger than is held at once, about %d products fit", e.Fits)
}

// Portion is how many products are read at once: a fixed number of usual ones, and of
// large ones as many as fit into a number of bytes. It learns from what was read, and may
// be used by several goroutines.
type Portion struct {
	most, bytes int
	now         atomic.Int64
}

// NewPortion is a portion of most products, as long as they have no more than so many
// bytes together.
func NewPortion(most, bytes int) *Portion {
	p := &Portion{most: most, bytes: bytes}
	p.now.Store(int64(most))
	return p
}

// Bytes is what a portion may have.
func (p *Portion) Bytes() int { return p.bytes }

// Now is the number of products to read next.
func (p *Portion) Now() int { return int(p.now.Load()) }

// Learn is told what was read. Where that was nothing it says nothing of what comes. A
// portion shrinks at once and grows by steps, because large products often come together.
func (p *Portion) Learn(products, bytes int) {
	if products == 0 {
		return
	}
	fits := p.most
	if bytes > 0 {
		fits = min(p.most, int(int64(p.bytes)*int64(products)/int64(bytes)))
	}
	p.now.Store(int64(max(1, min(fits, 2*p.Now()))))
}

// Shrink is told how many products fit, where more were asked for.
func (p *Portion) Shrink(fits int) { p.now.Store(int64(max(1, min(fits, p.Now()-1)))) }

// maxShort is how long a text may be for Short to keep it.
const maxShort = 64

// Short is the value, or in the place of a long text its hash: for two long texts it is
// equal where they are.
func (v Value) Short() Value {
	if len(v.s) > maxShort {
		sum := sha256.Sum256([]byte(v.s))
		v.s = string(sum[:])
	}
	return v
}

// Short is the row with short values only.
func (r *Row) Short() *Row {
	short := Row{ID: r.ID}
	for i := range r.Values {
		short.Values[i] = r.Values[i].Short()
	}
	return &short
}

// Bytes is about how much memory a value takes behind its own fields.
func (v Value) Bytes() int { return len(v.s) }

// Bytes is about how much memory the product takes.
func (p *Product) Bytes() int {
	n := len(p.Key.ID) + valueBytes(&p.Values)
	for _, tag := range p.Tags {
		n += perTag + len(tag)
	}
	return n
}

// perTag is what a tag takes beside its text.
const perTag = 24

// Bytes is about how much memory the row takes.
func (r *Row) Bytes() int { return len(r.ID) + valueBytes(&r.Values) }

func valueBytes(values *[NumFields]Value) (n int) {
	for i := range values {
		n += values[i].Bytes()
	}
	return n
}

// Piece is how many rows are written at most in one transaction. A statement costs as much as
// some hundred rows, and above this size nothing more is gained (see BenchmarkWrite in
// internal/target).
const Piece = 2000
