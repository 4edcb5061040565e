package api

import (
	"context"
	"net/http"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// What callers may ask and do, whichever way they come: as JSON through the routes of this
// package, or as pages through those of package ui. Contexts are those of requests that the
// API serves, and know who asks.

// Caller is who asks, nil where nobody is known.
func Caller(ctx context.Context) *User { return callOf(ctx).user }

// Sees tells whether the user may see everything.
func (u *User) Sees() bool { return u.may(viewers) }

// Steers tells whether the user may act.
func (u *User) Steers() bool { return u.may(operators) }

// SignIn is who a token names. The error says what is wrong with it, and nothing that would
// help a stranger.
func (a *API) SignIn(ctx context.Context, token string) (*User, error) {
	var c claims
	if why := a.guard.check(token, &c); why != nil {
		logger(ctx).Debug("a token was refused", "err", why)
		return nil, forbidden("the token is not valid")
	}
	return c.user(), nil
}

// Overview is what the ledger knows at a glance, at most a second old.
func (a *API) Overview(ctx context.Context) (Overview, error) { return a.summary.get(ctx) }

// Proof is how the stores stood by the last look at all products, nil where there was none.
type Proof struct {
	Stores run.Stores
	// Contradiction says that a later count does not fit it, and that rows are gone; empty where
	// it fits, or repairs since then explain it.
	Contradiction string
}

// Proof judges by an overview.
func (a *API) Proof(ctx context.Context, o *Overview) *Proof {
	if o.Validation == nil || o.Validation.Report == nil {
		return nil
	}
	v := judge(o.Validation)
	v.compare(a.statistics.newest(ctx))
	p := &Proof{Stores: v.proof}
	if v.Contradicted != nil && (v.Contradicted.Drift > 0 || v.proof.InSync()) {
		p.Contradiction = v.Contradicted.message(v.Checked)
	}
	return p
}

// Drift counts what is open as the ledger knows it, a moment ago.
func (a *API) Drift(ctx context.Context) (run.Drift, error) {
	const moment = 15 * time.Second
	return a.drift.within(ctx, moment)
}

// Health is what the service depends on, at most a second old.
func (a *API) Health(ctx context.Context) (Health, error) { return a.health.get(ctx) }

// Explain says of one product what either store holds, what that means, and what became of it
// in earlier runs.
func (a *API) Explain(ctx context.Context, id product.ID, t words.Terms) (*words.ExplanationDocument, error) {
	explanation, err := a.parts.Stores.Explain(ctx, id)
	if err != nil {
		return nil, err
	}
	if explanation.History, err = a.parts.Runs.History(ctx, id, maxHistory); err != nil {
		return nil, err
	}
	return t.Explanation(explanation), nil
}

// Apply starts a run that repairs what an earlier one has found.
func (a *API) Apply(ctx context.Context, id string, order run.Order) (run.Record, error) {
	found, err := a.parts.Runs.Run(ctx, id)
	if err != nil {
		return found, err
	}
	if len(order.Repair) == 0 {
		order.Repair = found.Request.Repair
	}
	request, err := a.application(ctx, &found, order)
	if err != nil {
		return found, err
	}
	return a.Submit(ctx, request)
}

// Trigger starts what a tick would start.
func (a *API) Trigger(ctx context.Context) (run.Record, error) {
	return a.Submit(ctx, run.Request{Trigger: run.BySchedule, Order: a.parts.Schedule().Order})
}

// Steer tells the worker of a run what is wanted of it.
func (a *API) Steer(ctx context.Context, id string, wanted run.Wanted) (run.Record, error) {
	record, err := a.parts.Runs.Ask(ctx, id, wanted, actor(ctx))
	if err != nil {
		return record, err
	}
	a.summary.forget()
	logger(ctx).Info("run steered", "run", id, "wanted", wanted)
	return record, nil
}

// SetSwitch turns scheduled runs on or off, for all replicas and for good.
func (a *API) SetSwitch(ctx context.Context, on bool) error {
	if on && !a.parts.Schedule().Enabled {
		return &refusal{status: http.StatusConflict, message: "ENABLE_SCHEDULER is false: set it to true and restart the service, then scheduled runs can be started"}
	}
	if _, err := a.parts.Runs.SetSwitch(ctx, on, actor(ctx)); err != nil {
		return err
	}
	logger(ctx).Info("scheduler switched", "on", on)
	a.summary.forget()
	return nil
}

// Letters are the oldest messages that were no requests, at most limit.
func (a *API) Letters(ctx context.Context, limit int) ([]Letter, error) {
	return a.parts.Letters.Letters(ctx, limit)
}

// LettersWaiting is how many of them there are.
func (a *API) LettersWaiting(ctx context.Context) (int, error) {
	return a.parts.Letters.Waiting(ctx)
}

// SettleLetters requeues, or else drops, the letters of a key, and returns how many those were.
func (a *API) SettleLetters(ctx context.Context, key string, requeue bool) (n int, err error) {
	settle, did := a.parts.Letters.Drop, "dropped"
	if requeue {
		settle, did = a.parts.Letters.Requeue, "requeued"
	}
	if n, err = settle(ctx, key); err != nil {
		return n, err
	}
	logger(ctx).Info("dead letters settled", "letter", key, "letters", n, "how", did)
	return n, nil
}

// Message says in one sentence how a run stands, to those who may see details.
func Message(record *run.Record, t words.Terms) string { return inDetail(record, t) }
