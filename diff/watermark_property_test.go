package diff

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	testGrace    = 2 * time.Second
	testInterval = 200 * time.Millisecond
)

// watermarkCase is a kind of queue, and what is known of it.
type watermarkCase struct {
	name       string
	kind       traffic
	longest    time.Duration // handling of a message
	statistics bool
	unanswered bool // the management API fails to answer now and then
	silent     bool // the queue's leader falls silent now and then
	// missed is for how long a message may be held that is missed, and drained how long
	// after everything is consumed the watermark may take to show it.
	missed, drained time.Duration
}

// looks is more than what the looks of a proof take beside its waits.
const looks = 3 * time.Second

func watermarkCases() []watermarkCase {
	return []watermarkCase{
		{name: "AMQP alone, one consumer", kind: traffic{consumers: 1, prefetch: 1}, longest: testGrace, silent: true,
			drained: testGrace + looks},
		{name: "AMQP alone, three consumers", kind: traffic{consumers: 3, prefetch: 1}, longest: testGrace,
			drained: testGrace + looks},
		{name: "AMQP alone, a prefetch of five", kind: traffic{consumers: 1, prefetch: 5}, longest: testGrace / 5,
			drained: testGrace + looks},
		{name: "statistics, a quick consumer", kind: traffic{consumers: 1, prefetch: 1}, longest: testGrace, statistics: true, unanswered: true, silent: true,
			drained: StatisticsLag + testGrace + looks},
		{name: "statistics, three quick consumers", kind: traffic{consumers: 3, prefetch: 1}, longest: testGrace, statistics: true, unanswered: true,
			drained: StatisticsLag + testGrace + looks},
		// What is held for less than the figures take may be missed, as without them.
		{name: "statistics, a slow consumer", kind: traffic{consumers: 1, prefetch: 1}, longest: 40 * time.Second, statistics: true,
			missed: StatisticsLag, drained: StatisticsLag + testGrace + looks},
		{name: "statistics, one consumer without prefetch", kind: traffic{consumers: 1}, longest: 5 * time.Second, statistics: true, unanswered: true, silent: true,
			drained: 2*StatisticsLag + testGrace + looks},
		{name: "statistics, three consumers without prefetch", kind: traffic{consumers: 3}, longest: 5 * time.Second, statistics: true, unanswered: true,
			drained: 2*StatisticsLag + testGrace + looks},
		{name: "statistics, rejected messages come back", kind: traffic{consumers: 2, prefetch: 1, rejects: 3, back: StatisticsLag + 2*figuresGap}, longest: testGrace, statistics: true,
			drained: 2*StatisticsLag + testGrace + looks},
	}
}

// The watermark never passes a moment before which something was queued that is not
// consumed, and always passes the moment at which everything is.
func TestTheWatermarkIsTrue(t *testing.T) {
	t.Parallel()
	for _, test := range watermarkCases() {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				tr := drawTraffic(t, test.kind, test.longest)
				if test.silent {
					tr.silent = drawTurns(t, "the leader falls silent or answers again", 59)
				}
				q := observe(simulate(tr), rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
				q.statistics = test.statistics
				q.failures = rapid.SampledFrom([]float64{0, 0, 0.01, 0.1}).Draw(t, "looks that fail")
				if test.unanswered {
					q.unanswered = rapid.SampledFrom([]float64{0, 0.05, 0.3}).Draw(t, "questions without an answer")
				}
				checkWatermark(t, q, test.missed, test.drained)
			})
		})
	}
}

func checkWatermark(t *rapid.T, q *observed, missed, drained time.Duration) {
	begun := time.Unix(1e9, 0)
	h := drainHistory{grace: testGrace, vacancy: DefaultVacancy}
	end := q.end()
	passed := time.Duration(-1) // what was checked
	for asked := time.Duration(0); asked < end+drained; {
		if asked >= end {
			q.failures, q.unanswered = 0, 0
		}
		d, answered, ok := q.look(asked)
		if !ok {
			h.lost()
		} else {
			h.saw(begun.Add(asked), begun.Add(answered), d)
		}
		if !h.passed.IsZero() && h.passed.Sub(begun) != passed {
			if h.passed.Sub(begun) < passed {
				t.Fatalf("the watermark went back from %s to %s", passed, h.passed.Sub(begun))
			}
			before := passed
			passed = h.passed.Sub(begun)
			for i, published := range q.published {
				if published >= before && published < passed && q.acknowledged[i] > answered && q.delivered[i] <= answered-missed {
					t.Fatalf("at %s the watermark is %s; message %d, queued at %s and last delivered at %s, was acknowledged at %s",
						answered, passed, i, published, q.delivered[i], q.acknowledged[i])
				}
			}
		}
		asked = max(asked+testInterval, answered)
	}
	if passed < end {
		t.Fatalf("all is consumed and seen since %s, and %s later the watermark is %s", end, drained, passed)
	}
}

// A queue that is never empty is drained by count, over and over.
func TestTheWatermarkMovesUnderConstantTraffic(t *testing.T) {
	t.Parallel()
	for _, kind := range []traffic{{consumers: 1, prefetch: 1}, {consumers: 2, prefetch: 1}, {consumers: 1}} {
		const lasts = 5 * time.Minute
		tr := kind
		tr.handling = []time.Duration{time.Duration(kind.consumers) * 50 * time.Millisecond}
		for i := range 30 * kind.consumers {
			tr.published = append(tr.published, time.Duration(i))
		}
		for at := time.Duration(0); at < lasts; at += 50 * time.Millisecond {
			tr.published = append(tr.published, at)
		}
		q := observe(simulate(tr), rand.New(rand.NewPCG(1, 2)))
		q.statistics = true
		h := drainHistory{grace: testGrace, vacancy: DefaultVacancy}
		begun := time.Unix(1e9, 0)
		moves := 0
		for asked := time.Second; asked < lasts-time.Second; {
			before := h.passed
			d, answered, _ := q.look(asked)
			if d.Ready+q.at(asked).unacked == 0 {
				t.Fatalf("%+v: the queue is empty at %s", kind, asked)
			}
			h.saw(begun.Add(asked), begun.Add(answered), d)
			if h.passed.After(before) {
				moves++
			}
			asked = max(asked+testInterval, answered)
		}
		if moves < 5 || begun.Add(lasts).Sub(h.passed) > 2*time.Minute {
			t.Errorf("%+v: the watermark moved %d times and is %s behind", kind, moves, begun.Add(lasts).Sub(h.passed))
		}
	}
}
