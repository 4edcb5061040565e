// Package schedule says when the sync and the health check are due. On every
// replica a tick is the same instant: it is computed from the expression, not from
// the moment at which a timer fires.
package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // a static image has no time zones of its own
)

// Config says when the jobs run.
type Config struct {
	Sync   string `env:"SYNC_CRON_SCHEDULE, default=*/30 * * * *"`
	Health string `env:"HEALTH_CHECK_CRON_SCHEDULE, default=*/5 * * * *"`
	// Recent is when what was created lately is compared, off for never.
	Recent   string `env:"SYNC_RECENT_SCHEDULE, default=@every 1m"`
	Enabled  bool   `env:"ENABLE_SCHEDULER, default=true"`
	Timezone string `env:"TIMEZONE, default=UTC"`
	// CatchUp makes up at the start for scheduled runs that were missed, by one.
	CatchUp bool `env:"SYNC_CATCH_UP, default=true"`
}

// Validate reports every variable that is wrong, where the scheduler is off too.
func (c *Config) Validate() error {
	var problems []error
	zone, err := loadZone(c.Timezone)
	if err != nil {
		problems = append(problems, err)
		zone = time.UTC // so that the expressions are looked at all the same
	}
	check := func(variable, expression string) {
		if _, err := parse(expression, zone); err != nil {
			problems = append(problems, fmt.Errorf("%s %s %w. Accepted are %s", variable, quoted(expression), err, accepted))
		}
	}
	check("SYNC_CRON_SCHEDULE", c.Sync)
	check("HEALTH_CHECK_CRON_SCHEDULE", c.Health)
	if c.LooksAtRecent() {
		check("SYNC_RECENT_SCHEDULE", c.Recent)
	}
	return errors.Join(problems...)
}

// LooksAtRecent tells whether what was created lately is compared.
func (c *Config) LooksAtRecent() bool { return !strings.EqualFold(c.Recent, "off") }

// Remarks are on expressions that are valid and fire otherwise than they read.
func (c *Config) Remarks() []string {
	var all []string
	for _, job := range []struct{ variable, expression string }{{"SYNC_CRON_SCHEDULE", c.Sync}, {"HEALTH_CHECK_CRON_SCHEDULE", c.Health}, {"SYNC_RECENT_SCHEDULE", c.Recent}} {
		for _, remark := range remarks(job.expression) {
			all = append(all, fmt.Sprintf("%s %s %s", job.variable, quoted(job.expression), remark))
		}
	}
	return all
}

const accepted = `five fields (minute, hour, day of month, month, day of week) such as "*/30 * * * *", ` +
	`six fields (seconds first), "@every 30m", and @hourly, @daily, @weekly, @monthly or @yearly`

// loadZone refuses what would be another zone on another machine.
func loadZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" || strings.EqualFold(name, "local") {
		return nil, fmt.Errorf("TIMEZONE %s is not a known time zone: give its IANA name, such as UTC, Europe/Berlin or America/New_York", quoted(name))
	}
	return zone, nil
}

// quoted is what was given, on one line and not too long.
func quoted(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most] + "…"
	}
	return fmt.Sprintf("%q", s)
}
