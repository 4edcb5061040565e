package ui

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// timeline is a chart of how the cart stood: a bar for each period, as high as what differed, by
// kind on top of each other; periods in which events did not arrive are shaded, and those that
// nothing is known of.
type timeline struct {
	Title, Summary, From, Peak string
	Width, Height              int
	Bars, Outages, Gaps        []bar
}

// bar is a rectangle.
type bar struct {
	X, Y, Width, Height float64
	Tone, Title         string
}

// The charts' own units: a period is so wide, and the largest one so high.
const (
	period   = 10
	tallest  = 100
	dayHours = 24
)

// timeline draws the last day by hours and the last month by days, nothing where nothing was
// kept yet.
func (u *UI) timeline(ctx context.Context) ([]timeline, error) {
	const month = 30
	now := time.Now().UTC()
	samples, err := u.parts.Runs.Samples(ctx, now.Add(-month*dayHours*time.Hour))
	if err != nil || len(samples) == 0 {
		return nil, err
	}
	hour := now.Truncate(time.Hour).Add(time.Hour)
	day := now.Truncate(dayHours * time.Hour).Add(dayHours * time.Hour)
	return []timeline{
		draw("24 hours", "15:04", samples, hour, time.Hour, dayHours),
		draw("30 days", "Jan 2", samples, day, dayHours*time.Hour, month),
	}, nil
}

// draw draws so many steps up to an end.
func draw(title, format string, samples []run.Sample, end time.Time, step time.Duration, steps int) timeline {
	begin := end.Add(-time.Duration(steps) * step)
	t := timeline{Title: title, Width: steps * period, Height: tallest, From: begin.Format(format)}
	merged := make([]*run.Sample, steps)
	for i := range samples {
		if at := int(samples[i].At.Sub(begin) / step); !samples[i].At.Before(begin) && at < steps {
			merged[at] = worse(merged[at], &samples[i])
		}
	}
	var peak int64
	outages, differing := 0, 0
	for _, s := range merged {
		if s == nil {
			continue
		}
		peak = max(peak, total(s))
		if total(s) > 0 {
			differing++
		}
		if s.Delivery == run.Severed {
			outages++
		}
	}
	for i, s := range merged {
		x, at := float64(i*period), begin.Add(time.Duration(i)*step).Format("Jan 2 15:04")
		switch {
		case s == nil:
			t.Gaps = append(t.Gaps, bar{X: x, Width: period, Title: at + ": nothing is known"})
			continue
		case s.Delivery == run.Severed || s.Delivery == run.Stalled:
			t.Outages = append(t.Outages, bar{X: x, Width: period, Tone: tone(s.Delivery), Title: at + ": delivery was " + string(s.Delivery)})
		}
		y := float64(tallest)
		for _, part := range []struct {
			kind product.Kind
			tone string
		}{{product.Missing, bad}, {product.Stale, warning}, {product.Orphaned, neutral}} {
			n := s.Differing[part.kind]
			if n == 0 {
				continue
			}
			const least = 2 // so that one product shows beside a million
			height := max(float64(n)/float64(peak)*tallest, least)
			y -= height
			t.Bars = append(t.Bars, bar{X: x + 1, Y: max(y, 0), Width: period - 2, Height: height, Tone: part.tone, Title: fmt.Sprintf("%s: %s %s", at, words.Number(n), part.kind)})
		}
	}
	unit := "hour"
	if step > time.Hour {
		unit = "day"
	}
	parts := []string{"nothing differed"}
	if differing > 0 {
		parts[0] = "products differed in " + words.Counted(differing, unit)
		t.Peak = "at most " + words.Number(peak)
	}
	if outages > 0 {
		parts = append(parts, "events did not arrive in "+words.Counted(outages, unit))
	}
	var lag time.Duration
	for _, s := range merged {
		if s != nil {
			lag = max(lag, s.Lag)
		}
	}
	const long = 15 * time.Minute
	if lag > long {
		parts = append(parts, "detectors were up to "+lasted(lag)+" behind")
	}
	t.Summary = strings.Join(parts, ", ")
	return t
}

func total(s *run.Sample) (n int64) {
	for _, of := range s.Differing {
		n += of
	}
	return n
}

// worse is the worse of each that two samples say.
func worse(a, b *run.Sample) *run.Sample {
	if a == nil {
		return b
	}
	w := run.Sample{At: a.At, Differing: make(map[product.Kind]int64), Blocked: max(a.Blocked, b.Blocked), Delivery: a.Delivery, Lag: max(a.Lag, b.Lag)}
	for _, kind := range product.Kinds() {
		w.Differing[kind] = max(a.Differing[kind], b.Differing[kind])
	}
	for _, state := range run.DeliveryStates() {
		if a.Delivery == state || b.Delivery == state {
			w.Delivery = state // the last is the worst
		}
	}
	return &w
}
