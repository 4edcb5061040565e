package ui

import (
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// functions are what templates may call.
var functions = template.FuncMap{
	"number":      words.Number[int64],
	"count":       words.Number[int],
	"ago":         ago,
	"until":       until,
	"stamp":       stamp,
	"machine":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"lasted":      lasted,
	"short":       short,
	"runLink":     func(id string) string { return Path + "runs/" + id },
	"productLink": productLink,
	"tone":        tone,
	"sentence":    sentence,
	"standing":    standing,
	"join":        func(kinds run.Kinds) string { return kinds.String() },
	"meaning":     func(s run.State) string { return s.Rule().Meaning },
	"message":     func(r run.Record) string { return api.Message(&r, words.Pages) },
}

func productLink(id product.ID) string { return Path + "products/" + url.PathEscape(string(id)) }

// ago is how long ago something was, as people say it.
func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	const long = 60 * 24 * time.Hour
	switch d := time.Since(t); {
	case d > long:
		return t.UTC().Format("Jan 2, 2006")
	case d >= time.Second:
		return lasted(d) + " ago"
	}
	return "just now"
}

// differs is the status of a comparison that found something, which has done all that it was to do.
const differs = "differences"

// standing is the status of a run in a word.
func standing(r run.Record) string {
	if r.Request.DryRun && r.Status == run.StatusPartial {
		return differs
	}
	return string(r.Status)
}

// sentence begins with a capital letter.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:]
}

// until is how long something is away.
func until(t time.Time) string {
	if d := time.Until(t); d > time.Second {
		return "in " + lasted(d)
	}
	return "now"
}

// lasted is a duration by its one or two largest units.
func lasted(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return pair(int(d.Minutes()), "min", int(d.Seconds())%60, "s", d < 10*time.Minute)
	case d < day:
		return pair(int(d.Hours()), "h", int(d.Minutes())%60, "min", true)
	}
	return pair(int(d/day), "d", int(d%day/time.Hour), "h", d < 10*day)
}

func pair(large int, unit string, small int, smaller string, both bool) string {
	if !both || small == 0 {
		return fmt.Sprintf("%d %s", large, unit)
	}
	return fmt.Sprintf("%d %s %d %s", large, unit, small, smaller)
}

// stamp is a moment for people who look at it, in UTC.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// short is an id as a line has room for it.
func short(id string) string {
	const most = 8
	if len(id) > most {
		return id[:most]
	}
	return id
}

// The tones that something is shown in; each has a word and a sign too, so that colour is
// never all that tells.
const (
	good    = "good"
	warning = "warning"
	bad     = "bad"
	neutral = "neutral"
	busy    = "busy"
)

// tone is that of a status, a state, a verdict or a way of delivery.
func tone(of any) string {
	switch strings.TrimSpace(fmt.Sprint(of)) {
	case "succeeded", "verified", "in sync", "flowing", "up", "gone", "undone":
		return good
	case differs, "partial", "stalled", "blocked", "stale", "in flight", "on its way", "skipped", "found", "paused", "waiting", "cancelled":
		return warning
	case "failed", "lost", "broken", "down", "missing", "orphaned":
		return bad
	case "running", "queued":
		return busy
	}
	return neutral
}
