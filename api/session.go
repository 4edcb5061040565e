package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

const sessionCookie = "session"

// TokenCookie has the token of somebody who signed in on our own pages.
const TokenCookie = "etl_token"

// requestTokens are the tokens that a request carries, of which the first that is valid counts:
// a bearer token alone, else our own cookie's before the platform's, for it may have expired
// since. The error says why there is none.
func requestTokens(r *http.Request) (tokens []string, err error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		if token = strings.TrimSpace(token); token == "" {
			return nil, errors.New("the bearer token is empty")
		}
		return []string{token}, nil
	}
	if own, err := r.Cookie(TokenCookie); err == nil && own.Value != "" {
		tokens = append(tokens, own.Value)
	}
	// Browsers send cookies of one name for several paths, the most specific first.
	cookies := r.CookiesNamed(sessionCookie)
	for _, cookie := range cookies {
		if token := sessionToken(cookie.Value); token != "" {
			tokens = append(tokens, token)
			break
		}
	}
	switch {
	case len(tokens) > 0:
		return tokens, nil
	case len(cookies) > 0:
		return nil, errors.New(`the cookie "session" is not base64 of {"jwt":"…"}`)
	case r.Header.Get("Authorization") != "":
		return nil, errors.New("the Authorization header is not of the scheme Bearer")
	}
	return nil, errNothingSent
}

// errNothingSent is of a request that claims to be nobody.
var errNothingSent = errors.New("the request has neither a bearer token nor the cookie")

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
