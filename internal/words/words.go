// Package words says in words what runs say in codes, each in the terms of whoever
// asked: a person at the command line, or a caller of the HTTP API. It claims no more
// than the codes do.
package words

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/text"
)

// Terms are those in which a person is told what to do.
type Terms uint8

// The terms.
const (
	CLI   Terms = iota // commands and flags
	API                // requests
	Pages              // what is on the service's pages
)

// Codes lists the reasons that have words, in no order.
func Codes() []run.Code { return slices.Collect(maps.Keys(reasons)) }

// NoteCodes lists the notes that have words, in no order.
func NoteCodes() []run.NoteCode { return slices.Collect(maps.Keys(notes)) }

// sync is how a run with these options is asked for.
func (t Terms) sync(order run.Order) string {
	switch t {
	case API:
		return "`" + post(order) + "`"
	case Pages:
		kinds := order.Repair
		if len(kinds) == 0 {
			kinds = run.Kinds{product.Missing}
		}
		return "“Start a run” (" + string(cmp.Or(order.Mode, run.Replay)) + ", " + kinds.String() + ")"
	}
	command := "etl sync"
	for _, id := range order.IDs {
		command += " --id " + shellWord(string(id))
	}
	if len(order.Repair) > 0 && order.Repair.String() != string(product.Missing) {
		command += " --repair " + order.Repair.String()
	}
	if order.Mode != "" && order.Mode != run.Replay {
		command += " --mode " + string(order.Mode)
	}
	return "`" + command + "`"
}

func post(order run.Order) string {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	request := "POST /api/etl/sync"
	if err := encoder.Encode(order); err != nil || body.String() == "{}\n" {
		return request // the defaults; an order can always be encoded
	}
	return request + " " + strings.TrimSpace(body.String())
}

// shellWord is s as a shell takes it for one word. What does not show is escaped, as
// bash, ksh and zsh read it.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	}
	if s != "" && s[0] != '-' && strings.TrimLeftFunc(s, plain) == "" {
		return s
	}
	if strings.Contains(text.Quoted(strings.NewReplacer(`\`, "", `"`, "").Replace(s)), `\`) {
		quoted := text.Quoted(s)
		return "$'" + strings.ReplaceAll(quoted[1:len(quoted)-1], "'", `\'`) + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// option is one option of a run, in all terms.
type option struct{ flag, field, label string }

var (
	maxRepairs = option{"--max-repairs", "maxRepairs", "Repair at most"}
	maxDeletes = option{"--max-deletes", "maxDeletes", "Delete at most"}
	fallback   = option{"--fallback", "fallback", "Write directly what replaying loses"}
)

// option is the option with a number, or with a word for one.
func (t Terms) option(o option, value string) string {
	switch {
	case t == CLI:
		return "`" + o.flag + " " + value + "`"
	case t == Pages:
		return "“" + o.label + "”"
	case o == fallback:
		value = strconv.Quote(value)
	}
	return "`\"" + o.field + "\": " + value + "`"
}

// clock is a moment as a person reads it: with its day where that is another one.
func (t Terms) clock(at time.Time) string {
	switch t {
	case API:
		return at.UTC().Format(time.RFC3339)
	case Pages:
		return at.UTC().Format(time.DateTime) + " UTC"
	}
	const another = 12 * time.Hour
	if time.Since(at).Abs() > another {
		return at.Local().Format(time.DateTime)
	}
	return at.Local().Format(time.TimeOnly)
}

// Number is a number with separators.
func Number[N int | int64](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Counted is a number of things, which have a plural with s.
func Counted[N int | int64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return Number(n) + " " + what + "s"
}

// are is the verb that goes with a number.
func are(n int64, one, several string) string {
	if n == 1 {
		return one
	}
	return several
}

// listed is a list of words for people.
func listed(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// kindWords is what sentences about a kind need: what a repair leaves that had no
// effect, and what a direct write does.
type kindWords struct{ unchanged, act string }

var wordsOf = map[product.Kind]kindWords{
	product.Missing:  {"left no row", "writes it"},
	product.Stale:    {"left the row different from the source", "writes it"},
	product.Orphaned: {"left the row in place", "deletes it"},
	"":               {"left no row as it should be", "writes it"}, // of whichever kind
}
