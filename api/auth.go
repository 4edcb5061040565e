package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/text"
)

// The roles that are more here than any user of the platform. A token for RoleAdmin opens
// every service of the platform, so it is for the platform alone to issue.
const (
	RoleViewer   = "etl:viewer"   // reads everything
	RoleOperator = "etl:operator" // steers
	RoleAdmin    = "admin"        // the platform's, an operator here
)

// audience is whom our own tokens are for. A token that is for somebody else is refused
// (RFC 7519, section 4.1.3); the platform's name nobody.
const audience = "etl"

// leeway is how far the clock of whoever signed a token may be off.
const leeway = 30 * time.Second

// User is who a token names.
type User struct {
	ID    string
	Email string
	Role  string // several with commas
}

// Name is how the user appears in runs and logs.
func (u *User) Name() string {
	const most = 200 // bytes, what a request takes
	return text.Cut(text.Stored(cmp.Or(u.Email, u.ID)), most)
}

// may tells whether the user, nil where nobody is known, has an access.
func (u *User) may(a access) bool {
	if a == open || u == nil {
		return a == open
	}
	roles := strings.Split(u.Role, ",")
	steers := slices.Contains(roles, RoleOperator) || slices.Contains(roles, RoleAdmin)
	switch a {
	case users:
		return true
	case viewers:
		return steers || slices.Contains(roles, RoleViewer)
	}
	return steers
}

// claims is what a token says.
type claims struct {
	ID    string `json:"id"`
	Email string `json:"email"`
	Role  roles  `json:"role"`
	jwt.RegisteredClaims
}

// roles are one text, or a list of them.
type roles []string

func (r *roles) UnmarshalJSON(data []byte) error {
	var one *string
	if json.Unmarshal(data, &one) == nil {
		if one != nil {
			*r = roles{*one}
		}
		return nil
	}
	var all []string
	if json.Unmarshal(data, &all) != nil {
		return errors.New("role is neither a text nor a list of texts")
	}
	*r = all
	return nil
}

// MarshalJSON writes one role as the platform does.
func (r roles) MarshalJSON() ([]byte, error) {
	if len(r) == 1 {
		return json.Marshal(r[0])
	}
	return json.Marshal([]string(r))
}

// NewToken signs a token for this service, of the platform's form. It does not expire where
// ttl is zero.
func NewToken(key secret.Text, user User, ttl time.Duration) (string, error) {
	if key == "" {
		return "", errors.New("JWT_KEY is required to sign a token")
	}
	if ttl < 0 {
		return "", fmt.Errorf("a token cannot be valid for %s", ttl)
	}
	now := time.Now()
	c := claims{ID: user.ID, Email: user.Email, Role: strings.Split(user.Role, ","), RegisteredClaims: jwt.RegisteredClaims{
		Audience: jwt.ClaimStrings{audience}, Subject: user.Name(), IssuedAt: jwt.NewNumericDate(now)}}
	if ttl > 0 {
		c.ExpiresAt = jwt.NewNumericDate(now.Add(ttl))
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString([]byte(key.Reveal()))
}

// guard checks tokens. The algorithm is pinned: a token's own word for it is not
// trusted (RFC 8725, section 3.1).
type guard struct {
	key    secret.Text
	parser *jwt.Parser
}

func newGuard(config Config) guard {
	options := []jwt.ParserOption{jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithLeeway(leeway), jwt.WithIssuedAt()}
	if config.RequireExp {
		options = append(options, jwt.WithExpirationRequired())
	}
	return guard{config.JWTKey, jwt.NewParser(options...)}
}

// user is who sent the request, or the refusal to answer with. Why a token is refused is
// for the log alone, because it would tell a stranger what to try next.
func (g guard) user(r *http.Request) (user *User, refused *refusal, why error) {
	tokens, why := requestTokens(r)
	if why != nil {
		return nil, forbidden(`send a token as "Authorization: Bearer …" or as the platform's cookie "session"`), why
	}
	for _, token := range tokens {
		var c claims
		if why = g.check(token, &c); why == nil {
			return c.user(), nil, nil
		}
	}
	return nil, forbidden("the token is not valid"), why
}

func (c *claims) user() *User {
	return &User{ID: c.ID, Email: c.Email, Role: strings.Join(c.Role, ",")}
}

func (g guard) check(token string, c *claims) error {
	if g.key == "" { // anybody can sign with an empty key
		return errors.New("the service has no JWT_KEY")
	}
	_, err := g.parser.ParseWithClaims(token, c, with(g.key.Reveal()))
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return fmt.Errorf("%w%s", err, g.nearly(token))
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return fmt.Errorf("%w, and JWT_REQUIRE_EXP is set", err)
	case err == nil && len(c.Audience) > 0 && !slices.Contains(c.Audience, audience):
		return fmt.Errorf("the token is for %s, and not for %s", text.Line(strings.Join(c.Audience, ", ")), audience)
	}
	return err
}

func with(key string) jwt.Keyfunc {
	return func(*jwt.Token) (any, error) { return []byte(key), nil }
}

// nearly tells whether a token was signed with the key but for blanks around it, as one
// service has it whose Secret was made otherwise.
func (g guard) nearly(token string) string {
	key := g.key.Reveal()
	for _, other := range []struct{ key, means string }{
		{strings.TrimSpace(key), ": it is signed with JWT_KEY without the blanks at its ends"},
		{key + "\n", ": it is signed with JWT_KEY and a line break behind it"},
	} {
		if other.key == key || other.key == "" {
			continue
		}
		if _, err := g.parser.Parse(token, with(other.key)); !errors.Is(err, jwt.ErrTokenSignatureInvalid) {
			return other.means
		}
	}
	return ""
}

// The platform answers 403 in either case: who is unknown, and who may not.
func forbidden(why string) *refusal {
	return &refusal{status: http.StatusForbidden, message: "Not authorized: " + why}
}
