package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
)

const (
	redrawInterval = 100 * time.Millisecond
	lineInterval   = 5 * time.Second // between two plain lines of one phase
)

// display shows a run's progress on standard error: a live bar for a person,
// plain lines elsewhere, nothing beside JSON that a program reads.
type display struct {
	run    *reconcile.Run
	show   func(snapshot)
	finish func()
	began  mark
	quit   chan struct{}
	ended  sync.WaitGroup
}

func newDisplay(t terminal, output string, engine *reconcile.Run) *display {
	d := &display{run: engine, quit: make(chan struct{}), finish: func() {}, show: func(snapshot) {}}
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

// mark is where a phase began: rates are those of the phase.
type mark struct {
	stage string
	at    time.Time
	done  int64
}

// snapshot is what there is to say at one moment.
type snapshot struct {
	run.Progress
	began mark
}

func (d *display) snapshot() snapshot {
	s := snapshot{Progress: d.run.Progress()}
	if done, _ := s.part(); d.began.stage != s.stage() || done < d.began.done {
		d.began = mark{s.stage(), time.Now(), done}
	}
	s.began = d.began
	return s
}

// stage groups phases that count the same thing: a comparison goes on behind a
// confirmation, and a repair is proved in the end.
func (s snapshot) stage() string {
	if s.Phase == run.PhaseRepairing || s.Phase == run.PhaseProving {
		return "repair"
	}
	return "compare"
}

// part is how much of the present stage is done, and of how much.
func (s snapshot) part() (done, total int64) {
	if s.stage() == "repair" {
		return s.Acted, max(s.Suspects[product.Missing], s.Acted)
	}
	return s.Compared, max(s.Total, s.Compared)
}

// counted tells whether there is nothing left to count in the present phase. The
// number of products is an estimate, or unknown, so it does not say when all are
// compared; nor are all that are missing repaired before they are proved.
func (s snapshot) counted() bool {
	switch s.Phase {
	case run.PhaseRepairing:
		done, total := s.part()
		return done >= total
	case run.PhaseProving:
		return true
	}
	return s.Scanned
}

// rate is products per second of the present stage.
func (s snapshot) rate() float64 {
	elapsed := time.Since(s.began.at)
	if elapsed < redrawInterval {
		return 0
	}
	done, _ := s.part()
	return float64(done-s.began.done) / elapsed.Seconds()
}

func (s snapshot) eta() string {
	done, total := s.part()
	rate := s.rate()
	if rate == 0 || done >= total || s.counted() {
		return ""
	}
	left := time.Duration(float64(total-done) / rate * float64(time.Second))
	return "ETA " + left.Round(time.Second).String()
}

// details is the line behind the bar.
func (s snapshot) details() string {
	var parts []string
	switch rate := int64(s.rate()); {
	case s.counted() && s.complete() != "":
		parts = append(parts, s.complete())
	case rate > 0:
		parts = append(parts, grouped(rate)+"/s")
	}
	if eta := s.eta(); eta != "" {
		parts = append(parts, eta)
	}
	parts = append(parts, s.differences())
	if s.Round > 1 {
		parts = append(parts, fmt.Sprintf("round %d", s.Round))
	}
	if s.Throttle != "" {
		parts = append(parts, "waiting: "+s.Throttle)
	}
	return strings.Join(parts, ", ")
}

// complete says what a phase does when there is nothing left to count.
func (s snapshot) complete() string {
	switch {
	case s.Waiting != "":
		return "waiting " + s.Waiting
	case s.Phase == run.PhaseComparing:
		return "all compared"
	case s.Phase == run.PhaseRepairing:
		return "all repaired"
	}
	return ""
}

func (s snapshot) differences() string {
	var found []string
	for _, kind := range product.Kinds() {
		if n := s.Suspects[kind]; n > 0 {
			found = append(found, fmt.Sprintf("%s %s", grouped(n), kind))
		}
	}
	if len(found) == 0 {
		return "no differences so far"
	}
	return strings.Join(found, ", ")
}

func (d *display) showBar(t terminal) {
	bars := mpb.New(mpb.WithOutput(t.err), mpb.WithWidth(30), mpb.WithRefreshRate(redrawInterval))
	var mu sync.Mutex
	var latest snapshot
	read := func(say func(snapshot) string) decor.Decorator {
		return decor.Any(func(decor.Statistics) string {
			mu.Lock()
			defer mu.Unlock()
			return say(latest)
		})
	}
	bar := bars.New(0, mpb.BarStyle().Lbound("").Rbound("").Filler("█").Tip("█").Padding("░"),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(read(func(s snapshot) string { return fmt.Sprintf("%-10s ", s.Phase) })),
		mpb.AppendDecorators(read(func(s snapshot) string {
			done, total := s.part()
			return fmt.Sprintf(" %s/%s  %s", grouped(done), grouped(total), s.details())
		})),
	)
	d.show = func(s snapshot) {
		mu.Lock()
		latest = s
		mu.Unlock()
		done, total := s.part()
		bar.SetTotal(max(total, done+1), false) // never complete before the end
		bar.SetCurrent(done)
	}
	d.finish = func() {
		bar.Abort(true)
		bars.Wait()
	}
}

func (d *display) showLines(t terminal) {
	var phase run.Phase
	var throttle string
	last := time.Now()
	d.show = func(s snapshot) {
		if s.Phase == "" || s.Phase == run.PhasePlanning || s.Phase == run.PhaseDone || (s.Phase == phase && s.Throttle == throttle && time.Since(last) < lineInterval) {
			return
		}
		phase, throttle, last = s.Phase, s.Throttle, time.Now()
		done, total := s.part()
		fmt.Fprintf(t.err, "%s: %s of %s products, %s\n", s.Phase, grouped(done), grouped(total), s.details())
	}
}

// grouped is a number with separators, as people read it.
func grouped(n int64) string {
	digits := fmt.Sprint(max(n, -n))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if n < 0 {
		return "-" + digits
	}
	return digits
}

// coloured paints s where w is a person's screen.
func coloured(on bool, c text.Color, s string) string {
	if !on {
		return s
	}
	return c.Sprint(s)
}
