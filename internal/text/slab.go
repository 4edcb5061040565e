package text

import "unsafe"

// Slab makes texts of bytes, many in one piece of memory, and the pieces are used again: for
// what is read by the page and dropped by the page. Its texts are valid until Reset, so
// whoever keeps one for longer clones it. The zero Slab is ready; a nil one gives each text
// memory of its own, and such texts are valid for ever. It is not safe for concurrent use,
// and must not be copied.
type Slab struct {
	piece      []byte // what is filled now
	full, free [][]byte
}

// slabBytes is the size of a piece. Texts of more than a quarter have memory of their own.
const slabBytes = 64 << 10

// Text is b as a string. Its bytes are copied.
func (s *Slab) Text(b []byte) string {
	if s == nil || len(b) > slabBytes/4 {
		return string(b)
	}
	if len(b) == 0 {
		return ""
	}
	if cap(s.piece)-len(s.piece) < len(b) {
		s.next()
	}
	begin := len(s.piece)
	s.piece = append(s.piece, b...)               // within the piece, behind what other texts share
	return unsafe.String(&s.piece[begin], len(b)) //nolint:gosec // nothing writes there before Reset
}

func (s *Slab) next() {
	if s.piece != nil {
		s.full = append(s.full, s.piece)
	}
	if n := len(s.free); n > 0 {
		s.piece, s.free = s.free[n-1], s.free[:n-1]
		return
	}
	s.piece = make([]byte, 0, slabBytes)
}

// Reset ends all texts of the slab. The next ones take their memory.
func (s *Slab) Reset() {
	if s == nil {
		return
	}
	for i, piece := range s.full {
		s.free = append(s.free, emptied(piece))
		s.full[i] = nil
	}
	s.full = s.full[:0]
	s.piece = emptied(s.piece)
}

// emptied is a piece without texts. Under the race detector they are destroyed, so that one
// that somebody kept is noticed.
func emptied(piece []byte) []byte {
	if raceDetector {
		for i := range piece {
			piece[i] = 0xFF // which no text has
		}
	}
	return piece[:0]
}
