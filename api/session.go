package api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

const sessionCookie = "session"

// requestToken is the token that a request carries; a bearer token counts before the
// platform's cookie.
func requestToken(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	// Browsers send cookies of one name for several paths, the most specific first.
	for _, cookie := range r.CookiesNamed(sessionCookie) {
		if token := sessionToken(cookie.Value); token != "" {
			return token
		}
	}
	return ""
}

// sessionToken is the token in the platform's session: base64 of {"jwt":"…"}, which
// browsers and proxies may have percent-encoded. It is empty where there is none.
func sessionToken(value string) string {
	if plain, err := url.PathUnescape(value); err == nil {
		value = plain
	}
	value = strings.TrimRight(value, "=")
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(value, "-_") {
		encoding = base64.RawURLEncoding
	}
	document, err := encoding.DecodeString(value)
	if err != nil {
		return ""
	}
	var session struct {
		Token string `json:"jwt"`
	}
	if json.Unmarshal(document, &session) != nil {
		return ""
	}
	return session.Token
}
