// Package rabbit talks to RabbitMQ: named connections that are dialled again
// after a loss, passive looks at exchanges and queues, and the management API.
// It declares and changes nothing.
package rabbit

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/secret"
)

// Config says where the broker is.
type Config struct {
	URL secret.URL `env:"RABBITMQ_ENDPOINT, default=amqp://guest:guest@rabbitmq:5672/"`
	// ManagementURL is optional. With it, unacknowledged messages are seen and
	// consumers are known by name. Credentials are those of URL unless it has its own.
	ManagementURL secret.URL `env:"RABBITMQ_MANAGEMENT_URL"`
}

// Validate reports what is wrong with the variables.
func (c *Config) Validate() error {
	var problems []error
	if _, err := c.uri(); err != nil {
		problems = append(problems, err)
	}
	if c.ManagementURL != "" {
		if u, err := url.Parse(c.ManagementURL.Reveal()); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			problems = append(problems, fmt.Errorf("RABBITMQ_MANAGEMENT_URL %s is not a valid URL: it must look like http://rabbitmq:15672", c.ManagementURL))
		}
	}
	return errors.Join(problems...)
}

// uri parses the URL. The parser's own message may quote the URL, so only its
// meaning is passed on.
func (c *Config) uri() (amqp.URI, error) {
	raw := c.URL.Reveal()
	if !strings.HasPrefix(raw, "amqp://") && !strings.HasPrefix(raw, "amqps://") {
		return amqp.URI{}, errors.New("RABBITMQ_ENDPOINT must begin with amqp:// or amqps://")
	}
	uri, err := amqp.ParseURI(raw)
	if err != nil || uri.Port < 1 || uri.Port > 65535 {
		return amqp.URI{}, fmt.Errorf("RABBITMQ_ENDPOINT %s is not a valid AMQP URL: check its form, and percent-encode special characters in user name, password and vhost", c.URL)
	}
	return uri, nil
}
