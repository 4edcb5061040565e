package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/google/uuid"

	"github.com/ecom-micro/etl/internal/text"
)

// call is one request, as its log lines name it.
type call struct {
	id    string
	user  *User
	route string // the template that matched, empty where none did
	log   *slog.Logger
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// RequestID is the id of the request that ctx belongs to, empty where it belongs to none.
func RequestID(ctx context.Context) string {
	if c := callOf(ctx); c != nil {
		return c.id
	}
	return ""
}

func logger(ctx context.Context) *slog.Logger { return callOf(ctx).log }

// saneID is what is taken over of a caller's request id, for it goes to logs and headers.
var saneID = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

const requestIDHeader = "X-Request-ID"

// observed gives each request an id and an access line, and answers panics.
func (a *API) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		c := &call{id: r.Header.Get(requestIDHeader)}
		if !saneID.MatchString(c.id) {
			c.id = uuid.NewString()
		}
		c.log = a.parts.Log.With("request", c.id)
		w.Header().Set(requestIDHeader, c.id)
		for name, value := range securityHeaders {
			w.Header().Set(name, value)
		}
		r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
		recorded := &recorder{ResponseWriter: w}
		defer func() { a.conclude(recorded, r, began, recover()) }()
		next.ServeHTTP(recorded, r)
	})
}

// conclude writes the access line, and answers where the handler panicked.
func (a *API) conclude(w *recorder, r *http.Request, began time.Time, panicked any) {
	c := callOf(r.Context())
	if panicked != nil && panicked != http.ErrAbortHandler { //nolint:errorlint // the value itself is the signal
		c.log.Error("a request panicked", "err", fmt.Errorf("%v", panicked), "stack", string(debug.Stack()))
		if w.status == 0 {
			a.refuse(w, r, &refusal{status: http.StatusInternalServerError,
				message: "something went wrong here: the log says more under request id " + c.id})
			panicked = nil
		}
	}
	c.log.Log(r.Context(), accessLevel(r), "request", "method", r.Method, "path", r.URL.Path,
		"status", w.status, "bytes", w.bytes, "duration", time.Since(began))
	if a.parts.Observe != nil {
		a.parts.Observe(c.route, r.Method, w.status, time.Since(began))
	}
	if panicked != nil {
		panic(http.ErrAbortHandler) // what was sent is not all: break the connection
	}
}

// accessLevel keeps what Kubernetes and Prometheus ask all the time out of the log.
func accessLevel(r *http.Request) slog.Level {
	switch r.URL.Path {
	case "/metrics", Prefix + "/health", Prefix + "/ready", Prefix + "/live":
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// Answers are data for one caller at one moment, never a page.
var securityHeaders = map[string]string{
	"X-Content-Type-Options":  "nosniff",
	"Cache-Control":           "no-store",
	"X-Frame-Options":         "DENY",
	"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
	"Referrer-Policy":         "no-referrer",
}

// sameSite refuses what another site makes a browser send.
func (a *API) sameSite(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.protection.Check(r); err != nil {
			a.refuse(w, r, crossSite)
			return
		}
		next.ServeHTTP(w, r)
	})
}

var crossSite = forbidden("requests from other sites are refused")

// admitted lets those in who may use the route, and hands errors to the table.
func (a *API) admitted(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := callOf(r.Context())
		c.route = Prefix + rt.path
		err := a.admit(c, r, rt.access)
		if err == nil {
			if rt.long {
				extendDeadlines(w, maxWait+writeTimeout)
			} else {
				ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
				defer cancel()
				r = r.WithContext(ctx)
			}
			err = rt.handle(w, r)
		}
		if err != nil {
			a.refuse(w, r, err)
		}
	}
}

// identified lets everybody in, and knows from then on who it is.
func (a *API) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := callOf(r.Context())
		c.route = pages
		_ = a.admit(c, r, open) // which refuses nobody
		ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// admit lets in who may, and knows from then on who it is.
func (a *API) admit(c *call, r *http.Request, asked access) error {
	user, refused, why := a.guard.user(r)
	if user == nil {
		if asked == open && errors.Is(why, errNothingSent) {
			return nil
		}
		const most = 300 // bytes: it may quote what was sent
		c.log.Debug("a token was refused", "err", text.Cut(why.Error(), most))
		if asked == open {
			return nil
		}
		return refused
	}
	c.user = user
	c.log = c.log.With("user", user.Name())
	if !user.may(asked) {
		const most = 60 // bytes of what anybody may have written
		c.log.Debug("a role was refused", "role", text.Line(text.Cut(user.Role, most)))
		return notAllowed(asked)
	}
	return nil
}

// notAllowed is for a user whose role does not do.
func notAllowed(asked access) *refusal {
	roles := RoleOperator + " or " + RoleAdmin
	if asked == viewers {
		roles = RoleViewer + ", " + roles
	}
	return forbidden("the role " + roles + " is needed")
}

// extendDeadlines exempts an answer that takes long from the server's limits. That of
// reading counts too: the server reads on, to see whether the caller is still there.
func extendDeadlines(w http.ResponseWriter, d time.Duration) {
	control, until := http.NewResponseController(w), time.Now().Add(d)
	_ = control.SetReadDeadline(until) // where it is not supported, nothing is limited
	_ = control.SetWriteDeadline(until)
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(data []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(data)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// answer sends a document. A caller that has left is no error.
func (a *API) answer(w http.ResponseWriter, r *http.Request, status int, document any) {
	data, err := json.Marshal(document)
	if err != nil {
		logger(r.Context()).Error("an answer cannot be written", "err", err)
		status, data = http.StatusInternalServerError, []byte(`{"errors":[{"message":"something went wrong here"}]}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	if _, err := w.Write(append(data, '\n')); err != nil {
		logger(r.Context()).Debug("the caller did not take the answer", "err", err)
	}
}
