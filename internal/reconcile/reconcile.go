// Package reconcile is one run: find what differs, repair it in windows, prove
// that each repair landed, and go round again for what was lost.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// Repairer brings products to the cart. A run calls it from one goroutine.
type Repairer interface {
	// Reserve waits until at least one and at most want products may be repaired
	// and returns how many. *product.PausedError says that it waited in vain.
	Reserve(ctx context.Context, want int) (int, error)
	// Repair acts on products that were reserved and read just before. It returns a
	// result for each, in order; one that is neither Acted nor has an Err was not
	// tried. The error is one of the service, and ends the run.
	Repair(ctx context.Context, round int, repairs []product.Repair) ([]product.Result, error)
	// Remove takes back products that were deleted in the source meanwhile.
	Remove(ctx context.Context, ids []product.ID) ([]product.Result, error)
}

// Options say what one run is to do.
type Options struct {
	// Run is the run's id; message ids and the report carry it.
	Run string
	// Mode is how to repair; it is kept in the report of a dry run too.
	Mode run.Mode
	// DryRun finds and reports only.
	DryRun bool
	// IDs restricts the run to these products, Since to those created since then.
	IDs   []product.ID
	Since time.Time
	// MaxRepairs is the largest number of products to repair; 0 is unlimited, and
	// then the run stops at its findings when they are suspiciously many.
	MaxRepairs int
	// BatchSize is the number of products read and acted on at once, 1..1000.
	BatchSize int
}

// Config are a run's variables.
type Config struct {
	BatchSize    int           `env:"SYNC_BATCH_SIZE, default=100"`
	Settle       time.Duration `env:"SYNC_SETTLE, default=30s"`
	Grace        time.Duration `env:"SYNC_GRACE, default=2s"`
	StallTimeout time.Duration `env:"SYNC_STALL_TIMEOUT, default=10m"`
	MaxRounds    int           `env:"SYNC_MAX_ROUNDS, default=20"`
	Compare      []string      `env:"SYNC_COMPARE_FIELDS, default=title,price,image,sellerId"`
	Parallel     int           `env:"SYNC_PARALLEL, default=2"`
}

// Validate reports every variable that is wrong.
func (c *Config) Validate() error {
	var problems []error
	if err := run.CheckBatchSize(c.BatchSize); err != nil {
		problems = append(problems, fmt.Errorf("SYNC_BATCH_SIZE: %w", err))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
		least time.Duration
	}{{"SYNC_SETTLE", c.Settle, 0}, {"SYNC_GRACE", c.Grace, time.Millisecond}, {"SYNC_STALL_TIMEOUT", c.StallTimeout, time.Second}} {
		if d.value < d.least {
			problems = append(problems, fmt.Errorf("%s is %s, it must be at least %s", d.name, d.value, d.least))
		}
	}
	if c.MaxRounds < 1 || c.MaxRounds > 100 {
		problems = append(problems, fmt.Errorf("SYNC_MAX_ROUNDS is %d, it must be 1..100", c.MaxRounds))
	}
	if c.Parallel < 1 || c.Parallel > 16 {
		problems = append(problems, fmt.Errorf("SYNC_PARALLEL is %d, it must be 1..16", c.Parallel))
	}
	if _, err := c.Fields(); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// Fields are the compared fields.
func (c *Config) Fields() ([]product.Field, error) {
	var fields []product.Field
	for _, name := range c.Compare {
		f, known := product.FieldNamed(name)
		if !known {
			return nil, fmt.Errorf("SYNC_COMPARE_FIELDS: the cart has no field %q, it has title, price, image, sellerId and quantity", name)
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// Parts are what a run works with.
type Parts struct {
	Source Source
	Target Target
	// Barriers sees the cart's queues; nil where there is no broker to look at.
	Barriers diff.Barriers
	// Repairer acts; nil is allowed for a dry run.
	Repairer Repairer
	// Fallback, if set, acts on what the Repairer lost in the end.
	Fallback Repairer
	// Diagnose, if set, says what is known about consumers that take the cart's events.
	Diagnose func(context.Context) string
	// Throttle, if set, says why the Repairer waits at this moment.
	Throttle func() string
	// Ledger, if set, keeps what another process needs to go on with the run.
	Ledger run.Ledger
}

// Run is one run. Do executes it; Progress may be read meanwhile.
type Run struct {
	Parts
	options  Options
	config   Config
	engine   *diff.Engine
	progress progress
	gate     gate
	ledger   run.Ledger
	stage    run.Stage
	resumed  bool // an earlier process has begun this run
	report   *books
	window   int
	inDark   time.Time // the end of the last proof that stalled
}

// New prepares a run.
func New(parts Parts, config Config, options Options) (*Run, error) {
	return newRun(parts, config, options, run.MaxWindow)
}

func newRun(parts Parts, config Config, options Options, window int) (*Run, error) {
	fields, err := config.Fields()
	if err != nil {
		return nil, err
	}
	if err := run.CheckBatchSize(options.BatchSize); err != nil {
		return nil, err
	}
	if parts.Repairer == nil && !options.DryRun {
		return nil, errors.New("a run that repairs needs a repairer")
	}
	r := &Run{Parts: parts, options: options, config: config, window: window, ledger: parts.Ledger}
	if r.ledger == nil {
		r.ledger = noLedger{}
	}
	r.Source = gated{parts.Source, &r.gate}
	r.engine = diff.New(r.Source, parts.Target, parts.Barriers, diff.Config{
		Compare: fields, Settle: config.Settle, Window: window, Batch: run.MaxBatchSize,
	})
	r.report = newBooks(options, parts)
	r.report.beginPass()
	return r, nil
}

// Do executes the run. The report is never nil and says what was done up to an
// error; it must not be read before Do has returned. A *product.PausedError, a
// cancelled context and an error of a service end the run early. A context that
// was cancelled for a cause of its own, such as a lost lock, is a failure; where
// that cause is ErrHandedBack or ErrFenced, another process goes on with the run.
func (r *Run) Do(ctx context.Context) (*run.Report, error) {
	err := r.do(ctx)
	r.progress.enter(run.PhaseDone)
	cancelled := false
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
		cancelled = errors.Is(err, context.Canceled)
	}
	r.report.finish(err, cancelled, &r.engine.Counters)
	if err != nil && !goesOn(err) {
		r.settleLast(ctx)
	}
	return &r.report.Report, err
}

func (r *Run) do(ctx context.Context) error {
	r.progress.enter(run.PhasePlanning)
	at, err := r.resume(ctx)
	if err != nil {
		return err
	}
	scope, err := r.plan(ctx, at)
	if err != nil {
		return err
	}
	if err := r.takeOver(ctx, at); err != nil {
		return err
	}
	switch {
	case len(scope.IDs) > 0:
		err = r.pass(ctx, scope, r.settleWindow)
		counters := &r.engine.Counters
		if unknown := int64(len(scope.IDs)) - counters.Compared.Load() - counters.Suspects(product.Orphaned); err == nil && unknown > 0 {
			r.report.note("%d of the %d products named are in neither store", unknown, len(scope.IDs))
		}
	case r.stage == run.Repairing || r.options.DryRun:
		err = r.pass(ctx, scope, r.settleWindow)
	default:
		err = r.guarded(ctx, scope, missingBefore(at))
	}
	if err != nil {
		return err
	}
	return r.settle(ctx, nil)
}

// plan reads what the run needs to know of the two stores. Key ranges that were
// planned before stay as they are.
func (r *Run) plan(ctx context.Context, at *run.Checkpoint) (diff.Scope, error) {
	scope := diff.Scope{IDs: r.options.IDs, Since: r.options.Since.UTC(), Parallel: r.config.Parallel}
	if len(scope.IDs) > 0 { // whatever else is in the source does not matter
		r.progress.total.Store(int64(len(scope.IDs)))
		return scope, nil
	}
	var err error
	if r.report.Unsupported, err = r.Source.Unsupported(ctx); err != nil {
		return diff.Scope{}, err
	}
	estimate, err := r.Source.EstimatedCount(ctx)
	if err != nil {
		return diff.Scope{}, err
	}
	if scope.Since.IsZero() { // else the number is unknown
		r.progress.total.Store(estimate)
	}
	if at != nil && at.Planned {
		scope.Ranges, scope.Orphans = at.Ranges, r.report.Orphans
		r.progress.ranges.Store(int64(r.report.Ranges))
		r.progress.done.Store(int64(r.report.Ranges - len(at.Ranges)))
		return scope, nil
	}
	const productsPerRange = 50_000
	if scope.Ranges, err = r.Source.Ranges(ctx, int(estimate/productsPerRange)+1); err != nil {
		return diff.Scope{}, err
	}
	scope.Orphans = r.engine.Orphans(scope)
	r.report.Orphans, r.report.Ranges = scope.Orphans, len(scope.Ranges)
	r.progress.ranges.Store(int64(len(scope.Ranges)))
	r.progress.done.Store(0)
	if err := r.ledger.Plan(ctx, scope.Ranges); err != nil {
		return diff.Scope{}, err
	}
	return scope, r.settle(ctx, nil)
}
