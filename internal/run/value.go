package run

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/ecom-micro/etl/internal/text"
)

// limit is a number that is 0 where it is not given. So 0 that is given is read as one that
// is out of bounds: whoever asks for at most 0 deletions must not get the default.
type limit int

// readValue reads the value of a member. Numbers and truth values may stand as texts,
// which forms send and the former service took.
func readValue(value json.RawMessage, into any) error {
	switch into := into.(type) {
	case *bool:
		if written := string(value); written == `"true"` || written == `"false"` {
			value = value[1 : len(value)-1]
		}
	case *limit:
		return into.read(value)
	}
	return json.Unmarshal(value, into)
}

var errNumber = errors.New("no whole number")

// read reads a whole number, 50.0 and 5e1 too, which to JSON are the same as 50.
func (l *limit) read(value json.RawMessage) error {
	if string(value) == "null" {
		return nil
	}
	var written string
	if json.Unmarshal(value, &written) == nil {
		value = json.RawMessage(written)
	}
	var number *float64
	const exact = 1 << 53 // what a float64 counts to
	if json.Unmarshal(value, &number) != nil || number == nil || math.Trunc(*number) != *number || math.Abs(*number) > exact {
		return errNumber
	}
	if *l = limit(*number); *l == 0 {
		*l = -1
	}
	return nil
}

// pipelines are those that a caller of the former service names, as a list or as one text
// with commas.
type pipelines []string

var errPipelines = errors.New(`must name pipelines, such as ["product"]`)

func (p *pipelines) UnmarshalJSON(data []byte) error {
	var one string
	var list []string
	switch {
	case json.Unmarshal(data, &one) == nil && one != "":
		list = strings.Split(one, ",")
	case json.Unmarshal(data, &list) != nil && one == "" && string(data) != `""`:
		return errPipelines
	}
	*p = list
	return nil
}

// foreign are those that are not ours.
func (p pipelines) foreign() []string {
	var all []string
	for _, name := range p {
		name = strings.TrimSpace(name)
		if shown := text.Word(name, maxShown); name != "product" && name != "products" && !slices.Contains(all, shown) && len(all) < maxProblems {
			all = append(all, shown)
		}
	}
	return all
}

// ForeignError names pipelines of the former service that are not served here.
type ForeignError struct{ Pipelines []string }

func (e *ForeignError) Error() string {
	what := "pipeline "
	if len(e.Pipelines) > 1 {
		what = "pipelines "
	}
	return "there is no " + what + strings.Join(e.Pipelines, ", ") + " here"
}
