package diff

import (
	"testing"
	"time"
)

// step is what a queue looks like from one moment on.
type step struct {
	from  time.Duration
	depth Depth
	lost  bool // looks fail
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

// depths of a queue with one consumer

func ready(n int) Depth { return Depth{Ready: n, Consumers: 1} }

func counted(ready, unacknowledged int, acknowledged int64) Depth {
	return Depth{Ready: ready, Consumers: 1, Statistics: &Statistics{Unacknowledged: &unacknowledged, Acknowledged: &acknowledged}}
}

// unlimited is counted, where the consumer has no prefetch.
func unlimited(ready, unacknowledged int, acknowledged int64) Depth {
	d := counted(ready, unacknowledged, acknowledged)
	d.Statistics.Unlimited = 1
	return d
}

// retrying is counted, where rejected messages wait elsewhere.
func retrying(ready, elsewhere int, acknowledged int64) Depth {
	d := counted(ready, 0, acknowledged)
	d.Statistics.Retrying = &elsewhere
	return d
}

// with is a depth with another number of consumers.
func with(consumers int, d Depth) Depth {
	d.Consumers = consumers
	return d
}

// watermarkTest is a queue's story, told by a look every testInterval.
type watermarkTest struct {
	name   string
	steps  []step
	slow   time.Duration // each look
	moment time.Duration // of interest
	passed time.Duration // when the watermark reaches it, or stalls
}

// stalls stands for a watermark that does not reach the moment within patience.
const (
	stalls   = -1
	patience = 3 * time.Minute
)

func (test *watermarkTest) run() time.Duration {
	begun := time.Unix(1e9, 0)
	h := drainHistory{grace: testGrace, vacancy: DefaultVacancy}
	for asked := time.Duration(0); asked < patience; {
		now := test.steps[0]
		for _, s := range test.steps {
			if s.from <= asked {
				now = s
			}
		}
		answered := asked + test.slow
		if now.lost {
			h.lost()
		} else {
			h.saw(begun.Add(asked), begun.Add(answered), now.depth)
		}
		if !h.passed.IsZero() && h.passed.Sub(begun) >= test.moment {
			return answered
		}
		asked = max(asked+testInterval, answered)
	}
	return stalls
}

func runWatermarkTests(t *testing.T, tests []watermarkTest) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if passed := test.run(); passed != test.passed {
				t.Errorf("the watermark passes %s at %s, want %s", test.moment, passed, test.passed)
			}
		})
	}
}

func TestWatermarkByEmptyLooks(t *testing.T) {
	t.Parallel()
	runWatermarkTests(t, []watermarkTest{
		{name: "always empty", steps: []step{{depth: ready(0)}}, passed: seconds(2)},
		{name: "the first look after the moment counts", steps: []step{{depth: ready(0)}}, moment: seconds(9.1), passed: seconds(11.2)},
		{name: "drained later", steps: []step{{depth: ready(5000)}, {from: seconds(30), depth: ready(0)}}, passed: seconds(32)},
		{name: "empty before the moment", steps: []step{{depth: ready(0)}, {from: seconds(5), depth: ready(3)}}, moment: seconds(4.9), passed: stalls},
		{name: "empty for less than the grace", steps: []step{{depth: ready(1)}, {from: seconds(3), depth: ready(0)}, {from: seconds(4.9), depth: ready(1)}}, passed: stalls},
		{name: "empty for less than the grace, twice", steps: []step{
			{depth: ready(1)}, {from: seconds(3), depth: ready(0)}, {from: seconds(3.1), depth: ready(1)},
			{from: seconds(4.7), depth: ready(0)}, {from: seconds(4.9), depth: ready(1)},
		}, passed: stalls},
		{name: "traffic between two empty looks does not matter", steps: []step{
			{depth: ready(1)}, {from: seconds(3), depth: ready(0)}, {from: seconds(3.1), depth: ready(9)}, {from: seconds(5), depth: ready(0)}, {from: seconds(5.1), depth: ready(9)},
		}, passed: seconds(5)},
		{name: "a look that fails forgets", steps: []step{{depth: ready(0)}, {from: seconds(2), lost: true}, {from: seconds(2.1), depth: ready(0)}}, passed: seconds(4.2)},
		{name: "a consumer that leaves forgets", steps: []step{{depth: with(2, ready(0))}, {from: seconds(2), depth: ready(0)}}, passed: seconds(4)},
		{name: "a consumer that leaves unseen forgets", steps: []step{{depth: with(2, ready(0))}, {from: seconds(1), lost: true}, {from: seconds(1.1), depth: ready(0)}}, passed: seconds(3.2)},
		{name: "a consumer that leaves and comes back forgets", steps: []step{{depth: ready(0)}, {from: seconds(2), depth: with(0, ready(0))}, {from: seconds(2.1), depth: ready(0)}}, passed: seconds(4.2)},
		{name: "a consumer that flaps forgets", steps: []step{{depth: with(3, ready(0))}, {from: seconds(1), depth: with(2, ready(0))}, {from: seconds(1.1), depth: with(3, ready(0))}}, passed: seconds(3)},
		{name: "a consumer that joins does not", steps: []step{{depth: ready(0)}, {from: seconds(1), depth: with(2, ready(0))}}, passed: seconds(2)},
		{name: "never empty", steps: []step{{depth: ready(1)}}, passed: stalls},
		{name: "never seen", steps: []step{{lost: true}}, passed: stalls},
		// A look counts from when it was asked for and until it was answered.
		{name: "slow looks", steps: []step{{depth: ready(0)}}, slow: time.Second, passed: seconds(4)},
		{name: "a look asked for before the moment", steps: []step{{depth: ready(0)}}, slow: time.Second, moment: seconds(0.5), passed: seconds(5)},
	})
}

// A quorum queue without a leader shows neither messages nor consumers.
func TestWatermarkOfAVacantQueue(t *testing.T) {
	t.Parallel()
	vacant := with(0, ready(0))
	runWatermarkTests(t, []watermarkTest{
		{name: "from the start", steps: []step{{depth: vacant}}, passed: seconds(62)},
		{name: "after messages, for a while", steps: []step{{depth: ready(500)}, {from: seconds(5), depth: vacant}, {from: seconds(64.9), depth: ready(500)}}, passed: stalls},
		{name: "after messages, for good", steps: []step{{depth: ready(500)}, {from: seconds(5), depth: vacant}}, passed: seconds(67)},
		{name: "after messages that nobody consumed", steps: []step{{depth: with(0, ready(500))}, {from: seconds(5), depth: vacant}}, passed: seconds(67)},
		{name: "with a consumer in between", steps: []step{{depth: vacant}, {from: seconds(59), depth: ready(1)}, {from: seconds(59.1), depth: vacant}}, passed: seconds(121.2)},
		{name: "with a look that failed in between", steps: []step{{depth: vacant}, {from: seconds(30), lost: true}, {from: seconds(30.1), depth: vacant}}, passed: seconds(92.2)},
		{name: "what it showed says nothing about what comes back", steps: []step{{depth: vacant}, {from: seconds(61), depth: ready(0)}}, moment: seconds(60), passed: seconds(63)},
		{name: "nor does it when messages come back", steps: []step{{depth: vacant}, {from: seconds(61), depth: ready(5)}, {from: seconds(62), depth: ready(0)}}, passed: seconds(64)},
		{name: "with figures that are as blind", steps: []step{{depth: counted(9, 1, 7)}, {from: seconds(5), depth: with(0, counted(0, 0, 7))}, {from: seconds(60), depth: counted(9, 1, 7)}}, passed: stalls},
	})
}

// Figures veto, and delay nothing where they show nothing.
func TestCaseC8WatermarkWithStatistics(t *testing.T) {
	t.Parallel()
	unknown := ready(0)
	unknown.Statistics = &Statistics{}
	unsure := ready(0)
	unsure.Statistics = &Statistics{Unlimited: 1}
	joined := counted(0, 0, 7)
	runWatermarkTests(t, []watermarkTest{
		{name: "nothing is held", steps: []step{{depth: counted(0, 0, 7)}}, passed: seconds(2)},
		{name: "nothing is known", steps: []step{{depth: unknown}}, passed: seconds(2)},
		{name: "a message is held", steps: []step{{depth: counted(0, 1, 7)}, {from: seconds(20), depth: counted(0, 0, 8)}}, passed: seconds(20)},
		{name: "a message is held, and the moment is late", steps: []step{{depth: counted(0, 1, 7)}, {from: seconds(20), depth: counted(0, 0, 8)}}, moment: seconds(19), passed: seconds(21)},
		{name: "a message is held for ever", steps: []step{{depth: counted(0, 1, 7)}}, passed: stalls},
		{name: "a message is taken meanwhile", steps: []step{{depth: counted(0, 0, 7)}, {from: seconds(3), depth: counted(0, 1, 7)}}, moment: seconds(2.5), passed: stalls},
		{name: "figures of consumers that are gone", steps: []step{{depth: with(0, counted(0, 1, 7))}}, passed: seconds(62)},
		{name: "a message is held, and the figures fail to come for a while", steps: []step{
			{depth: counted(0, 1, 7)}, {from: seconds(3), depth: ready(0)}, {from: seconds(14), depth: counted(0, 1, 7)},
		}, passed: stalls},
		{name: "a message is held, and the figures come no more", steps: []step{{depth: counted(0, 1, 7)}, {from: seconds(3), depth: ready(0)}}, passed: seconds(14.8)},
		{name: "no prefetch, nothing held", steps: []step{{depth: unlimited(0, 0, 7)}}, passed: seconds(14)},
		{name: "no prefetch, messages held", steps: []step{{depth: unlimited(0, 3, 7)}, {from: seconds(20), depth: unlimited(0, 0, 10)}}, passed: seconds(20)},
		{name: "no prefetch, and figures that are not younger", steps: []step{{depth: unlimited(0, 3, 7)}, {from: seconds(20), depth: unlimited(0, 0, 10)}}, moment: seconds(6.1), passed: seconds(20.2)},
		{name: "no prefetch, held messages unknown", steps: []step{{depth: unsure}}, passed: stalls},
		{name: "no prefetch, and no figures when they are needed", steps: []step{{depth: unlimited(0, 0, 7)}, {from: seconds(13), depth: ready(0)}, {from: seconds(20), depth: unlimited(0, 0, 7)}}, passed: seconds(20)},
		{name: "no prefetch, and the figures come no more", steps: []step{{depth: unlimited(0, 0, 7)}, {from: seconds(5), depth: ready(0)}}, passed: seconds(16.8)},
		{name: "no prefetch, and the consumer is back before the figures show it", steps: []step{
			{depth: unlimited(5, 1, 7)}, {from: seconds(5), depth: with(0, ready(5))}, {from: seconds(6), depth: joined},
		}, passed: seconds(20)},
		{name: "rejected messages may come back", steps: []step{{depth: retrying(0, 0, 7)}}, passed: seconds(14)},
		{name: "rejected messages come back", steps: []step{{depth: retrying(0, 2, 7)}, {from: seconds(20), depth: retrying(0, 0, 7)}}, passed: seconds(34)},
		{name: "rejected messages may come back, and no figures when they are needed", steps: []step{{depth: retrying(0, 0, 7)}, {from: seconds(13.9), depth: ready(0)}, {from: seconds(15.1), depth: retrying(0, 0, 7)}}, passed: seconds(15.2)},
	})
}

// A queue that is never empty: the looks at 0 and 12 s count what waits, that at 24 s
// what has been acknowledged; the grace comes on top.
func TestWatermarkByCount(t *testing.T) {
	t.Parallel()
	unknown := ready(2)
	unknown.Statistics = &Statistics{Acknowledged: counted(0, 0, 7).Statistics.Acknowledged}
	gone := with(0, counted(2, 1, 7))
	taken := with(0, counted(1, 0, 7))
	runWatermarkTests(t, []watermarkTest{
		{name: "as many acknowledged as waited", steps: []step{{depth: counted(2, 1, 7)}, {from: seconds(30), depth: counted(2, 1, 10)}}, passed: seconds(32)},
		{name: "one less", steps: []step{{depth: counted(2, 1, 7)}, {from: seconds(30), depth: counted(2, 1, 9)}}, passed: stalls},
		{name: "acknowledged before they were counted", steps: []step{{depth: counted(2, 1, 7)}, {from: seconds(24), depth: counted(2, 1, 10)}}, passed: stalls},
		{name: "the next moment is followed", steps: []step{{depth: counted(2, 1, 7)}, {from: seconds(30), depth: counted(2, 1, 10)}, {from: seconds(60), depth: counted(2, 1, 13)}}, moment: seconds(32), passed: seconds(62)},
		{name: "acknowledged since the count began again", steps: []step{
			{depth: counted(2, 1, 7)}, {from: seconds(20), lost: true}, {from: seconds(20.1), depth: counted(2, 1, 10)}, {from: seconds(50), depth: counted(2, 1, 13)},
		}, passed: seconds(52)},
		{name: "a consumer leaves before the count", steps: []step{
			{depth: counted(2, 1, 7)}, {from: seconds(15), depth: gone}, {from: seconds(15.1), depth: counted(2, 1, 7)},
			{from: seconds(20), depth: counted(2, 1, 10)}, {from: seconds(40), depth: counted(2, 1, 13)},
		}, passed: seconds(42)},
		{name: "a consumer leaves within the grace", steps: []step{
			{depth: counted(2, 1, 7)}, {from: seconds(28), depth: counted(2, 1, 10)}, {from: seconds(29), depth: with(0, counted(2, 1, 10))},
			{from: seconds(29.1), depth: counted(2, 1, 10)}, {from: seconds(55), depth: counted(2, 1, 13)},
		}, passed: seconds(57)},
		// The consumer has just come, and the figures do not show yet what it holds.
		{name: "the last message is taken as it is counted", steps: []step{{depth: taken}, {from: seconds(0.1), depth: counted(0, 0, 7)}, {from: seconds(1.9), depth: counted(0, 1, 7)}}, passed: stalls},
		{name: "the figures end", steps: []step{{depth: counted(2, 1, 7)}, {from: seconds(29), depth: ready(2)}, {from: seconds(30), depth: counted(2, 1, 10)}}, passed: stalls},
		{name: "a figure is left out", steps: []step{{depth: counted(2, 1, 7)}, {from: seconds(29), depth: unknown}, {from: seconds(30), depth: counted(2, 1, 10)}}, passed: stalls},
		{name: "the counter begins anew", steps: []step{{depth: counted(2, 1, 1000)}, {from: seconds(30), depth: counted(2, 1, 3)}, {from: seconds(60), depth: counted(2, 1, 6)}}, passed: seconds(62)},
		{name: "a moment that has passed is not followed any more", steps: []step{
			{depth: counted(2, 1, 7)}, {from: seconds(5), depth: counted(0, 0, 10)}, {from: seconds(8), depth: counted(2, 1, 10)}, {from: seconds(35), depth: counted(2, 1, 11)},
		}, moment: seconds(7), passed: seconds(37)},
		{name: "no prefetch", steps: []step{{depth: unlimited(2, 1, 7)}, {from: seconds(30), depth: unlimited(2, 1, 10)}}, passed: seconds(32)},
		{name: "no prefetch, and several consumers", steps: []step{{depth: with(2, unlimited(2, 1, 7))}, {from: seconds(30), depth: with(2, unlimited(2, 1, 10))}}, passed: stalls},
		{name: "rejected messages may come back", steps: []step{{depth: retrying(2, 0, 7)}, {from: seconds(30), depth: retrying(2, 0, 10)}}, passed: stalls},
	})
}

// A veto that lasts must not fill the memory.
func TestWatermarkRemembersLittle(t *testing.T) {
	t.Parallel()
	h := drainHistory{grace: testGrace, vacancy: DefaultVacancy}
	for now := time.Unix(1e9, 0); now.Before(time.Unix(1e9+3600, 0)); now = now.Add(testInterval) {
		h.saw(now, now, counted(0, 1, 7))
		if most := int(testGrace/testInterval) + 2; len(h.empties) > most {
			t.Fatalf("%d looks are kept, want at most %d", len(h.empties), most)
		}
	}
}
