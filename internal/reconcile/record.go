package reconcile

import (
	"context"
	"encoding/json"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// record puts what happened into the ledger, until nothing comes any more. Only then
// have items left the engine, and are ranges finished.
func (r *Run) record(ctx context.Context) error {
	for {
		select {
		case <-r.books.wake:
		case <-r.line.ended:
			return r.books.settle(ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := r.books.settle(ctx); err != nil {
			return err
		}
		// What comes meanwhile goes with the next settlement.
		if err := wait(ctx, r.books.many, settleInterval); err != nil {
			return err
		}
	}
}

const (
	settleInterval = 100 * time.Millisecond
	settleMany     = 250
)

// pending is what the next settlement brings to the ledger, and the kinds of the items
// that leave the engine with it.
type pending struct {
	outcomes []run.Outcome
	resolves []run.Key
	finished []run.FinishedRange
	leaving  []product.Kind
}

// drop forgets what a settlement has brought; more may have come meanwhile.
func (p *pending) drop(settled pending) {
	p.outcomes, p.resolves = p.outcomes[len(settled.outcomes):], p.resolves[len(settled.resolves):]
	p.finished, p.leaving = p.finished[len(settled.finished):], p.leaving[len(settled.leaving):]
}

// settle puts what happened since the last settlement into the ledger, and lets the
// items leave the engine.
func (b *books) settle(ctx context.Context) error { return b.keep(ctx, run.Settlement{}) }

// keep settles, in one piece with what s has more. The counts are those of exactly the
// outcomes that come with them.
func (b *books) keep(ctx context.Context, s run.Settlement) error {
	b.mu.Lock()
	brought := b.pending
	s.Stage, s.Outcomes, s.Resolved, s.Finished = b.r.stage, brought.outcomes, brought.resolves, brought.finished
	report := b.report()
	report.Samples = []run.Outcome{}
	s.Report = report
	b.memory.Gates = b.r.guard.kept(func(kind product.Kind) int64 { return b.memory.Total.ByKind[kind][run.Found] })
	var err error
	s.Memory, err = json.Marshal(&b.memory)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	if err := b.r.Ledger.Settle(ctx, s); err != nil {
		return err
	}
	b.mu.Lock()
	b.drop(brought)
	b.mu.Unlock()
	b.r.progress.done.Add(int64(len(brought.finished)))
	b.r.caution.settled(len(brought.leaving))
	b.r.line.leave(brought.leaving...)
	return nil
}

func (b *books) ring() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
	if len(b.leaving) >= settleMany {
		select {
		case b.many <- struct{}{}:
		default:
		}
	}
}

// settleLast keeps what a run that ended early has done, with the time that a
// process has which was told to end.
func (b *books) settleLast(ctx context.Context) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := b.settle(ctx); err != nil {
		b.note(run.Note{Code: run.NoteLedger, Detail: err.Error()})
	}
}
