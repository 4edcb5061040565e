package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// instants is when an expression fires: it returns the first instant after t, in
// UTC and whole seconds.
type instants func(t time.Time) time.Time

var (
	errEmpty = errors.New("is empty")
	errZone  = errors.New("names a time zone: give that as TIMEZONE")
	errName  = errors.New("is not a known name")
	errEvery = errors.New("has no duration of whole seconds behind @every, 1s at least")
	errNever = errors.New("never fires: no year has such a day")
)

// parse reads an expression.
//
// A calendar expression fires at every second whose date and time in zone match
// it. So in the night in which the clocks go forward nothing fires in the hour that
// is left out, and in the night in which they go back everything in the doubled
// hour fires twice. Where both the day of the month and the day of the week are
// restricted, either suffices, as cron has it.
//
// @every fires at the multiples of its duration since 1970-01-01 00:00 UTC, whatever
// the zone, so that all replicas agree whenever they started.
func parse(expression string, zone *time.Location) (instants, error) {
	expression = strings.TrimSpace(expression)
	name, rest, _ := strings.Cut(expression, " ")
	switch {
	case expression == "":
		return nil, errEmpty
	case strings.Contains(strings.ToUpper(expression), "TZ="):
		return nil, errZone
	case name == "@every":
		return every(strings.TrimSpace(rest))
	case name[0] != '@':
		if err := checkFields(strings.Fields(expression)); err != nil {
			return nil, err
		}
	}
	parsed, err := cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor).Parse(expression)
	spec, ok := parsed.(*cron.SpecSchedule)
	if err != nil || !ok {
		return nil, errName
	}
	c := calendar{spec, zone}
	if c.next(time.Now()).IsZero() {
		return nil, errNever
	}
	return c.next, nil
}

func every(duration string) (instants, error) {
	d, err := time.ParseDuration(duration)
	if err != nil || d < time.Second || d%time.Second != 0 {
		return nil, errEvery
	}
	seconds := int64(d / time.Second)
	return func(t time.Time) time.Time { return time.Unix((t.Unix()/seconds+1)*seconds, 0).UTC() }, nil
}

// fields are those of an expression, the one that may be left out first.
var fields = []struct {
	name, values string
	option       cron.ParseOption
}{
	{"second", "0-59", cron.Second},
	{"minute", "0-59", cron.Minute},
	{"hour", "0-23", cron.Hour},
	{"day of month", "1-31", cron.Dom},
	{"month", "1-12 or JAN-DEC", cron.Month},
	{"day of week", "0-6 or SUN-SAT", cron.Dow},
}

// checkFields looks at each field by itself, so that each wrong one is named.
func checkFields(given []string) error {
	if n := len(given); n != len(fields) && n != len(fields)-1 {
		return fmt.Errorf("has the wrong number of fields: %d", n)
	}
	var problems []string
	for i, field := range fields[len(fields)-len(given):] {
		if _, err := cron.NewParser(field.option).Parse(given[i]); err != nil || sloppy(given[i]) {
			problems = append(problems, fmt.Sprintf("%s %s (%s)", field.name, quoted(given[i]), field.values))
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("is wrong in its %s", strings.Join(problems, ", "))
	}
	return nil
}

// sloppy tells whether the parser would pass over a part of a field: it reads *-5
// as * and 1,,2 as 1,2.
func sloppy(field string) bool {
	for item := range strings.SplitSeq(field, ",") {
		if item == "" || strings.HasPrefix(item, "*-") || strings.HasPrefix(item, "?-") {
			return true
		}
	}
	return false
}

// calendar is an expression of fields in a time zone. Only its bit sets are the
// parser's: the parser's own Next leaves out whole days where the clocks change at
// midnight (Cairo, Beirut) or by half an hour (Lord Howe).
type calendar struct {
	*cron.SpecSchedule
	zone *time.Location
}

// horizon is how far ahead an instant may be: two 29ths of February are 8 years apart
// around 2100.
const horizon = 9

// next returns the zero time where nothing matches.
func (c calendar) next(t time.Time) time.Time {
	local := time.Unix(t.Unix()+1, 0).In(c.zone)
	for end := local.AddDate(horizon, 0, 0); local.Before(end); {
		hour, minute, second := local.Clock()
		var rest time.Duration // of the day, hour or minute that does not match
		switch {
		case !c.day(local):
			rest = time.Duration(24-hour)*time.Hour - time.Duration(minute)*time.Minute - time.Duration(second)*time.Second
		case !has(c.Hour, hour):
			rest = time.Duration(60-minute)*time.Minute - time.Duration(second)*time.Second
		case !has(c.Minute, minute):
			rest = time.Duration(60-second) * time.Second
		case !has(c.Second, second):
			rest = time.Second
		default:
			return local.UTC()
		}
		_, change := local.ZoneBounds()
		local = local.Add(rest)
		if !change.IsZero() && local.After(change) {
			local = change // the clocks change within that day, hour or minute
		}
	}
	return time.Time{}
}

func (c calendar) day(t time.Time) bool {
	const star = 63 // the bit that the parser sets for * and ?
	inMonth, inWeek := has(c.Dom, t.Day()), has(c.Dow, int(t.Weekday()))
	if has(c.Dom, star) || has(c.Dow, star) {
		return has(c.Month, int(t.Month())) && inMonth && inWeek
	}
	return has(c.Month, int(t.Month())) && (inMonth || inWeek)
}

func has(bits uint64, n int) bool { return bits>>n&1 == 1 }
