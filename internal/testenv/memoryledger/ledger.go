// Package memoryledger is a ledger in memory, for tests of those who use one. It passes
// the same suite as the real one, internal/testenv/ledgertest.
package memoryledger

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Ledger is the ledger of one pipeline. Its settings are to be changed before it is
// used.
type Ledger struct {
	Pipeline  string
	Retention time.Duration
	// At most so many outcomes of a run are kept, and open differences.
	MaxOutcomes, MaxDifferences int
	// Reads is the version of requests up to which a program reads them.
	Reads int

	mu          sync.Mutex
	before      func(ctx context.Context, method string) error
	runs        map[string]*entry
	differences map[run.Key]*difference
	looks       map[string]run.Look
	gaps        []gap
	wanted      run.Switch
	checked     *run.HealthRecord
	detectors   map[run.Detector]*detector
	samples     map[time.Time]run.Sample // by their hour
	actions     []run.Action             // the oldest first
	calls       map[string]int
	age         time.Duration // by how much all has grown older than it is
	ticks       int64
}

// entry is a run and what another process needs to go on with it.
type entry struct {
	record     run.Record
	fence      int
	leaseUntil time.Time
	notBefore  time.Time // of a run that was handed back
	finished   moment
	planned    bool
	ranges     []product.Range
	done       map[product.Range]run.FinishedRange
	stage      run.Stage
	memory     []byte
	hands      map[run.Key]hand
	outcomes   map[run.Key]run.PastOutcome
	dropped    int
	unread     []byte // of a run that waits
	unreadBy   int
}

type hand struct {
	attempt int
	acted   time.Time
}

type gap struct {
	at     time.Time
	length time.Duration
}

// moment is a time. Those of one instant are told apart by their number.
type moment struct {
	at time.Time
	n  int64
}

// New makes an empty ledger with the real one's settings.
func New() *Ledger {
	return &Ledger{
		Pipeline: "products", Retention: 720 * time.Hour, MaxOutcomes: run.MaxOutcomes, MaxDifferences: 1_000_000, Reads: run.RequestVersion,
		runs: make(map[string]*entry), differences: make(map[run.Key]*difference), looks: make(map[string]run.Look),
		wanted: run.Switch{On: true}, calls: make(map[string]int), detectors: make(map[run.Detector]*detector), samples: make(map[time.Time]run.Sample),
	}
}

// enter locks the ledger for a method, unless the method is to fail.
func (l *Ledger) enter(ctx context.Context, method string) (leave func(), err error) {
	l.mu.Lock()
	l.calls[method]++
	before := l.before
	l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if before != nil {
		if err := before(ctx, method); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	return l.mu.Unlock, nil
}

// now is the time by which the ledger goes, in the resolution of the real one.
func (l *Ledger) now() moment {
	l.ticks++
	return moment{time.Now().Add(l.age).UTC().Truncate(time.Microsecond), l.ticks}
}

// Age makes everything in the ledger older. Leases hold for as much longer.
func (l *Ledger) Age(by time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.age += by
	for _, e := range l.runs {
		e.leaseUntil = e.leaseUntil.Add(by)
	}
}

// Intercept calls before ahead of each method from now on, those of leases included,
// by its name. What it returns is returned, and nothing is done. Nil ends that.
// Begin is that of a lease, Ledger.Begin the other one.
func (l *Ledger) Intercept(before func(ctx context.Context, method string) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.before = before
}

// Calls is how often a method was called.
func (l *Ledger) Calls(method string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls[method]
}

// Put keeps a run as it is, and returns its id. One without an id gets one.
func (l *Ledger) Put(record run.Record) string {
	if record.ID == "" {
		record.ID = run.NewRunID()
	}
	record.Request.ID, record.Version, record.Wanted = record.ID, 1, cmp.Or(record.Wanted, run.WantRun)
	record.IDCount, record.Attention = len(record.Request.IDs), cmp.Or(record.Attention, run.NoAttention)
	l.mu.Lock()
	defer l.mu.Unlock()
	e := newEntry(record)
	if !record.Status.Active() {
		e.finished = l.now()
		e.record.Finished = cmp.Or(record.Finished, e.finished.at)
	}
	l.runs[record.ID] = e
	return record.ID
}

func newEntry(record run.Record) *entry {
	return &entry{record: record, done: make(map[product.Range]run.FinishedRange), hands: make(map[run.Key]hand),
		outcomes: make(map[run.Key]run.PastOutcome)}
}

// Change changes a run that is kept, as its worker would.
func (l *Ledger) Change(id string, change func(*run.Record)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.runs[id]
	change(&e.record)
	e.record.Version++
	if !e.record.Status.Active() {
		e.finished = l.now()
	}
}

// Keep settles outcomes in a run that is kept, whatever its status.
func (l *Ledger) Keep(id string, outcomes ...run.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.runs[id]
	l.settle(e, run.Settlement{Outcomes: outcomes})
	e.record.Started = cmp.Or(e.record.Started, l.now().at)
	if !e.record.Status.Active() {
		e.finished = l.now()
	}
}

// Drop makes a run one that found more than the ledger keeps.
func (l *Ledger) Drop(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs[id].dropped++
}

// Remove removes a run.
func (l *Ledger) Remove(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.runs, id)
}

// All are all runs, the oldest first.
func (l *Ledger) All() []run.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sorted(func(*entry) bool { return true })
}

// Hands are the products that a run has in hand, by id and kind.
func (l *Ledger) Hands(id string) []run.Hand {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs[id].inHand()
}

// sorted are the runs that are to be kept, the oldest first.
func (l *Ledger) sorted(keep func(*entry) bool) []run.Record {
	records := []run.Record{}
	for _, e := range l.runs {
		if keep(e) {
			records = append(records, e.record)
		}
	}
	slices.SortFunc(records, func(a, b run.Record) int {
		return cmp.Or(a.Request.At.Compare(b.Request.At), cmp.Compare(a.ID, b.ID))
	})
	return records
}

func (l *Ledger) active(slot run.Slot) *entry {
	for _, e := range l.runs {
		if e.record.Status.Active() && e.record.Request.Slot() == slot {
			return e
		}
	}
	return nil
}

// Submit enters a run that waits for a worker, or returns the one with its id or key.
func (l *Ledger) Submit(ctx context.Context, request run.Request) (run.Record, error) {
	leave, err := l.enter(ctx, "Submit")
	if err != nil {
		return run.Record{}, err
	}
	defer leave()
	e, active := l.add(request, run.StatusQueued)
	if active != nil {
		return run.Record{}, &run.ActiveError{Active: active.record}
	}
	return e.record, nil
}

// add enters a run. What stands in the way is returned: the run that has its id or its
// key as if it were the run, and the one that holds its slot as active.
func (l *Ledger) add(request run.Request, status run.Status) (e, active *entry) {
	if e := l.runs[request.ID]; e != nil {
		return e, nil
	}
	for _, e := range l.runs {
		if request.Key != "" && e.record.Request.Key == request.Key {
			return e, nil
		}
	}
	record := run.Record{ID: request.ID, Version: 1, Status: status, Request: request, IDCount: len(request.IDs), Wanted: run.WantRun, Attention: run.NoAttention}
	now := l.now()
	late := (status == run.StatusQueued || status == run.StatusWaiting) && !request.Expires.IsZero() && !request.Expires.After(now.at)
	if late {
		record.Status, record.Error = run.StatusSkipped, expired(request)
	} else if newer := request.Newer(); newer != nil && status == run.StatusQueued {
		record.Error = newer.Error()
	}
	if record.Status.Active() {
		if active := l.active(request.Slot()); active != nil {
			return nil, active
		}
	} else if record.Status != run.StatusWaiting {
		record.Finished = now.at
	}
	e = newEntry(record)
	e.finished = now
	l.runs[record.ID] = e
	if request.Apply != "" && record.Status != run.StatusSkipped {
		l.note(run.DidApply, run.Actor{Name: request.By, Trigger: request.Trigger}, request.Apply, record.ID)
	}
	return e, nil
}

func expired(r run.Request) string {
	return "expired: no worker began it by " + r.Expires.UTC().Format("2006-01-02T15:04:05Z")
}

// Accept enters a request that came as a message; where its slot is taken, as skipped.
func (l *Ledger) Accept(ctx context.Context, request run.Request) (run.Record, error) {
	leave, err := l.enter(ctx, "Accept")
	if err != nil {
		return run.Record{}, err
	}
	defer leave()
	switch {
	case request.Recorded && l.runs[request.ID] == nil:
		return run.Record{}, run.ErrNotFound
	case request.Recorded:
		return l.runs[request.ID].record, nil
	}
	if err := l.checkPipeline(request); err != nil {
		return run.Record{}, err
	}
	if request.Apply != "" {
		problem := "names a run that the ledger does not have"
		if found := l.runs[request.Apply]; found != nil {
			problem = run.NotApplicable(&found.record)
		}
		if problem != "" {
			return run.Record{}, &run.InvalidError{Fields: []run.FieldError{{Field: "apply", Message: problem}}}
		}
	}
	e, active := l.add(request, run.StatusQueued)
	if active != nil {
		e, _ = l.add(request, run.StatusSkipped)
		e.record.ActiveRun, e.record.Error = active.record.ID, (&run.ActiveError{Active: active.record}).Error()
	}
	return e.record, nil
}

func (l *Ledger) checkPipeline(request run.Request) error {
	if request.Pipeline == "" || request.Pipeline == l.Pipeline {
		return nil
	}
	return &run.InvalidError{Fields: []run.FieldError{{Field: "pipeline", Message: "is another one than that of the service here, " + l.Pipeline}}}
}

// Begin enters a run that the caller executes, and takes its lease.
func (l *Ledger) Begin(ctx context.Context, request run.Request, owner string, length time.Duration) (run.Lease, error) {
	leave, err := l.enter(ctx, "Ledger.Begin")
	if err != nil {
		return nil, err
	}
	defer leave()
	stale := l.active(request.Slot())
	if stale != nil && !l.stale(stale) {
		stale = nil
	}
	var before run.Status
	if stale != nil {
		before, stale.record.Status = stale.record.Status, run.StatusFailed
	}
	e, active := l.add(request, run.StatusRunning)
	begun := e != nil && e.fence == 0 && e.record.Status == run.StatusRunning
	if stale != nil {
		if !begun {
			stale.record.Status = before
		} else {
			stale.record.Error = "its process gave no sign of life any more; run " + request.ID + " took its place"
			if before == run.StatusQueued {
				stale.record.Error = "it was handed back, and no worker took it up again; run " + request.ID + " took its place"
			}
			l.end(stale)
		}
	}
	switch {
	case active != nil:
		return nil, &run.ActiveError{Active: active.record}
	case begun:
		now := l.now().at
		e.fence, e.leaseUntil, e.record.Owner, e.record.Started, e.record.Finished = 1, now.Add(length), owner, now, time.Time{}
	case e.record.Status != run.StatusRunning || e.record.Owner != owner || e.record.Takeovers > 0:
		return nil, &run.StatusError{Run: e.record, Action: "begin again"}
	}
	return l.lease(e, length), nil
}

// stale tells whether an active run has no owner any more that lives, nor gets one.
func (l *Ledger) stale(e *entry) bool {
	if e.record.Status != run.StatusQueued && !e.unowned() {
		return e.leaseUntil.Before(l.now().at)
	}
	return e.fence > 0 && e.record.Wanted != run.WantPause && e.notBefore.Before(l.now().at.Add(-time.Minute))
}

// end closes the books of a run that has got its last status.
func (l *Ledger) end(e *entry) {
	for key, h := range e.hands {
		l.open(e.record.ID, run.Outcome{Key: key, State: run.InFlight, Attempts: max(h.attempt, 1), Reason: run.Reason{Code: run.ReasonUnproved}})
	}
	e.finished = l.now()
	e.record.Finished, e.record.Version = e.finished.at, e.record.Version+1
	e.memory, e.ranges = nil, nil
	clear(e.hands)
	clear(e.done)
}

// Discard removes a run that no worker has begun.
func (l *Ledger) Discard(ctx context.Context, id string) error {
	leave, err := l.enter(ctx, "Discard")
	if err != nil {
		return err
	}
	defer leave()
	e := l.runs[id]
	if e == nil {
		return nil
	}
	if e.record.Status != run.StatusQueued || e.fence > 0 {
		return &run.StatusError{Run: e.record, Action: "be discarded"}
	}
	delete(l.runs, id)
	return nil
}

func (l *Ledger) claimable(e *entry) bool {
	now := l.now().at
	if e.record.Request.Version > l.Reads {
		return false
	}
	if e.unowned() {
		return e.record.Wanted != run.WantPause && !e.notBefore.After(now)
	}
	switch e.record.Status {
	case run.StatusQueued:
		expires := e.record.Request.Expires
		return e.record.Wanted != run.WantPause && !e.notBefore.After(now) && (e.fence > 0 || expires.IsZero() || expires.After(now))
	case run.StatusRunning, run.StatusPaused:
		return e.leaseUntil.Before(now)
	}
	return false
}

// Claim takes the lease of the oldest run that waits for a worker, or that another
// process has left; nil where there is none.
func (l *Ledger) Claim(ctx context.Context, owner string, length time.Duration) (run.Lease, error) {
	leave, err := l.enter(ctx, "Claim")
	if err != nil {
		return nil, err
	}
	defer leave()
	waiting := l.sorted(l.claimable)
	if len(waiting) == 0 {
		return nil, nil
	}
	e := l.runs[waiting[0].ID]
	now := l.now().at
	if e.record.Status == run.StatusQueued || e.unowned() {
		e.record.Status = run.StatusRunning
	} else {
		e.record.Vanished++
	}
	e.fence++
	e.record.Error, e.notBefore = "", time.Time{}
	e.leaseUntil = now.Add(length)
	e.record.Version, e.record.Owner, e.record.Takeovers, e.record.Started = e.record.Version+1, owner, e.fence-1, cmp.Or(e.record.Started, now)
	return l.lease(e, length), nil
}

// Sweep ends queued runs that expired, queues those that waited for this version, and
// tells whether a run could be claimed now.
func (l *Ledger) Sweep(ctx context.Context) (bool, error) {
	leave, err := l.enter(ctx, "Sweep")
	if err != nil {
		return false, err
	}
	defer leave()
	now := l.now().at
	claimable := false
	for _, e := range l.runs {
		expires := e.record.Request.Expires
		switch {
		case (e.record.Status == run.StatusQueued && e.fence == 0 || e.record.Status == run.StatusWaiting) && !expires.IsZero() && !expires.After(now):
			e.record.Status, e.record.Error = run.StatusSkipped, expired(e.record.Request)
			l.end(e)
		case l.claimable(e):
			claimable = true
		case e.record.Status == run.StatusWaiting && e.unreadBy < l.Reads:
			l.read(e)
		}
	}
	return claimable, nil
}

// Forget removes what is older than the retention.
func (l *Ledger) Forget(ctx context.Context, _ time.Duration) (removed int64, err error) {
	leave, err := l.enter(ctx, "Forget")
	if err != nil {
		return 0, err
	}
	defer leave()
	now := l.now().at
	old := func(t time.Time) bool { return t.Before(now.Add(-l.Retention)) }
	for id, e := range l.runs {
		if !e.record.Finished.IsZero() && old(e.record.Finished) {
			removed += 1 + int64(len(e.outcomes))
			delete(l.runs, id)
		}
	}
	for key, d := range l.differences {
		if d.closedBy != "" && old(d.closed.at) {
			removed++
			delete(l.differences, key)
		}
	}
	kept := slices.DeleteFunc(slices.Clone(l.actions), func(a run.Action) bool { return old(a.At) })
	removed += int64(len(l.actions) - len(kept))
	l.actions = kept
	last := l.lastLook()
	for id, look := range l.looks {
		if old(look.At) && look.At.Before(last.At) {
			removed++
			delete(l.looks, id)
		}
	}
	return removed, nil
}

// Ask pauses, resumes or cancels an active run.
func (l *Ledger) Ask(ctx context.Context, id string, wanted run.Wanted, by run.Actor) (run.Record, error) {
	leave, err := l.enter(ctx, "Ask")
	if err != nil {
		return run.Record{}, err
	}
	defer leave()
	e := l.runs[id]
	action := map[run.Wanted]string{run.WantPause: "be paused", run.WantRun: "be resumed", run.WantCancel: "be cancelled"}[wanted]
	switch {
	case action == "":
		return run.Record{}, errors.New(string(wanted) + " is nothing that may be asked of a run")
	case e == nil:
		return run.Record{}, run.ErrNotFound
	case e.record.Status == run.StatusWaiting && wanted == run.WantCancel:
		e.record.Wanted, e.record.Status, e.record.Error = wanted, run.StatusCancelled, ""
		l.end(e)
		l.note(wanted.Deed(), by, id, "")
		return e.record, nil
	case e.record.Wanted == wanted && (e.record.Status.Active() || e.record.Status == run.StatusCancelled && wanted == run.WantCancel):
		return e.record, nil
	case !e.record.Status.Active():
		return run.Record{}, &run.StatusError{Run: e.record, Action: action}
	case e.record.Wanted == run.WantCancel:
		return run.Record{}, &run.StatusError{Run: e.record, Action: action + ": it is being cancelled"}
	}
	e.record.Wanted = wanted
	l.note(wanted.Deed(), by, id, "")
	if wanted == run.WantCancel && (e.record.Status == run.StatusQueued || e.unowned()) {
		e.record.Status, e.record.Error = run.StatusCancelled, ""
		l.end(e)
	} else {
		e.record.Version++
	}
	return e.record, nil
}

// Switch tells whether scheduled runs are wanted.
func (l *Ledger) Switch(ctx context.Context) (run.Switch, error) {
	leave, err := l.enter(ctx, "Switch")
	if err != nil {
		return run.Switch{}, err
	}
	defer leave()
	return l.wanted, nil
}

// SetSwitch says whether scheduled runs are wanted, and who says so.
func (l *Ledger) SetSwitch(ctx context.Context, on bool, by run.Actor) (run.Switch, error) {
	leave, err := l.enter(ctx, "SetSwitch")
	if err != nil {
		return run.Switch{}, err
	}
	defer leave()
	if l.wanted.On != on {
		l.note(run.DeedOfSwitch(on), by, "", "")
		l.wanted = run.Switch{On: on, By: by.Name, At: l.now().at}
	}
	return l.wanted, nil
}

// SaveHealth keeps the result of a scheduled health check.
func (l *Ledger) SaveHealth(ctx context.Context, h run.HealthRecord) error {
	leave, err := l.enter(ctx, "SaveHealth")
	if err != nil {
		return err
	}
	defer leave()
	h.At = cmp.Or(h.At, l.now().at)
	if l.checked == nil || !h.At.Before(l.checked.At) {
		l.checked = &h
	}
	return nil
}

// LastHealth returns the latest health check, nil where there is none.
func (l *Ledger) LastHealth(ctx context.Context) (*run.HealthRecord, error) {
	leave, err := l.enter(ctx, "LastHealth")
	if err != nil {
		return nil, err
	}
	defer leave()
	return l.checked, nil
}
