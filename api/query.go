package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/text"
)

// query reads the parameters of an address and collects what is wrong with them. What
// nobody read is unknown, and refused: a misspelt filter must not act on everything.
type query struct {
	values  url.Values
	read    map[string]bool
	invalid run.InvalidError
}

func readQuery(r *http.Request) *query {
	q := &query{read: make(map[string]bool)}
	var err error
	if q.values, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		q.wrong("", "the query of the address cannot be read")
	}
	return q
}

// problem is everything that is wrong, or nil. It is called after all reading.
func (q *query) problem() error {
	for name, values := range q.values {
		switch {
		case !q.read[name]:
			q.wrong(name, "is not a parameter here")
		case len(values) > 1:
			q.wrong(name, "is given twice")
		}
	}
	if len(q.invalid.Fields) == 0 {
		return nil
	}
	slices.SortFunc(q.invalid.Fields, func(a, b run.FieldError) int { return strings.Compare(a.Field, b.Field) })
	return &q.invalid
}

func (q *query) wrong(name, format string, args ...any) {
	const most = 60
	q.invalid.Fields = append(q.invalid.Fields,
		run.FieldError{Field: text.Stored(text.Cut(name, most)), Message: fmt.Sprintf(format, args...)})
}

func (q *query) text(name string) string {
	q.read[name] = true
	return q.values.Get(name)
}

// number is 0 where it is absent.
func (q *query) number(name string, most int) int {
	text := q.text(name)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		q.wrong(name, "must be 1..%d", most)
	}
	return n
}

func (q *query) boolean(name string) *bool {
	switch q.text(name) {
	case "":
	case "true":
		return new(true)
	case "false":
		return new(false)
	default:
		q.wrong(name, "must be true or false")
	}
	return nil
}

// duration is nil where it is absent.
func (q *query) duration(name string) *time.Duration {
	text := q.text(name)
	if text == "" {
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		q.wrong(name, `must be a duration such as "5m" or "0s"`)
	}
	return &d
}

// moment is a time or a duration back from now.
func (q *query) moment(name string) time.Time {
	var m run.Moment
	if err := m.UnmarshalJSON([]byte(strconv.Quote(q.text(name)))); err != nil {
		q.wrong(name, "%s", err)
	}
	return m.Time
}

// oneOf reads a list with commas.
func oneOf[T ~string](q *query, name string, known []T) []T {
	text := q.text(name)
	if text == "" {
		return nil
	}
	var values []T
	for value := range strings.SplitSeq(text, ",") {
		if !slices.Contains(known, T(value)) {
			q.wrong(name, "must be of %v", known)
			return nil
		}
		values = append(values, T(value))
	}
	return values
}
