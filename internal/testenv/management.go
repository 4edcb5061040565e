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
	"strings"
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
	// A connection that is kept for later may be closed by the server just when it is used again.
	transport := &http.Transport{DisableKeepAlives: true}
	return managementAPI{base, &http.Client{Transport: transport, Timeout: patience}}, nil
}

// createVhost makes a virtual host and lets a user do everything in it. Queues that are declared without a type get
// the given one.
func (m managementAPI) createVhost(ctx context.Context, name, user, queueType string) error {
	settings := map[string]string{"default_queue_type": queueType}
	if err := m.call(ctx, http.MethodPut, "/api/vhosts/"+name, settings, nil); err != nil {
		return err
	}
	rights := map[string]string{"configure": ".*", "write": ".*", "read": ".*"}
	return m.call(ctx, http.MethodPut, "/api/permissions/"+name+"/"+user, rights, nil)
}

func (m managementAPI) deleteVhost(ctx context.Context, name string) error {
	return m.call(ctx, http.MethodDelete, "/api/vhosts/"+name, nil, nil)
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
	if err := m.call(ctx, http.MethodGet, "/api/vhosts/"+vhost+"/connections", nil, &connections); err != nil {
		return 0, err
	}
	closed := 0
	for _, connection := range connections {
		if !pattern.MatchString(connection.Name) {
			continue
		}
		err := m.call(ctx, http.MethodDelete, "/api/connections/"+url.PathEscape(connection.ID), nil, nil)
		switch {
		case err == nil:
			closed++
		case !errors.Is(err, errNotFound): // else it is gone already, which the list does not know yet
			return closed, err
		}
	}
	return closed, nil
}

// call sends one request for a path that begins with /api/, with a JSON body if there is one, and decodes the answer
// into answer unless that is nil.
func (m managementAPI) call(ctx context.Context, method, path string, body, answer any) error {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(m.base.String(), "/")+path, content)
	if err != nil {
		return fmt.Errorf("management API: %s is no path", path) // the error would quote the URL, with its password
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := m.client.Do(request)
	if err != nil {
		return fmt.Errorf("management API: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // what matters of it has been read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("management API: read the answer to %s %s: %w", method, path, err)
	}
	if response.StatusCode == http.StatusNotFound {
		return fmt.Errorf("management API: %s %s: %w", method, path, errNotFound)
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("management API: %s %s: %s: %s", method, path, response.Status, text)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("management API: decode the answer to %s %s: %w", method, path, err)
	}
	return nil
}
