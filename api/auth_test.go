package api_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/run"
)

// Who may use what.
var accessTo = map[string]string{
	"GET /api/etl/health":                   "anybody",
	"GET /api/etl/ready":                    "anybody",
	"GET /api/etl/live":                     "anybody",
	"GET /api/etl/openapi.yaml":             "anybody",
	"GET /api/etl/status":                   "users",
	"GET /api/etl/scheduler/status":         "users",
	"POST /api/etl/sync/user":               "users",
	"POST /api/etl/sync/elasticsearch":      "users",
	"GET /api/etl/sync/elasticsearch/stats": "users",
	"POST /api/etl/sync":                    "admins",
	"GET /api/etl/validate":                 "admins",
	"GET /api/etl/stats":                    "admins",
	"GET /api/etl/runs":                     "admins",
	"GET /api/etl/runs/{id}":                "admins",
	"GET /api/etl/runs/{id}/products":       "admins",
	"GET /api/etl/runs/{id}/events":         "admins",
	"POST /api/etl/runs/{id}/cancel":        "admins",
	"POST /api/etl/runs/{id}/pause":         "admins",
	"POST /api/etl/runs/{id}/resume":        "admins",
	"POST /api/etl/runs/{id}/apply":         "admins",
	"GET /api/etl/products/{id}":            "admins",
	"POST /api/etl/scheduler/start":         "admins",
	"POST /api/etl/scheduler/stop":          "admins",
	"POST /api/etl/scheduler/trigger":       "admins",
}

func signed(t *testing.T, method jwt.SigningMethod, with any, claims jwt.MapClaims) string {
	t.Helper()
	text, err := jwt.NewWithClaims(method, claims).SignedString(with)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func session(token string) string {
	return "session=" + base64.StdEncoding.EncodeToString([]byte(`{"jwt":"`+token+`"}`))
}

func TestWhoMayUseWhat(t *testing.T) {
	t.Parallel()
	secretKey := []byte(key.Reveal())
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	claims := func(more ...any) jwt.MapClaims {
		c := jwt.MapClaims{"id": "1", "email": "admin@example.com", "role": "admin"}
		for i := 0; i+1 < len(more); i += 2 {
			c[more[i].(string)] = more[i+1]
		}
		return c
	}
	now := time.Now()
	goodAdmin, goodUser := signed(t, jwt.SigningMethodHS256, secretKey, claims()), signed(t, jwt.SigningMethodHS256, secretKey, claims("role", "seller"))
	none := signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims())
	bearer := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
	cookie := func(value string) []string { return []string{"Authorization", "", "Cookie", value} }
	for _, sender := range []struct {
		name    string
		headers []string
		as      string // what it counts as
		says    string
	}{
		{"no token", []string{"Authorization", ""}, "nobody", "send a token"},
		{"an empty bearer", bearer(""), "nobody", "send a token"},
		{"another scheme", []string{"Authorization", "Basic YWRtaW46YWRtaW4="}, "nobody", "send a token"},
		{"garbage", bearer("garbage"), "nobody", "not valid"},
		{"three garbage parts", bearer("a.b.c"), "nobody", "not valid"},
		{"expired", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("exp", now.Add(-time.Hour).Unix()))), "nobody", "has expired"},
		{"not valid yet", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("nbf", now.Add(time.Hour).Unix()))), "nobody", "not valid yet"},
		{"an expiry that is no time", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("exp", "tomorrow"))), "nobody", "not valid"},
		{"another key", bearer(signed(t, jwt.SigningMethodHS256, []byte("another"), claims())), "nobody", "not valid"},
		{"another key and expired", bearer(signed(t, jwt.SigningMethodHS256, []byte("another"), claims("exp", now.Add(-time.Hour).Unix()))), "nobody", "not valid"},
		{"an empty key", bearer(signed(t, jwt.SigningMethodHS256, []byte(""), claims())), "nobody", "not valid"},
		{"alg none", bearer(none), "nobody", "not valid"},
		{"alg none with a signature", bearer(none + goodAdmin[strings.LastIndex(goodAdmin, ".")+1:]), "nobody", "not valid"},
		{"HS512 with the right key", bearer(signed(t, jwt.SigningMethodHS512, secretKey, claims())), "nobody", "not valid"},
		{"RS256", bearer(signed(t, jwt.SigningMethodRS256, rsaKey, claims())), "nobody", "not valid"},
		{"changed claims", bearer(swapClaims(goodUser, goodAdmin)), "nobody", "not valid"},
		{"no signature", bearer(goodAdmin[:strings.LastIndex(goodAdmin, ".")+1]), "nobody", "not valid"},
		{"a cookie of garbage", cookie("session=garbage"), "nobody", "send a token"},
		{"a cookie without a token", cookie("session=" + base64.StdEncoding.EncodeToString([]byte(`{"user":"admin"}`))), "nobody", "send a token"},
		{"a cookie with alg none", cookie(session(none)), "nobody", "not valid"},
		{"a bare token as cookie", cookie("session=" + goodAdmin), "nobody", "send a token"},
		{"a wrong bearer before a good cookie", []string{"Authorization", "Bearer " + none, "Cookie", session(goodAdmin)}, "nobody", "not valid"},

		{"a seller", bearer(goodUser), "user", "role admin"},
		{"no role", bearer(signed(t, jwt.SigningMethodHS256, secretKey, jwt.MapClaims{"id": "1"})), "user", "role admin"},
		{"another case of the role", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("role", "Admin"))), "user", "role admin"},
		{"a seller's cookie", cookie(session(goodUser)), "user", "role admin"},
		{"a seller's bearer before an admin's cookie", []string{"Authorization", "Bearer " + goodUser, "Cookie", session(goodAdmin)}, "user", "role admin"},

		{"an admin as of today, without expiry", bearer(goodAdmin), "admin", ""},
		{"an admin with expiry", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("exp", now.Add(time.Hour).Unix(), "nbf", now.Add(-time.Hour).Unix()))), "admin", ""},
		{"an admin, small letters", []string{"Authorization", "bearer  " + goodAdmin}, "admin", ""},
		{"an admin's cookie", cookie(session(goodAdmin)), "admin", ""},
		{"an admin's cookie beside others", cookie("theme=dark; " + session(goodAdmin) + "; lang=de"), "admin", ""},
		{"an admin's cookie, percent-encoded", cookie("session=" + url.QueryEscape(strings.TrimPrefix(session(goodAdmin), "session="))), "admin", ""},
		{"an admin's cookie beside basic authentication", []string{"Authorization", "Basic YWRtaW46YWRtaW4=", "Cookie", session(goodAdmin)}, "admin", ""},
		{"an admin's cookie behind a useless one", cookie("session=old; " + session(goodAdmin)), "admin", ""},
	} {
		t.Run(sender.name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			id := s.add(run.Record{Status: run.StatusSucceeded, Request: run.Request{Order: run.Order{DryRun: true}},
				Finished: time.Now(), Report: &run.Report{Result: run.InSync}})
			for _, operation := range operations(t) {
				method, path, _ := strings.Cut(operation, " ")
				if method == http.MethodHead {
					continue
				}
				a := s.do(method, strings.ReplaceAll(path, "{id}", id), "", sender.headers...)
				access := accessTo[operation]
				allowed := access == "anybody" || access == "users" && sender.as != "nobody" || access == "admins" && sender.as == "admin"
				if refused := a.Code == http.StatusForbidden; refused == allowed {
					t.Errorf("%s, for %s, answers %d: %s", operation, access, a.Code, a.Body)
				}
				if !allowed {
					a.want(403, `{"errors":[{"message":"Not authorized`, sender.says)
				}
			}
		})
	}
	if described := operations(t); len(accessTo) != len(slices.DeleteFunc(described, func(o string) bool { return strings.HasPrefix(o, "HEAD ") })) {
		t.Errorf("the table names %d operations, the document %d", len(accessTo), len(described))
	}
}

// swapClaims puts the claims of one token under the signature of another.
func swapClaims(signed, claims string) string {
	s, c := strings.Split(signed, "."), strings.Split(claims, ".")
	return s[0] + "." + c[1] + "." + s[2]
}

func TestExpiryCanBeRequired(t *testing.T) {
	t.Parallel()
	s := setup(t, func(c *api.Config, _ *api.Parts) { c.RequireExp = true })
	forever, err := api.NewToken(key, admin, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.do("GET", "/api/etl/runs", "").want(200)
	s.do("GET", "/api/etl/runs", "", "Authorization", "Bearer "+forever).want(403, "JWT_REQUIRE_EXP")
}

func TestWithoutAKeyNobodyIsLetIn(t *testing.T) {
	t.Parallel()
	s := setup(t, func(c *api.Config, _ *api.Parts) { c.JWTKey = "" })
	forged := signed(t, jwt.SigningMethodHS256, []byte(""), jwt.MapClaims{"role": "admin"})
	s.do("GET", "/api/etl/runs", "", "Authorization", "Bearer "+forged).want(403, "JWT_KEY")
	if text, err := api.NewToken("", admin, time.Hour); err == nil {
		t.Errorf("signed with an empty key: %s", text)
	}
	if text, err := api.NewToken(key, admin, -time.Hour); err == nil {
		t.Errorf("signed for the past: %s", text)
	}
}

func TestTokensAreThePlatforms(t *testing.T) {
	t.Parallel()
	claims := jwt.MapClaims{}
	parsed, err := jwt.ParseWithClaims(token(t, admin), claims, func(*jwt.Token) (any, error) { return []byte(key.Reveal()), nil })
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Method.Alg() != "HS256" || claims["id"] != admin.ID || claims["email"] != admin.Email || claims["role"] != "admin" {
		t.Errorf("%s %v", parsed.Method.Alg(), claims)
	}
}

func TestUserNamesFitARequest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		user api.User
		want string
	}{
		{admin, "admin@example.com"},
		{api.User{ID: "7"}, "7"},
		{api.User{}, ""},
		{api.User{Email: "a\x00b\xff"}, "a�b�"},
		{api.User{Email: strings.Repeat("é", 150)}, strings.Repeat("é", 98) + "…"},
		{api.User{Email: "x" + strings.Repeat("é", 150)}, "x" + strings.Repeat("é", 98) + "…"},
	} {
		if got := tt.user.Name(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	s := setup(t)
	long := api.User{Email: strings.Repeat("é", 1000), Role: "admin"}
	s.do("POST", "/api/etl/sync", "", "Authorization", "Bearer "+token(t, long)).want(202, strings.Repeat("é", 98)+"…")
}

func TestConfigNamesTheVariable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		config api.Config
		want   string // part of the error, empty for none
	}{
		{api.Config{Port: 4000, JWTKey: key}, ""},
		{api.Config{Port: 0, JWTKey: key}, ""},
		{api.Config{Port: 4000}, "JWT_KEY is required"},
		{api.Config{Port: 65536, JWTKey: key}, "PORT is 65536"},
		{api.Config{Port: -1, JWTKey: key}, "PORT is -1"},
		{api.Config{Port: -1}, "PORT is -1: it must be 1..65535, or 0 for any free port\nJWT_KEY"},
	} {
		err := tt.config.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.config, err, tt.want)
		}
	}
}
