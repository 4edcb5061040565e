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
	base     *url.URL
	user     *url.Userinfo
	vhost    string
	amqpUser string // who connects to the vhost
	client   *http.Client
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
	client := &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, TLSHandshakeTimeout: 5 * time.Second},
		// Nor does anybody to whom an answer redirects: another port or scheme of the same
		// host would get them.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	m := &Management{vhost: uri.Vhost, amqpUser: uri.Username, user: base.User, client: client}
	if m.user == nil {
		m.user = url.UserPassword(uri.Username, uri.Password)
	}
	m.base = &url.URL{Scheme: base.Scheme, Host: base.Host, Path: strings.TrimRight(base.Path, "/")}
	return m, nil
}

// Client is what a program says of itself as it connects. Either may be empty.
type Client struct {
	Name    string // of the connection
	Product string // of its AMQP library
}

// Client finds who has opened the connection at address, as Consumer.Connection has it.
// ErrNotFound where the API does not know it (yet), ErrNotAllowed where it does not tell
// our user of others.
func (m *Management) Client(ctx context.Context, address string) (Client, error) {
	var answer struct {
		Properties object[struct {
			Name    string `json:"connection_name"`
			Product string `json:"product"`
		}] `json:"client_properties"`
	}
	if err := m.get(ctx, &answer, "api", "connections", address); err != nil {
		return Client{}, fmt.Errorf("ask the management API for connection %s: %w", address, err)
	}
	return Client(answer.Properties.is), nil
}

// ErrNotAllowed says that the management API does not answer this of our user.
var ErrNotAllowed = errors.New("not authorized: the user needs the tag \"monitoring\", and access to the vhost")

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
		var failed *url.Error // which names the path, that helps nobody
		if errors.As(err, &failed) {
			err = failed.Err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("no answer in time: check RABBITMQ_MANAGEMENT_URL, and how busy the broker is: %w", err)
		}
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
		return ErrNotAllowed
	case http.StatusNotFound:
		return ErrNotFound
	}
	if to, err := response.Location(); err == nil {
		return fmt.Errorf("it answered %s: name what it points to, %s://%s, in RABBITMQ_MANAGEMENT_URL", response.Status, to.Scheme, to.Host)
	}
	return fmt.Errorf("it answered %s", response.Status)
}
