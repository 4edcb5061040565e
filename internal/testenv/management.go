package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
)

var errNotFound = errors.New("not found")

// managementAPI is RabbitMQ's management HTTP API, as far as tests need it.
type managementAPI struct {
	base   *url.URL
	client *http.Client
}

func newManagementAPI(rawURL string) (managementAPI, error) {
	base, err := url.Parse(rawURL)
	if err != nil {
		return managementAPI{}, errors.New("the management API's URL cannot be read") // the error would quote it, with its password
	}
	// A transport of its own can be closed without disturbing other tests.
	return managementAPI{base, &http.Client{Transport: &http.Transport{}, Timeout: patience}}, nil
}

func (m managementAPI) close() { m.client.CloseIdleConnections() }

// createVhost makes a virtual host and lets a user do everything in it. Its queues are classic unless somebody asks
// for something else: what the platform's brokers do, and what declarations without arguments are meant to make.
func (m managementAPI) createVhost(ctx context.Context, name, user string) error {
	settings := map[string]string{"default_queue_type": "classic"}
	if err := m.call(ctx, http.MethodPut, settings, nil, "vhosts", name); err != nil {
		return err
	}
	rights := map[string]string{"configure": ".*", "write": ".*", "read": ".*"}
	return m.call(ctx, http.MethodPut, rights, nil, "permissions", name, user)
}

func (m managementAPI) deleteVhost(ctx context.Context, name string) error {
	return m.call(ctx, http.MethodDelete, nil, nil, "vhosts", name)
}

// closeConnections closes the connections of a virtual host whose names match, and counts them.
func (m managementAPI) closeConnections(ctx context.Context, vhost, namePattern string) (int, error) {
	pattern, err := regexp.Compile(namePattern)
	if err != nil {
		return 0, err
	}
	var connections []struct {
		ID   string `json:"name"` // made of both ends' addresses
		Name string `json:"user_provided_name"`
	}
	if err := m.call(ctx, http.MethodGet, nil, &connections, "vhosts", vhost, "connections"); err != nil {
		return 0, err
	}
	closed := 0
	for _, connection := range connections {
		if !pattern.MatchString(connection.Name) {
			continue
		}
		err := m.call(ctx, http.MethodDelete, nil, nil, "connections", connection.ID)
		switch {
		case err == nil:
			closed++
		case !errors.Is(err, errNotFound): // else it is gone already, which the list does not know yet
			return closed, err
		}
	}
	return closed, nil
}

// call sends one request, with a JSON body if there is one, and decodes the answer into answer unless that is nil.
// Path elements may hold any characters.
func (m managementAPI) call(ctx context.Context, method string, body, answer any, path ...string) error {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(encoded)
	}
	target := m.base.JoinPath("api")
	for _, element := range path {
		target = target.JoinPath(url.PathEscape(element))
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), content)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := m.client.Do(request)
	if err != nil {
		return fmt.Errorf("management API: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // what matters of it has been read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("management API: read the answer to %s %s: %w", method, target.Path, err)
	}
	if response.StatusCode == http.StatusNotFound {
		return fmt.Errorf("management API: %s %s: %w", method, target.Path, errNotFound)
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("management API: %s %s: %s: %s", method, target.Path, response.Status, text)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("management API: decode the answer to %s %s: %w", method, target.Path, err)
	}
	return nil
}
