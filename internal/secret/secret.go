// Package secret keeps credentials out of logs, errors and reports: its types
// print as a mask everywhere, and give their content only when asked for it.
package secret

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
)

const mask = "********"

// Text is a secret such as a password.
type Text string

// Reveal returns the content.
func (t Text) Reveal() string { return string(t) }

// Format masks the secret under every verb.
func (t Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.masked()) }

// LogValue masks the secret in logs.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.masked()) }

// MarshalText masks the secret in JSON and the like.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.masked()), nil }

func (t Text) masked() string {
	if t == "" {
		return ""
	}
	return mask
}

// URL is an address that may carry credentials. It prints without its password
// and without its query, where drivers accept passwords too.
type URL string

// Reveal returns the address with its credentials.
func (u URL) Reveal() string { return string(u) }

// Format prints the address with its secrets masked.
func (u URL) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, u.masked()) }

// LogValue masks the address's secrets in logs.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.masked()) }

// MarshalText masks the address's secrets in JSON and the like.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.masked()), nil }

// The parts of an address are found by hand: net/url refuses lists of hosts and
// characters that should have been escaped, and takes "user:12/34@host" for a
// host with a port and a path.
var (
	scheme = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]*$`)
	hosts  = regexp.MustCompile(`^` + host + `(,` + host + `)*$`)
)

const host = `(\[[0-9a-fA-F:.%]+\]|[^\s[:cntrl:]\[\]:,]+)(:[0-9]*)?`

// masked shows scheme, user, hosts and path, and less where it is in doubt what
// belongs to a password.
func (u URL) masked() string {
	if u == "" {
		return ""
	}
	kind, rest, found := strings.Cut(string(u), "://")
	if !found || !scheme.MatchString(kind) {
		return mask
	}
	shown := ""
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		credentials := rest[:at]
		rest = rest[at+1:]
		user, _, hasPassword := strings.Cut(credentials, ":")
		switch {
		case strings.ContainsAny(credentials, "?#"): // or the @ is part of the query
			return kind + "://" + mask
		case strings.Contains(credentials, "/"):
			shown = mask + "@"
		case hasPassword:
			shown = user + ":" + mask + "@"
		default:
			shown = user + "@"
		}
	}
	if end := strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end]
	}
	if authority, _, _ := strings.Cut(rest, "/"); !hosts.MatchString(authority) {
		return kind + "://" + mask
	}
	return kind + "://" + shown + rest
}
