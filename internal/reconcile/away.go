package reconcile

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// A server that is away is waited for, here and nowhere else: what the stages read,
// write and ask goes through one of the wrappers below, and while one of these waits the
// stage holds nothing. The heart beats meanwhile, and whatever stops the run ends the
// wait.

// server is one of those that a run works with, as it was heard of last.
type server struct {
	// limit is how long it is waited for, 0 is as long as nothing stops the run.
	limit time.Duration
	// lasting: another process can go on with the run.
	lasting bool

	mu     sync.Mutex
	name   string
	silent time.Time // since when it does not answer, zero while it does
}

// The pauses between two attempts grow.
const firstPause, longestPause = 200 * time.Millisecond, 5 * time.Second

// patiently asks a server until it answers.
func patiently[T any](ctx context.Context, s *server, ask func() (T, error)) (T, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		answer, err := ask()
		if !s.away(ctx, err) {
			return answer, err
		}
		if err := s.wait(ctx, err, pause); err != nil {
			return answer, err
		}
	}
}

// away tells whether an error says that the server does not answer, and remembers it.
// What a run that was stopped hears says nothing.
func (s *server) away(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var absent *product.AwayError
	switch {
	case !errors.As(err, &absent):
		s.silent = time.Time{}
		return false
	case s.silent.IsZero():
		s.name, s.silent = absent.Server, time.Now()
	}
	return true
}

// wait pauses before the next attempt. Where the server was silent for as long as it is
// waited for, the run is handed back, with its checkpoint; one that nobody could go on
// with ends with the error itself.
func (s *server) wait(ctx context.Context, err error, pause time.Duration) error {
	s.mu.Lock()
	name, since := s.name, s.silent
	s.mu.Unlock()
	if s.limit == 0 || since.IsZero() { // it has answered somebody else meanwhile
		return wait(ctx, nil, pause)
	}
	if left := time.Until(since.Add(s.limit)); left > 0 {
		return wait(ctx, nil, min(pause, left))
	}
	err = fmt.Errorf("%s has not answered since %s: %w", name, since.UTC().Format(time.RFC3339), err)
	if s.lasting {
		err = fmt.Errorf("%w: %w", ErrHandedBack, err)
	}
	return err
}

// waits says that the run waits for the server; nothing where it does not.
func (s *server) waits(phase run.Phase) []run.Wait {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent.IsZero() {
		return nil
	}
	reason := run.Reason{Code: run.ReasonAway, Detail: s.name, Since: s.silent}
	if s.limit > 0 {
		reason.Until = s.silent.Add(s.limit)
	}
	return []run.Wait{{Phase: phase, Reason: reason}}
}

// bePatient puts what the run works with behind the wrappers.
func (r *Run) bePatient() {
	_, none := r.Ledger.(noLedger)
	source, target := &server{limit: r.config.StallTimeout, lasting: !none}, &server{limit: r.config.StallTimeout, lasting: !none}
	ledger := &server{} // the heart stops the run before its lease ends
	r.Source, r.Target, r.Ledger = patientSource{r.Source, source}, patientTarget{r.Target, target}, patientLedger{r.Ledger, ledger}
	for _, writer := range []*Repairer{&r.Direct, &r.Undo} {
		if *writer != nil {
			*writer = patientRepairer{*writer, target}
		}
	}
	r.servers = []*server{source, target, ledger}
}

// pages reads a sequence of pages, and goes on behind the last one where the server was
// away in the middle of it.
func pages[T any](ctx context.Context, s *server, after product.ID, read func(after product.ID) iter.Seq2[[]T, error], id func(*T) product.ID) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		ended, err := patiently(ctx, s, func() (ended bool, err error) {
			for page, err := range read(after) {
				if err != nil {
					return false, err
				}
				if s.away(ctx, nil); len(page) > 0 {
					after = id(&page[len(page)-1])
				}
				if !yield(page, nil) {
					return true, nil
				}
			}
			return true, nil
		})
		if !ended && err != nil {
			yield(nil, err)
		}
	}
}

type patientSource struct {
	Source
	*server
}

func (s patientSource) Scan(ctx context.Context, r product.Range, fields []product.Field, since time.Time) iter.Seq2[[]product.Product, error] {
	return pages(ctx, s.server, r.After, func(after product.ID) iter.Seq2[[]product.Product, error] {
		r.After = after
		return s.Source.Scan(ctx, r, fields, since)
	}, func(p *product.Product) product.ID { return p.ID() })
}

func (s patientSource) Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Product, error) {
	return patiently(ctx, s.server, func() (map[product.ID]product.Product, error) { return s.Source.Find(ctx, ids) })
}

func (s patientSource) Present(ctx context.Context, ids []product.ID) (map[product.ID]bool, error) {
	return patiently(ctx, s.server, func() (map[product.ID]bool, error) { return s.Source.Present(ctx, ids) })
}

func (s patientSource) Ranges(ctx context.Context, parts int) ([]product.Range, error) {
	return patiently(ctx, s.server, func() ([]product.Range, error) { return s.Source.Ranges(ctx, parts) })
}

func (s patientSource) Sample(ctx context.Context, n int) ([]product.ID, error) {
	return patiently(ctx, s.server, func() ([]product.ID, error) { return s.Source.Sample(ctx, n) })
}

func (s patientSource) EstimatedCount(ctx context.Context) (int64, error) {
	return patiently(ctx, s.server, func() (int64, error) { return s.Source.EstimatedCount(ctx) })
}

func (s patientSource) Unsupported(ctx context.Context) (map[string]int64, error) {
	return patiently(ctx, s.server, func() (map[string]int64, error) { return s.Source.Unsupported(ctx) })
}

type patientTarget struct {
	Target
	*server
}

func (t patientTarget) Span(ctx context.Context, after, through product.ID, fields []product.Field) iter.Seq2[[]product.Row, error] {
	return pages(ctx, t.server, after, func(after product.ID) iter.Seq2[[]product.Row, error] {
		return t.Target.Span(ctx, after, through, fields)
	}, func(r *product.Row) product.ID { return r.ID })
}

func (t patientTarget) Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Row, error) {
	return patiently(ctx, t.server, func() (map[product.ID]product.Row, error) { return t.Target.Find(ctx, ids) })
}

func (t patientTarget) Present(ctx context.Context, ids []product.ID) (map[product.ID]bool, error) {
	return patiently(ctx, t.server, func() (map[product.ID]bool, error) { return t.Target.Present(ctx, ids) })
}

func (t patientTarget) Check(ctx context.Context, rows []product.Row) (map[product.ID]*product.Misfit, error) {
	return patiently(ctx, t.server, func() (map[product.ID]*product.Misfit, error) { return t.Target.Check(ctx, rows) })
}

func (t patientTarget) Referenced(ctx context.Context, ids []product.ID) (map[product.ID]string, error) {
	return patiently(ctx, t.server, func() (map[product.ID]string, error) { return t.Target.Referenced(ctx, ids) })
}

// patientRepairer never repeats a repair by itself: what was not tried goes back to its
// room, to be read again, and what may have happened is proved.
type patientRepairer struct {
	Repairer
	*server
}

func (p patientRepairer) Repair(ctx context.Context, kind product.Kind, attempt int, repairs []product.Repair) ([]product.Result, error) {
	results, err := p.Repairer.Repair(ctx, kind, attempt, repairs)
	if p.away(ctx, err) {
		err = p.wait(ctx, err, firstPause)
	}
	return results, err
}

type patientLedger struct {
	run.Ledger
	*server
}

// done is what is asked for where there is no answer but an error.
type done = struct{}

func (l patientLedger) tell(ctx context.Context, write func() error) error {
	_, err := patiently(ctx, l.server, func() (done, error) { return done{}, write() })
	return err
}

func (l patientLedger) Resume(ctx context.Context) (*run.Checkpoint, error) {
	return patiently(ctx, l.server, func() (*run.Checkpoint, error) { return l.Ledger.Resume(ctx) })
}

func (l patientLedger) Plan(ctx context.Context, ranges []product.Range) error {
	return l.tell(ctx, func() error { return l.Ledger.Plan(ctx, ranges) })
}

func (l patientLedger) Known(ctx context.Context, ids []product.ID) ([]run.Standing, error) {
	return patiently(ctx, l.server, func() ([]run.Standing, error) { return l.Ledger.Known(ctx, ids) })
}

func (l patientLedger) Judged(ctx context.Context, ids []product.ID) (map[run.Key]bool, error) {
	return patiently(ctx, l.server, func() (map[run.Key]bool, error) { return l.Ledger.Judged(ctx, ids) })
}

func (l patientLedger) Begin(ctx context.Context, hands []run.Hand) error {
	return l.tell(ctx, func() error { return l.Ledger.Begin(ctx, hands) })
}

func (l patientLedger) Settle(ctx context.Context, s run.Settlement) error {
	return l.tell(ctx, func() error { return l.Ledger.Settle(ctx, s) })
}

func (l patientLedger) Open(ctx context.Context, after run.Key, limit int) ([]run.Standing, error) {
	return patiently(ctx, l.server, func() ([]run.Standing, error) { return l.Ledger.Open(ctx, after, limit) })
}

func (l patientLedger) LastLook(ctx context.Context) (run.Look, error) {
	return patiently(ctx, l.server, func() (run.Look, error) { return l.Ledger.LastLook(ctx) })
}

func (l patientLedger) Gap(ctx context.Context) (time.Duration, error) {
	return patiently(ctx, l.server, func() (time.Duration, error) { return l.Ledger.Gap(ctx) })
}

func (l patientLedger) Measured(ctx context.Context, gap time.Duration) error {
	return l.tell(ctx, func() error { return l.Ledger.Measured(ctx, gap) })
}
