// Package reconcile is the engine of one run. What differs flows through it as single
// items, each on its own:
//
//	find ─▶ judge ─▶ repair ─▶ prove ─▶ record
//
// Each stage is a file, flow assembles them, and the line is where items wait.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Source is the Product Service's store.
type Source interface {
	diff.Source
	Name() string
	// Ranges covers all keys with about parts ranges.
	Ranges(ctx context.Context, parts int) ([]product.Range, error)
	// Sample draws about n keys at random from all of them.
	Sample(ctx context.Context, n int) ([]product.ID, error)
	EstimatedCount(ctx context.Context) (int64, error)
	// Unsupported counts the products whose _id cannot be compared, by type.
	Unsupported(ctx context.Context) (map[string]int64, error)
}

// Target is the cart's product table.
type Target interface {
	diff.Target
	Name() string
	// Check returns a misfit for each row that a constraint would refuse.
	Check(ctx context.Context, rows []product.Row) (map[product.ID]*product.Misfit, error)
	// Referenced tells which rows other tables refer to, and which table does.
	Referenced(ctx context.Context, ids []product.ID) (map[product.ID]string, error)
}

// Repairer repairs differences. Reserve is called by one goroutine for each kind, and Repair
// by several, for different products.
// What all of them hold to is tested by internal/testenv/repairertest.
type Repairer interface {
	// Reserve waits until at least one and at most want products of a kind may be
	// repaired, and returns how many. unseen tells how many of our repairs of the kind
	// were sent and have not been seen in the cart; it is asked in each round of the
	// wait. *product.PausedError says that it waited in vain.
	Reserve(ctx context.Context, kind product.Kind, want int, unseen func(context.Context) (int, error)) (int, error)
	// Repair acts on products that were reserved and read just before. It returns a
	// result for each, in order. The error is one of the service, and ends the run.
	Repair(ctx context.Context, kind product.Kind, attempt int, repairs []product.Repair) ([]product.Result, error)
}

// Watermark sees how far the cart has consumed one of its queues.
type Watermark interface {
	Name() string
	Sight() diff.Sight
	// Changed is closed at the next look; whoever takes it before a Sight misses none.
	Changed() <-chan struct{}
}

// Options say what one run is to do.
type Options struct {
	// Run is the run's id; message ids and the report carry it.
	Run string
	// Mode is how to repair; it is kept in the report of a dry run too.
	Mode run.Mode
	// Repair are the kinds to repair. All kinds are found and reported.
	Repair run.Kinds
	// DryRun finds and reports only.
	DryRun bool
	// IDs restricts the run to these products, Since to those created since then.
	IDs   []product.ID
	Since time.Time
	// Started is when the run began, by whichever process; zero is now.
	Started time.Time
	// MaxRepairs is the largest number of products to repair; 0 is unlimited, and
	// then the run stops at its findings when they are suspiciously many.
	MaxRepairs int
	// MaxDeletes is the largest number of rows to delete; 0 is Config.MaxDeletes.
	MaxDeletes int
	// Detected is how many products that detectors find while the run scans it may repair as
	// well, counting those of the last hour for which runs were asked; 0 leaves them to others.
	Detected int
	// BatchSize is the number of products read and acted on at once, 1..1000.
	BatchSize int
	// Takeovers is how often another process went on with the run, and Vanished how many of
	// the last ones gave no sign of life any more and had settled nothing.
	Takeovers, Vanished int
}

// Parts are what a run works with.
type Parts struct {
	Source Source
	Target Target
	// Watermarks see the cart's queues; nil where there is no broker to look at.
	Watermarks map[product.Kind]Watermark
	// Replay repairs by events, Direct by writing rows. The one of the mode is needed
	// unless the run is a dry one. The other, if set, is the fallback for what a replay
	// loses in the end.
	Replay, Direct Repairer
	// Undo, if set, deletes rows that a repair has brought back; else Replay does.
	Undo Repairer
	// Losing, if set, hears of each product whose event was consumed in vain.
	Losing func(product.Kind)
	// Diagnose, if set, says what is known about consumers that take the cart's events.
	Diagnose func(context.Context) string
	// Throttle, if set, says why the replay waits at this moment.
	Throttle func() string
	// Ledger, if set, keeps what another process needs to go on with the run.
	Ledger run.Ledger
	// Notes are remarks on what the run has to work with, Remarks, if set, what is to be
	// said of it at the end.
	Notes   []run.Note
	Remarks func() []run.Note
}

// Capacity is the largest number of products that are in the engine at a time.
const Capacity = 10_000

// Run is one run. Do executes it; Progress may be read, and Pause called, meanwhile.
type Run struct {
	Parts
	options  Options
	config   Config
	capacity int
	caution  caution
	finder   *diff.Finder
	line     *line
	guard    *guard
	settling *settling
	books    *books
	sights   map[product.Kind]*sight
	attempts map[product.Kind]*attempts
	// elsewhere are events that no item follows.
	elsewhere elsewhere
	progress  progress
	pause     pause
	large     *semaphore.Weighted // held by a stage that has large documents in hand
	begun     time.Time
	stage     run.Stage
	resumed   bool         // an earlier process has begun this run
	anyKnown  atomic.Bool  // the ledger knows open differences
	undone    atomic.Int64 // rows taken back
	servers   []*server    // that are waited for
}

// New prepares a run.
func New(parts Parts, config Config, options Options) (*Run, error) {
	return newRun(parts, config, options, Capacity)
}

func newRun(parts Parts, config Config, options Options, capacity int) (*Run, error) {
	fields, err := config.Fields()
	if err != nil {
		return nil, err
	}
	if err := run.CheckBatchSize(options.BatchSize); err != nil {
		return nil, err
	}
	if len(options.Repair) == 0 {
		options.Repair = run.Kinds{product.Missing}
	}
	if options.MaxDeletes == 0 {
		options.MaxDeletes = config.MaxDeletes
	}
	r := &Run{Parts: parts, options: options, config: config, capacity: capacity, sights: make(map[product.Kind]*sight), attempts: make(map[product.Kind]*attempts), large: semaphore.NewWeighted(1)}
	if r.main() == nil && !options.DryRun {
		return nil, errors.New("a run that repairs needs a repairer")
	}
	if r.Ledger == nil {
		r.Ledger = noLedger{}
	}
	if options.cautious() {
		r.config.Parallel = 1
		r.caution.begin()
	}
	r.bePatient()
	r.finder = diff.New(r.Source, r.Target, diff.Config{Compare: fields, Batch: run.MaxBatchSize, Rate: config.ScanRate})
	r.line = newLine(capacity, options.repairs)
	r.line.readiness = r.readiness
	r.settling = newSettling(r)
	r.guard = newGuard(r)
	r.books = newBooks(r)
	for _, kind := range product.Kinds() {
		r.sights[kind], r.attempts[kind] = newSight(r, kind), &attempts{}
	}
	return r, nil
}

// repairs tells whether differences of a kind are to be repaired.
func (o *Options) repairs(kind product.Kind) bool { return !o.DryRun && o.Repair.Has(kind) }

// main is the repairer of the run's mode.
func (r *Run) main() Repairer {
	if r.options.Mode == run.Direct {
		return r.Direct
	}
	return r.Replay
}

// Do executes the run. The report is never nil and says what was done up to an
// error; it must not be read before Do has returned. A *product.PausedError, a
// cancelled context and an error of a service end the run early. A server that is
// away (*product.AwayError) is waited for before. A context that was cancelled for a
// cause of its own, such as a lost lock, is a failure; where that cause, or the error,
// is ErrHandedBack or ErrFenced, another process goes on with the run.
func (r *Run) Do(ctx context.Context) (*run.Report, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	err := r.do(ctx)
	r.progress.finish()
	stopped := errors.Is(err, errStopped)
	cancelled := false
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
		cancelled = errors.Is(err, context.Canceled)
	}
	if !goesOn(err) {
		r.books.leave(r.line.all(), err)
	}
	if stopped {
		err = nil
	}
	report := r.books.finish(err, cancelled)
	if (err != nil || stopped) && !errors.Is(err, run.ErrFenced) {
		r.books.settleLast(ctx)
	}
	return report, err
}

// bounded ends the run's work at SYNC_MAX_DURATION behind its start, by whichever process.
func (r *Run) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if r.config.MaxDuration == 0 {
		return context.WithCancel(ctx)
	}
	started := r.options.Started
	if started.IsZero() {
		started = time.Now()
	}
	err := fmt.Errorf("the run took longer than SYNC_MAX_DURATION (%s): what it has done stays, and the next run finds the rest", r.config.MaxDuration)
	return context.WithDeadlineCause(ctx, started.Add(r.config.MaxDuration), err)
}

func (r *Run) do(ctx context.Context) error {
	r.begun = time.Now()
	r.progress.begin()
	at, err := r.resume(ctx)
	if err != nil {
		return err
	}
	scope, err := r.plan(ctx, at)
	if err != nil {
		return err
	}
	r.progress.enter(run.PhaseComparing)
	err = r.flow(ctx, scope, at)
	if err == nil && r.guard.overflowed() {
		// More was judged than is kept in memory: a second pass repairs it, up to what
		// was judged.
		if scope, err = r.restart(ctx, scope); err == nil {
			err = r.flow(ctx, scope, nil)
		}
	}
	if err == nil {
		err = r.closeGone(ctx, scope)
	}
	if err == nil {
		err = r.books.settle(ctx)
	}
	return err
}

// flow is the engine: each stage takes items from the line, and puts them back for
// the next one.
func (r *Run) flow(ctx context.Context, scope diff.Scope, at *run.Checkpoint) error {
	r.line.open()
	group, ctx := errgroup.WithContext(ctx)
	var looking sync.WaitGroup
	defer looking.Wait()
	lookCtx, stop := context.WithCancel(ctx)
	defer stop()
	for _, w := range r.Watermarks {
		looking.Go(func() { r.line.follow(lookCtx, w) })
	}
	looking.Go(func() { r.settling.learn(lookCtx) })
	group.Go(func() error {
		if err := r.takeOver(ctx, at); err != nil {
			return err
		}
		return r.find(ctx, scope)
	})
	group.Go(func() error { return r.judge(ctx) })
	for _, w := range r.workers() {
		group.Go(func() error { return w.repair(ctx, group.Go) })
	}
	group.Go(func() error { return r.prove(ctx) })
	group.Go(func() error { return r.record(ctx) })
	return group.Wait()
}
