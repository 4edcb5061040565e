package text_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/text"
)

func TestCut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		s    string
		most int
		want string
	}{
		{"", 3, ""},
		{"abc", 3, "abc"},
		{"abcd", 3, "…"},
		{"abcdefgh", 6, "abc…"},
		{"ééé", 5, "é…"},
		{"ééé", 6, "ééé"},
		{"a😀b", 5, "a…"},
		{"\x80\x80\x80\x80\x80\x80\x80\x80\x80", 8, "\x80\x80\x80\x80\x80…"},
	} {
		if got := text.Cut(tt.s, tt.most); got != tt.want {
			t.Errorf("Cut(%q, %d) is %q, want %q", tt.s, tt.most, got, tt.want)
		}
	}
}

func TestApart(t *testing.T) {
	t.Parallel()
	long := "https://images.example.com/" + strings.Repeat("x", 100) + "/"
	for _, tt := range []struct{ a, b, shownA, shownB string }{
		{"5", "4", "5", "4"},
		{"", "x", "", "x"},
		{long + "0042.jpg", long + "0042.png", "…xxxx/0042.jpg", "…xxxx/0042.png"},
		{long, long + "0042.png", "…xxxxxxxxx/", "…xxxxxxxxx/0042.png"},
		{long, long, "https://images.example.com/…", "https://images.example.com/…"},
		{"a" + long, "b" + long, "ahttps://images.example.com…", "bhttps://images.example.com…"},
		// The first byte that differs is inside a rune.
		{strings.Repeat("x", 30) + "é", strings.Repeat("x", 30) + "è", "…xxxxxxxxxxé", "…xxxxxxxxxxè"},
		{strings.Repeat("é", 15) + "a", strings.Repeat("é", 15) + "b", "…éééééa", "…éééééb"},
	} {
		a, b := text.Apart(tt.a, tt.b, 30)
		if a != tt.shownA || b != tt.shownB {
			t.Errorf("%q and %q are shown as %q and %q, want %q and %q", tt.a, tt.b, a, b, tt.shownA, tt.shownB)
		}
	}
}

// Whatever the texts are, what is shown of them is short, valid, and differs.
func TestApartShowsTheDifference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.StringN(0, 60, -1)
		start, most := some.Draw(t, "start"), rapid.IntRange(20, 80).Draw(t, "most")
		a, b := start+some.Draw(t, "a"), start+some.Draw(t, "b")
		shownA, shownB := text.Apart(a, b, most)
		for _, shown := range []string{shownA, shownB} {
			if len(shown) > most || !utf8.ValidString(shown) {
				t.Fatalf("%q is shown as %q", a, shown)
			}
		}
		if (a == b) != (shownA == shownB) {
			t.Fatalf("%q and %q are shown as %q and %q", a, b, shownA, shownB)
		}
	})
}

func TestWord(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"65f2a1b2c3d4e5f6a7b8c9d0": "65f2a1b2c3d4e5f6a7b8c9d0",
		"Größe":                    "Größe",
		"":                         `""`,
		"a ":                       `"a "`,
		"a b":                      `"a b"`,
		"a\u00a0":                  `"a\u00a0"`,
		"a\nb":                     `"a\nb"`,
		"a\x1b[31m":                `"a\x1b[31m"`,
		"e\u0301":                  `"e\u0301"`,
		"\u0301a":                  `"\u0301a"`,
		"a\ufe0fé":                 `"a\ufe0fé"`,
		"a\u3164":                  `"a\u3164"`,
		"a\u202e":                  `"a\u202e"`,
		"a\u200b":                  `"a\u200b"`,
		`"`:                        `"\""`,
		"\xff":                     `"\xff"`,
		strings.Repeat("k", 2700):  strings.Repeat("k", 37) + "… (2700 bytes)",
		strings.Repeat("k ", 30):   `"` + strings.Repeat("k ", 18) + `k…" (60 bytes)`,
	} {
		if got := text.Word(s, 40); got != want {
			t.Errorf("%q is shown as %s, want %s", s, got, want)
		}
	}
}

func TestQuoted(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"":                    `""`,
		" 12 ":                `" 12 "`,
		"Größe 日本 😀":          `"Größe 日本 😀"`,
		"a\nb\u00a0":          `"a\nb\u00a0"`,
		"❤\ufe0f \U000e0100é": `"❤\ufe0f \U000e0100é"`,
		"Cafe\u0301 é":        `"Cafe\u0301 \u00e9"`,
		"\u212b":              `"\u212b"`, // looks like Å
		"\xffé":               `"\xffé"`,
	} {
		if got := text.Quoted(s); got != want {
			t.Errorf("%q is shown as %s, want %s", s, got, want)
		}
	}
}

func TestStorable(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{"": "", "é 😀": "é 😀", "a\x00b": "a�b", "\xff\xfe": "��", "\xc3": "�"} {
		if got := text.Stored(s); got != want || !text.Storable(got) {
			t.Errorf("%q is stored as %q, want %q", s, got, want)
		}
		if got := text.Storable(s); got != (s == want) {
			t.Errorf("%q is storable: %t", s, got)
		}
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	if got := text.Line("a\nb\tc\x1b[31mé\u2028"); got != "a b c�[31mé " {
		t.Errorf("%q", got)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	all := []string{"cart-1", "cart-2", "cart-3"}
	for most, want := range map[int]string{3: "cart-1, cart-2, cart-3", 2: "cart-1, cart-2, …"} {
		if got := text.List(all, most); got != want {
			t.Errorf("at most %d: %s", most, got)
		}
	}
	if all[2] != "cart-3" {
		t.Error("the list was changed")
	}
}
