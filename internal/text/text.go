// Package text makes texts of strangers fit for people and for stores: ids, values
// of products and messages of servers may be long, or hold what breaks a line.
package text

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Ellipsis stands for what is left out.
const Ellipsis = "…"

// Storable tells whether PostgreSQL can hold s: valid UTF-8 without NUL.
func Storable(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// Stored is s with what PostgreSQL cannot hold replaced by U+FFFD, byte by byte.
func Stored(s string) string {
	return strings.Map(func(r rune) rune {
		if r == 0 {
			return utf8.RuneError
		}
		return r // also RuneError, for a byte that is not UTF-8
	}, s)
}

// Cut is s, or where it is longer than most bytes its beginning and an Ellipsis, at
// most most bytes together. It never cuts inside a rune. most is at least
// len(Ellipsis).
func Cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:runeStart(s, most-len(Ellipsis))] + Ellipsis
}

// runeStart is i, or the start of the rune that i is inside of.
func runeStart(s string, i int) int {
	if i == len(s) {
		return i
	}
	for back := range min(i+1, utf8.UTFMax) {
		if utf8.RuneStart(s[i-back]) {
			return i - back
		}
	}
	return i // no UTF-8 at all
}

// Apart shows two texts around their first difference, each at most most bytes long,
// and whole where both are short enough; equal ones from their beginning. It never
// cuts inside a rune. most is at least 20.
func Apart(a, b string, most int) (shownA, shownB string) {
	if a == b || len(a) <= most && len(b) <= most {
		return Cut(a, most), Cut(b, most)
	}
	same := 0
	for same < len(a) && same < len(b) && a[same] == b[same] {
		same++
	}
	start := runeStart(a, max(runeStart(a, same)-most/3, 0))
	return from(a, start, most), from(b, start, most)
}

// from is s from a byte on, cut at both ends.
func from(s string, start, most int) string {
	if start == 0 {
		return Cut(s, most)
	}
	return Ellipsis + Cut(s[start:], most-len(Ellipsis))
}

// Quoted is s in quotes, with what does not show escaped: what does not print, blanks
// other than the usual one, what takes no room, and all beyond ASCII where another text
// of other characters looks the same (an accent of its own behind its letter).
func Quoted(s string) string {
	if !plain(s) {
		return strconv.QuoteToASCII(s)
	}
	quoted := strconv.Quote(s)
	if !strings.ContainsFunc(quoted, unseen) {
		return quoted
	}
	var shown strings.Builder
	for _, r := range quoted {
		if unseen(r) {
			escaped := strconv.QuoteToASCII(string(r))
			shown.WriteString(escaped[1 : len(escaped)-1])
		} else {
			shown.WriteRune(r)
		}
	}
	return shown.String()
}

// plain tells whether s looks like no other text, and its first character like itself.
func plain(s string) bool {
	first, _ := utf8.DecodeRuneInString(s)
	return norm.NFC.IsNormalString(s) && !unicode.Is(unicode.M, first)
}

// unseen tells of what counts as printed whether it shows nothing.
func unseen(r rune) bool {
	const brailleBlank = '\u2800'
	return r == brailleBlank || unicode.In(r, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// Word is s as one word of a line, at most most bytes of it: bare where nothing in it
// can mislead a reader, else quoted, with the length of what was cut.
func Word(s string, most int) string {
	shown := Cut(s, most)
	misleading := func(r rune) bool {
		return r == '"' || r == utf8.RuneError || unicode.IsSpace(r) || !unicode.IsPrint(r) || unseen(r)
	}
	if s == "" || !plain(shown) || strings.ContainsFunc(shown, misleading) {
		shown = Quoted(shown)
	}
	if len(s) > most {
		shown += " (" + strconv.Itoa(len(s)) + " bytes)"
	}
	return shown
}

// Line keeps s from breaking a line or steering a terminal.
func Line(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return unicode.ReplacementChar
	}, s)
}

// List names at most so many of a list, and shows by an Ellipsis that there are more.
func List(list []string, most int) string {
	if len(list) > most {
		list = append(slices.Clone(list[:most]), Ellipsis)
	}
	return strings.Join(list, ", ")
}
