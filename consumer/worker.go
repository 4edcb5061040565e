package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

// Config sets how runs are executed.
type Config struct {
	// Lease is how long a run belongs to a process that gives no sign of life.
	Lease time.Duration `env:"ETL_LEASE, default=30s"`
	// Messages is what requests of others may ask for that come as messages: repair, look
	// (comparisons only) or none. Our own, of the API, the scheduler and commands, are in the
	// ledger before their message is sent, and are no matter of it.
	Messages string `env:"ETL_MESSAGES, default=repair"`
}

// What messages of others may ask for.
const (
	messagesRepair = "repair"
	messagesLook   = "look"
	messagesNone   = "none"
)

// Validate reports what is wrong with the variables.
func (c *Config) Validate() error {
	var problems []error
	if c.Lease < 5*time.Second || c.Lease > 10*time.Minute {
		problems = append(problems, fmt.Errorf("ETL_LEASE is %s, it must be 5s..10m", c.Lease))
	}
	if !slices.Contains([]string{messagesRepair, messagesLook, messagesNone}, c.Messages) {
		problems = append(problems, fmt.Errorf("ETL_MESSAGES is %q, it must be repair, look or none", c.Messages))
	}
	return errors.Join(problems...)
}

// Claimer is the ledger as the worker sees it.
type Claimer interface {
	// Claim leases a run that is queued, or whose owner's lease has run out, to owner;
	// nil where there is none.
	Claim(ctx context.Context, owner string, lease time.Duration) (run.Lease, error)
	// Sweep tells whether there is a run to claim, and ends those that expired.
	Sweep(ctx context.Context) (claimable bool, err error)
}

// Executor executes a run under its lease and ends it in the ledger. When ctx is
// cancelled it hands the run back and returns.
type Executor func(ctx context.Context, lease run.Lease) error

const (
	// maxRuns is how many runs are in hand at once: one that repairs and one that
	// looks. The ledger's slots see to which.
	maxRuns = 2
	// maxVanished is how often in a row a run may pass to another process because its owner
	// vanished. One that is taken over more often is likely to be what ends them.
	maxVanished   = 5
	ledgerTimeout = 10 * time.Second
)

// Worker claims runs and executes them.
type Worker struct {
	// SweepInterval is how long a run may wait unnoticed: one whose doorbell was lost,
	// and one whose owner's lease has run out. Set it before Run.
	SweepInterval time.Duration

	ledger  Claimer
	execute Executor
	owner   string
	lease   time.Duration
	log     *slog.Logger
	bell    chan struct{}

	mu   sync.Mutex
	busy []string
}

// NewWorker makes a worker that claims runs as owner.
func NewWorker(ledger Claimer, execute Executor, owner string, config Config, log *slog.Logger) *Worker {
	return &Worker{SweepInterval: 5 * time.Second, ledger: ledger, execute: execute, owner: owner, lease: config.Lease,
		log: log.With("component", "worker"), bell: make(chan struct{}, 1)}
}

// Ring makes the worker look for runs. It never blocks.
func (w *Worker) Ring() {
	select {
	case w.bell <- struct{}{}:
	default: // it will look anyway
	}
}

// Busy lists the ids of the runs in hand.
func (w *Worker) Busy() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(slices.Values(w.busy))
}

// Run claims and executes runs until ctx ends; then it claims no more, cancels the
// executors, and returns when they have returned.
func (w *Worker) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() { w.sweep(ctx) })
	w.Ring()
	hands := make(chan struct{}, maxRuns)
	for {
		select {
		case hands <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		lease := w.claim(ctx)
		if lease == nil {
			return nil
		}
		tasks.Go(func() {
			w.work(ctx, lease)
			<-hands
			w.Ring()
		})
	}
}

// claim waits for a run, nil when ctx ends first.
func (w *Worker) claim(ctx context.Context) run.Lease {
	retry := newBackOff()
	failing := trouble{log: w.log, what: "claim a run"}
	for {
		select {
		case <-w.bell:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return nil
		}
		lease, err := w.tryClaim(ctx)
		switch {
		case err == nil && lease != nil:
			failing.note(nil)
			w.Ring() // there may be one more
			return lease
		case err == nil:
			failing.note(nil)
			retry.Reset()
		case ctx.Err() == nil:
			failing.note(err)
			w.Ring()
			pause(ctx, retry.NextBackOff())
		}
	}
}

func (w *Worker) tryClaim(ctx context.Context) (run.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	return w.ledger.Claim(ctx, w.owner, w.lease)
}

// sweep looks regularly for runs that nobody rings for. The interval is only ever
// shortened at random, so that replicas do not sweep in step.
func (w *Worker) sweep(ctx context.Context) {
	failing := trouble{log: w.log, what: "look for runs that wait"}
	for pause(ctx, w.SweepInterval-rand.N(w.SweepInterval/5+1)) { //nolint:gosec // it guards nothing
		claimable, err := w.trySweep(ctx)
		if ctx.Err() == nil {
			failing.note(err)
		}
		if claimable {
			w.Ring()
		}
	}
}

func (w *Worker) trySweep(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	return w.ledger.Sweep(ctx)
}

// work executes a run. One that panics stays leased until its lease runs out, and
// is then taken over a few times at most.
func (w *Worker) work(ctx context.Context, lease run.Lease) {
	record := lease.Record()
	log := w.log.With("run", record.ID)
	w.hold(record.ID)
	defer w.drop(record.ID)
	defer func() {
		if cause := recover(); cause != nil {
			log.Error("the run panicked", "err", cause, "stack", string(debug.Stack()))
		}
	}()
	if record.Vanished >= maxVanished {
		if err := giveUp(ctx, lease, record); err != nil {
			log.Error("a run that was taken over too often could not be ended", "err", err)
		}
		return
	}
	log.Debug("run claimed", "trigger", record.Request.Trigger, "takeovers", record.Takeovers)
	switch err := w.execute(ctx, lease); {
	case err == nil:
		log.Debug("run left hand")
	case errors.Is(err, run.ErrFenced):
		log.Warn("the run went to another process", "err", err)
	case ctx.Err() != nil:
		log.Info("run stopped for the shutdown", "err", err)
	default:
		log.Error("run failed", "err", err)
	}
}

// giveUp ends a run that nobody survives.
func giveUp(ctx context.Context, lease run.Lease, record run.Record) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ledgerTimeout)
	defer cancel()
	return lease.Finish(ctx, run.StatusFailed, record.Report, fmt.Sprintf(
		"given up: %d processes in a row took this run and ended, or lost the database, before they had settled anything%s; look into their logs for a panic or a lack of memory, then start it again", record.Vanished, whereabouts(ctx, lease)))
}

// whereabouts tells where a run is that does not get any further.
func whereabouts(ctx context.Context, lease run.Lease) string {
	at, err := lease.Resume(ctx)
	if err != nil || at == nil || len(at.Ranges) == 0 { // which a run without ranges has not either
		return ""
	}
	return fmt.Sprintf(", in key range %.200s or behind it", at.Ranges[0].String())
}

func (w *Worker) hold(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = append(w.busy, id)
}

func (w *Worker) drop(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Only one: a run whose lease was lost may be here twice for a moment.
	i := slices.Index(w.busy, id)
	w.busy = slices.Delete(w.busy, i, i+1)
}

// trouble logs that something fails when that begins and when it ends.
type trouble struct {
	log     *slog.Logger
	what    string
	present bool
}

func (t *trouble) note(err error) {
	switch {
	case err != nil && !t.present:
		t.log.Warn("cannot "+t.what+", trying again and again", "err", err)
	case err == nil && t.present:
		t.log.Info("can " + t.what + " again")
	}
	t.present = err != nil
}

// pause reports whether ctx is still there after d.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
