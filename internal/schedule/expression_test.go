package schedule_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/schedule"
)

func load(t interface{ Fatal(...any) }, name string) *time.Location {
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// Days of other than 24 hours; the parser's own Next goes wrong where the clocks
// change at midnight or by half an hour.
func TestOddClockChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ zone, expression, after, want string }{
		{"Africa/Cairo", "0 12 * * FRI", "2026-04-20T00:00:00Z", "2026-04-24T12:00:00+03:00"}, // no midnight on that day
		{"Africa/Cairo", "0 0 * * *", "2026-04-23T12:00:00Z", "2026-04-25T00:00:00+03:00"},
		{"Europe/Berlin", "15 0 30 3 *", "2026-03-28T12:00:00Z", "2026-03-30T00:15:00+02:00"}, // behind a day of 23 hours
		{"Asia/Beirut", "15 12 29 3 *", "2026-01-01T00:00:00Z", "2026-03-29T12:15:00+03:00"},
		{"Australia/Lord_Howe", "0 2 * * *", "2026-04-04T02:00:00+11:00", "2026-04-05T02:00:00+10:30"},
		{"Australia/Lord_Howe", "45 1 * * *", "2026-04-05T01:45:00+11:00", "2026-04-05T01:45:00+10:30"},
		{"Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00:00Z", "2026-10-05T02:15:00+11:00"},
		{"Asia/Kathmandu", "@hourly", "2026-01-01T00:00:00Z", "2026-01-01T06:00:00+05:45"},
		{"UTC", "0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
	} {
		zone := load(t, c.zone)
		next, err := schedule.Parse(c.expression, zone)
		if err != nil {
			t.Fatal(err)
		}
		after, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		if got := next(after).In(zone).Format(time.RFC3339); got != c.want {
			t.Errorf("%s: %q fires at %s after %s, want %s", c.zone, c.expression, got, c.after, c.want)
		}
	}
}

// field is a generated field of an expression: its text, and the values that it
// stands for as the generator meant them.
type field struct {
	text   string
	values []int
	star   bool
}

func fields(low, high int, names ...string) *rapid.Generator[field] {
	shown := func(n int) string {
		if names != nil {
			return names[n-low]
		}
		return fmt.Sprint(n)
	}
	all := func(from, to, step int) (values []int) {
		for n := from; n <= to; n += step {
			values = append(values, n)
		}
		return values
	}
	return rapid.Custom(func(t *rapid.T) field {
		from := rapid.IntRange(low, high).Draw(t, "from")
		to := rapid.IntRange(from, high).Draw(t, "to")
		step := rapid.IntRange(2, 20).Draw(t, "step")
		switch rapid.IntRange(0, 6).Draw(t, "form") {
		case 0:
			return field{shown(from), []int{from}, false}
		case 1:
			return field{shown(from) + "-" + shown(to), all(from, to, 1), false}
		case 2:
			return field{fmt.Sprintf("%s-%s/%d", shown(from), shown(to), step), all(from, to, step), false}
		case 3:
			return field{fmt.Sprintf("*/%d", step), all(low, high, step), false}
		case 4:
			return field{shown(from) + "," + shown(to), []int{from, to}, false}
		default:
			return field{"*", all(low, high, 1), true}
		}
	})
}

// An expression fires at exactly those seconds whose wall clock time it names.
func TestFiresWhenTheWallClockMatches(t *testing.T) {
	t.Parallel()
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Africa/Cairo", "America/Santiago", "Australia/Lord_Howe", "Asia/Kolkata"}
	rapid.Check(t, func(t *rapid.T) {
		zone := load(t, rapid.SampledFrom(zones).Draw(t, "zone"))
		second := field{"", []int{0}, false}
		if rapid.Bool().Draw(t, "six fields") {
			second = fields(0, 59).Draw(t, "second")
		}
		minute, hour := fields(0, 59).Draw(t, "minute"), fields(0, 23).Draw(t, "hour")
		day, month := fields(1, 28).Draw(t, "day"), fields(1, 12, "JAN", "feb", "3", "4", "May", "6", "7", "8", "9", "10", "nov", "12").Draw(t, "month")
		weekday := fields(0, 6, "SUN", "1", "tue", "3", "Thu", "5", "6").Draw(t, "weekday")
		if day.star {
			day.values = append(day.values, 29, 30, 31)
		}
		expression := strings.Join([]string{second.text, minute.text, hour.text, strings.Replace(day.text, "*/", "1-28/", 1), month.text, weekday.text}, " ")
		matches := func(at time.Time) bool {
			at = at.In(zone)
			in, on := slices.Contains(day.values, at.Day()), slices.Contains(weekday.values, int(at.Weekday()))
			fits := in && on
			if !day.star && !weekday.star {
				fits = in || on
			}
			return fits && slices.Contains(month.values, int(at.Month())) && slices.Contains(hour.values, at.Hour()) &&
				slices.Contains(minute.values, at.Minute()) && slices.Contains(second.values, at.Second())
		}
		next, err := schedule.Parse(expression, zone)
		if err != nil {
			t.Fatalf("%q: %v", expression, err)
		}
		at := changeOfClocks(t, zone).Add(-time.Duration(rapid.Int64Range(0, int64(36*time.Hour)).Draw(t, "before")))
		for range 3 {
			instant := next(at)
			if !instant.After(at) || instant.Nanosecond() != 0 || instant.Location() != time.UTC || !matches(instant) {
				t.Fatalf("%q in %s fires at %s after %s", expression, zone, instant.In(zone), at.In(zone))
			}
			// Nothing in between: by the second for an hour, then by the minute.
			for between := at.Truncate(time.Second).Add(time.Second); between.Before(instant) && between.Before(at.Add(time.Hour)); between = between.Add(time.Second) {
				if matches(between) {
					t.Fatalf("%q in %s leaves out %s", expression, zone, between.In(zone))
				}
			}
			first := time.Duration(second.values[0]) * time.Second
			for between := at.Truncate(time.Minute).Add(time.Minute + first); between.Before(instant) && between.Before(at.Add(50*time.Hour)); between = between.Add(time.Minute) {
				if matches(between) {
					t.Fatalf("%q in %s leaves out %s", expression, zone, between.In(zone))
				}
			}
			at = instant
		}
	})
}

// changeOfClocks is a moment in 2026 at which the clocks of the zone change, or any.
func changeOfClocks(t *rapid.T, zone *time.Location) time.Time {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, zone).Add(time.Duration(rapid.Int64Range(0, int64(300*24*time.Hour)).Draw(t, "moment")))
	if _, change := at.ZoneBounds(); !change.IsZero() {
		return change.Add(24 * time.Hour)
	}
	return at
}

// @every fires at the multiples of its duration since 1970, in any zone.
func TestEvery(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seconds := rapid.Int64Range(1, 100_000).Draw(t, "seconds")
		at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "at"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
		next, err := schedule.Parse(fmt.Sprintf("@every %ds", seconds), load(t, "Asia/Kolkata"))
		if err != nil {
			t.Fatal(err)
		}
		instant := next(at)
		if instant.Unix()%seconds != 0 || !instant.After(at) || instant.Sub(at) > time.Duration(seconds)*time.Second || instant.Location() != time.UTC {
			t.Errorf("every %d s fires at %s after %s", seconds, instant, at)
		}
	})
}

// Sunday is 0, 7 and SUN, alone and at either end of a range.
func TestCaseD6Sundays(t *testing.T) {
	t.Parallel()
	for field, want := range map[string][]int{
		"7": {0}, "0": {0}, "SUN": {0}, "07": {0}, "7/2": {0}, "0,7": {0}, "7,3": {0, 3}, "7-7": {0}, "SUN-SUN": {0},
		"5-7": {0, 5, 6}, "FRI-SUN": {0, 5, 6}, "fri-7": {0, 5, 6}, "1-7": {0, 1, 2, 3, 4, 5, 6}, "0-7": {0, 1, 2, 3, 4, 5, 6},
		"1-7/2": {0, 1, 3, 5}, "1-7/3": {0, 1, 4}, "7-2": {0, 1, 2}, "SUN-2": {0, 1, 2}, "7-4/2": {0, 2, 4}, "1,5-7": {0, 1, 5, 6}, "1-5": {1, 2, 3, 4, 5},
	} {
		next, err := schedule.Parse("0 3 * * "+field, time.UTC)
		if err != nil {
			t.Errorf("%q: %v", field, err)
			continue
		}
		var got []int
		for at, end := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 8, 0, 0, 0, 0, time.UTC); ; { // a week from a Sunday on
			if at = next(at); at.After(end) {
				break
			}
			got = append(got, int(at.Weekday()))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q fires on %v, want %v", field, got, want)
		}
	}
	for _, field := range []string{"8", "-1", "7-8", "5-0", "SAT-MON", "7/0", "7/x", "7-", "-7", "7-7-7", "SUNDAY", "5L", "5#2"} {
		if _, err := schedule.Parse("0 3 * * "+field, time.UTC); err == nil || !strings.Contains(err.Error(), `day of week "`+field+`" (0-7 or SUN-SAT)`) {
			t.Errorf("%q: %v", field, err)
		}
	}
}

// What fires otherwise than it reads is remarked on, with what would fire so.
func TestCaseD6WhatFiresOtherwiseThanItReads(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		"*/90 * * * *":      `fires at minute 0 only, because the step of "*/90" ends with the field; for every 90 minutes give "@every 90m"`,
		"?/90 * * * *":      `"@every 90m"`,
		"0 */90 * * * *":    `"@every 90m"`,
		"*/120 * ? * *":     `"@every 120m"`,
		"*/45 * * * *":      `fires unevenly: minute "*/45" ends at 45, and begins again at 0 after 15 minutes; for every 45 minutes give "@every 45m"`,
		"*/7 * * * *":       `ends at 56, and begins again at 0 after 4 minutes; for every 7 minutes give "@every 7m"`,
		"0 */45 * * *":      `fires at hour 0 only, because the step of "*/45" ends with the field; for every 45 hours give "@every 45h"`,
		"0 */5 * * *":       `fires unevenly: hour "*/5" ends at 20, and begins again at 0 after 4 hours; for every 5 hours give "@every 5h"`,
		"*/90 * * * * *":    `fires at second 0 only, because the step of "*/90" ends with the field; for every 90 seconds give "@every 90s"`,
		"*/90 9-17 * * *":   `fires at minute 0 only, because the step of "*/90" ends with the field`,
		"*/45 * * * MON":    `and begins again at 0 after 15 minutes`,
		"5/90 * * * *":      `fires at minute 5 only, because the step of "5/90" ends with the field`,
		"0-20/30 * * * *":   `fires at minute 0 only`,
		"10,*/90 * * * *":   `"@every 90m"`,
		"0 0 */45 * *":      `fires at day of month 1 only, because the step of "*/45" ends with the field`,
		"0 0 1 */13 *":      `fires at month 1 only`,
		"0 0 * * */7":       `fires at day of week 0 only`,
		"*/60 9-17 * * MON": `fires at minute 0 only`,

		"*/60 * * * *": "", "0 */24 * * *": "", "*/30 * * * *": "", "0 */6 * * *": "", "5/10 * * * *": "", "0 9-17/2 * * *": "", "0 0 */2 * *": "", "0 3 * * 7": "",
		"*/1 * * * *": "", "0-40/20 * * * *": "", "@every 90m": "", "@hourly": "", "nonsense": "", "": "", "*/0 * * * *": "", "*/90 * * *": "",
	} {
		for variable, config := range map[string]schedule.Config{
			"SYNC_CRON_SCHEDULE": {Sync: expression, Health: "@hourly", Recent: "off"}, "HEALTH_CHECK_CRON_SCHEDULE": {Sync: "@hourly", Health: expression, Recent: "off"},
		} {
			all := config.Remarks()
			if want == "" && len(all) > 0 || want != "" && (len(all) != 1 || !strings.HasPrefix(all[0], fmt.Sprintf("%s %q fires", variable, expression)) || !strings.Contains(all[0], want)) {
				t.Errorf("%s=%q: %q, want %q", variable, expression, all, want)
			}
		}
	}
	both := schedule.Config{Sync: "*/90 */36 * * *", Health: "*/50 * * * * *", Recent: "off"}
	if all := both.Remarks(); len(all) != 3 {
		t.Errorf("%q", all)
	}
}

// Names may be written in any case, as those of months and days may.
func TestCaseD6NamesInAnyCase(t *testing.T) {
	t.Parallel()
	after := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for expression, want := range map[string]string{"@Hourly": "11:00:00", " @DAILY ": "00:00:00", "@Every 90M": "10:30:00", "@every 1h 30m": "10:30:00"} {
		next, err := schedule.Parse(expression, time.UTC)
		if err != nil {
			t.Errorf("%q: %v", expression, err)
		} else if got := next(after).Format(time.TimeOnly); got != want {
			t.Errorf("%q fires at %s, want %s", expression, got, want)
		}
	}
}
