// Package ui shows the service to people with a browser, and lets them steer it: pages that
// are made here, need no script, and refresh themselves where there is one. It knows nothing
// that the API does not know, and acts through the same operations.
//
//   - ui.go serves: routes, what a browser may do with a page, errors.
//   - session.go is signing in and out.
//   - home.go is the first page, from "is the cart complete" to the scheduler; runs.go, start.go,
//     product.go, letters.go and system.go are the others.
//   - timeline.go draws, format.go puts numbers and times as people read them.
//   - templates has the pages, assets what they are dressed with; README.md says by which tokens.
package ui

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"strings"

	"github.com/ecom-micro/etl/api"
)

// Path is where all of it is.
const Path = api.Prefix + "/ui/"

//go:embed templates/*.html
var templates embed.FS

//go:embed assets/*
var assets embed.FS

// Setting is a variable as it takes effect.
type Setting struct {
	Name    string `json:"name"`
	Value   string `json:"value"` // secrets masked
	Default bool   `json:"default"`
}

// Parts are what the pages speak to.
type Parts struct {
	Runs     api.Runs
	Probes   api.Probes
	Schedule func() api.Schedule
	Settings []Setting
	// Exchange is where the platform announces products.
	Exchange string
	// Version is the program's.
	Version string
}

// UI serves the pages.
type UI struct {
	api   *api.API
	parts Parts
	pages map[string]*template.Template
}

// New makes the pages of an API.
func New(a *api.API, parts Parts) http.Handler {
	u := &UI{api: a, parts: parts, pages: make(map[string]*template.Template)}
	layout := template.Must(template.New("layout.html").Funcs(functions).ParseFS(templates, "templates/layout.html", "templates/parts.html"))
	names, err := fs.Glob(templates, "templates/*.html")
	if err != nil {
		panic(err) // the pattern is one
	}
	for _, name := range names {
		page := strings.TrimSuffix(strings.TrimPrefix(name, "templates/"), ".html")
		u.pages[page] = template.Must(template.Must(layout.Clone()).ParseFS(templates, name))
	}
	return secured(u.routes())
}

// handler answers, or returns what is to be answered instead.
type handler func(http.ResponseWriter, *http.Request) error

// routes are the pages. No GET acts.
func (u *UI) routes() http.Handler {
	mux := http.NewServeMux()
	static, err := fs.Sub(assets, "assets")
	if err != nil {
		panic(err) // it is embedded
	}
	files := http.StripPrefix(Path+"assets/", http.FileServerFS(static))
	mux.HandleFunc("GET "+Path+"assets/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache") // a new version has new ones
		files.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET "+Path+"sign-in", u.shown(u.getSignIn))
	mux.HandleFunc("POST "+Path+"sign-in", u.shown(u.postSignIn))
	mux.HandleFunc("POST "+Path+"sign-out", u.shown(u.postSignOut))
	for pattern, handle := range map[string]handler{
		"{$}":                    u.getHome,
		"runs":                   u.getRuns,
		"runs/{id}":              u.getRun,
		"runs/{id}/products.csv": u.getProductsCSV,
		"start":                  u.getStart,
		"products":               u.getSearch,
		"products/{id}":          u.getProduct,
		"letters":                u.getLetters,
		"health":                 u.getHealth,
		"settings":               u.getSettings,
	} {
		mux.HandleFunc("GET "+Path+pattern, u.shown(u.seeing(handle)))
	}
	for pattern, handle := range map[string]handler{
		"runs":               u.postRun,
		"runs/{id}/{action}": u.postAction,
		"scheduler":          u.postScheduler,
		"letters":            u.postLetter,
	} {
		mux.HandleFunc("POST "+Path+pattern, u.shown(u.steering(handle)))
	}
	mux.HandleFunc(Path, u.shown(func(http.ResponseWriter, *http.Request) error { return notHere }))
	return mux
}

// secured says what a browser may do with a page: load what comes from here, send forms to here,
// and nothing else. Nothing in a page is code.
func secured(next http.Handler) http.Handler {
	const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// seeing lets in who may see everything, and asks others to sign in.
func (u *UI) seeing(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		user := api.Caller(r.Context())
		if user == nil {
			goTo(w, r, signInPath(r))
			return nil
		}
		if !user.Sees() {
			return roleNeeded(api.RoleViewer)
		}
		return next(w, r)
	}
}

// steering lets in who may act.
func (u *UI) steering(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		user := api.Caller(r.Context())
		if user == nil {
			goTo(w, r, Path+"sign-in")
			return nil
		}
		if !user.Steers() {
			return roleNeeded(api.RoleOperator)
		}
		const most = 1 << 20
		r.Body = http.MaxBytesReader(w, r.Body, most)
		if err := r.ParseForm(); err != nil {
			return refused(http.StatusBadRequest, "the form cannot be read")
		}
		return next(w, r)
	}
}

// shown shows errors as a page.
func (u *UI) shown(next handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := next(w, r)
		if err == nil {
			return
		}
		p := u.problem(r, err)
		if p == nil {
			return // the caller has left
		}
		if failed := u.render(w, r, p.Status, "problem", "That did not work", p); failed != nil {
			http.Error(w, "this page cannot be shown", http.StatusInternalServerError)
		}
	}
}

// goTo sends a browser to another page of ours: to is under Path, whatever it was made of.
func goTo(w http.ResponseWriter, r *http.Request, to string) {
	http.Redirect(w, r, to, http.StatusSeeOther) //nolint:gosec // it is under Path
}

// page is what the layout shows of every page.
type page struct {
	Title   string
	Section string // of the navigation
	User    *api.User
	Version string
	Path    string
	Data    any
}

// render writes a page, or nothing where it cannot be made.
func (u *UI) render(w http.ResponseWriter, r *http.Request, status int, name, title string, data any) error {
	section, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, Path), "/")
	var b bytes.Buffer
	err := u.pages[name].ExecuteTemplate(&b, "layout.html", page{
		Title: title, Section: section, User: api.Caller(r.Context()), Version: u.parts.Version, Path: Path, Data: data,
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w) // whoever has left needs no page
	return nil
}

// problem puts words to an error.
func (u *UI) problem(r *http.Request, err error) *api.Problem {
	if known, is := err.(*failure); is { //nolint:errorlint // it is never wrapped
		return &known.Problem
	}
	return u.api.Problem(r.Context(), err)
}
