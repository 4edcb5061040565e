// Package secret keeps credentials out of logs, errors and reports: its types
// print as a mask everywhere, and give their content only when asked for it.
package secret

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
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

// URL is an address that may carry credentials. It prints without its password, and
// without the values of those options that are secrets to a driver too.
type URL string

// Reveal returns the address with its credentials.
func (u URL) Reveal() string { return string(u) }

// Format prints the address with its secrets masked.
func (u URL) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, u.masked()) }

// LogValue masks the address's secrets in logs.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.masked()) }

// MarshalText masks the address's secrets in JSON and the like.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.masked()), nil }

// Hook is the address of a webhook, whose path and options are what it knows its callers by. It
// prints with its host alone.
type Hook string

// Reveal returns the address.
func (h Hook) Reveal() string { return string(h) }

// Format prints the address but for its secrets.
func (h Hook) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, h.masked()) }

// LogValue masks the address's secrets in logs.
func (h Hook) LogValue() slog.Value { return slog.StringValue(h.masked()) }

// MarshalText masks the address's secrets in JSON and the like.
func (h Hook) MarshalText() ([]byte, error) { return []byte(h.masked()), nil }

func (h Hook) masked() string {
	if h == "" {
		return ""
	}
	kind, rest, found := strings.Cut(string(h), "://")
	name, _ := beforeAny(rest, "/?#")
	if !found || kind != "https" && kind != "http" || !hosts.MatchString(name) {
		return mask
	}
	return kind + "://" + name + "/" + mask
}

// The parts of an address are found by hand: net/url refuses lists of hosts and
// characters that should have been escaped, and takes "user:12/34@host" for a
// host with a port and a path.
var (
	scheme = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]*$`)
	hosts  = regexp.MustCompile(`^` + host + `(,` + host + `)*$`)
)

const host = `(\[[0-9a-fA-F:.%]+\]|[^\s[:cntrl:]\[\]:,]+)(:[0-9]*)?`

// masked shows the address but for its secrets, and less where it is in doubt what belongs
// to a password.
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
	rest, tail := beforeAny(rest, "?#")
	if authority, _, _ := strings.Cut(rest, "/"); !hosts.MatchString(authority) {
		return kind + "://" + mask
	}
	return kind + "://" + shown + rest + maskedOptions(tail)
}

func beforeAny(s, chars string) (before, rest string) {
	if at := strings.IndexAny(s, chars); at >= 0 {
		return s[:at], s[at:]
	}
	return s, ""
}

var (
	// optionName and optionValue are what is shown of options: a password that was not
	// escaped could hold anything else.
	optionName  = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_.]*$`)
	optionValue = regexp.MustCompile(`^[a-zA-Z0-9%._~:/,+*()!$'-]*$`)
	// secretOption are names of options that are secrets, or may be: password, sslpassword,
	// tlsCertificateKeyFilePassword, authMechanismProperties (AWS_SESSION_TOKEN) and the like.
	// Those that name a file are none.
	secretOption = regexp.MustCompile(`(?i)pass|pwd|secret|token|credential|authmechanismproperties|key$`)
	fileOption   = regexp.MustCompile(`(?i)^sslkey$|keyfile$`)
	// assignment is a secret within a value.
	assignment = regexp.MustCompile(`(?i)(pass\w*|pwd|secret|token)\s*[=:]`)
	// usualOption are names that are no part of a secret that stands before them, as a & in
	// a password that was not escaped would make it look.
	usualOption = regexp.MustCompile(`(?i)^(user|host|port|dbname|ssl(mode|rootcert|cert|key)?|tls(cafile|certificatekeyfile)?|authsource|authmechanism|replicaset|` +
		`directconnection|retry(writes|reads)|w|readpreference|appname|application_name|connect_timeout|target_session_attrs|search_path|options|` +
		`(max|min)poolsize|pool_max_conns|(connect|socket|serverselection)timeoutms|heartbeat|framemax|channelmax)$`)
)

// maskedOptions shows the options behind a question mark, the values of secrets masked.
// What is behind a # means nothing to any driver, and so may be a part of a password.
func maskedOptions(tail string) string {
	options, isQuery := strings.CutPrefix(tail, "?")
	if !isQuery {
		if tail != "" {
			return "#" + mask
		}
		return ""
	}
	options, fragment := beforeAny(options, "#")
	all := strings.Split(options, "&")
	behind := false // a secret
	for i, option := range all {
		name, value, given := strings.Cut(option, "=")
		plain, err := url.QueryUnescape(value)
		isSecret := secretOption.MatchString(name) && !fileOption.MatchString(name)
		switch {
		case option == "" && !behind: // as in "?" alone
		case !given, !optionName.MatchString(name), behind && !isSecret && !usualOption.MatchString(name):
			all[i] = mask
		case value == "" && !isSecret:
		case isSecret, err != nil, !optionValue.MatchString(value), assignment.MatchString(plain):
			all[i] = name + "=" + mask
		}
		behind = behind || isSecret
	}
	shown := "?" + strings.Join(all, "&")
	if fragment != "" {
		shown += "#" + mask
	}
	return shown
}
