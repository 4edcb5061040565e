package memoryledger

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

// Run returns one run.
func (l *Ledger) Run(ctx context.Context, id string) (run.Record, error) {
	leave, err := l.enter(ctx, "Run")
	if err != nil {
		return run.Record{}, err
	}
	defer leave()
	if e := l.runs[id]; e != nil {
		return e.record, nil
	}
	return run.Record{}, run.ErrNotFound
}

// brief is a run as lists show it, without the ids that it was asked for.
func brief(r run.Record) run.Record {
	r.Request.IDs = nil
	return r
}

// Runs returns a page of runs, the latest first, without their ids.
func (l *Ledger) Runs(ctx context.Context, f run.Filter) (run.Page, error) {
	leave, err := l.enter(ctx, "Runs")
	if err != nil {
		return run.Page{}, err
	}
	defer leave()
	all := l.sorted(func(*entry) bool { return true })
	slices.Reverse(all)
	if f.Before != "" {
		last := slices.IndexFunc(all, func(r run.Record) bool { return r.ID == strings.TrimPrefix(f.Before, "before ") })
		if last < 0 || !strings.HasPrefix(f.Before, "before ") {
			return run.Page{}, fmt.Errorf("%w: %q", run.ErrCursor, f.Before)
		}
		all = all[last+1:]
	}
	all = slices.DeleteFunc(all, func(r run.Record) bool {
		return len(f.Status) > 0 && !slices.Contains(f.Status, r.Status) || len(f.Trigger) > 0 && !slices.Contains(f.Trigger, r.Request.Trigger) ||
			len(f.Attention) > 0 && !slices.Contains(f.Attention, r.Attention) ||
			f.Mode != "" && f.Mode != r.Request.Mode || f.DryRun != nil && *f.DryRun != r.Request.DryRun || r.Request.At.Before(f.Since)
	})
	for i := range all {
		all[i] = brief(all[i])
	}
	page := run.Page{Runs: all}
	if limit := limited(f.Limit); len(all) > limit {
		page = run.Page{Runs: all[:limit], Next: "before " + all[limit-1].ID}
	}
	return page, nil
}

// Active returns the run that holds the slot, nil where none does.
func (l *Ledger) Active(ctx context.Context, slot run.Slot) (*run.Record, error) {
	leave, err := l.enter(ctx, "Active")
	if err != nil {
		return nil, err
	}
	defer leave()
	e := l.active(slot)
	if e == nil {
		return nil, nil
	}
	record := brief(e.record)
	return &record, nil
}

// latest is the run that finished last of those to be kept, nil where there is none.
func (l *Ledger) latest(keep func(*entry) bool) *run.Record {
	var last *entry
	for _, e := range l.runs {
		if !e.record.Finished.IsZero() && e.record.Status != run.StatusSkipped && keep(e) && (last == nil || e.finished.n > last.finished.n) {
			last = e
		}
	}
	if last == nil {
		return nil
	}
	record := brief(last.record)
	return &record
}

// Latest returns the run of the slot that finished last, nil where none has.
func (l *Ledger) Latest(ctx context.Context, slot run.Slot) (*run.Record, error) {
	leave, err := l.enter(ctx, "Latest")
	if err != nil {
		return nil, err
	}
	defer leave()
	return l.latest(func(e *entry) bool { return e.record.Request.Slot() == slot }), nil
}

// LatestLook returns the run over the whole catalogue that finished last and neither
// failed nor was cancelled, where it did so at the given time or later; otherwise nil.
func (l *Ledger) LatestLook(ctx context.Context, notOlderThan time.Time) (*run.Record, error) {
	leave, err := l.enter(ctx, "LatestLook")
	if err != nil {
		return nil, err
	}
	defer leave()
	return l.latest(func(e *entry) bool {
		r := &e.record
		return len(r.Request.IDs) == 0 && r.Request.Since.IsZero() && r.Request.Apply == "" &&
			(r.Status == run.StatusSucceeded || r.Status == run.StatusPartial) && !r.Finished.Before(notOlderThan)
	}), nil
}
