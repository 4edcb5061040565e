package words

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// notes are the words for each code.
var notes = map[run.NoteCode]func(n *run.Note, t Terms) string{
	run.NoteNoneShared: func(n *run.Note, t Terms) string {
		return fmt.Sprintf("Stopped: the two stores share no product (%s, %s). %s",
			Counted(n.Number, "product"), Counted(n.Of, "row"), meant(n, t))
	},
	run.NoteTooMany: tooMany,
	run.NoteShrunken: func(n *run.Note, _ Terms) string {
		before := ""
		if n.Of > 0 {
			before = ", and had " + Number(n.Of) + " at the last comparison"
		}
		return fmt.Sprintf("No orphaned row was deleted: the source has %s%s. Check PRODUCT_SERVICE_MONGODB_URL; where products were removed on purpose, a higher SYNC_MAX_SHRINK (percent) allows it",
			Counted(n.Number, "product"), before)
	},
	run.NoteVanishing: func(n *run.Note, _ Terms) string {
		of := ""
		if n.Of > 0 {
			of = " of " + Number(n.Of)
		}
		return fmt.Sprintf("The run stopped: %s%s products vanished from the source while they were repaired. See what removes them before anything is repaired or deleted", Number(n.Number), of)
	},
	run.NoteUnknownIDs: func(n *run.Note, _ Terms) string {
		which := ""
		if n.Detail != "" {
			which = ": " + n.Detail
			if strings.Count(n.Detail, ", ")+1 < int(n.Number) {
				which += ", …"
			}
		}
		return fmt.Sprintf("%s of the %s named %s in neither store%s", Number(n.Number), Counted(n.Of, "product"), are(n.Number, "is", "are"), which)
	},
	run.NoteConsumed: func(n *run.Note, _ Terms) string {
		return fmt.Sprintf("%s of %s %s consumed and %s: %s", Number(n.Number), Counted(n.Of, "event"), are(n.Number, "was", "were"), wordsOf[n.Kind].unchanged,
			cmp.Or(n.Detail, "who consumes the queue is not known; RABBITMQ_MANAGEMENT_URL would show it"))
	},
	run.NoteNacked: func(n *run.Note, _ Terms) string {
		return fmt.Sprintf("The broker refused %s, and each was sent again: it refuses them where a queue is full%s", Counted(n.Number, "event"), behind(n))
	},
	run.NoteUnanswered: func(n *run.Note, _ Terms) string {
		return fmt.Sprintf("%s %s sent, and the broker's answer never came%s", Counted(n.Number, "event"), are(n.Number, "was", "were"), behind(n))
	},
	run.NoteHopeless: func(n *run.Note, t Terms) string {
		of := ""
		if n.Kind != "" {
			of = " of " + string(n.Kind) + " products"
		}
		return fmt.Sprintf("No more attempts were made: of the last %s%s %s arrived. %s writes directly what a replay loses",
			Counted(n.Of, "repair"), of, Number(n.Number), t.option(fallback, string(run.DirectFallback)))
	},
	run.NoteFallback: func(n *run.Note, _ Terms) string {
		return fmt.Sprintf("%s that the replay lost %s written directly (fallback)", Counted(n.Number, "product"), are(n.Number, "was", "were"))
	},
	run.NoteUnsupported: func(n *run.Note, _ Terms) string {
		return fmt.Sprintf("%s %s an _id of a type that cannot be compared (%s), and %s not looked at",
			Counted(n.Number, "product"), are(n.Number, "has", "have"), cmp.Or(n.Detail, "unknown"), are(n.Number, "was", "were"))
	},
	run.NoteStockSet: func(n *run.Note, _ Terms) string {
		return fmt.Sprintf("%s set the cart's stock quantity too: the full event carries it", Counted(n.Number, "replayed update"))
	},
	run.NoteLedger: func(n *run.Note, _ Terms) string {
		return "The ledger does not have what happened last" + behind(n)
	},
	run.NoteNoManagement: func(n *run.Note, _ Terms) string {
		return "RabbitMQ's management API (RABBITMQ_MANAGEMENT_URL) does not answer as it should, so the run went on without it" + behind(n)
	},
	run.NoteQueueLimit: func(n *run.Note, _ Terms) string {
		name := "A queue of the cart"
		if n.Kind != "" {
			name = "Queue " + n.Kind.Rule().Queue
		}
		return fmt.Sprintf("%s holds %s at most, so fewer were sent at a time%s", name, Counted(n.Number, "message"), behind(n))
	},
	run.NoteNotUsed: func(n *run.Note, _ Terms) string {
		return fmt.Sprintf("PRODUCT_SERVICE_MONGODB_URL sets %s, which is not used: what decides is read from the primary, as a majority has it", cmp.Or(n.Detail, "an option"))
	},
	run.NoteCeiling: func(n *run.Note, _ Terms) string {
		return fmt.Sprintf("More differ by now than the %s that %s judged: what is beyond was left alone", Counted(n.Number, "product"), are(n.Number, "was", "were"))
	},
}

// Note says a remark in one line.
func Note(n run.Note, t Terms) string {
	if say, known := notes[n.Code]; known {
		return say(&n, t)
	}
	return string(n.Code) + behind(&n) // of a later version, which is better than nothing
}

func tooMany(n *run.Note, t Terms) string {
	if n.Kind == product.Orphaned { // which has a limit of its own
		return fmt.Sprintf("No orphaned row was deleted: there are %s, and a run deletes %s at most. Where they are to go, %s allows it",
			Number(n.Number), cmp.Or(n.Detail, "fewer"), t.option(maxDeletes, strconv.FormatInt(n.Number, 10)))
	}
	return fmt.Sprintf("Stopped: %s of %s %s %s, which is more than %s. %s", Number(n.Number), Counted(n.Of, "product"),
		are(n.Number, "is", "are"), cmp.Or(string(n.Kind), "different"), cmp.Or(n.Detail, "a run takes upon itself"), meant(n, t))
}

func behind(n *run.Note) string {
	if n.Detail == "" {
		return ""
	}
	return ": " + n.Detail
}

// meant says how to go on where findings are many and meant.
func meant(n *run.Note, t Terms) string {
	how := "POST /api/etl/runs/{id}/apply repairs what was found"
	switch t {
	case Pages:
		how = "“Repair what it found” on the page of the run repairs it"
	case CLI:
		order := run.Order{}
		if n.Kind != "" && n.Kind != product.Missing {
			order.Repair = run.Kinds{n.Kind}
		}
		how = t.sync(order) + " with " + t.option(maxRepairs, strconv.FormatInt(n.Number, 10)) + " repairs them"
	}
	return "Check that PRODUCT_SERVICE_MONGODB_URL and CART_DB_URL belong together; if they do, " + how
}
