package schedule_test

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sethvargo/go-envconfig"

	"github.com/ecom-micro/etl/internal/schedule"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	var config schedule.Config
	if err := envconfig.ProcessWith(context.Background(), &envconfig.Config{Target: &config, Lookuper: envconfig.MapLookuper(nil)}); err != nil {
		t.Fatal(err)
	}
	want := schedule.Config{Sync: "*/30 * * * *", Health: "*/5 * * * *", Recent: "@every 1m", Enabled: true, Timezone: "UTC", CatchUp: true}
	if config != want {
		t.Errorf("%+v, want %+v", config, want)
	}
	if err := config.Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidExpressions(t *testing.T) {
	t.Parallel()
	for _, expression := range []string{
		"*/30 * * * *", "0 * * * *", "30 2 * * *", "0 0 29 2 *", "0 9-17/2 * * MON-FRI", "0,15,30 * 1 jan,Jul ?", "5/10 * * * *",
		"*/10 * * * * *", "0 0 0 1 1 *", "  0\t2  * * * ", "0 0 31 2 1", // the last: a Monday in February
		"@every 1s", "@every 30m", "@every  1h30m", "@every 90s",
		"@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually",
	} {
		config := schedule.Config{Sync: expression, Health: expression, Recent: "off", Timezone: "Europe/Berlin"}
		if err := config.Validate(); err != nil {
			t.Errorf("%q: %v", expression, err)
		}
	}
}

func TestInvalidExpressions(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		"":                         `"" is empty.`,
		" \t ":                     `" \t " is empty.`,
		"30 minutes":               `"30 minutes" has the wrong number of fields: 2.`,
		"* * * * * * *":            `"* * * * * * *" has the wrong number of fields: 7.`,
		"61 * * * *":               `"61 * * * *" is wrong in its minute "61" (0-59).`,
		"60 24 0 13 8":             `is wrong in its minute "60" (0-59), hour "24" (0-23), day of month "0" (1-31), month "13" (1-12 or JAN-DEC), day of week "8" (0-7 or SUN-SAT).`,
		"60 * * * * *":             `is wrong in its second "60" (0-59).`,
		"*/0 * * * *":              `minute "*/0" (0-59).`,
		"*-5 * * * *":              `minute "*-5" (0-59).`,
		"1,,2 * * * *":             `minute "1,,2" (0-59).`,
		", * * * *":                `minute "," (0-59).`,
		"30-10 * * * *":            `minute "30-10" (0-59).`,
		"0 0 31 2 *":               `"0 0 31 2 *" never fires`,
		"0 0 30 feb ?":             `never fires`,
		"0 0 31 4,6,9,11 *":        `never fires`,
		"TZ=Europe/Berlin 0 2 * *": `names a time zone: give that as TIMEZONE.`,
		"CRON_TZ=UTC 0 2 * * *":    `names a time zone: give that as TIMEZONE.`,
		"TZ=UTC":                   `names a time zone: give that as TIMEZONE.`,
		"* * * * TZ=UTC":           `names a time zone: give that as TIMEZONE.`,
		"@every":                   `"@every" has no duration of whole seconds behind @every, 1s at least.`,
		"@every 30":                `has no duration of whole seconds`,
		"@every 0s":                `has no duration of whole seconds`,
		"@every 999ms":             `has no duration of whole seconds`,
		"@every 1.5s":              `has no duration of whole seconds`,
		"@every -1h":               `has no duration of whole seconds`,
		"@reboot":                  `"@reboot" is not a known name.`,
		"@":                        `"@" is not a known name.`,
		"@everything 5m":           `is not a known name.`,
	} {
		config := schedule.Config{Sync: expression, Health: "@hourly", Recent: "off", Timezone: "UTC"}
		err := config.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), "SYNC_CRON_SCHEDULE ") || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), `Accepted are five fields`) {
			t.Errorf("%q: %v, want %s", expression, err, want)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	config := schedule.Config{Sync: "hourly", Health: strings.Repeat("9", 5000), Recent: "off", Timezone: "Berlin"}
	err := config.Validate()
	if err == nil {
		t.Fatal("no problem reported")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d problems:\n%v", len(lines), err)
	}
	for i, want := range []string{
		`TIMEZONE "Berlin" is not a known time zone: give its IANA name, such as UTC, Europe/Berlin or America/New_York`,
		`SYNC_CRON_SCHEDULE "hourly" has the wrong number of fields: 1. Accepted are`,
		`HEALTH_CHECK_CRON_SCHEDULE "` + strings.Repeat("9", 60) + `…" has the wrong number`,
	} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("problem %d is %s, want %s", i, lines[i], want)
		}
	}
	if _, err := schedule.New(config, nil, nil); err == nil || err.Error() != strings.Join(lines, "\n") {
		t.Errorf("New says %v", err)
	}
}

func TestTimezones(t *testing.T) {
	t.Parallel()
	for zone, known := range map[string]bool{
		"UTC": true, "Europe/Berlin": true, "America/New_York": true, "Asia/Kolkata": true, "Etc/GMT+3": true,
		"": false, "Local": false, "local": false, "Berlin": false, "Europe": false, "../../etc/passwd": false, "UTC\n": false, "+02:00": false,
	} {
		config := schedule.Config{Sync: "@hourly", Health: "@hourly", Recent: "off", Timezone: zone}
		if err := config.Validate(); (err == nil) != known {
			t.Errorf("TIMEZONE %q: %v", zone, err)
		}
	}
}

func FuzzValidate(f *testing.F) {
	for _, expression := range []string{"*/30 * * * *", "TZ=", "CRON_TZ=UTC", "@every 1s", "0 0 31 2 *", "* * * * TZ=", "\x1b[31m", "@", "1-2-3/4/5 * * * *"} {
		f.Add(expression, "Europe/Berlin")
	}
	f.Add("@hourly", "../../../etc/passwd")
	f.Fuzz(func(t *testing.T, expression, zone string) {
		config := schedule.Config{Sync: expression, Health: "@hourly", Recent: "off", Timezone: zone}
		if err := config.Validate(); err != nil {
			text := err.Error()
			if len(text) > 2000 || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
				t.Errorf("the problem does not read well: %q", text)
			}
			if !strings.HasPrefix(text, "SYNC_CRON_SCHEDULE") && !strings.HasPrefix(text, "TIMEZONE") {
				t.Errorf("the problem does not name its variable: %s", text)
			}
			return
		}
		location, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatalf("a zone that is valid and cannot be loaded: %v", err)
		}
		next, err := schedule.Parse(expression, location)
		if err != nil {
			t.Fatalf("an expression that is valid and cannot be parsed: %v", err)
		}
		at := time.Date(2026, 3, 1, 12, 0, 0, 1, time.UTC)
		for range 5 {
			following := next(at)
			if !following.After(at) || following.Nanosecond() != 0 || following.Location() != time.UTC {
				t.Fatalf("%q fires at %s after %s", expression, following, at)
			}
			at = following
		}
	})
}

// A job may have an expression of its own, which is checked like those of the variables.
func TestWrongExpressionOfAJob(t *testing.T) {
	t.Parallel()
	config := schedule.Config{Sync: "@hourly", Health: "@hourly", Recent: "off", Timezone: "UTC"}
	_, err := schedule.New(config, []schedule.Job{{Name: "report", Expression: "daily"}}, nil)
	if err == nil || err.Error() != `the expression of the job report, "daily", has the wrong number of fields: 1` {
		t.Error(err)
	}
}
