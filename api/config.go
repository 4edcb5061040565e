package api

import (
	"errors"
	"fmt"

	"github.com/ecom-micro/etl/internal/secret"
)

// Config says where the API listens and how it knows its callers.
type Config struct {
	// Host is the address to listen on; empty is all of the machine's.
	Host   string      `env:"ETL_HOST"`
	Port   int         `env:"PORT, default=4000"`
	JWTKey secret.Text `env:"JWT_KEY"`
	// RequireExp refuses tokens without an expiry, which is what the platform's own
	// tokens are today.
	RequireExp bool `env:"JWT_REQUIRE_EXP, default=false"`
}

// Validate reports every variable that is missing or wrong.
func (c *Config) Validate() error {
	var problems []error
	if c.Port < 0 || c.Port > 65535 {
		problems = append(problems, fmt.Errorf("PORT is %d: it must be 1..65535, or 0 for any free port", c.Port))
	}
	if c.JWTKey == "" {
		problems = append(problems, errors.New("JWT_KEY is required: the secret that the platform signs its tokens with"))
	}
	return errors.Join(problems...)
}
