package memoryledger

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// difference is one that is open, or was.
type difference struct {
	outcome                       run.Outcome
	opened, changed, closed       moment
	openedBy, changedBy, closedBy string
	acted                         time.Time
	actedBy                       string
	due, asked                    time.Time // what detectors do with it
	announced                     bool
}

// standing is a difference as a run knows it.
func (d *difference) standing(key run.Key, id string) run.Standing {
	s := run.Standing{Key: key, State: d.outcome.State, Opened: d.opened.at, Acted: d.acted, Announced: d.announced}
	if d.actedBy == id {
		s.Attempts = d.outcome.Attempts
	}
	return s
}

// settle keeps outcomes and what is resolved.
func (l *Ledger) settle(e *entry, s run.Settlement) {
	if s.Restart {
		clear(e.outcomes)
		clear(e.done)
		e.dropped = 0
	}
	told := make(map[run.Key]bool)
	for _, o := range s.Outcomes {
		told[o.Key] = true
	}
	for _, key := range s.Resolved {
		if !told[key] {
			l.close(e.record.ID, run.Outcome{Key: key})
		}
	}
	for _, o := range s.Outcomes {
		delete(e.hands, o.Key)
		switch d := l.differences[o.Key]; {
		case !o.State.Rule().Open:
			l.close(e.record.ID, o)
		case (d == nil || d.closedBy != "") && l.openNow() >= l.MaxDifferences:
			e.dropped++
		case d == nil || !d.same(o):
			l.open(e.record.ID, o)
		}
		e.keep(o, l.now().at, l.MaxOutcomes)
	}
}

func (l *Ledger) openNow() (n int) {
	for _, d := range l.differences {
		if d.closedBy == "" {
			n++
		}
	}
	return n
}

// same tells whether an outcome has nothing new to say of an open difference.
func (d *difference) same(o run.Outcome) bool {
	plain := func(o run.Outcome) run.Outcome {
		o.Attempts, o.Reason.Since, o.Reason.Until = 0, time.Time{}, time.Time{}
		if len(o.Fields) == 0 {
			o.Fields = nil
		}
		return o
	}
	if o.Title == "" {
		o.Title = d.outcome.Title
	}
	return d.closedBy == "" && o.Attempts == 0 && reflect.DeepEqual(plain(d.outcome), plain(o))
}

// open opens or changes a difference.
func (l *Ledger) open(by string, o run.Outcome) {
	now := l.now()
	d := l.differences[o.Key]
	if d == nil {
		d = &difference{closedBy: "nobody yet"}
		l.differences[o.Key] = d
	}
	if d.closedBy != "" {
		d.opened, d.openedBy, d.closed, d.closedBy = now, by, moment{}, ""
	}
	d.changed, d.changedBy = now, by
	if o.Attempts > 0 {
		d.acted, d.actedBy = now.at, by
	} else {
		o.Attempts = d.outcome.Attempts
	}
	o.Title = cmp.Or(o.Title, d.outcome.Title)
	d.outcome = o
}

// close closes the difference of an outcome if it is open.
func (l *Ledger) close(by string, o run.Outcome) {
	d := l.differences[o.Key]
	if d == nil || d.closedBy != "" {
		return
	}
	d.closed, d.closedBy = l.now(), by
	if o.Attempts > 0 {
		d.acted, d.actedBy, d.outcome.Attempts = d.closed.at, by, o.Attempts
	}
}

// keep keeps what the run did, in the place of an older outcome.
func (e *entry) keep(o run.Outcome, now time.Time, bound int) {
	if o.State == run.Verified {
		bound /= 2
	}
	_, known := e.outcomes[o.Key]
	switch {
	case o.State.Rule().Acted && (known || len(e.outcomes) < bound):
		e.outcomes[o.Key] = run.PastOutcome{Run: e.record.ID, At: now, Outcome: o}
	default:
		delete(e.outcomes, o.Key)
	}
}

// openIn are the differences that were open when the run ended, or are now where it
// goes on, each as it is known by now.
func (l *Ledger) openIn(e *entry) map[run.Key]run.Outcome {
	open := make(map[run.Key]run.Outcome)
	if e.record.Started.IsZero() {
		return open
	}
	id, request := e.record.ID, e.record.Request
	whole := len(request.IDs) == 0 && request.Since.IsZero() && request.Apply == ""
	before := func(m moment) bool { return e.record.Status.Active() || m.n <= e.finished.n }
	for key, d := range l.differences {
		its := whole || d.openedBy == id || d.changedBy == id || slices.Contains(request.IDs, key.ID)
		if !its || !before(d.opened) || d.closedBy != "" && before(d.closed) {
			continue
		}
		o := d.outcome
		if d.actedBy != id {
			o.Attempts = 0
		}
		open[key] = o
	}
	return open
}

// Outcomes returns a page of what became of products in a run: see the real ledger.
func (l *Ledger) Outcomes(ctx context.Context, id string, f run.OutcomeFilter) (run.OutcomePage, error) {
	leave, err := l.enter(ctx, "Outcomes")
	if err != nil {
		return run.OutcomePage{}, err
	}
	defer leave()
	e := l.runs[id]
	if e == nil {
		return run.OutcomePage{}, run.ErrNotFound
	}
	var after run.Key
	if f.After != "" {
		kind, id, ok := strings.Cut(f.After, " ")
		if !ok {
			return run.OutcomePage{}, fmt.Errorf("%w: %q", run.ErrCursor, f.After)
		}
		after = run.Key{ID: product.ID(id), Kind: product.Kind(kind)}
	}
	all := l.openIn(e)
	for key, o := range e.outcomes {
		all[key] = o.Outcome
	}
	page := run.OutcomePage{Outcomes: []run.Outcome{}}
	for _, key := range slices.SortedFunc(maps.Keys(all), compare) {
		o := all[key]
		if compare(key, after) <= 0 || len(f.State) > 0 && !slices.Contains(f.State, o.State) || len(f.Kind) > 0 && !slices.Contains(f.Kind, o.Kind) {
			continue
		}
		if n := len(page.Outcomes); n == limited(f.Limit) {
			last := page.Outcomes[n-1]
			page.Next = string(last.Kind) + " " + string(last.ID)
			break
		}
		page.Outcomes = append(page.Outcomes, o)
	}
	return page, nil
}

func limited(limit int) int {
	if limit <= 0 {
		return run.DefaultPage
	}
	return min(limit, run.MaxPage)
}

// Findings returns the differences of some kinds that were open in a run and can be
// repaired.
func (l *Ledger) Findings(ctx context.Context, id string, kinds run.Kinds) (keys []run.Key, complete bool, err error) {
	leave, err := l.enter(ctx, "Findings")
	if err != nil {
		return nil, false, err
	}
	defer leave()
	e := l.runs[id]
	if e == nil {
		return nil, false, run.ErrNotFound
	}
	for key, o := range l.openIn(e) {
		if kinds.Has(key.Kind) && o.State != run.Blocked {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, compare)
	return keys, e.dropped == 0, nil
}

// History returns what is known of one product's past, the latest first.
func (l *Ledger) History(ctx context.Context, id product.ID, limit int) ([]run.PastOutcome, error) {
	leave, err := l.enter(ctx, "History")
	if err != nil {
		return nil, err
	}
	defer leave()
	past := []run.PastOutcome{}
	for _, e := range l.runs {
		for key, o := range e.outcomes {
			if key.ID == id {
				past = append(past, o)
			}
		}
	}
	for key, d := range l.differences {
		if key.ID == id {
			past = append(past, l.history(key, d)...)
		}
	}
	slices.SortFunc(past, func(a, b run.PastOutcome) int {
		return cmp.Or(b.At.Compare(a.At), strings.Compare(b.Run, a.Run), strings.Compare(string(a.Kind), string(b.Kind)))
	})
	return past[:min(len(past), limited(limit))], nil
}

// history is what is known of a difference: that it was opened, changed, closed, by
// runs that have no outcome of it.
func (l *Ledger) history(key run.Key, d *difference) (past []run.PastOutcome) {
	add := func(by string, at time.Time, o run.Outcome) {
		if e := l.runs[by]; e != nil {
			if _, told := e.outcomes[key]; told {
				return
			}
		}
		if d.actedBy == by {
			o.Attempts = d.outcome.Attempts
		}
		past = append(past, run.PastOutcome{Run: by, At: at, Outcome: o})
	}
	if d.openedBy != d.changedBy {
		add(d.openedBy, d.opened.at, run.Outcome{Key: key, State: run.Found})
	}
	changed := d.outcome
	changed.Attempts = 0
	add(d.changedBy, d.changed.at, changed)
	if d.closedBy != "" {
		state := run.Gone
		if d.actedBy == d.closedBy {
			state = run.Verified
		}
		add(d.closedBy, d.closed.at, run.Outcome{Key: key, State: state})
	}
	return past
}
