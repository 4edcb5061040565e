package consumer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

// claims is a ledger that leases runs as the real one does: one at a time of each
// slot, for as long as the lease holds.
type claims struct {
	mu      sync.Mutex
	queued  []string // ids; those that begin with "look" take that slot
	leases  map[string]*lease
	problem error // of Claim and Sweep
	calls   int   // of Claim
}

// lease is one that claims gave out.
type lease struct {
	run.Lease
	claims  *claims
	record  run.Record
	expires time.Time
	status  run.Status // once it has ended
	error   string
}

func newClaims(ids ...string) *claims { return &claims{queued: ids, leases: make(map[string]*lease)} }

func slotOf(id string) string { return strings.TrimRight(id, "0123456789") }

func (c *claims) Claim(ctx context.Context, owner string, length time.Duration) (run.Lease, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if err := errors.Join(c.problem, ctx.Err()); err != nil {
		return nil, err
	}
	id, vanished := c.next()
	if id == "" {
		return nil, nil
	}
	c.queued = slices.DeleteFunc(c.queued, func(other string) bool { return other == id })
	l := &lease{claims: c, record: run.Record{ID: id, Owner: owner, Takeovers: vanished, Vanished: vanished}, expires: time.Now().Add(length)}
	c.leases[id] = l
	return l, nil
}

// next is the run to claim: one whose lease has run out, or one that is queued and
// whose slot is free.
func (c *claims) next() (id string, vanished int) {
	taken := make(map[string]bool)
	for id, l := range c.leases {
		switch {
		case l.status != "":
		case !l.expires.After(time.Now()):
			return id, l.record.Vanished + 1
		default:
			taken[slotOf(id)] = true
		}
	}
	for _, id := range c.queued {
		if !taken[slotOf(id)] {
			return id, 0
		}
	}
	return "", 0
}

func (c *claims) Sweep(context.Context) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, _ := c.next()
	return id != "" && c.problem == nil, c.problem
}

func (c *claims) add(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queued = append(c.queued, id)
}

func (c *claims) called() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

func (c *claims) fail(problem error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problem = problem
}

func (l *lease) Record() run.Record { return l.record }

func (l *lease) Finish(ctx context.Context, status run.Status, _ *run.Report, problem string) error {
	l.claims.mu.Lock()
	defer l.claims.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.status, l.error = status, problem
	return nil
}

func (c *claims) ended(id string) (run.Status, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.leases[id]; l != nil {
		return l.status, l.error
	}
	return "", ""
}
