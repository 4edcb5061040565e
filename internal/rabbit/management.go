package rabbit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Management asks RabbitMQ's management API. Its figures of messages, and its list of
// consumers, are up to ten seconds old.
type Management struct {
	base   *url.URL
	user   *url.Userinfo
	vhost  string
	client *http.Client
}

// NewManagement makes a client; it is nil where no management URL is configured.
func NewManagement(config Config) (*Management, error) {
	if config.ManagementURL == "" {
		return nil, nil
	}
	if err := config.Validate(); err != nil {
		return nil, err
	}
	base, err := url.Parse(config.ManagementURL.Reveal())
	if err != nil {
		return nil, errors.New("RABBITMQ_MANAGEMENT_URL is not a valid URL")
	}
	uri, err := config.uri()
	if err != nil {
		return nil, err
	}
	// A connection for each question: they are few, and nothing outlives whoever asks. No
	// proxy of the environment gets to see the credentials.
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSHandshakeTimeout: 5 * time.Second}}
	m := &Management{vhost: uri.Vhost, user: base.User, client: client}
	if m.user == nil {
		m.user = url.UserPassword(uri.Username, uri.Password)
	}
	m.base = &url.URL{Scheme: base.Scheme, Host: base.Host, Path: strings.TrimRight(base.Path, "/")}
	return m, nil
}

// ConnectionName finds the name that a client gave to the connection at address,
// as Consumer.Connection has it; it is empty where the client gave none.
func (m *Management) ConnectionName(ctx context.Context, address string) (string, error) {
	var answer struct {
		Properties struct {
			Name string `json:"connection_name"`
		} `json:"client_properties"`
	}
	if err := m.get(ctx, &answer, "api", "connections", address); err != nil {
		return "", fmt.Errorf("ask the management API for connection %s: %w", address, err)
	}
	return answer.Properties.Name, nil
}

// Bound tells whether the cart's exchange routes key to queue.
func (m *Management) Bound(ctx context.Context, exchange, queue, key string) (bool, error) {
	var bindings []struct {
		Key string `json:"routing_key"`
	}
	if err := m.get(ctx, &bindings, "api", "bindings", m.vhost, "e", exchange, "q", queue); err != nil {
		return false, fmt.Errorf("ask the management API for bindings of queue %s: %w", queue, err)
	}
	for _, b := range bindings {
		if b.Key == key {
			return true, nil
		}
	}
	return false, nil
}

func (m *Management) get(ctx context.Context, answer any, path ...string) error {
	target := *m.base
	escaped := target.EscapedPath()
	plain := target.Path
	for _, p := range path {
		escaped += "/" + url.PathEscape(p) // a vhost is often "/"
		plain += "/" + p
	}
	target.Path, target.RawPath = plain, escaped
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	password, _ := m.user.Password()
	request.SetBasicAuth(m.user.Username(), password)
	response, err := m.client.Do(request)
	if err != nil {
		return fmt.Errorf("no answer: check RABBITMQ_MANAGEMENT_URL: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusOK:
		if err := json.NewDecoder(io.LimitReader(response.Body, 16<<20)).Decode(answer); err != nil {
			return fmt.Errorf("what answers is not RabbitMQ: check RABBITMQ_MANAGEMENT_URL: %w", err)
		}
		return nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return errors.New("not authorized: the user needs the tag \"monitoring\", and access to the vhost")
	case http.StatusNotFound:
		return ErrNotFound
	}
	return fmt.Errorf("it answered %s", response.Status)
}
