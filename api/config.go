package api

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/text"
)

// Config says where the API listens and how it knows its callers.
type Config struct {
	// Host is the address to listen on, an IPv6 one with or without brackets; empty is all
	// of the machine's.
	Host   string      `env:"ETL_HOST"`
	Port   int         `env:"PORT, default=4000"`
	JWTKey secret.Text `env:"JWT_KEY"`
	// RequireExp refuses tokens without an expiry, which is what the platform's own
	// tokens are today.
	RequireExp bool `env:"JWT_REQUIRE_EXP, default=false"`
	// Expires is how long a run that was asked for waits for a worker.
	Expires time.Duration `env:"ETL_REQUEST_EXPIRES, default=1h"`
}

// Validate reports every variable that is missing or wrong.
func (c *Config) Validate() error {
	var problems []error
	if _, err := netip.ParseAddr(c.host()); err != nil && strings.ContainsAny(c.Host, ":/[]*@ ") {
		problems = append(problems, fmt.Errorf("ETL_HOST is %q: it must be a name or an address such as 127.0.0.1, ::1 or [::1], without scheme and port (PORT has that); empty is all addresses", text.Cut(c.Host, 60)))
	}
	if c.Port < 0 || c.Port > 65535 {
		problems = append(problems, fmt.Errorf("PORT is %d: it must be 1..65535, or 0 for any free port", c.Port))
	}
	if c.Expires < time.Minute || c.Expires > 30*24*time.Hour {
		problems = append(problems, fmt.Errorf("ETL_REQUEST_EXPIRES is %s: it must be 1m..720h", c.Expires))
	}
	if c.JWTKey == "" {
		problems = append(problems, errors.New("JWT_KEY is required: the secret that the platform signs its tokens with"))
	}
	return errors.Join(problems...)
}

// host is the host without the brackets that an IPv6 address has in a URL.
func (c *Config) host() string {
	if inner, bracketed := strings.CutPrefix(c.Host, "["); bracketed {
		if inner, closed := strings.CutSuffix(inner, "]"); closed && strings.Contains(inner, ":") {
			return inner
		}
	}
	return c.Host
}

// Address is where to listen.
func (c *Config) Address() string { return net.JoinHostPort(c.host(), strconv.Itoa(c.Port)) }

// minKey is how many bytes a key of HS256 has at least (RFC 7518, section 3.2); anybody
// who has a token can try shorter ones offline.
const minKey = 32

// placeholders are what documents and generators write where a key belongs, without what
// separates words.
var placeholders = regexp.MustCompile(`(?i)(change|replace).?(me|this|it)|(your|my|the).?(jwt|secret|key|token)|please.?change|placeholder|jwt.?(secret|key)|example|insecure|x{8}`)

// Remarks are on a key that is valid and protects little.
func (c *Config) Remarks() []string {
	key := c.JWTKey.Reveal()
	distinct := make(map[byte]bool)
	for i := range len(key) {
		distinct[key[i]] = true
	}
	const remedy = ": whoever guesses it may do everything here and elsewhere on the platform; `openssl rand -base64 48` makes a good one"
	const fewest = 8 // different bytes; random hexadecimal digits have more
	switch {
	case key == "": // which is no remark, see Validate
	case placeholders.MatchString(key):
		return []string{"JWT_KEY looks like a placeholder" + remedy}
	case len(key) < minKey:
		return []string{fmt.Sprintf("JWT_KEY is weak, it has %d bytes and should have at least %d%s", len(key), minKey, remedy)}
	case len(distinct) < fewest:
		return []string{"JWT_KEY is weak, it repeats itself" + remedy}
	}
	return nil
}
