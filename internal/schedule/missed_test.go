package schedule_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/schedule"
)

// missed asks a scheduler that has one job, and runs nothing.
func missed(t interface{ Fatal(...any) }, expression string, enabled bool, since, until time.Time, most int) (schedule.Tick, int) {
	config := schedule.Config{Sync: expression, Health: "@hourly", Recent: "off", Enabled: enabled, Timezone: "Europe/Berlin"}
	s, err := schedule.New(config, []schedule.Job{{Name: "sync", Expression: expression}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	latest, n := s.Missed("sync", since, until, most)
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	return latest, n
}

func TestMissed(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		expression string
		since      time.Duration // before noon
		n          int
		latest     time.Time
	}{
		{"*/30 * * * *", 3 * time.Hour, 6, noon},
		{"*/30 * * * *", 30 * time.Minute, 1, noon},
		{"*/30 * * * *", 0, 0, time.Time{}},
		{"*/30 * * * *", -time.Hour, 0, time.Time{}}, // the clock was put back
		{"15 * * * *", 44 * time.Minute, 0, time.Time{}},
		{"15 * * * *", 46 * time.Minute, 1, noon.Add(-45 * time.Minute)},
		{"* * * * * *", 24 * time.Hour, 1000, noon},
		{"0 0 29 2 *", 5 * 366 * 24 * time.Hour, 1, time.Date(2024, 2, 28, 23, 0, 0, 0, time.UTC)},
		{"@every 7h", 24 * time.Hour, 3, time.Date(2026, 11, 26, 7, 0, 0, 0, time.UTC)},
	} {
		latest, n := missed(t, tt.expression, true, noon.Add(-tt.since), noon, 1000)
		if n != tt.n || !latest.Instant.Equal(tt.latest) || n > 0 && !latest.Next.After(noon) {
			t.Errorf("%q has missed %d in %s, the latest %+v, want %d, %s", tt.expression, n, tt.since, latest, tt.n, tt.latest)
		}
		if _, n := missed(t, tt.expression, false, noon.Add(-tt.since), noon, 1000); n != 0 {
			t.Errorf("%q that is off has missed %d", tt.expression, n)
		}
	}
}

// What is found backwards is what one comes to forwards.
func TestMissedIsWhatWouldHaveCome(t *testing.T) {
	t.Parallel()
	zone := load(t, "Europe/Berlin")
	rapid.Check(t, func(t *rapid.T) {
		expression := rapid.SampledFrom([]string{"*/5 * * * *", "30 2 * * *", "0 0 * * 0", "0 12 1 * *", "@every 90m", "0 3 29 2 *", "15,45 59 1,2 * 3,10 *"}).Draw(t, "expression")
		until := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.Int64Range(0, 366*24*3600).Draw(t, "until")) * time.Second)
		since := until.Add(-time.Duration(rapid.Int64Range(-3600, 30*24*3600).Draw(t, "since")) * time.Second)
		next, err := schedule.Parse(expression, zone)
		if err != nil {
			t.Fatal(err)
		}
		var want int
		var last time.Time
		for at := next(since); !at.After(until); at = next(at) {
			want, last = want+1, at
		}
		latest, n := missed(t, expression, true, since, until, 1_000_000)
		if n != want || !latest.Instant.Equal(last) {
			t.Errorf("%q from %s to %s: %d missed, the latest %s, want %d, %s", expression, since, until, n, latest.Instant, want, last)
		}
	})
}
