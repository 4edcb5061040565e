package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

const (
	redrawInterval = 100 * time.Millisecond
	lineInterval   = 5 * time.Second // between two plain lines of one phase
)

// display shows a run's progress on standard error: a live bar for a person,
// plain lines elsewhere, nothing beside JSON that a program reads.
type display struct {
	progress func() run.Progress
	kinds    run.Kinds // those that are repaired
	show     func(snapshot)
	finish   func()
	began    mark
	quit     chan struct{}
	ended    sync.WaitGroup
}

func newDisplay(t terminal, output string, progress func() run.Progress, kinds run.Kinds) *display {
	d := &display{progress: progress, kinds: kinds, quit: make(chan struct{}), finish: func() {}, show: func(snapshot) {}}
	switch {
	case interactive(t.err):
		d.showBar(t)
	case output == outputText:
		d.showLines(t)
	}
	return d
}

func (d *display) start() {
	d.ended.Go(func() {
		tick := time.NewTicker(redrawInterval)
		defer tick.Stop()
		for {
			d.show(d.snapshot())
			select {
			case <-tick.C:
			case <-d.quit:
				return
			}
		}
	})
}

func (d *display) stop() {
	close(d.quit)
	d.ended.Wait()
	d.finish()
}

// mark is where a count began: rates are those of what is counted now.
type mark struct {
	what string
	at   time.Time
	done int64
}

// snapshot is what there is to say at one moment.
type snapshot struct {
	run.Progress
	kinds run.Kinds
	began mark
}

func (d *display) snapshot() snapshot {
	s := snapshot{Progress: d.progress(), kinds: d.kinds}
	if done, _, what := s.share(); d.began.what != what || done < d.began.done {
		d.began = mark{what, time.Now(), done}
	}
	s.began = d.began
	return s
}

// share is how many products are done, of how many, and what that means.
func (s *snapshot) share() (done, total int64, what string) { return words.Share(&s.Progress, s.kinds) }

// rate is products per second.
func (s *snapshot) rate() float64 {
	elapsed := time.Since(s.began.at)
	if elapsed < redrawInterval {
		return 0
	}
	done, _, _ := s.share()
	return float64(done-s.began.done) / elapsed.Seconds()
}

// eta is empty where it is not known: the number of products is an estimate, so it
// does not say when all are compared.
func (s *snapshot) eta() string {
	done, total, what := s.share()
	rate := s.rate()
	if rate == 0 || done >= total || s.Scanned && what == "compared" {
		return ""
	}
	left := time.Duration(float64(total-done) / rate * float64(time.Second))
	return "ETA " + left.Round(time.Second).String()
}

// details is the line behind the numbers.
func (s *snapshot) details() string {
	var parts []string
	_, _, what := s.share()
	switch rate := int64(s.rate()); {
	case s.Scanned && what == "compared":
		parts = append(parts, "all compared")
	case rate > 0:
		parts = append(parts, grouped(rate)+"/s")
	}
	if eta := s.eta(); eta != "" {
		parts = append(parts, eta)
	}
	parts = append(parts, words.Differences(&s.Progress))
	if s.Attempts > 1 {
		parts = append(parts, fmt.Sprintf("attempt %d", s.Attempts))
	}
	if waits := words.Waits(&s.Progress, words.CLI); waits != "" {
		parts = append(parts, waits)
	}
	if s.Throttle != "" {
		parts = append(parts, "publishing pauses: "+s.Throttle)
	}
	return printable(strings.Join(parts, ", "))
}

func (d *display) showBar(t terminal) {
	restore := func() {}
	if f, is := t.err.(*os.File); is {
		restore = withoutEcho(f)
	}
	const widest, spaces = 30, 3 // columns of the bar, and around it
	bars := mpb.New(mpb.WithOutput(t.err), mpb.WithWidth(min(widest, max(screenOf(t.err).width/4, 1))), mpb.WithRefreshRate(redrawInterval))
	var mu sync.Mutex
	var latest snapshot
	read := func(say func(snapshot, int) string) decor.Decorator {
		return decor.Any(func(now decor.Statistics) string {
			mu.Lock()
			defer mu.Unlock()
			return say(latest, now.AvailableWidth-now.RequestedWidth-spaces)
		})
	}
	bar := bars.New(0, mpb.BarStyle().Lbound("").Rbound("").Filler("█").Tip("█").Padding("░"),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(read(func(s snapshot, _ int) string { return fmt.Sprintf("%-10s ", s.Phase) })),
		mpb.AppendDecorators(read(func(s snapshot, room int) string {
			done, total, _ := s.share()
			// A longer line would push the bar out of the screen.
			return fitting(fmt.Sprintf(" %s/%s  %s", grouped(done), grouped(total), s.details()), room)
		})),
	)
	d.show = func(s snapshot) {
		mu.Lock()
		latest = s
		mu.Unlock()
		done, total, _ := s.share()
		bar.SetTotal(max(total, done+1), false) // never complete before the end
		bar.SetCurrent(done)
	}
	d.finish = func() {
		bar.Abort(true)
		bars.Wait()
		restore()
	}
}

// fitting is s without what exceeds so many columns.
func fitting(s string, columns int) string {
	if runewidth.StringWidth(s) <= columns {
		return s
	}
	return runewidth.Truncate(s, max(columns, 0), "…")
}

func (d *display) showLines(t terminal) {
	var said string
	last := time.Now()
	d.show = func(s snapshot) {
		state := string(s.Phase) + s.Throttle
		if s.Phase == "" || s.Phase == run.PhasePlanning || s.Phase == run.PhaseDone || state == said && time.Since(last) < lineInterval {
			return
		}
		said, last = state, time.Now()
		done, total, what := s.share()
		fmt.Fprintf(t.err, "%s: %s of %s products %s, %s\n", s.Phase, grouped(done), grouped(total), what, s.details())
	}
}
