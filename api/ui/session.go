package ui

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/run"
)

// failure is an error of the pages themselves.
type failure struct{ api.Problem }

func (f *failure) Error() string { return f.Errors[0].Message }

func refused(status int, format string, args ...any) *failure {
	return &failure{api.Problem{Status: status, Errors: []run.FieldError{{Message: fmt.Sprintf(format, args...)}}}}
}

var notHere = refused(http.StatusNotFound, "there is no such page")

func roleNeeded(role string) *failure {
	return refused(http.StatusForbidden, "you are signed in, and need the role %s for this: `etl token --role %s` makes a token that has it", role, role)
}

// signIn is the form.
type signIn struct {
	Next    string // where to go then
	Problem string
}

func signInPath(r *http.Request) string {
	return Path + "sign-in?next=" + url.QueryEscape(r.URL.RequestURI())
}

// inside is where to go after signing in: a page of ours, whatever the address says.
func inside(next string) string {
	if parsed, err := url.Parse(next); err != nil || parsed.IsAbs() || parsed.Host != "" || !strings.HasPrefix(parsed.Path, Path) || strings.Contains(parsed.Path, "..") {
		return Path
	}
	return next
}

func (u *UI) getSignIn(w http.ResponseWriter, r *http.Request) error {
	return u.render(w, r, http.StatusOK, "sign-in", "Sign in", signIn{Next: inside(r.URL.Query().Get("next"))})
}

// postSignIn keeps a token in a cookie that no script reads and no other site sends.
func (u *UI) postSignIn(w http.ResponseWriter, r *http.Request) error {
	const most = 16 << 10
	r.Body = http.MaxBytesReader(w, r.Body, most)
	if err := r.ParseForm(); err != nil {
		return refused(http.StatusBadRequest, "the form cannot be read")
	}
	next := inside(r.PostForm.Get("next"))
	token := strings.TrimSpace(r.PostForm.Get("token"))
	token = strings.TrimSpace(strings.TrimPrefix(token, "Bearer "))
	user, err := u.api.SignIn(r.Context(), token)
	if err != nil || !user.Sees() {
		problem := "This token is not valid here: it may have expired, or be signed with another key. `etl token` makes one."
		if err == nil {
			problem = "This token is valid, but its role may not see these pages: `etl token --role " + api.RoleViewer + "` makes one that may."
		}
		return u.render(w, r, http.StatusForbidden, "sign-in", "Sign in", signIn{Next: next, Problem: problem})
	}
	http.SetCookie(w, tokenCookie(r, token, 0))
	goTo(w, r, next)
	return nil
}

func (u *UI) postSignOut(w http.ResponseWriter, r *http.Request) error {
	http.SetCookie(w, tokenCookie(r, "", -1))
	goTo(w, r, Path+"sign-in")
	return nil
}

// tokenCookie ends with the browser's session; the token has an end of its own.
func tokenCookie(r *http.Request, token string, age int) *http.Cookie {
	// Behind an ingress that ends TLS the header says so; without TLS a browser would not send it back.
	secure := r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
	return &http.Cookie{Name: api.TokenCookie, Value: token, Path: api.Prefix, MaxAge: age, HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode} //nolint:gosec // Secure where it can be
}
