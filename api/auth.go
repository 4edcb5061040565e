package api

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/text"
)

// User is who the platform's token names.
type User struct {
	ID    string `json:"id"`
	Email string `json:"email"`
	Role  string `json:"role"`
}

// RoleAdmin may do everything.
const RoleAdmin = "admin"

// Name is how the user appears in runs and logs.
func (u *User) Name() string {
	const most = 200 // bytes, what a request takes
	return text.Cut(text.Stored(cmp.Or(u.Email, u.ID)), most)
}

func (u *User) admin() bool { return u != nil && u.Role == RoleAdmin }

// claims is what a token of the platform says.
type claims struct {
	User
	jwt.RegisteredClaims
}

// NewToken signs a token as the platform does. It does not expire where ttl is zero.
func NewToken(key secret.Text, user User, ttl time.Duration) (string, error) {
	if key == "" {
		return "", errors.New("JWT_KEY is required to sign a token")
	}
	if ttl < 0 {
		return "", fmt.Errorf("a token cannot be valid for %s", ttl)
	}
	now := time.Now()
	c := claims{User: user, RegisteredClaims: jwt.RegisteredClaims{IssuedAt: jwt.NewNumericDate(now)}}
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
	options := []jwt.ParserOption{jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()})}
	if config.RequireExp {
		options = append(options, jwt.WithExpirationRequired())
	}
	return guard{config.JWTKey, jwt.NewParser(options...)}
}

// user is who sent the request, or the refusal to answer with.
func (g guard) user(r *http.Request) (*User, error) {
	token := requestToken(r)
	if token == "" {
		return nil, notAuthorized("send a token as \"Authorization: Bearer …\" or as the platform's cookie \"session\"")
	}
	if g.key == "" { // anybody can sign with an empty key
		return nil, notAuthorized("the service has no JWT_KEY")
	}
	var c claims
	_, err := g.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return []byte(g.key.Reveal()), nil })
	switch {
	case err == nil:
		return &c.User, nil
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable), errors.Is(err, jwt.ErrTokenMalformed):
		return nil, notAuthorized("the token is not valid")
	case errors.Is(err, jwt.ErrTokenExpired):
		return nil, notAuthorized("the token has expired")
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return nil, notAuthorized("the token is not valid yet")
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return nil, notAuthorized("the token has no expiry, and JWT_REQUIRE_EXP is set")
	}
	return nil, notAuthorized("the token is not valid")
}

// The platform answers 403 in either case: who is unknown, and who may not.
func notAuthorized(why string) *refusal {
	return &refusal{status: http.StatusForbidden, message: "Not authorized: " + why}
}
