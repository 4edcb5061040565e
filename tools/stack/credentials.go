package stack

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
)

// superuser is the administrator of every server. It is nobody's role: neither the cart's nor one that the product's
// schema could be taken for, since PostgreSQL looks into a schema of the role's own name first.
const superuser = "stack"

// credentials are the throw-away login of every server of a cache folder. The password is chosen once: the data
// folders that new stacks are copied from hold it already.
type credentials struct {
	User     string `json:"-"`
	Password string `json:"password"`
}

// loadCredentials returns the cache folder's credentials and makes them if it has none.
func loadCredentials(dir string) (credentials, error) {
	file := filepath.Join(dir, "credentials.json")
	made, err := json.Marshal(credentials{Password: rand.Text()})
	if err != nil {
		return credentials{}, fmt.Errorf("make the stack's credentials: %w", err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return credentials{}, fmt.Errorf("make the stack's cache folder: %w", err)
	}
	// Written elsewhere and then linked: whoever comes first wins, and nobody reads a half-written file.
	next, err := os.CreateTemp(dir, "credentials-")
	if err != nil {
		return credentials{}, fmt.Errorf("make the stack's credentials: %w", err)
	}
	defer func() { _ = os.Remove(next.Name()) }()
	_, err = next.Write(made)
	if closed := next.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return credentials{}, fmt.Errorf("write the stack's credentials: %w", err)
	}
	if err := os.Link(next.Name(), file); err != nil && !os.IsExist(err) {
		return credentials{}, fmt.Errorf("keep the stack's credentials: %w", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return credentials{}, fmt.Errorf("read the stack's credentials: %w", err)
	}
	c := credentials{User: superuser}
	if err := json.Unmarshal(text, &c); err != nil {
		return credentials{}, fmt.Errorf("read the stack's credentials in %s: %w", file, err)
	}
	return c, nil
}

// url returns the address of a server on a loopback port, credentials included.
func (c credentials) url(scheme string, port int, path string) string {
	u := url.URL{Scheme: scheme, User: url.UserPassword(c.User, c.Password), Host: loopback(port)}
	return u.String() + path
}

// services returns the addresses of servers with these credentials on these ports.
func (c credentials) services(ports map[string]int) Services {
	return Services{
		MongoDB:    c.url("mongodb", ports[portMongoDB], "/"),
		PostgreSQL: c.url("postgres", ports[portPostgreSQL], "/postgres?sslmode=disable"),
		RabbitMQ:   c.url("amqp", ports[portAMQP], "/"),
		Management: c.url("http", ports[portManagement], ""),
	}
}
