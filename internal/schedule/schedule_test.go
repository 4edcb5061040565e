package schedule_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/ecom-micro/etl/internal/schedule"
)

func TestOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		config := schedule.Config{Sync: "@every 1m", Health: "@every 1m", Recent: "off", Timezone: "UTC"}
		job := func(context.Context, schedule.Tick) { t.Error("a job ran") }
		clock := clockwork.NewFakeClockAt(noon)
		s, err := schedule.New(config, []schedule.Job{{Name: "sync", Expression: "@every 1m", Do: job}, {Name: "health", Expression: "@every 1m", Do: job}}, slog.New(slog.DiscardHandler), schedule.WithClock(clock))
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		for range 100 {
			synctest.Wait()
			clock.Advance(time.Minute)
		}
		synctest.Wait()
		checkStatus(t, s, "sync", schedule.Status{})
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func checkStatus(t *testing.T, s *schedule.Scheduler, job string, want schedule.Status) {
	t.Helper()
	if got := s.Status(job); got != want {
		t.Errorf("the status of %s is %+v, want %+v", job, got, want)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 6, day, hour, minute, 0, 0, time.UTC) }
	synctest.Test(t, func(t *testing.T) {
		r := start(t, schedule.Config{Sync: "30 2 * * *", Health: "@hourly", Recent: "off", Enabled: true, Timezone: "Europe/Berlin"}, noon)
		defer r.stop(t)
		checkStatus(t, r.Scheduler, "sync", schedule.Status{Next: at(2, 0, 30)})
		checkStatus(t, r.Scheduler, "health", schedule.Status{Next: at(1, 13, 0)})
		r.until(noon.Add(13*time.Hour), time.Minute)
		checkStatus(t, r.Scheduler, "sync", schedule.Status{Next: at(3, 0, 30), Last: at(2, 0, 30)})
		checkStatus(t, r.Scheduler, "health", schedule.Status{Next: at(2, 2, 0), Last: at(2, 1, 0)})
		checkStatus(t, r.Scheduler, "another", schedule.Status{})
	})
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, hourly(), noon)
		var ended bool
		r.job = func(ctx context.Context, _ schedule.Tick) {
			<-ctx.Done()
			time.Sleep(3 * time.Second)
			ended = true
		}
		r.advance(time.Hour)
		r.stop(t)
		if !ended {
			t.Error("the job was not waited for")
		}
		r.stop(t) // once more
		r.until(noon.Add(5*time.Hour), time.Minute)
		if len(r.ticks) != 1 {
			t.Errorf("ticks at %v, the last of them after the shutdown", r.instants())
		}
	})
}

func TestShutdownOfAStuckJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, hourly(), noon)
		stuck := make(chan struct{})
		r.job = func(context.Context, schedule.Tick) { <-stuck }
		r.advance(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := r.Shutdown(ctx)
		if err == nil || err.Error() != "shut the scheduler down: the job sync has not ended: context deadline exceeded" {
			t.Error(err)
		}
		close(stuck)
	})
}

func TestShutdownBeforeStart(t *testing.T) {
	t.Parallel()
	s, err := schedule.New(schedule.Config{Sync: "@hourly", Health: "@hourly", Recent: "off", Enabled: true, Timezone: "UTC"}, []schedule.Job{{Name: "sync", Expression: "@hourly"}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// The system's clock drives it where no other is given.
func TestSystemClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ticks []time.Time
		s, err := schedule.New(schedule.Config{Sync: "* * * * * *", Health: "@hourly", Recent: "off", Enabled: true, Timezone: "UTC"}, []schedule.Job{
			{Name: "sync", Expression: "* * * * * *", Do: func(_ context.Context, tick schedule.Tick) { ticks = append(ticks, tick.Instant) }},
		}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		s.Start()
		time.Sleep(200*time.Second + time.Millisecond)
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if len(ticks) != 200 {
			t.Fatalf("%d ticks in 200 s", len(ticks))
		}
		for i, instant := range ticks {
			if !instant.Equal(begun.Add(time.Duration(i+1) * time.Second)) {
				t.Errorf("tick %d at %s", i, instant)
			}
		}
	})
}
