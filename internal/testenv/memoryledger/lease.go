package memoryledger

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// lease is the right to execute one run.
type lease struct {
	ledger *Ledger
	record run.Record
	fence  int
	length time.Duration
}

func (l *Ledger) lease(e *entry, length time.Duration) *lease {
	return &lease{l, e.record, e.fence, length}
}

func (l *lease) Record() run.Record { return l.record }

// enter locks the ledger and finds the run, where it is still this lease's.
func (l *lease) enter(ctx context.Context, method string) (e *entry, leave func(), err error) {
	leave, err = l.ledger.enter(ctx, method)
	if err != nil {
		return nil, nil, err
	}
	e = l.ledger.runs[l.record.ID]
	if e == nil || e.fence != l.fence || e.record.Status != run.StatusRunning && e.record.Status != run.StatusPaused {
		leave()
		return nil, nil, run.ErrFenced
	}
	return e, leave, nil
}

func (l *lease) Beat(ctx context.Context, status run.Status, progress run.Progress) (run.Wanted, error) {
	if status != run.StatusRunning && status != run.StatusPaused {
		return "", fmt.Errorf("renew the lease of run %s: a run that is %s has none", l.record.ID, status)
	}
	e, leave, err := l.enter(ctx, "Beat")
	if err != nil {
		return "", err
	}
	defer leave()
	e.record.Status, e.record.Progress, e.record.Version = status, &progress, e.record.Version+1
	e.leaseUntil = l.ledger.now().at.Add(l.length)
	return e.record.Wanted, nil
}

func (l *lease) Finish(ctx context.Context, status run.Status, report *run.Report, problem string) error {
	if status.Active() {
		return fmt.Errorf("finish run %s: %s is no end", l.record.ID, status)
	}
	e, leave, err := l.enter(ctx, "Finish")
	if err != nil {
		return l.orDone(err, func(e *entry) bool { return e.record.Status == status && e.record.Error == problem })
	}
	defer leave()
	e.record.Status, e.record.Error, e.record.Attention = status, problem, run.AttentionOf(&e.record, status, report)
	for id, other := range l.ledger.runs {
		if id != l.record.ID && other.record.Attention != run.NoAttention && (e.record.Speaks(status) || id == e.record.Request.Apply) {
			other.record.Attention = run.NoAttention
			other.record.Version++
		}
	}
	e.report(report)
	l.ledger.end(e)
	return nil
}

func (l *lease) HandBack(ctx context.Context, problem string, pause time.Duration) error {
	e, leave, err := l.enter(ctx, "HandBack")
	if err != nil {
		return l.orDone(err, func(e *entry) bool { return e.record.Status == run.StatusQueued || e.unowned() })
	}
	defer leave()
	e.record.Status, e.record.Owner, e.record.Error, e.record.Version = run.StatusQueued, "", problem, e.record.Version+1
	if e.record.Wanted == run.WantPause {
		e.record.Status = run.StatusPaused
	}
	e.notBefore = l.ledger.now().at.Add(pause)
	return nil
}

// unowned is true of a run that was handed back while a person had paused it.
func (e *entry) unowned() bool { return e.record.Status == run.StatusPaused && e.record.Owner == "" }

// orDone is nil where the lease's end was done already, by a call whose answer was
// lost.
func (l *lease) orDone(err error, done func(*entry) bool) error {
	l.ledger.mu.Lock()
	defer l.ledger.mu.Unlock()
	if e := l.ledger.runs[l.record.ID]; err == run.ErrFenced && e != nil && e.fence == l.fence && done(e) { //nolint:errorlint // it is enter's own
		return nil
	}
	return err
}

// report keeps a report without its samples.
func (e *entry) report(r *run.Report) {
	if r != nil {
		kept := *r
		kept.Samples = []run.Outcome{}
		e.record.Report = &kept
	}
}

func (l *lease) Resume(ctx context.Context) (*run.Checkpoint, error) {
	e, leave, err := l.enter(ctx, "Resume")
	if err != nil {
		return nil, err
	}
	defer leave()
	if e.stage == "" && !e.planned && len(e.hands) == 0 {
		return nil, nil
	}
	at := &run.Checkpoint{Stage: e.stage, Memory: e.memory, Planned: e.planned, InHand: e.inHand()}
	for _, r := range e.ranges {
		f, is := e.done[r]
		if !is {
			at.Ranges = append(at.Ranges, r)
		}
		at.Products, at.Rows, at.Matched = at.Products+f.Products, at.Rows+f.Rows, at.Matched+f.Matched
	}
	return at, nil
}

func (e *entry) inHand() (hands []run.Hand) {
	for _, key := range slices.SortedFunc(maps.Keys(e.hands), compare) {
		hands = append(hands, run.Hand{Key: key, Attempt: e.hands[key].attempt})
	}
	return hands
}

// compare orders by id and kind.
func compare(a, b run.Key) int {
	return cmp.Or(strings.Compare(string(a.ID), string(b.ID)), strings.Compare(string(a.Kind), string(b.Kind)))
}

func (l *lease) Plan(ctx context.Context, ranges []product.Range) error {
	e, leave, err := l.enter(ctx, "Plan")
	if err != nil {
		return err
	}
	defer leave()
	e.planned, e.ranges = true, slices.Clone(ranges)
	clear(e.done)
	e.record.Version++
	return nil
}

func (l *lease) Judged(ctx context.Context, ids []product.ID) (map[run.Key]bool, error) {
	e, leave, err := l.enter(ctx, "Judged")
	if err != nil {
		return nil, err
	}
	defer leave()
	judged := make(map[run.Key]bool)
	for key := range e.outcomes {
		if slices.Contains(ids, key.ID) {
			judged[key] = true
		}
	}
	return judged, nil
}

func (l *lease) Begin(ctx context.Context, hands []run.Hand) error {
	e, leave, err := l.enter(ctx, "Begin")
	if err != nil {
		return err
	}
	defer leave()
	now := l.ledger.now()
	for _, h := range hands {
		e.hands[h.Key] = hand{h.Attempt, now.at}
		if d := l.ledger.differences[h.Key]; d != nil && d.closedBy == "" {
			d.acted, d.actedBy, d.outcome.Attempts = now.at, e.record.ID, h.Attempt
		}
	}
	return nil
}

func (l *lease) Settle(ctx context.Context, s run.Settlement) error {
	e, leave, err := l.enter(ctx, "Settle")
	if err != nil {
		return err
	}
	defer leave()
	e.record.Version, e.record.Vanished = e.record.Version+1, 0
	e.stage = s.Stage
	if s.Memory != nil {
		e.memory = slices.Clone(s.Memory)
	}
	e.report(s.Report)
	l.ledger.settle(e, s)
	for _, f := range s.Finished {
		e.done[f.Range] = f
	}
	if s.Look != nil {
		l.ledger.looks[e.record.ID] = *s.Look
	}
	return nil
}

func (l *lease) Known(ctx context.Context, ids []product.ID) ([]run.Standing, error) {
	_, leave, err := l.enter(ctx, "Known")
	if err != nil {
		return nil, err
	}
	defer leave()
	known := make(map[run.Key]run.Standing)
	for key, d := range l.ledger.differences {
		if d.closedBy == "" && slices.Contains(ids, key.ID) {
			known[key] = d.standing(key, l.record.ID)
		}
	}
	for id, other := range l.ledger.runs {
		for key, h := range other.hands {
			if id == l.record.ID || !slices.Contains(ids, key.ID) {
				continue
			}
			s, is := known[key]
			if !is {
				s = run.Standing{Key: key, State: run.InFlight, Opened: h.acted}
			}
			if s.Acted.Before(h.acted) {
				s.Acted = h.acted
			}
			known[key] = s
		}
	}
	return slices.Collect(maps.Values(known)), nil
}

func (l *lease) Open(ctx context.Context, after run.Key, limit int) ([]run.Standing, error) {
	_, leave, err := l.enter(ctx, "Open")
	if err != nil {
		return nil, err
	}
	defer leave()
	var open []run.Standing
	for _, key := range slices.SortedFunc(maps.Keys(l.ledger.differences), compare) {
		if d := l.ledger.differences[key]; d.closedBy == "" && compare(key, after) > 0 && len(open) < limit {
			open = append(open, d.standing(key, l.record.ID))
		}
	}
	return open, nil
}

func (l *lease) TakeDue(ctx context.Context, kinds run.Kinds, hourly int) ([]product.ID, error) {
	_, leave, err := l.enter(ctx, "TakeDue")
	if err != nil {
		return nil, err
	}
	defer leave()
	ids := l.ledger.due(kinds, min(max(hourly-l.ledger.askedLately(), 0), run.MaxBatchSize))
	l.ledger.asked(ids, kinds)
	return ids, nil
}

func (l *Ledger) lastLook() (last run.Look) {
	for _, look := range l.looks {
		if look.At.After(last.At) {
			last = look
		}
	}
	return last
}

func (l *lease) LastLook(ctx context.Context) (run.Look, error) {
	_, leave, err := l.enter(ctx, "LastLook")
	if err != nil {
		return run.Look{}, err
	}
	defer leave()
	return l.ledger.lastLook(), nil
}

func (l *lease) Gap(ctx context.Context) (longest time.Duration, err error) {
	_, leave, err := l.enter(ctx, "Gap")
	if err != nil {
		return 0, err
	}
	defer leave()
	since := l.ledger.now().at.Add(-time.Hour)
	for _, g := range l.ledger.gaps {
		if !g.at.Before(since) {
			longest = max(longest, g.length)
		}
	}
	return longest, nil
}

func (l *lease) Measured(ctx context.Context, length time.Duration) error {
	_, leave, err := l.enter(ctx, "Measured")
	if err != nil {
		return err
	}
	defer leave()
	now := l.ledger.now().at
	l.ledger.gaps = append(slices.DeleteFunc(l.ledger.gaps, func(g gap) bool { return g.at.Before(now.Add(-time.Hour)) }), gap{now, length})
	return nil
}
