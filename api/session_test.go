package api_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ecom-micro/etl/api"
)

func TestSessionCookies(t *testing.T) {
	t.Parallel()
	std, web := base64.StdEncoding.EncodeToString, base64.URLEncoding.EncodeToString
	// Bytes whose encoding needs the characters in which the two alphabets differ.
	const document = `{"jwt":"a.b.c","u":"???>>>"}`
	for _, tt := range []struct{ name, value, want string }{
		{"standard", std([]byte(document)), "a.b.c"},
		{"standard without padding", strings.TrimRight(std([]byte(document)), "="), "a.b.c"},
		{"for addresses", web([]byte(document)), "a.b.c"},
		{"for addresses without padding", strings.TrimRight(web([]byte(document)), "="), "a.b.c"},
		{"percent-encoded", url.QueryEscape(std([]byte(document))), "a.b.c"},
		{"percent-encoded, for addresses", url.QueryEscape(web([]byte(document))), "a.b.c"},
		{"of length 1 more", std([]byte(`{"jwt":"a.b.cd"}`)), "a.b.cd"},
		{"of length 2 more", std([]byte(`{"jwt":"a.b.cde"}`)), "a.b.cde"},
		{"more members and space", std([]byte(` { "x": {"jwt":"no"}, "jwt" : "a.b.c", "y": [1] } `)), "a.b.c"},
		{"empty", "", ""},
		{"no base64", "{}", ""},
		{"no JSON", std([]byte("a.b.c")), ""},
		{"no object", std([]byte(`"a.b.c"`)), ""},
		{"a list", std([]byte(`["a.b.c"]`)), ""},
		{"null", std([]byte(`null`)), ""},
		{"no jwt", std([]byte(`{}`)), ""},
		{"jwt is no text", std([]byte(`{"jwt":5}`)), ""},
		{"jwt is null", std([]byte(`{"jwt":null}`)), ""},
		{"a bad percent sign", "%zz" + std([]byte(document)), ""},
		{"cut", std([]byte(document))[:9], ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := api.SessionToken(tt.value); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// Whatever a cookie holds, a token comes out unchanged or not at all.
func FuzzSessionCookie(f *testing.F) {
	f.Add("eyJqd3QiOiJhLmIuYyJ9", "a.b.c")
	f.Add("%7B%7D", `"`)
	f.Add("=====", "\x00")
	f.Add("eyJqd3QiOg==", "é\\")
	f.Fuzz(func(t *testing.T, value, token string) {
		if got := api.SessionToken(value); !utf8.ValidString(got) {
			t.Errorf("%q gives the token %q", value, got)
		}
		if strings.ContainsAny(token, "\"\\") || !utf8.ValidString(token) || strings.ContainsFunc(token, func(r rune) bool { return r < ' ' }) {
			return
		}
		document := []byte(`{"jwt":"` + token + `"}`)
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
			text := encoding.EncodeToString(document)
			for _, cookie := range []string{text, url.QueryEscape(text)} {
				if got := api.SessionToken(cookie); got != token {
					t.Errorf("%q holds %q, and gives %q", cookie, token, got)
				}
			}
		}
	})
}
