package api_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/secret"
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
	"POST /api/etl/sync":                    "operators",
	"GET /api/etl/validate":                 "viewers",
	"GET /api/etl/stats":                    "viewers",
	"GET /api/etl/actions":                  "viewers",
	"GET /api/etl/runs":                     "viewers",
	"GET /api/etl/runs/{id}":                "viewers",
	"GET /api/etl/runs/{id}/products":       "viewers",
	"GET /api/etl/runs/{id}/events":         "viewers",
	"POST /api/etl/runs/{id}/cancel":        "operators",
	"POST /api/etl/runs/{id}/pause":         "operators",
	"POST /api/etl/runs/{id}/resume":        "operators",
	"POST /api/etl/runs/{id}/apply":         "operators",
	"GET /api/etl/products/{id}":            "viewers",
	"POST /api/etl/scheduler/start":         "operators",
	"POST /api/etl/scheduler/stop":          "operators",
	"POST /api/etl/scheduler/trigger":       "operators",
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
		{"expired", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("exp", now.Add(-time.Hour).Unix()))), "nobody", "not valid"},
		{"not valid yet", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("nbf", now.Add(time.Hour).Unix()))), "nobody", "not valid"},
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

		{"a seller", bearer(goodUser), "user", "or admin is needed"},
		{"no role", bearer(signed(t, jwt.SigningMethodHS256, secretKey, jwt.MapClaims{"id": "1"})), "user", "or admin is needed"},
		{"another case of the role", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("role", "Admin"))), "user", "or admin is needed"},
		{"a seller's cookie", cookie(session(goodUser)), "user", "or admin is needed"},
		{"a seller's bearer before an admin's cookie", []string{"Authorization", "Bearer " + goodUser, "Cookie", session(goodAdmin)}, "user", "or admin is needed"},

		{"a viewer", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("role", "etl:viewer"))), "viewer", "the role etl:operator or admin is needed"},
		{"a viewer among other roles", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("role", []string{"seller", "etl:viewer"}))), "viewer", "the role etl:operator or admin is needed"},
		{"an empty list of roles", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("role", []string{}))), "user", "or admin is needed"},
		{"roles in one text", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("role", "seller admin"))), "user", "or admin is needed"},
		{"a role with blanks", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("role", " admin "))), "user", "or admin is needed"},
		{"a role that is null", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("role", nil))), "user", "or admin is needed"},
		{"a role that is a number", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("role", 1))), "nobody", "not valid"},
		{"a role among other things", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("role", []any{"admin", 1}))), "nobody", "not valid"},
		{"for another service", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("aud", "orders"))), "nobody", "not valid"},

		{"an operator", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("role", "etl:operator"))), "operator", ""},
		{"an admin in a list", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("role", []string{"admin"}))), "operator", ""},
		{"an operator among other roles", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("role", []string{"seller", "etl:operator"}))), "operator", ""},
		{"for this service and others", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("aud", []string{"orders", "etl"}))), "operator", ""},
		{"an admin as of today, without expiry", bearer(goodAdmin), "operator", ""},
		{"an admin with expiry", bearer(signed(t, jwt.SigningMethodHS256, secretKey, claims("exp", now.Add(time.Hour).Unix(), "nbf", now.Add(-time.Hour).Unix()))), "operator", ""},
		{"an admin, small letters", []string{"Authorization", "bearer  " + goodAdmin}, "operator", ""},
		{"an admin's cookie", cookie(session(goodAdmin)), "operator", ""},
		{"an admin's cookie beside others", cookie("theme=dark; " + session(goodAdmin) + "; lang=de"), "operator", ""},
		{"an admin's cookie, percent-encoded", cookie("session=" + url.QueryEscape(strings.TrimPrefix(session(goodAdmin), "session="))), "operator", ""},
		{"an admin's cookie beside basic authentication", []string{"Authorization", "Basic YWRtaW46YWRtaW4=", "Cookie", session(goodAdmin)}, "operator", ""},
		{"an admin who signed in on our pages", cookie("etl_token=" + goodAdmin), "operator", ""},
		{"an admin's cookie beside one of ours that has expired", cookie("etl_token=" + signed(t, jwt.SigningMethodHS256, secretKey, claims("exp", now.Add(-time.Hour).Unix())) + "; " + session(goodAdmin)), "operator", ""},
		{"an admin's cookie behind a useless one", cookie("session=old; " + session(goodAdmin)), "operator", ""},
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
				allowed := access == "anybody" || access == "users" && sender.as != "nobody" ||
					access == "viewers" && (sender.as == "viewer" || sender.as == "operator") || access == "operators" && sender.as == "operator"
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
	s.do("GET", "/api/etl/runs", "", "Authorization", "Bearer "+forever).want(403, "the token is not valid")
	if line := s.log.line("a token was refused"); !strings.Contains(fmt.Sprint(line["err"]), "JWT_REQUIRE_EXP") {
		t.Errorf("logged %v", line)
	}
}

func TestWithoutAKeyNobodyIsLetIn(t *testing.T) {
	t.Parallel()
	s := setup(t, func(c *api.Config, _ *api.Parts) { c.JWTKey = "" })
	forged := signed(t, jwt.SigningMethodHS256, []byte(""), jwt.MapClaims{"role": "admin"})
	s.do("GET", "/api/etl/runs", "", "Authorization", "Bearer "+forged).want(403, "the token is not valid").without("JWT_KEY")
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
	audience, err := claims.GetAudience()
	if err != nil || !slices.Equal(audience, []string{"etl"}) || claims["sub"] != admin.Email || claims["exp"] == nil || claims["iat"] == nil {
		t.Errorf("%v", claims)
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

// Clocks are not quite the same everywhere. Why a token is refused is in the log, at debug
// level, and in no answer.
func TestCaseD7LeewayAndReasons(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(d time.Duration) int64 { return now.Add(-d).Unix() }
	signedWith := func(key string, more jwt.MapClaims) string {
		claims := jwt.MapClaims{"id": "1", "email": "ann@shop", "role": "admin"}
		maps.Copy(claims, more)
		return signed(t, jwt.SigningMethodHS256, []byte(key), claims)
	}
	mine := key.Reveal()
	for name, c := range map[string]struct {
		token   string
		refused string // in the log, empty where it is let in
	}{
		"expired just now":                {signedWith(mine, jwt.MapClaims{"exp": ago(time.Second)}), ""},
		"expired 15 s ago":                {signedWith(mine, jwt.MapClaims{"exp": ago(15 * time.Second)}), ""},
		"expired 40 s ago":                {signedWith(mine, jwt.MapClaims{"exp": ago(40 * time.Second)}), "token is expired"},
		"valid in 2 s":                    {signedWith(mine, jwt.MapClaims{"nbf": ago(-2 * time.Second)}), ""},
		"valid in 40 s":                   {signedWith(mine, jwt.MapClaims{"nbf": ago(-40 * time.Second)}), "token is not valid yet"},
		"issued in 20 s":                  {signedWith(mine, jwt.MapClaims{"iat": ago(-20 * time.Second)}), ""},
		"issued in 40 s":                  {signedWith(mine, jwt.MapClaims{"iat": ago(-40 * time.Second)}), "token used before issued"},
		"an expiry that is no time":       {signedWith(mine, jwt.MapClaims{"exp": "tomorrow"}), "token is malformed"},
		"an admin in a list":              {signedWith(mine, jwt.MapClaims{"role": []string{"admin"}}), ""},
		"a role that is none":             {signedWith(mine, jwt.MapClaims{"role": map[string]bool{"admin": true}}), "role is neither a text nor a list of texts"},
		"another key":                     {signedWith("another key", nil), "signature is invalid"},
		"the key and a line break":        {signedWith(mine+"\n", nil), "it is signed with JWT_KEY and a line break behind it"},
		"for others":                      {signedWith(mine, jwt.MapClaims{"aud": []string{"orders", "carts"}}), "the token is for orders, carts, and not for etl"},
		"alg none":                        {signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, jwt.MapClaims{"role": "admin"}), "signing method none is invalid"},
		"no token at all":                 {"x", "token is malformed"},
		"a seller, whose role is refused": {signedWith(mine, jwt.MapClaims{"role": "seller"}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			answer := s.do("GET", "/api/etl/status", "", "Authorization", "Bearer "+c.token)
			line := s.log.line("a token was refused")
			if c.refused == "" {
				answer.want(200)
				if line != nil {
					t.Errorf("logged %v", line)
				}
				return
			}
			answer.want(403, `{"errors":[{"message":"Not authorized: the token is not valid"}]}`)
			if !strings.Contains(fmt.Sprint(line["err"]), c.refused) || line["level"] != "DEBUG" {
				t.Errorf("logged %v, want %q", line, c.refused)
			}
			if len(c.token) > 9 && strings.Contains(s.log.String(), c.token) {
				t.Errorf("the token is in the log: %s", s.log)
			}
		})
	}
}

// What else is wrong with what a request carries is in the log too; a probe without a token
// is not worth a line.
func TestCaseD7WhatARequestCarries(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		headers []string
		line    string
		says    string
	}{
		"nothing":        {nil, "a token was refused", "neither a bearer token nor the cookie"},
		"a cookie":       {[]string{"Cookie", "session=garbage"}, "a token was refused", `the cookie "session" is not base64 of {"jwt":"…"}`},
		"another scheme": {[]string{"Authorization", "Basic YTpi"}, "a token was refused", "not of the scheme Bearer"},
		"an empty one":   {[]string{"Authorization", "Bearer "}, "a token was refused", "the bearer token is empty"},
		"a role":         {[]string{"Authorization", seller(t)}, "a role was refused", "seller"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			headers := append([]string{"Authorization", ""}, c.headers...)
			s.do("GET", "/api/etl/health", "", headers...).want(200)
			if name == "nothing" && s.log.line(c.line) != nil {
				t.Errorf("a probe is logged: %s", s.log)
			}
			s.do("GET", "/api/etl/runs", "", headers...).want(403)
			if line := s.log.line(c.line); !strings.Contains(fmt.Sprint(line["err"], line["role"]), c.says) || line["level"] != "DEBUG" {
				t.Errorf("logged %v, want %q", line, c.says)
			}
		})
	}
}

// The key is taken byte by byte, as every other service takes it.
func TestCaseD2TheKeyIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	for _, secretKey := range []string{"secret\n", "secret\r\n", " secret ", "\tsecret", `"secret"`, "\n", "\ufeffsecret", "sec\xffret"} {
		s := setup(t, func(c *api.Config, _ *api.Parts) { c.JWTKey = secret.Text(secretKey) })
		claims := jwt.MapClaims{"id": "1", "role": "admin"}
		s.do("GET", "/api/etl/runs", "", "Authorization", "Bearer "+signed(t, jwt.SigningMethodHS256, []byte(secretKey), claims)).want(200)
		if plain := strings.TrimSpace(secretKey); plain != secretKey && plain != "" {
			s.do("GET", "/api/etl/runs", "", "Authorization", "Bearer "+signed(t, jwt.SigningMethodHS256, []byte(plain), claims)).want(403)
			if line := s.log.line("a token was refused"); !strings.Contains(fmt.Sprint(line["err"]), "signed with JWT_KEY without the blanks at its ends") {
				t.Errorf("%q: logged %v", secretKey, line)
			}
		}
	}
}

// A key that anybody can guess, or find out, is remarked on.
func TestWeakKeysAreRemarkedOn(t *testing.T) {
	t.Parallel()
	for secretKey, want := range map[secret.Text]string{
		"your-jwt-secret":                        "placeholder",
		"asdf":                                   "4 bytes",
		"secret":                                 "6 bytes",
		"Please-Change-Me-Please-Change-Me-0123": "placeholder",
		"my_super_secret_jwt_key_of_2026_it_is_long": "placeholder",
		"REPLACE_THIS_WITH_A_RANDOM_VALUE_OF_YOURS":  "placeholder",
		secret.Text(strings.Repeat("ab", 30)):        "repeats itself",
		"0123456789012345678901234567890":            "31 bytes",
		"w9Zf3kQ1pX7vB2nM8cR4tY6uJ5hG0sDa":           "",
		"6e1f0a9bd2c47835ee01b7aa9c3d5f60":           "",
		secret.Text(rand.Text() + rand.Text()):       "",
	} {
		config := api.Config{JWTKey: secretKey}
		remarks := config.Remarks()
		if (len(remarks) > 0) != (want != "") || want != "" && (len(remarks) != 1 || !strings.HasPrefix(remarks[0], "JWT_KEY ") || !strings.Contains(remarks[0], want)) {
			t.Errorf("%q: %q, want %q", secretKey.Reveal(), remarks, want)
		}
		for _, remark := range remarks {
			if len(secretKey) > 8 && strings.Contains(remark, secretKey.Reveal()) {
				t.Errorf("the key is shown: %s", remark)
			}
		}
	}
}

// An IPv6 address may have the brackets that it has in a URL.
func TestCaseD10HostsWithBrackets(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"": ":4000", "[::1]": "[::1]:4000", "::1": "[::1]:4000", "[::]": "[::]:4000", "::": "[::]:4000", "0.0.0.0": "0.0.0.0:4000", "localhost": "localhost:4000",
		"[fe80::1%eth0]": "[fe80::1%eth0]:4000", "[::ffff:127.0.0.1]": "[::ffff:127.0.0.1]:4000",
	} {
		config := api.Config{Host: host, Port: 4000, JWTKey: key, Expires: time.Hour}
		if err := config.Validate(); err != nil || config.Address() != want {
			t.Errorf("%q is %q, %v, want %q", host, config.Address(), err, want)
		}
	}
	for _, host := range []string{"[::1", "::1]", "[::1]:4000", "127.0.0.1:4000", "localhost:4000", "http://localhost", "http://[::1]", "[localhost]", "[127.0.0.1]", "[]", "::g", "*", "a b", "10.0.0.0/8"} {
		config := api.Config{Host: host, Port: 4000, JWTKey: key, Expires: time.Hour}
		if err := config.Validate(); err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("ETL_HOST is %q: it must be", host)) {
			t.Errorf("%q: %v", host, err)
		}
	}
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
		{api.Config{Port: 0, JWTKey: key, Expires: time.Second}, "ETL_REQUEST_EXPIRES is 1s: it must be 1m..720h"},
		{api.Config{Port: 0, JWTKey: key, Expires: 1000 * time.Hour}, "ETL_REQUEST_EXPIRES is 1000h0m0s"},
		{api.Config{Port: -1}, "PORT is -1: it must be 1..65535, or 0 for any free port\nJWT_KEY"},
	} {
		if tt.config.Expires == 0 {
			tt.config.Expires = time.Hour
		}
		err := tt.config.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.config, err, tt.want)
		}
	}
}
