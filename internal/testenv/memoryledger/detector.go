package memoryledger

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// nobody stands in the place of the run that opened a difference, where a detector has.
const nobody = ""

type detector struct {
	run.DetectorState
	until time.Time
}

// Detect opens differences that a detector has found.
func (l *Ledger) Detect(ctx context.Context, findings []run.Finding) (fresh int, err error) {
	leave, err := l.enter(ctx, "Detect")
	if err != nil {
		return 0, err
	}
	defer leave()
	if l.openNow() >= l.MaxDifferences {
		return 0, nil
	}
	for _, f := range findings {
		d := l.differences[f.Key]
		switch {
		case d == nil || d.closedBy != "":
			delete(l.differences, f.Key)
			l.open(nobody, run.Outcome{Key: f.Key, Title: f.Title, State: run.Found})
			opened := l.differences[f.Key]
			opened.due = f.Due
			if d != nil {
				opened.asked, opened.announced = d.asked, d.announced
			}
			fresh++
		case !d.due.IsZero():
			if f.Due.Before(d.due) {
				d.due = f.Due
			}
		case d.asked.IsZero() || l.now().at.Sub(d.asked) > 10*time.Minute:
			d.due = f.Due
		}
		if f.Announced {
			l.differences[f.Key].announced = true
		}
	}
	return fresh, nil
}

// Pending returns what detectors have found of these kinds that is due by now.
func (l *Ledger) Pending(ctx context.Context, kinds run.Kinds, limit int) (p run.Pending, err error) {
	leave, err := l.enter(ctx, "Pending")
	if err != nil {
		return p, err
	}
	defer leave()
	p.IDs, p.Asked = l.due(kinds, limit), l.askedLately()
	return p, nil
}

// due are the products of what is due by now, at most limit.
func (l *Ledger) due(kinds run.Kinds, limit int) (ids []product.ID) {
	due := slices.DeleteFunc(slices.Collect(maps.Keys(l.differences)), func(key run.Key) bool {
		d := l.differences[key]
		return d.closedBy != "" || d.due.IsZero() || d.due.After(l.now().at) || !kinds.Has(key.Kind)
	})
	slices.SortFunc(due, func(a, b run.Key) int {
		return cmp.Or(l.differences[a].due.Compare(l.differences[b].due), strings.Compare(string(a.ID), string(b.ID)))
	})
	for _, key := range due[:min(len(due), limit)] {
		ids = append(ids, key.ID)
	}
	return ids
}

// askedLately is for how many differences runs were asked within the last hour.
func (l *Ledger) askedLately() (n int) {
	for _, d := range l.differences {
		if !d.asked.IsZero() && l.now().at.Sub(d.asked) < time.Hour {
			n++
		}
	}
	return n
}

// Asked tells that a run was asked for to repair these products.
func (l *Ledger) Asked(ctx context.Context, ids []product.ID, kinds run.Kinds) error {
	leave, err := l.enter(ctx, "Asked")
	if err != nil {
		return err
	}
	defer leave()
	l.asked(ids, kinds)
	return nil
}

func (l *Ledger) asked(ids []product.ID, kinds run.Kinds) {
	for key, d := range l.differences {
		if slices.Contains(ids, key.ID) && kinds.Has(key.Kind) && !d.due.IsZero() {
			d.due, d.asked = time.Time{}, l.now().at
		}
	}
}

// Take gives a detector's work to one process for a time.
func (l *Ledger) Take(ctx context.Context, name run.Detector, owner string, length time.Duration) (state run.DetectorState, mine bool, err error) {
	leave, err := l.enter(ctx, "Take")
	if err != nil {
		return state, false, err
	}
	defer leave()
	d := l.detector(name)
	if d.Owner != owner && d.until.After(l.now().at) {
		return state, false, nil
	}
	d.Owner, d.until = owner, l.now().at.Add(length)
	return d.DetectorState, true, nil
}

func (l *Ledger) detector(name run.Detector) *detector {
	if l.detectors[name] == nil {
		l.detectors[name] = &detector{DetectorState: run.DetectorState{Name: name}}
	}
	return l.detectors[name]
}

// Looked keeps how a look of a detector went.
func (l *Ledger) Looked(ctx context.Context, name run.Detector, mark time.Time, checked, differing int, problem error) error {
	leave, err := l.enter(ctx, "Looked")
	if err != nil {
		return err
	}
	defer leave()
	d := l.detector(name)
	if mark.After(d.Mark) {
		d.Mark = mark.UTC().Truncate(time.Microsecond)
	}
	d.Problem = ""
	if problem != nil {
		d.Problem = problem.Error()
	} else {
		d.LookedAt = l.now().at
	}
	d.Checked += int64(checked)
	d.Differing += int64(differing)
	return nil
}

// Detection is how far the detectors have come.
func (l *Ledger) Detection(ctx context.Context) (found run.Detection, err error) {
	leave, err := l.enter(ctx, "Detection")
	if err != nil {
		return found, err
	}
	defer leave()
	for _, name := range slices.Sorted(maps.Keys(l.detectors)) {
		state := l.detectors[name].DetectorState
		if !l.detectors[name].until.After(l.now().at) {
			state.Owner = ""
		}
		found.Detectors = append(found.Detectors, state)
	}
	for _, d := range l.differences {
		if d.closedBy == "" && !d.due.IsZero() {
			found.Pending++
		}
	}
	return found, nil
}

// Freshness is how long each product that a run has proved to be in the cart had not been there.
func (l *Ledger) Freshness(ctx context.Context, id string) (took []time.Duration, err error) {
	leave, err := l.enter(ctx, "Freshness")
	if err != nil {
		return nil, err
	}
	defer leave()
	e := l.runs[id]
	if e == nil {
		return nil, nil
	}
	for key, o := range e.outcomes {
		d := l.differences[key]
		if o.State != run.Verified || d == nil {
			continue
		}
		since := d.opened.at
		if created := product.CreatedBy(key.ID); key.Kind == product.Missing && !created.IsZero() && created.Before(since) {
			since = created
		}
		took = append(took, o.At.Sub(since))
	}
	return took, nil
}
