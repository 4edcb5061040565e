package producer

import (
	"fmt"
	"math"
	"sync"

	"github.com/ecom-micro/etl/internal/rabbit"
)

// limit is how many messages may be outstanding in one queue for events to be added
// to it. A queue that is longer than it may be drops its oldest messages, live ones
// among them, or refuses new ones; so half of its own limit is left to live traffic.
type limit struct {
	mu    sync.Mutex
	most  int  // as configured, lowered after losses and nacks for the rest of the run
	lower bool // it was lowered
	// length is the queue's own limit, 0 where it has none or where that is not known.
	length  int
	bytes   int64 // the same of all bodies together
	largest int64 // body of ours, by which bytes are counted in messages
	known   bool  // length is all that bounds the queue
	asked   bool  // length is as it was after the latest loss or nack
	deepest int   // the most messages that were seen waiting, which its own limit allows
	recent  int   // the same since losses counted last
	// spared is how many events are still to be sent before losses count again: what is
	// lost until then may have been sent before the limit was lowered.
	spared int
}

// now is the present limit, and where it comes from.
func (l *limit) now() (int, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.value()
	switch {
	case n < l.most && n < half(l.length):
		return n, fmt.Sprintf("half of its own length limit of %d bytes, by the largest event", l.bytes)
	case n < l.most:
		return n, fmt.Sprintf("half of its own length limit of %d", l.length)
	case l.lower:
		return n, "lowered from REPLAY_MAX_QUEUE_DEPTH after events were lost or refused"
	}
	return n, "REPLAY_MAX_QUEUE_DEPTH"
}

// own is the queue's own limit in messages, 0 where it has none or where that is not
// known. Bytes are set where they decide it.
func (l *limit) own() rabbit.QueueLimits {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := rabbit.QueueLimits{Messages: l.length}
	if l.bytes > 0 {
		if n := int(max(l.bytes/l.size(), 1)); own.Messages == 0 || n < own.Messages {
			own = rabbit.QueueLimits{Messages: n, Bytes: l.bytes}
		}
	}
	return own
}

// size is that of an event, as far as it matters to a limit in bytes.
func (l *limit) size() int64 { return max(l.largest, presumedSize) }

// presumedSize is that of an event before there was one: a usual one has half of it.
const presumedSize = 1 << 10

func (l *limit) value() int {
	n := min(l.most, half(l.length))
	if l.bytes > 0 {
		n = int(min(int64(n), max(l.bytes/2/l.size(), 1)))
	}
	return n
}

// half of a queue's own limit, which is no bound where it is 0.
func half(length int) int {
	if length == 0 {
		return math.MaxInt
	}
	return max(length/2, 1)
}

// stale tells whether the queue's own limit is to be asked for.
func (l *limit) stale() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.asked
}

// learn keeps the queue's own limits, as far as they could be read.
func (l *limit) learn(limits rabbit.QueueLimits, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = true
	l.known = err == nil && limits.Bytes == 0 // which bounds a number of messages that is only estimated
	if err == nil {
		l.length, l.bytes = limits.Messages, limits.Bytes
	}
}

// seen keeps how many messages wait.
func (l *limit) seen(ready int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deepest, l.recent = max(l.deepest, ready), max(l.recent, ready)
}

// weighed keeps the size of an event.
func (l *limit) weighed(size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.largest = max(l.largest, int64(size))
}

// sent counts events that the queue got.
func (l *limit) sent(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spared = max(l.spared-n, 0)
}

// lost is told that events did not arrive. The queue may have dropped them where its
// own limit is not known; but then never at half the length that it was seen to have,
// unless losses go on there and no such length is seen any more: the limit may be new.
func (l *limit) lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spared > 0 {
		return
	}
	l.asked = false
	if !l.known {
		before := l.value()
		l.halve(l.deepest / 2)
		if l.value() == before && l.recent < before/2 {
			l.deepest /= 2
		}
		l.recent = 0
	}
	l.spared = l.value()
}

// refused is told that the queue did not take events.
func (l *limit) refused() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = false
	l.halve(1)
	l.spared = l.value()
}

func (l *limit) halve(floor int) {
	if lowered := max(l.value()/2, floor, 1); lowered < l.most {
		l.most, l.lower = lowered, true
	}
}
