// Package secret keeps credentials out of logs, errors and reports: its types
// print as a mask everywhere, and give their content only when asked for it.
package secret

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"regexp"
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

// userinfo finds credentials where the address does not parse as a URL, such as
// one with several hosts or with characters that should have been escaped.
var userinfo = regexp.MustCompile(`://.*@`)

func (u URL) masked() string {
	if u == "" {
		return ""
	}
	parsed, err := url.Parse(string(u))
	if err != nil || parsed.Host == "" {
		if userinfo.MatchString(string(u)) {
			return userinfo.ReplaceAllString(string(u), "://"+mask+"@")
		}
		return mask
	}
	parsed.RawQuery = ""
	parsed.Fragment = ""
	if parsed.User != nil {
		if _, has := parsed.User.Password(); has {
			return parsed.Scheme + "://" + parsed.User.Username() + ":" + mask + "@" + parsed.Host + parsed.EscapedPath()
		}
	}
	return parsed.String()
}
