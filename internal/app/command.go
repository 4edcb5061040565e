package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ecom-micro/etl/internal/ledger"
	"github.com/ecom-micro/etl/internal/reconcile"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/target"
)

// Command is one run that a command line asks for and waits for.
type Command struct {
	Config  *Config
	Request run.Request
	// WithoutBroker does without a look at the cart's queue.
	WithoutBroker bool
	// Partial says that a look compares other fields than the service does: it is no proof,
	// and not kept.
	Partial bool
	// Show is called once the run is prepared, with what tells how far it is, and whether
	// the ledger has it.
	Show func(kept bool, progress func() run.Progress)
	// Unkept is called where a look is not kept in the ledger, with the reason.
	Unkept func(why error)
}

// commandLease is how long a run belongs to a command that gives no sign of life.
const commandLease = 15 * time.Second

// Run executes the run in this process. It is in the ledger and takes the slot that the
// service's runs take too; a look, which a ledger is no obstacle to, does without where it
// cannot be kept. What is opened ends with clean, after the run. The report is nil where the
// run could not begin.
func (c *Command) Run(ctx context.Context, clean *Cleanup) (*run.Report, error) {
	j := job{config: c.Config, request: c.Request, command: true, withoutBroker: c.WithoutBroker}
	ctx, j.stop = context.WithCancelCause(ctx)
	defer j.stop(nil)
	prepare := func(ctx context.Context) (*reconcile.Run, error) {
		engine, err := j.prepare(ctx, clean)
		if err == nil {
			c.Show(j.lease != nil, engine.Progress)
		}
		return engine, err
	}
	// What cannot be reached is said before the run is in the ledger.
	if err := j.open(ctx, clean); err != nil {
		return nil, err
	}
	if j.request.DryRun {
		return c.look(ctx, &j, clean, prepare)
	}
	memory, err := OpenLedger(ctx, j.config, clean)
	if err != nil {
		return nil, err
	}
	// The lock first: whoever has it is alive, whatever the ledger thinks of its run.
	if err := j.lock(ctx, clean); err != nil {
		return nil, named(ctx, memory, err)
	}
	j.lease, err = begin(ctx, memory, j.request)
	if err != nil {
		return nil, err
	}
	report, err := reconcile.Execute(ctx, j.lease, commandLease, prepare)
	if err == nil {
		_, err = memory.Forget(ctx, 5*time.Second) // there may be no service that does it
	}
	return report, left(j.request.ID, err)
}

// look executes a run that only looks, and keeps it in the ledger where that is there and
// may be written.
func (c *Command) look(ctx context.Context, j *job, clean *Cleanup, prepare func(context.Context) (*reconcile.Run, error)) (*run.Report, error) {
	memory, err := ConnectLedger(ctx, j.config, clean)
	if err == nil {
		err = UsableLedger(ctx, memory)
	}
	if err == nil && c.Partial {
		err = errors.New("it compares other fields than SYNC_COMPARE_FIELDS says")
	}
	if err == nil {
		j.lease, err = memory.Begin(ctx, j.request, commandOwner(), commandLease)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		c.Unkept(err)
		j.lease = nil
		engine, err := prepare(ctx)
		if err != nil {
			return nil, err
		}
		return engine.Do(ctx)
	}
	report, err := reconcile.Execute(ctx, j.lease, commandLease, prepare)
	if err == nil {
		_, _ = memory.Forget(ctx, 5*time.Second) // or the next command does it
	}
	if errors.Is(err, reconcile.ErrHandedBack) || errors.Is(err, run.ErrFenced) {
		err = fmt.Errorf("%w; a worker of `etl serve` goes on with run %s, where there is one", err, j.request.ID)
	}
	return report, err
}

// UsableLedger tells why the ledger cannot be used as it is, nil where it can.
func UsableLedger(ctx context.Context, memory *ledger.Ledger) error {
	current, err := memory.Check(ctx)
	if err == nil && !current {
		err = errors.New("there is no ledger yet, or it is an older version's: `etl serve`, `etl sync` or `etl migrate` creates schema etl_ledger, and brings it up to date")
	}
	return err
}

// left says how a run goes on that this command had to leave.
func left(id string, err error) error {
	if !errors.Is(err, reconcile.ErrHandedBack) && !errors.Is(err, run.ErrFenced) {
		return err
	}
	return fmt.Errorf("%w; a worker of `etl serve` goes on with run %s; where there is none, `etl sync` begins another one in a minute, which repairs what is still different", err, id)
}

// Taken tells of an error that another repairing run is active.
func Taken(err error) bool {
	return errors.Is(err, target.ErrLocked) || errors.As(err, new(*run.ActiveError))
}

// named says which run holds the lock, where the ledger knows it.
func named(ctx context.Context, memory *ledger.Ledger, err error) error {
	if !errors.Is(err, target.ErrLocked) {
		return err
	}
	if active, lookErr := memory.Active(ctx, run.RepairSlot); lookErr == nil && active != nil {
		return &run.ActiveError{Active: *active}
	}
	return err
}

// begin takes the slot of repairing runs. A command that was killed leaves its run
// active until its lease ends: a holder that gives no sign of life is waited for.
func begin(ctx context.Context, memory *ledger.Ledger, request run.Request) (run.Lease, error) {
	var first *run.Record
	for begun := time.Now(); ; {
		lease, err := memory.Begin(ctx, request, commandOwner(), commandLease)
		var active *run.ActiveError
		if !errors.As(err, &active) || active.Active.Status == run.StatusQueued {
			return lease, err
		}
		if first == nil {
			first = &active.Active
		}
		if active.Active.ID != first.ID || active.Active.Version != first.Version || time.Since(begun) > 2*commandLease {
			return nil, err
		}
		if err := reconcile.SleepUntil(ctx, time.Now().Add(time.Second)); err != nil {
			return nil, err
		}
	}
}

// commandOwner names this process to people.
func commandOwner() string {
	host, _ := os.Hostname() // only shown
	return fmt.Sprintf("command on %s, process %d", host, os.Getpid())
}
