package diff

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"pgregory.net/rapid"
)

// traffic is what happens to a queue: messages come, consumers take them in order and
// handle one after the other, and one consumer leaves and comes back. All times are
// from the beginning of a simulation.
type traffic struct {
	published []time.Duration // in order
	handling  []time.Duration // how long the nth delivery is handled
	rejects   int             // of so many deliveries the last is rejected; 0: none
	back      time.Duration   // how long a rejected message waits elsewhere
	consumers int
	prefetch  int             // of each consumer, 0: unlimited
	away      []time.Duration // when the first consumer leaves, comes back, leaves, …
	silent    []time.Duration // when the queue's leader falls silent, answers again, …
}

const never = time.Duration(math.MaxInt64)

// state is the queue from one moment on.
type state struct {
	from                                time.Duration
	ready, unacked, retrying, consumers int
	acknowledged                        int64
}

// simulated is a queue with a known past and future.
type simulated struct {
	traffic
	states []state
	// Of each message.
	acknowledged, delivered []time.Duration
}

// held is a message that a consumer holds: its index, and the number of its delivery.
type held struct{ message, delivery int }

// worker is one consumer. It handles the first of the messages that it holds.
type worker struct {
	away   bool
	holds  []held
	finish time.Duration
}

// waiting is a rejected message, until it comes back.
type waiting struct {
	message int
	until   time.Duration
}

// simulation is the state between two events.
type simulation struct {
	*simulated
	workers               []worker
	ready                 []int // indices of messages, in order
	retrying              []waiting
	away                  []time.Duration
	published, deliveries int
	total                 int64
}

// simulate plays traffic from one event to the next.
func simulate(tr traffic) *simulated {
	s := simulation{simulated: &simulated{traffic: tr}, workers: make([]worker, tr.consumers), away: tr.away}
	s.acknowledged = slices.Repeat([]time.Duration{never}, len(tr.published))
	s.delivered = slices.Repeat([]time.Duration{never}, len(tr.published))
	for now := time.Duration(0); now != never; {
		s.arrive(now)
		if len(s.away) > 0 && s.away[0] <= now {
			s.away = s.away[1:]
			s.turn(&s.workers[0])
		}
		for i := range s.workers {
			s.work(&s.workers[i], now)
		}
		for s.deliver(now) {
		}
		now = s.note(now)
	}
	return s.simulated
}

func (s *simulation) arrive(now time.Duration) {
	for ; s.published < len(s.traffic.published) && s.traffic.published[s.published] <= now; s.published++ {
		s.ready = append(s.ready, s.published)
	}
	for len(s.retrying) > 0 && s.retrying[0].until <= now {
		s.ready, s.retrying = append(s.ready, s.retrying[0].message), s.retrying[1:]
	}
}

// turn lets a consumer leave, so that what it holds goes back to its place, or return.
func (s *simulation) turn(w *worker) {
	w.away = !w.away
	for _, h := range w.holds {
		s.ready = append(s.ready, h.message)
	}
	slices.Sort(s.ready)
	w.holds = nil
}

// work ends the handling of a message, and begins the next one.
func (s *simulation) work(w *worker, now time.Duration) {
	if len(w.holds) == 0 || w.finish > now {
		return
	}
	done := w.holds[0]
	w.holds = w.holds[1:]
	if s.rejects > 0 && done.delivery%s.rejects == s.rejects-1 {
		s.retrying = append(s.retrying, waiting{done.message, now + s.back})
	} else {
		s.acknowledged[done.message] = now
		s.total++
	}
	s.begin(w, now)
}

func (s *simulation) begin(w *worker, now time.Duration) {
	if len(w.holds) > 0 {
		w.finish = now + s.handling[w.holds[0].delivery%len(s.handling)]
	}
}

// deliver gives each consumer that has room one message, and tells whether one had.
func (s *simulation) deliver(now time.Duration) (delivered bool) {
	for i := range s.workers {
		w := &s.workers[i]
		if w.away || len(s.ready) == 0 || (s.prefetch > 0 && len(w.holds) >= s.prefetch) {
			continue
		}
		w.holds = append(w.holds, held{s.ready[0], s.deliveries})
		s.delivered[s.ready[0]] = now
		s.ready = s.ready[1:]
		s.deliveries++
		if len(w.holds) == 1 {
			s.begin(w, now)
		}
		delivered = true
	}
	return delivered
}

// note records the state of now, and returns the moment of the next event.
func (s *simulation) note(now time.Duration) (next time.Duration) {
	next = never
	st := state{from: now, ready: len(s.ready), retrying: len(s.retrying), acknowledged: s.total}
	for _, w := range s.workers {
		st.unacked += len(w.holds)
		if !w.away {
			st.consumers++
		}
		if len(w.holds) > 0 {
			next = min(next, w.finish)
		}
	}
	if len(s.away) > 0 {
		next = min(next, s.away[0])
	}
	if len(s.retrying) > 0 {
		next = min(next, s.retrying[0].until)
	}
	if s.published < len(s.traffic.published) {
		next = min(next, s.traffic.published[s.published])
	}
	s.states = append(s.states, st)
	return next
}

// at is what the queue shows: nothing while its leader is silent.
func (q *simulated) at(t time.Duration) state {
	st := q.states[sort.Search(len(q.states), func(i int) bool { return q.states[i].from > t })-1]
	if sort.Search(len(q.silent), func(i int) bool { return q.silent[i] > t })%2 == 1 {
		st.ready, st.unacked, st.consumers = 0, 0, 0
	}
	return st
}

// end is when the last message is acknowledged and the queue's own troubles are over.
func (q *simulated) end() time.Duration {
	last := max(q.states[len(q.states)-1].from, 0)
	if len(q.silent) > 0 {
		last = max(last, q.silent[len(q.silent)-1])
	}
	return last
}

// observed is a simulated queue as a watch sees it: answers take their time, some
// fail, and statistics, if there are any, are as old as the broker's.
type observed struct {
	*simulated
	random     *rand.Rand
	statistics bool
	failures   float64 // share of looks
	unanswered float64 // share of questions to the management API
	// The moments at which the broker renews its figures of the queue, of its channels,
	// and of the queue where rejected messages wait.
	unackedAt, acknowledgedAt, retryingAt []time.Duration
}

const (
	figuresAge = StatisticsLag - 10*time.Millisecond // at most
	figuresGap = time.Second                         // between two renewals, at least
)

func observe(q *simulated, random *rand.Rand) *observed {
	until := q.end() + 5*time.Minute
	return &observed{simulated: q, random: random,
		unackedAt: renewals(random, until), acknowledgedAt: renewals(random, until), retryingAt: renewals(random, until)}
}

// renewals draws moments that are at most figuresAge apart.
func renewals(random *rand.Rand, until time.Duration) []time.Duration {
	moments := []time.Duration{0}
	for last := time.Duration(0); last < until; {
		last += figuresAge - time.Duration(random.Int64N(int64(figuresAge-figuresGap))*random.Int64N(2))
		moments = append(moments, last)
	}
	return moments
}

// look is one look that is asked for at a moment.
func (q *observed) look(asked time.Duration) (d Depth, answered time.Duration, ok bool) {
	pause := func() time.Duration { return time.Duration(q.random.IntN(150)) * time.Millisecond }
	moment := asked + pause()
	answered = moment + pause()
	if q.random.Float64() < q.failures {
		return Depth{}, answered, false
	}
	now := q.at(moment)
	d = Depth{Ready: now.ready, Consumers: now.consumers}
	if q.statistics && q.random.Float64() >= q.unanswered {
		d.Statistics = q.figures(asked)
	}
	return d, answered, true
}

func (q *observed) figures(asked time.Duration) *Statistics {
	figure := func(moments []time.Duration) state {
		return q.at(moments[sort.Search(len(moments), func(i int) bool { return moments[i] > asked })-1])
	}
	queue, channels, elsewhere := figure(q.unackedAt), figure(q.acknowledgedAt), figure(q.retryingAt)
	s := &Statistics{Unacknowledged: &queue.unacked, Acknowledged: &channels.acknowledged}
	if q.prefetch == 0 {
		s.Unlimited = queue.consumers
	}
	if q.rejects > 0 {
		s.Retrying = &elsewhere.retrying
	}
	return s
}

// drawTraffic draws traffic whose consumers handle a message in at most longest.
func drawTraffic(t *rapid.T, tr traffic, longest time.Duration) traffic {
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
	tr.away = drawTurns(t, "the first consumer leaves or comes back", 20)
	return tr
}

// drawTurns draws when something ends and begins again, an even number of moments.
func drawTurns(t *rapid.T, what string, longest int) (turns []time.Duration) {
	var at time.Duration
	for _, seconds := range rapid.SliceOfN(rapid.IntRange(1, longest), 0, 6).Draw(t, what) {
		at += time.Duration(seconds)*time.Second + 70*time.Millisecond
		turns = append(turns, at)
	}
	return turns[:len(turns)&^1]
}
