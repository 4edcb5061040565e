package words

import (
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// remedies are what a person can do about products with these reasons.
var remedies = map[run.Code]func(o *run.Outcome, t Terms) string{
	run.ReasonQueue:     whenConsumed,
	run.ReasonUnseen:    whenConsumed,
	run.ReasonUnproved:  whenConsumed,
	run.ReasonCrowded:   whenConsumed,
	run.ReasonSettling:  runAgain,
	run.ReasonChanging:  runAgain,
	run.ReasonUnchecked: runAgain,
	run.ReasonAway:      runAgain,
	run.ReasonYoung: func(o *run.Outcome, t Terms) string {
		return "run again later; " + t.sync(repair(o, "")) + " replays it sooner"
	},

	run.ReasonMisfit: correct,
	run.ReasonReferenced: func(*run.Outcome, Terms) string {
		return "the cart must keep it while those rows refer to it: remove them, then run again"
	},
	run.ReasonUseDirect: func(o *run.Outcome, t Terms) string { return t.sync(repair(o, run.Direct)) + " " + wordsOf[o.Kind].act },

	run.ReasonRevived: removeCause,
	run.ReasonKept: func(_ *run.Outcome, t Terms) string {
		return t.sync(run.Order{Repair: run.Kinds{product.Orphaned}}) + " deletes it"
	},

	run.ReasonConsumed: writeDirectly,
	run.ReasonNacked: func(*run.Outcome, Terms) string {
		return "the broker refuses events where a queue is full: see its length limit, and run again when the cart has consumed it"
	},
	run.ReasonSilent: func(*run.Outcome, Terms) string { return "see whether the broker is well, then run again" },
	run.ReasonDiffers: func(*run.Outcome, Terms) string {
		return "see what else changes the cart's table, such as a trigger, then run again"
	},

	run.ReasonDeadly: func(*run.Outcome, Terms) string {
		return "look into the logs of those processes for a panic or a lack of memory, then run again"
	},
	run.ReasonStopped: runAgain,
	run.ReasonService: removeCause,
	run.ReasonLimit:   higherLimit,
	run.ReasonCeiling: runAgain,
	run.ReasonDeletes: func(_ *run.Outcome, t Terms) string { return again(t, maxDeletes) },
	run.ReasonGuard: func(_ *run.Outcome, t Terms) string {
		switch t {
		case API:
			return "judge the findings, then POST /api/etl/runs/{id}/apply"
		case Pages:
			return "judge the findings, then “Repair what it found”"
		}
		return "judge the findings; " + t.option(maxRepairs, "N") + " says that they are meant"
	},
}

// stateRemedies serve where the reason says nothing of its own.
var stateRemedies = map[run.State]func(o *run.Outcome, t Terms) string{
	run.Lost:     writeDirectly,
	run.Blocked:  correct,
	run.InFlight: whenConsumed,
	run.Failed:   removeCause,
	run.Skipped:  higherLimit,
	run.Found: func(o *run.Outcome, t Terms) string {
		act := "repairs it"
		if o.Kind == product.Orphaned {
			act = "deletes it"
		}
		if t == Pages {
			return "“Repair what it found” " + act
		}
		return t.sync(repair(o, "")) + " " + act
	},
}

// Remedy is what a person can do about a product; empty is nothing. It names no id,
// so one remedy serves many products.
func Remedy(o run.Outcome, t Terms) string {
	if !open(o.State) {
		return ""
	}
	if say, known := remedies[o.Reason.Code]; known {
		return say(&o, t)
	}
	if say, known := stateRemedies[o.State]; known {
		return say(&o, t)
	}
	return ""
}

// repair is a run that repairs the product's kind.
func repair(o *run.Outcome, mode run.Mode) run.Order {
	order := run.Order{Mode: mode}
	if o.Kind != "" && o.Kind != product.Missing {
		order.Repair = run.Kinds{o.Kind}
	}
	return order
}

func runAgain(*run.Outcome, Terms) string    { return "run again later" }
func removeCause(*run.Outcome, Terms) string { return "remove the cause, then run again" }
func whenConsumed(*run.Outcome, Terms) string {
	return "run again when the cart has consumed its queue"
}

func correct(*run.Outcome, Terms) string {
	return "correct the product in the Product Service, then run again"
}

func writeDirectly(o *run.Outcome, t Terms) string {
	return "see the notes of the report; " + t.sync(repair(o, run.Direct)) + " " + wordsOf[o.Kind].act + " without the queue"
}

func higherLimit(_ *run.Outcome, t Terms) string { return again(t, maxRepairs) }

func again(t Terms, limit option) string {
	return "run again with a higher limit: " + t.option(limit, "N")
}
