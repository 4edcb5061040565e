package schedule

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// instants is when an expression fires: it returns the first instant after t, in
// UTC and whole seconds.
type instants func(t time.Time) time.Time

// before is the latest instant at t or before it, zero where none was for ten years.
func (next instants) before(t time.Time) time.Time {
	const longest = 10 * 366 * 24 * time.Hour
	for back := time.Minute; back < 4*longest; back *= 4 {
		instant := next(t.Add(-min(back, longest)))
		if instant.IsZero() || instant.After(t) {
			continue
		}
		for {
			later := next(instant)
			if later.IsZero() || later.After(t) {
				return instant
			}
			instant = later
		}
	}
	return time.Time{}
}

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
	given := strings.Fields(expression)
	switch {
	case len(given) == 0:
		return nil, errEmpty
	case strings.Contains(strings.ToUpper(expression), "TZ="):
		return nil, errZone
	case strings.EqualFold(given[0], "@every"):
		return every(strings.Join(given[1:], ""))
	case given[0][0] == '@':
		expression = strings.ToLower(strings.Join(given, " "))
	default:
		if err := checkFields(given); err != nil {
			return nil, err
		}
		given[len(given)-1] = sundays(given[len(given)-1])
		expression = strings.Join(given, " ")
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
	d, err := time.ParseDuration(strings.ToLower(duration))
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
	bits         func(*cron.SpecSchedule) uint64
}{
	{"second", "0-59", cron.Second, func(s *cron.SpecSchedule) uint64 { return s.Second }},
	{"minute", "0-59", cron.Minute, func(s *cron.SpecSchedule) uint64 { return s.Minute }},
	{"hour", "0-23", cron.Hour, func(s *cron.SpecSchedule) uint64 { return s.Hour }},
	{"day of month", "1-31", cron.Dom, func(s *cron.SpecSchedule) uint64 { return s.Dom }},
	{"month", "1-12 or JAN-DEC", cron.Month, func(s *cron.SpecSchedule) uint64 { return s.Month }},
	{"day of week", "0-7 or SUN-SAT", cron.Dow, func(s *cron.SpecSchedule) uint64 { return s.Dow }},
}

// checkFields looks at each field by itself, so that each wrong one is named.
func checkFields(given []string) error {
	if n := len(given); n != len(fields) && n != len(fields)-1 {
		return fmt.Errorf("has the wrong number of fields: %d", n)
	}
	var problems []string
	for i, field := range fields[len(fields)-len(given):] {
		plain := given[i]
		if field.option == cron.Dow {
			plain = sundays(plain)
		}
		if _, err := cron.NewParser(field.option).Parse(plain); err != nil || sloppy(given[i]) {
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

// sundays writes each Sunday of a field as 0, which is what the parser takes: to cron 7 is
// Sunday too, and people end a week with SUN. What is no day is left to the parser.
func sundays(field string) string {
	items := strings.Split(field, ",")
	for i, item := range items {
		span, every, stepped := strings.Cut(item, "/")
		from, to, ranged := strings.Cut(span, "-")
		step := 1
		if stepped {
			step, _ = strconv.Atoi(every)
		}
		first := weekday(from)
		switch {
		case step < 1 || first < 0:
		case !ranged && first == 7:
			items[i] = "0"
		case ranged && (weekday(to) == 7 || strings.EqualFold(to, "SUN") && first > 0):
			var days []string
			for day := first; day <= 7; day += step {
				days = append(days, strconv.Itoa(day%7))
			}
			items[i] = strings.Join(days, ",")
		case ranged && first == 7:
			items[i] = "0" + strings.TrimPrefix(item, from)
		}
	}
	return strings.Join(items, ",")
}

// weekday is the number of a day of the week, -1 where it is none.
func weekday(day string) int {
	if n, err := strconv.Atoi(day); err == nil && n >= 0 && n <= 7 {
		return n
	}
	return slices.Index([]string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}, strings.ToUpper(day))
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
