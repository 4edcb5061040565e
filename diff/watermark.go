package diff

import (
	"slices"
	"time"
)

// drainHistory is what a series of looks proves about a queue: its watermark.
//
// A queue that is empty at one look and still empty at another, grace after it, has
// been consumed as it was before the first: what had been delivered by then, and was
// not acknowledged, is done or has come back. What no look can see are messages that
// a consumer holds for longer than grace, or that come back and go out again between
// two looks. The broker's figures see them, StatisticsLag late, and they are used so:
//
//   - A message that is held vetoes, as long as somebody consumes. Figures may be older
//     than the empty looks, so a veto may outlast its reason by StatisticsLag; a message
//     that is held for less than that may be missed, as without figures.
//   - Where a consumer holds any number of messages, or rejected ones come back after a
//     while, grace says nothing. Then the figures must show that nothing is held, and
//     be younger than the first look.
//   - A queue that is never empty is drained by count, see mark.
//
// A figure that is not known vetoes nothing and proves nothing. A consumer that has
// just come is taken for one with a prefetch until the figures show it.
type drainHistory struct {
	grace, vacancy time.Duration

	passed    time.Time // the watermark: everything queued before it has been consumed
	consumers int
	// vacant is the end of the first of an unbroken series of looks that lasts, each of
	// which showed neither messages nor consumers. A quorum queue without a leader looks
	// so, so that it means something only after vacancy.
	vacant  time.Time
	empties []look // empty looks that no later one has confirmed yet
	mark    *mark
	// figures were last seen by a look asked at dated.
	figures Statistics
	dated   time.Time
}

type look struct{ asked, answered time.Time }

// lost is a look that failed. What cannot be seen is not empty.
func (h *drainHistory) lost() {
	h.forget()
	h.vacant = time.Time{}
}

// forget drops what needs unbroken sight.
func (h *drainHistory) forget() { h.empties, h.mark = nil, nil }

// saw is a look that showed d, at some moment between asked and answered.
func (h *drainHistory) saw(asked, answered time.Time, d Depth) {
	h.remember(asked, d.Statistics)
	if d.Consumers < h.consumers || h.retrying() {
		// What a consumer that left had not acknowledged went back to the queue, and what
		// was rejected comes back: earlier looks and counts say nothing about it.
		h.forget()
	}
	h.consumers = d.Consumers
	if !h.seen(asked, answered, d) {
		return
	}
	h.count(asked, answered, d)
	if d.Ready == 0 && !h.retrying() {
		h.empty(look{asked, answered}, d)
	}
}

// remember keeps figures until newer ones come, so that a veto does not end because
// the management API failed to answer once, but no longer than they may be true.
// Consumers without a prefetch are kept while figures come at all: one that left may
// be back, with all that waited, before the figures show it.
func (h *drainHistory) remember(asked time.Time, s *Statistics) {
	switch {
	case s != nil:
		unlimited := max(h.figures.Unlimited, s.Unlimited)
		h.figures, h.dated = *s, asked
		h.figures.Unlimited = unlimited
	case asked.Sub(h.dated) >= StatisticsLag:
		h.figures = Statistics{}
	}
}

// seen tells whether a look shows the queue, and not perhaps that it cannot be seen.
// What was seen before or during such a time is not continued after it: a queue that
// comes back may bring any number of messages with it.
func (h *drainHistory) seen(asked, answered time.Time, d Depth) bool {
	vacant := d.Ready == 0 && d.Consumers == 0
	if vacant != !h.vacant.IsZero() {
		h.forget()
	}
	switch {
	case !vacant:
		h.vacant = time.Time{}
		return true
	case h.vacant.IsZero():
		h.vacant = answered
	}
	return asked.Sub(h.vacant) >= h.vacancy
}

// empty is a look at the empty queue. It confirms the latest of the earlier ones
// that is old enough.
func (h *drainHistory) empty(now look, d Depth) {
	confirmed := -1
	for i, e := range h.empties {
		if now.asked.Sub(e.answered) >= h.patience() {
			confirmed = i
		}
	}
	if confirmed >= 0 {
		if !h.vetoed(d) {
			h.prove(h.empties[confirmed].asked)
		}
		h.empties = slices.Delete(h.empties, 0, confirmed) // a later veto's end needs no older one
	}
	h.empties = append(h.empties, now)
}

// patience is how long after an empty look another one counts.
func (h *drainHistory) patience() time.Duration {
	if h.figures.Unlimited > 0 || h.figures.Retrying != nil {
		return h.grace + StatisticsLag // by then a figure of after grace shows
	}
	return h.grace
}

// vetoed tells whether the figures forbid to take an empty queue for consumed.
func (h *drainHistory) vetoed(d Depth) bool {
	if d.Consumers > 0 { // else nobody can hold a message
		held := h.figures.Unacknowledged
		if held != nil && *held > 0 {
			return true
		}
		if h.figures.Unlimited > 0 && (d.Statistics == nil || held == nil) {
			return true
		}
	}
	return h.figures.Retrying != nil && d.Statistics == nil
}

// retrying tells whether messages wait elsewhere to come back.
func (h *drainHistory) retrying() bool { return h.figures.Retrying != nil && *h.figures.Retrying > 0 }

func (h *drainHistory) prove(t time.Time) {
	if t.After(h.passed) {
		h.passed = t
	}
}

// mark follows one moment t by count: the messages that were there then, and how
// many have been acknowledged since. When as many have been acknowledged as were
// waiting, these are consumed: a classic queue delivers in order. Others may have
// been acknowledged in their place where several consumers share the queue, hence
// grace for a consumer to finish what it holds, as between two empty looks.
//
// A figure is younger than a moment if a look asked StatisticsLag after it shows it,
// so the count takes several looks.
type mark struct {
	t time.Time
	// ready messages were counted between t and counted.
	ready   int
	counted time.Time
	// waiting adds the unacknowledged ones, by a figure from after counted: a message
	// that was there at t and is not acknowledged is among the one or the other.
	waiting  int64
	complete time.Time
	// baseline is the number acknowledged, by a figure from after complete.
	baseline  int64
	baselined bool
	// acknowledged is the number of the last look: a counter that began anew counts
	// nothing.
	acknowledged int64
	// reached is when as many had been acknowledged as were waiting.
	reached time.Time
}

// count follows one moment after the other. It needs all figures at every look.
func (h *drainHistory) count(asked, answered time.Time, d Depth) {
	if !h.countable(d) {
		h.mark = nil
		return
	}
	s, m := d.Statistics, h.mark
	if m != nil && (*s.Acknowledged < m.acknowledged || !m.t.After(h.passed)) {
		m = nil
	}
	if m != nil && !m.reached.IsZero() && asked.Sub(m.reached) >= h.grace {
		h.prove(m.t)
		m = nil
	}
	switch {
	case m == nil:
		m = &mark{t: asked, ready: d.Ready, counted: answered}
	case m.complete.IsZero():
		if asked.Sub(m.counted) >= StatisticsLag {
			m.waiting, m.complete = int64(m.ready)+int64(*s.Unacknowledged), answered
		}
	case !m.baselined:
		if asked.Sub(m.complete) >= StatisticsLag {
			m.baseline, m.baselined = *s.Acknowledged, true
		}
	case m.reached.IsZero():
		if *s.Acknowledged-m.baseline >= m.waiting {
			m.reached = answered
		}
	}
	m.acknowledged = *s.Acknowledged
	h.mark = m
}

// countable tells whether acknowledgements say which messages are consumed. They do
// not where rejected messages come back behind others, nor where one of several
// consumers may sit on any number of old ones.
func (h *drainHistory) countable(d Depth) bool {
	s := d.Statistics
	return s != nil && s.Unacknowledged != nil && s.Acknowledged != nil && s.Retrying == nil &&
		(h.figures.Unlimited == 0 || d.Consumers == 1)
}
