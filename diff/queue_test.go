package diff_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/diff"
)

// traffic is what happens to a classic queue: messages come, consumers with a
// prefetch of one take them in order, and one consumer leaves and comes back.
// All times are from the beginning of a simulation.
type traffic struct {
	published []time.Duration // in order
	handling  []time.Duration // how long the nth delivery is handled
	consumers int
	away      []time.Duration // when the first consumer leaves, comes back, leaves, …
}

const never = time.Duration(math.MaxInt64)

// state is the queue from one moment on.
type state struct {
	from                      time.Duration
	ready, unacked, consumers int
	acknowledged              int64
}

// simulated is a queue with a known past and future.
type simulated struct {
	states       []state
	acknowledged []time.Duration // of each message
}

// simulate plays traffic from one event to the next.
func simulate(tr traffic) *simulated {
	type consumer struct {
		away    bool
		holds   int // index of a message, or -1
		finish  time.Duration
		goesOrs []time.Duration // when it leaves or comes back
	}
	consumers := make([]consumer, tr.consumers)
	for i := range consumers {
		consumers[i].holds = -1
	}
	if tr.consumers > 0 {
		consumers[0].goesOrs = tr.away
	}
	q := &simulated{acknowledged: make([]time.Duration, len(tr.published))}
	for i := range q.acknowledged {
		q.acknowledged[i] = never
	}
	var ready []int // indices of messages, in order
	published, deliveries := 0, 0
	var total int64
	for now := time.Duration(0); now != never; {
		for ; published < len(tr.published) && tr.published[published] <= now; published++ {
			ready = append(ready, published)
		}
		for i := range consumers {
			c := &consumers[i]
			if c.holds >= 0 && c.finish <= now {
				q.acknowledged[c.holds] = now
				c.holds = -1
				total++
			}
			if len(c.goesOrs) > 0 && c.goesOrs[0] <= now {
				c.goesOrs = c.goesOrs[1:]
				c.away = !c.away
				if c.holds >= 0 {
					ready = append(ready, c.holds) // back to its place
					slices.Sort(ready)
					c.holds = -1
				}
			}
		}
		next := never
		st := state{from: now, acknowledged: total}
		for i := range consumers {
			c := &consumers[i]
			if !c.away && c.holds < 0 && len(ready) > 0 {
				c.holds, ready = ready[0], ready[1:]
				c.finish = now + tr.handling[deliveries%len(tr.handling)]
				deliveries++
			}
			if c.holds >= 0 {
				st.unacked++
				next = min(next, c.finish)
			}
			if !c.away {
				st.consumers++
			}
			if len(c.goesOrs) > 0 {
				next = min(next, c.goesOrs[0])
			}
		}
		if published < len(tr.published) {
			next = min(next, tr.published[published])
		}
		st.ready = len(ready)
		q.states = append(q.states, st)
		now = next
	}
	return q
}

func (q *simulated) at(t time.Duration) state {
	return q.states[sort.Search(len(q.states), func(i int) bool { return q.states[i].from > t })-1]
}

// observed is a simulated queue as a watch sees it: answers take their time, some
// fail, and statistics, if there are any, are as old as the broker's.
type observed struct {
	*simulated
	begun      time.Time
	random     *rand.Rand
	statistics bool
	// The moments at which the broker renews each of its figures.
	unackedAt, acknowledgedAt []time.Duration
	failures                  float64 // share of looks
}

const figuresAge = diff.StatisticsLag - 10*time.Millisecond // at most

// renewals draws moments that are at most figuresAge apart.
func renewals(random *rand.Rand, until time.Duration) []time.Duration {
	moments := []time.Duration{0}
	for last := time.Duration(0); last < until; {
		last += figuresAge - time.Duration(random.Int64N(int64(figuresAge))*random.Int64N(2))
		moments = append(moments, last)
	}
	return moments
}

func (q *observed) Depth(context.Context) (diff.Depth, error) {
	pause := func() { time.Sleep(time.Duration(q.random.IntN(150)) * time.Millisecond) }
	pause()
	if q.random.Float64() < q.failures {
		return diff.Depth{}, errBroken
	}
	now := q.at(time.Since(q.begun))
	d := diff.Depth{Ready: now.ready, Consumers: now.consumers}
	if q.statistics {
		asked := time.Since(q.begun)
		figure := func(moments []time.Duration) state {
			return q.at(moments[sort.Search(len(moments), func(i int) bool { return moments[i] > asked })-1])
		}
		d.Statistics = &diff.Statistics{Unacknowledged: figure(q.unackedAt).unacked, Acknowledged: figure(q.acknowledgedAt).acknowledged}
	}
	pause()
	return d, nil
}

// drawTraffic draws traffic whose consumers handle a message in at most longest.
func drawTraffic(t *rapid.T, consumers int, longest time.Duration) traffic {
	tr := traffic{consumers: consumers}
	gaps := rapid.SampledFrom([][]time.Duration{
		{0, 10 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond},
		{0, time.Second, 3 * time.Second},
		{100 * time.Millisecond, 5 * time.Second, 20 * time.Second},
		{500 * time.Millisecond},
	}).Draw(t, "gaps")
	var at time.Duration
	for _, gap := range rapid.SliceOfN(rapid.SampledFrom(gaps), 0, 120).Draw(t, "messages") {
		at += gap
		tr.published = append(tr.published, at)
	}
	for _, share := range rapid.SliceOfN(rapid.SampledFrom([]float64{0.001, 0.01, 0.1, 0.25, 0.5, 1}), 1, 8).Draw(t, "handling") {
		tr.handling = append(tr.handling, time.Duration(share*float64(longest)))
	}
	at = 0
	for _, stay := range rapid.SliceOfN(rapid.IntRange(1, 20), 0, 6).Draw(t, "the first consumer leaves or comes back after seconds") {
		at += time.Duration(stay)*time.Second + 70*time.Millisecond
		tr.away = append(tr.away, at)
	}
	if len(tr.away)%2 == 1 && rapid.IntRange(0, 3).Draw(t, "stays away") > 0 {
		tr.away = append(tr.away, at+5*time.Second)
	}
	return tr
}
