package text

import "strings"

// Slab makes texts of bytes, many in one piece of memory, which lives as long as any of
// its texts: for what is read by the page and dropped by the page. The zero Slab is ready,
// and a nil one gives each text memory of its own. It is not safe for concurrent use, and
// must not be copied.
type Slab struct{ piece *strings.Builder }

// slabBytes is the size of a piece. Texts of more than a quarter have one of their own.
const slabBytes = 64 << 10

// Text is b as a string. Its bytes are copied.
func (s *Slab) Text(b []byte) string {
	if s == nil || len(b) > slabBytes/4 {
		return string(b)
	}
	if s.piece == nil || s.piece.Cap()-s.piece.Len() < len(b) {
		s.piece = &strings.Builder{}
		s.piece.Grow(slabBytes)
	}
	begin := s.piece.Len()
	s.piece.Write(b) // behind what other texts share, and within what has grown
	return s.piece.String()[begin:]
}
