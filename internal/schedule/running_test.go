package schedule_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/ecom-micro/etl/internal/schedule"
)

// running is a started scheduler that lives by a clock which the test moves.
type running struct {
	*schedule.Scheduler
	clock *clockwork.FakeClock
	skew  atomic.Int64 // what the wall clock is ahead of the clock that timers go by
	ticks []schedule.Tick
	log   bytes.Buffer                         // warnings
	job   func(context.Context, schedule.Tick) // of each sync tick, where it is set
}

// Now is the wall clock.
func (r *running) Now() time.Time { return r.clock.Now().Add(time.Duration(r.skew.Load())) }

// wall is a clock whose wall clock time and timers may disagree.
type wall struct {
	clockwork.Clock
	now func() time.Time
}

func (w wall) Now() time.Time { return w.now() }

// start is called within a synctest bubble.
func start(t *testing.T, config schedule.Config, at time.Time) *running {
	t.Helper()
	r := &running{clock: clockwork.NewFakeClockAt(at)}
	if config.Health == "" {
		config.Health, config.Recent = "@yearly", "off"
	}
	s, err := schedule.New(config, []schedule.Job{{Name: "sync", Expression: config.Sync, Do: func(ctx context.Context, tick schedule.Tick) {
		r.ticks = append(r.ticks, tick)
		if r.job != nil {
			r.job(ctx, tick)
		}
	},
	}, {Name: "health", Expression: config.Health, Do: func(context.Context, schedule.Tick) {}},
	}, slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelWarn})), schedule.WithClock(wall{r.clock, r.Now}))
	if err != nil {
		t.Fatal(err)
	}
	r.Scheduler = s
	s.Start()
	synctest.Wait()
	return r
}

func (r *running) advance(d time.Duration) {
	r.clock.Advance(d)
	synctest.Wait()
}

// until moves the clock by steps, so that no two ticks of a minute come at once.
func (r *running) until(end time.Time, step time.Duration) {
	for r.Now().Before(end) {
		r.advance(min(step, end.Sub(r.Now())))
	}
}

func (r *running) instants() []string {
	texts := make([]string, len(r.ticks))
	for i, tick := range r.ticks {
		texts[i] = tick.Instant.Format(time.RFC3339Nano)
	}
	return texts
}

func (r *running) stop(t *testing.T) {
	t.Helper()
	if err := r.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func hourly() schedule.Config {
	return schedule.Config{Sync: "@hourly", Enabled: true, Timezone: "UTC"}
}

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
