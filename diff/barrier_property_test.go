package diff_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/diff"
)

// Whenever a wait for t is over, every message that was in the queue at t, waiting
// or delivered, has been acknowledged. Without statistics, and with several
// consumers, this takes consumers that finish a message within Grace.
func TestABarrierNeverOpensTooEarly(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		statistics bool
		consumers  int
		longest    time.Duration // handling of a message
	}{
		{"one consumer", false, 1, watching.Grace},
		{"three consumers", false, 3, watching.Grace},
		{"one consumer, statistics", true, 1, 40 * time.Second},
		{"one quick consumer, statistics", true, 1, watching.Grace},
		{"three consumers, statistics", true, 3, watching.Grace},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				tr := drawTraffic(t, test.consumers, test.longest)
				random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
				failures := rapid.SampledFrom([]float64{0, 0, 0.01, 0.1}).Draw(t, "looks that fail")
				waits := rapid.SliceOfN(drawWait(tr), 1, 5).Draw(t, "waits")
				rapid.SyncTest(t, func(t *rapid.T) {
					q := observe(simulate(tr), random)
					q.statistics, q.failures = test.statistics, failures
					checkWaits(t, watching, q, tr, waits)
				})
			})
		})
	}
}

func observe(q *simulated, random *rand.Rand) *observed {
	const all = 10 * time.Minute
	return &observed{simulated: q, begun: time.Now(), random: random, unackedAt: renewals(random, all), acknowledgedAt: renewals(random, all)}
}

// wait is one call of Wait: when, and for what moment.
type wait struct{ called, moment time.Duration }

// drawWait draws waits for moments shortly before or after something happens.
func drawWait(tr traffic) *rapid.Generator[wait] {
	events := append(append([]time.Duration{0}, tr.published...), tr.away...)
	return rapid.Custom(func(t *rapid.T) wait {
		offset := rapid.SampledFrom([]int{-8000, -7000, -6300, -5900, -4000, -1900, -200, -1, 0, 1, 300, 2000}).Draw(t, "offset")
		moment := max(rapid.SampledFrom(events).Draw(t, "event")+time.Duration(offset)*time.Millisecond, 0)
		return wait{moment + time.Duration(rapid.SampledFrom([]int{0, 0, 1, 5, 20}).Draw(t, "called later"))*time.Second, moment}
	})
}

// checkWaits lets all waits run and tells how many of them ended in time.
func checkWaits(t interface{ Errorf(string, ...any) }, config diff.WatchConfig, q *observed, tr traffic, waits []wait) (opened int) {
	w := diff.NewWatch("product-created", q, config)
	ctx := context.Background()
	defer running(ctx, w)()
	type end struct {
		wait
		at  time.Duration
		err error
	}
	ends := make(chan end)
	for _, wait := range waits {
		go func() {
			time.Sleep(wait.called)
			err := w.Wait(ctx, q.begun.Add(wait.moment))
			ends <- end{wait, time.Since(q.begun), err}
		}()
	}
	for range waits {
		e := <-ends
		if e.err != nil {
			continue
		}
		opened++
		for i, published := range tr.published {
			if published <= e.moment && q.acknowledged[i] > e.at {
				t.Errorf("a wait for %s, called at %s, was over at %s; message %d, queued at %s, was acknowledged at %s",
					e.moment, e.called, e.at, i, published, q.acknowledged[i])
				break
			}
		}
	}
	return opened
}

// A queue that is never empty is drained by count.
func TestABarrierOpensUnderConstantTraffic(t *testing.T) {
	t.Parallel()
	for _, consumers := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			tr := traffic{consumers: consumers, handling: []time.Duration{time.Duration(consumers) * 50 * time.Millisecond}}
			for i := range 30 * consumers {
				tr.published = append(tr.published, time.Duration(i))
			}
			for at := time.Duration(0); at < 3*time.Minute; at += 50 * time.Millisecond {
				tr.published = append(tr.published, at)
			}
			sim := simulate(tr)
			for _, s := range sim.states[1:] {
				if s.from < 3*time.Minute && s.from > time.Second && s.ready == 0 {
					t.Fatalf("the queue is empty at %s", s.from)
				}
			}
			q := observe(sim, rand.New(rand.NewPCG(1, 2)))
			q.statistics = true
			var waits []wait
			for i := range 30 { // more than are followed at once
				called := 5*time.Second + time.Duration(i)*300*time.Millisecond
				waits = append(waits, wait{called, called - time.Duration(i%3)*time.Second})
			}
			patient := watching // moments beyond those that are followed at once wait for their turn
			patient.StallTimeout = 2 * time.Minute
			if opened := checkWaits(t, patient, q, tr, waits); opened != len(waits) {
				t.Errorf("%d of %d waits ended", opened, len(waits))
			}
		})
	}
}
