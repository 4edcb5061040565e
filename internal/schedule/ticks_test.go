package schedule_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/ecom-micro/etl/internal/schedule"
)

// The nights in which the clocks change, from 00:00 to 05:00.
func TestDaylightSaving(t *testing.T) {
	t.Parallel()
	const (
		berlin, newYork = "Europe/Berlin", "America/New_York"
		spring, autumn  = "2026-03-29", "2026-10-25" // 02:00 becomes 03:00, 03:00 becomes 02:00
		march, november = "2026-03-08", "2026-11-01" // 02:00 becomes 03:00, 02:00 becomes 01:00
	)
	for _, c := range []struct{ zone, night, expression, want string }{
		{berlin, spring, "30 2 * * *", ""},
		{berlin, autumn, "30 2 * * *", "02:30:00+02:00 02:30:00+01:00"},
		{newYork, march, "30 2 * * *", ""},
		{newYork, november, "30 2 * * *", "02:30:00-05:00"},
		{newYork, november, "30 1 * * *", "01:30:00-04:00 01:30:00-05:00"},

		{berlin, spring, "*/30 * * * *", "00:30:00+01:00 01:00:00+01:00 01:30:00+01:00 03:00:00+02:00 03:30:00+02:00 04:00:00+02:00 04:30:00+02:00 05:00:00+02:00"},
		{berlin, autumn, "*/30 * * * *", "00:30:00+02:00 01:00:00+02:00 01:30:00+02:00 02:00:00+02:00 02:30:00+02:00 02:00:00+01:00 02:30:00+01:00 03:00:00+01:00 03:30:00+01:00 04:00:00+01:00 04:30:00+01:00 05:00:00+01:00"},
		{newYork, march, "*/30 * * * *", "00:30:00-05:00 01:00:00-05:00 01:30:00-05:00 03:00:00-04:00 03:30:00-04:00 04:00:00-04:00 04:30:00-04:00 05:00:00-04:00"},
		{newYork, november, "*/30 * * * *", "00:30:00-04:00 01:00:00-04:00 01:30:00-04:00 01:00:00-05:00 01:30:00-05:00 02:00:00-05:00 02:30:00-05:00 03:00:00-05:00 03:30:00-05:00 04:00:00-05:00 04:30:00-05:00 05:00:00-05:00"},

		{berlin, spring, "0 * * * *", "01:00:00+01:00 03:00:00+02:00 04:00:00+02:00 05:00:00+02:00"},
		{berlin, autumn, "0 * * * *", "01:00:00+02:00 02:00:00+02:00 02:00:00+01:00 03:00:00+01:00 04:00:00+01:00 05:00:00+01:00"},
		{newYork, march, "0 * * * *", "01:00:00-05:00 03:00:00-04:00 04:00:00-04:00 05:00:00-04:00"},
		{newYork, november, "0 * * * *", "01:00:00-04:00 01:00:00-05:00 02:00:00-05:00 03:00:00-05:00 04:00:00-05:00 05:00:00-05:00"},

		{berlin, spring, "@every 30m", "00:30:00+01:00 01:00:00+01:00 01:30:00+01:00 03:00:00+02:00 03:30:00+02:00 04:00:00+02:00 04:30:00+02:00 05:00:00+02:00"},
		{newYork, november, "@every 90m", "00:30:00-04:00 01:00:00-05:00 02:30:00-05:00 04:00:00-05:00"},

		{berlin, spring, "15,45 59 1,2 * * *", "01:59:15+01:00 01:59:45+01:00"},
		{newYork, november, "15,45 59 1 * * *", "01:59:15-04:00 01:59:45-04:00 01:59:15-05:00 01:59:45-05:00"},
	} {
		t.Run(c.zone+" "+c.night+" "+c.expression, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				zone := load(t, c.zone)
				midnight, err := time.ParseInLocation(time.DateOnly, c.night, zone)
				if err != nil {
					t.Fatal(err)
				}
				r := start(t, schedule.Config{Sync: c.expression, Enabled: true, Timezone: c.zone}, midnight)
				defer r.stop(t)
				r.until(time.Date(midnight.Year(), midnight.Month(), midnight.Day(), 5, 0, 0, 0, zone), 15*time.Second)
				got := make([]string, len(r.ticks))
				for i, tick := range r.ticks {
					got[i] = tick.Instant.In(zone).Format("15:04:05Z07:00")
					if i > 0 && !r.ticks[i-1].Next.Equal(tick.Instant) {
						t.Errorf("tick %d announced %s as the next one, which came at %s", i-1, r.ticks[i-1].Next, tick.Instant)
					}
				}
				if text := strings.Join(got, " "); text != c.want {
					t.Errorf("ticks at %s\nwant %s", text, c.want)
				}
			})
		})
	}
}

// Replicas that were started at different moments hand out the same instants, whole
// seconds in UTC.
func TestReplicasAgree(t *testing.T) {
	t.Parallel()
	for _, expression := range []string{"*/30 * * * *", "30 2 * * *", "@every 30m", "@every 7h", "10,40 */7 * * * *", "@daily"} {
		synctest.Test(t, func(t *testing.T) {
			config := schedule.Config{Sync: expression, Recent: "off", Enabled: true, Timezone: "Europe/Berlin"}
			end := noon.Add(60 * time.Hour)
			late := noon.Add(71*time.Minute + 13*time.Second + 700*time.Millisecond)
			first, second := start(t, config, noon.Add(300*time.Millisecond)), start(t, config, late)
			defer first.stop(t)
			defer second.stop(t)
			first.until(end, 20*time.Second)
			second.until(end, 17*time.Second)
			common := slices.DeleteFunc(slices.Clone(first.ticks), func(tick schedule.Tick) bool { return !tick.Instant.After(late) })
			if len(common) < 2 || !slices.Equal(common, second.ticks) {
				t.Errorf("%q: one replica ticks at %v, the other at %v", expression, common, second.ticks)
			}
			for _, tick := range first.ticks {
				if tick.Instant.Location() != time.UTC || tick.Instant.Nanosecond() != 0 || !tick.Next.After(tick.Instant) {
					t.Errorf("%q: %v is not in whole seconds of UTC", expression, tick)
				}
			}
		})
	}
}

// Of the ticks that come while one is at work the latest waits for its end.
func TestSlowJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, hourly(), noon)
		defer r.stop(t)
		done := make(chan struct{})
		r.job = func(context.Context, schedule.Tick) { <-done }
		r.until(noon.Add(3*time.Hour+30*time.Minute), time.Minute)
		if got := r.instants(); len(got) != 1 {
			t.Errorf("ticks at %v, though the first was still at work", got)
		}
		if !strings.Contains(r.log.String(), `msg="a tick is left out, because an earlier one is still at work" job=sync instant=2026-06-01T14:00:00.000Z`) {
			t.Errorf("logged: %s", &r.log)
		}
		close(done)
		synctest.Wait()
		r.until(noon.Add(5*time.Hour+30*time.Minute), time.Minute)
		want := []string{"2026-06-01T13:00:00Z", "2026-06-01T15:00:00Z", "2026-06-01T16:00:00Z", "2026-06-01T17:00:00Z"}
		if got := r.instants(); !slices.Equal(got, want) {
			t.Errorf("ticks at %v, want %v", got, want)
		}
	})
}

// A job that gives up when its next tick comes does not miss that one.
func TestJobUntilTheNextTick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, hourly(), noon)
		defer r.stop(t)
		r.job = func(ctx context.Context, tick schedule.Tick) {
			select {
			case <-r.clock.After(tick.Next.Sub(r.Now())):
			case <-ctx.Done():
			}
		}
		r.until(noon.Add(48*time.Hour), 10*time.Minute)
		for i, tick := range r.ticks {
			if !tick.Instant.Equal(noon.Add(time.Duration(i+1) * time.Hour)) {
				t.Fatalf("tick %d at %s", i, tick.Instant)
			}
		}
		if len(r.ticks) != 48 || r.log.Len() > 0 {
			t.Errorf("%d ticks in 48 hours, logged: %s", len(r.ticks), &r.log)
		}
	})
}

// A slow sync does not hold the health check up.
func TestJobsAreIndependent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := clockwork.NewFakeClockAt(noon)
		var checks []time.Time
		s, err := schedule.New(schedule.Config{Sync: "@every 1m", Health: "*/20 * * * *", Recent: "off", Enabled: true, Timezone: "UTC"}, []schedule.Job{
			{Name: "sync", Expression: "@every 1m", Do: func(ctx context.Context, _ schedule.Tick) { <-ctx.Done() }},
			{Name: "health", Expression: "*/20 * * * *", Do: func(_ context.Context, tick schedule.Tick) { checks = append(checks, tick.Instant) }},
		}, slog.New(slog.DiscardHandler), schedule.WithClock(clock))
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		for range 60 {
			synctest.Wait()
			clock.Advance(time.Minute)
		}
		synctest.Wait()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		want := []time.Time{noon.Add(20 * time.Minute), noon.Add(40 * time.Minute), noon.Add(time.Hour)}
		if !slices.Equal(checks, want) {
			t.Errorf("health checks at %v, want %v", checks, want)
		}
	})
}

// A process that was suspended hands out the latest instant only.
func TestSleptThroughTicks(t *testing.T) {
	t.Parallel()
	for slept, want := range map[time.Duration][]string{
		10*time.Hour + 20*time.Minute: {"2026-06-01T22:00:00Z", "2026-06-01T23:00:00Z"},
		10 * time.Hour:                {"2026-06-01T22:00:00Z", "2026-06-01T23:00:00Z"}, // awake at an instant
	} {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, hourly(), noon)
			defer r.stop(t)
			r.advance(slept)
			r.until(noon.Add(11*time.Hour+59*time.Minute), time.Minute)
			if got := r.instants(); !slices.Equal(got, want) {
				t.Errorf("ticks at %v, want %v", got, want)
			}
			if r.log.Len() > 0 {
				t.Errorf("logged: %s", &r.log)
			}
		})
	}
}

// A timer that is early by the wall clock neither loses its tick nor doubles it.
func TestEarlyTimer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, hourly(), noon)
		defer r.stop(t)
		r.skew.Store(int64(-30 * time.Second)) // after the timer was set
		r.advance(time.Hour)
		if len(r.ticks) != 0 {
			t.Errorf("ticks at %v when it is %s", r.instants(), r.Now())
		}
		r.advance(30 * time.Second)
		r.until(noon.Add(3*time.Hour), time.Second)
		want := []string{"2026-06-01T13:00:00Z", "2026-06-01T14:00:00Z", "2026-06-01T15:00:00Z"}
		if got := r.instants(); !slices.Equal(got, want) {
			t.Errorf("ticks at %v, want %v", got, want)
		}
		if r.log.Len() > 0 {
			t.Errorf("logged: %s", &r.log)
		}
	})
}

// A process that was started while the clock was wrong goes on once it is right.
func TestClockPutBack(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{10 * time.Minute, 2 * time.Hour, 5 * 365 * 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, hourly(), noon.Add(ahead))
			defer r.stop(t)
			r.advance(time.Hour)
			r.ticks = nil
			r.skew.Store(-int64(ahead))
			r.until(noon.Add(5*time.Hour), 30*time.Second)
			want := []string{"2026-06-01T15:00:00Z", "2026-06-01T16:00:00Z", "2026-06-01T17:00:00Z"}
			if got := r.instants(); len(got) < 3 || !slices.Equal(got[len(got)-3:], want) || !slices.IsSorted(got) {
				t.Errorf("put back by %s: ticks at %v, want %v at last", ahead, got, want)
			}
			if !strings.Contains(r.log.String(), "the system clock was put back") {
				t.Errorf("put back by %s: logged: %s", ahead, &r.log)
			}
		})
	}
}
