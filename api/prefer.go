package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxWait is the longest that a caller is kept waiting for the end of a run.
const maxWait = 60 * time.Second

// preferredWait reads the preference wait=N of RFC 7240, in seconds, at most maxWait.
// Where it is given twice the first counts; what cannot be read is ignored, as a
// preference is.
func preferredWait(header http.Header) (wait time.Duration, given bool) {
	for _, line := range header.Values("Prefer") {
		for _, preference := range splitUnquoted(line, ',') {
			preference = splitUnquoted(preference, ';')[0] // its parameters mean nothing here
			name, value, _ := strings.Cut(preference, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			value = strings.Trim(strings.TrimSpace(value), `"`)
			seconds, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return 0, false
			}
			return min(time.Duration(seconds)*time.Second, maxWait), true
		}
	}
	return 0, false
}

// grantedWait is the wait that the caller prefers, and tells it so, or another one.
func grantedWait(w http.ResponseWriter, r *http.Request, otherwise time.Duration) time.Duration {
	wait, given := preferredWait(r.Header)
	if !given {
		return otherwise
	}
	w.Header().Set("Preference-Applied", "wait="+strconv.Itoa(int(wait.Seconds())))
	return wait
}

// splitUnquoted splits at separators that are not within a quoted string.
func splitUnquoted(s string, separator byte) []string {
	var parts []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == separator && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}
