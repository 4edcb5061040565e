package words

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/ecom-micro/etl/internal/run"
)

// reasons are the words for each code.
var reasons = map[run.Code]func(o *run.Outcome, t Terms) string{
	run.ReasonQueue: queue,
	run.ReasonUnseen: func(o *run.Outcome, t Terms) string {
		return "queue " + queueOf(o) + " cannot be seen" + during(o, t) + detail(o)
	},
	run.ReasonSettling: func(o *run.Outcome, t Terms) string { return "its own event may still come" + until(o, t) },
	run.ReasonYoung: func(o *run.Outcome, t Terms) string {
		return "too young for a direct write" + until(o, t) + ": its own event may still come"
	},
	run.ReasonChanging: func(*run.Outcome, Terms) string { return "it changes again and again" },
	run.ReasonUnproved: func(*run.Outcome, Terms) string { return "repaired, and the run ended before the proof" },
	run.ReasonCrowded: func(o *run.Outcome, t Terms) string {
		return "too many products wait for its queue already: " + queue(o, t)
	},
	run.ReasonUnchecked: func(*run.Outcome, Terms) string { return "the run ended before it was looked at again" },

	run.ReasonAway: func(o *run.Outcome, t Terms) string {
		return cmp.Or(o.Reason.Detail, "a server") + " does not answer" + since(o, t) + before(", waited for", until(o, t))
	},

	run.ReasonMisfit: func(o *run.Outcome, _ Terms) string { return cmp.Or(o.Reason.Detail, "the cart cannot hold it") },
	run.ReasonReferenced: func(o *run.Outcome, _ Terms) string {
		return "rows of " + cmp.Or(o.Reason.Detail, "another table") + " refer to it"
	},
	run.ReasonUseDirect: func(o *run.Outcome, _ Terms) string {
		return "no event changes " + cmp.Or(o.Reason.Detail, "what differs")
	},

	run.ReasonDeleted: func(*run.Outcome, Terms) string { return "deleted in the source meanwhile" },
	run.ReasonRevived: revived,
	run.ReasonKept: func(o *run.Outcome, _ Terms) string {
		return "deleted in the source while it was repaired, and its row stays" + detail(o)
	},

	run.ReasonArrived: func(*run.Outcome, Terms) string { return "both sides agreed before it was repaired" },

	run.ReasonConsumed: consumed,
	run.ReasonNacked:   func(o *run.Outcome, _ Terms) string { return "the broker refused the event " + times(o.Reason.Number) },
	run.ReasonSilent:   func(*run.Outcome, Terms) string { return "the broker never answered, and nothing arrived" },
	run.ReasonDiffers:  func(o *run.Outcome, _ Terms) string { return "a direct repair " + wordsOf[o.Kind].unchanged },

	run.ReasonStopped: func(*run.Outcome, Terms) string { return "the run was stopped" },
	run.ReasonService: func(o *run.Outcome, _ Terms) string { return cmp.Or(o.Reason.Detail, "a service failed") },
	run.ReasonLimit: func(o *run.Outcome, _ Terms) string {
		return "the limit of " + Counted(o.Reason.Number, "repair") + " is reached"
	},
	run.ReasonCeiling: func(o *run.Outcome, _ Terms) string {
		return "more than the " + Number(o.Reason.Number) + " that " + are(o.Reason.Number, "was", "were") + " judged"
	},
	run.ReasonDeletes: func(o *run.Outcome, _ Terms) string {
		return "the limit of " + Counted(o.Reason.Number, "deletion") + " is reached"
	},
	run.ReasonGuard: func(*run.Outcome, Terms) string { return "a person decides first" },
	run.ReasonDeadly: func(o *run.Outcome, _ Terms) string {
		return Number(o.Reason.Number) + " processes in a row ended while they had it in hand"
	},
}

// Reason says why a product is in its state, and what differs in one that stays
// different. It is empty where the state says all there is.
func Reason(o run.Outcome, t Terms) string {
	said := string(o.Reason.Code) // of a later version, which is better than nothing
	if say, known := reasons[o.Reason.Code]; known {
		said = say(&o, t)
	}
	if len(o.Fields) > 0 && open(o.State) {
		said = strings.TrimPrefix(said+": "+Changes(o.Fields), ": ")
	}
	return said
}

// open tells whether the difference stands; it does where the state is not known.
func open(state run.State) bool { return state == "" || state.Rule().Open }

// Wait says what is waited for.
func Wait(w run.Wait, t Terms) string {
	return Reason(run.Outcome{Key: run.Key{Kind: w.Kind}, State: run.InFlight, Reason: w.Reason}, t)
}

// queue is what was seen of a queue, since when, and when waiting for it ends.
func queue(o *run.Outcome, t Terms) string {
	r := &o.Reason
	var seen []string
	if r.Ready > 0 || r.Held == 0 {
		seen = append(seen, Counted(r.Ready, "event")+" waiting")
	}
	if r.Held > 0 {
		seen = append(seen, Counted(r.Held, "event")+" delivered and not acknowledged")
	}
	seen[0] += " in " + queueOf(o)
	return strings.Join(append(seen, Counted(r.Consumers, "consumer")), ", ") + during(o, t)
}

func queueOf(o *run.Outcome) string {
	if o.Reason.Queue == "" && o.Kind != "" {
		return o.Kind.Rule().Queue
	}
	return cmp.Or(o.Reason.Queue, "the cart's queue")
}

// during is since when something is so, and when waiting for its end is given up.
func during(o *run.Outcome, t Terms) string {
	text := since(o, t)
	if !o.Reason.Until.IsZero() {
		text += ", given up at " + t.clock(o.Reason.Until)
	}
	return text
}

// before puts words before a text, where there is one.
func before(words, text string) string {
	if text == "" {
		return ""
	}
	return words + text
}

func since(o *run.Outcome, t Terms) string {
	if o.Reason.Since.IsZero() {
		return ""
	}
	return " since " + t.clock(o.Reason.Since)
}

func until(o *run.Outcome, t Terms) string {
	if o.Reason.Until.IsZero() {
		return ""
	}
	return " until " + t.clock(o.Reason.Until)
}

func detail(o *run.Outcome) string {
	if o.Reason.Detail == "" {
		return ""
	}
	return ": " + o.Reason.Detail
}

func revived(o *run.Outcome, _ Terms) string {
	fate := "is taken back"
	switch o.State {
	case run.Undone:
		fate = "was taken back"
	case run.Failed, run.Blocked:
		fate = "could not be taken back"
	}
	return "deleted in the source while it was repaired; its row " + fate + detail(o)
}

func consumed(o *run.Outcome, _ Terms) string {
	n := o.Reason.Number
	return fmt.Sprintf("%s %s consumed and %s", Counted(n, "event"), are(n, "was", "were"), wordsOf[o.Kind].unchanged)
}

// times is how often something happened.
func times(n int64) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return Number(n) + " times"
}
