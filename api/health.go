package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

type healthDocument struct {
	Status       string                `json:"status"` // healthy or unhealthy
	Dependencies map[string]Dependency `json:"dependencies"`
	Topology     Dependency            `json:"topology"`
	Delivery     *run.Delivery         `json:"delivery"`
	LastCheck    *checkDocument        `json:"lastCheck"` // the last scheduled one
	Uptime       int64                 `json:"uptime"`    // seconds
	Timestamp    time.Time             `json:"timestamp"`
}

type checkDocument struct {
	healthCheck
	Found json.RawMessage `json:"found,omitempty"` // for viewers
}

func (a *API) uptime() int64 { return int64(time.Since(a.began).Seconds()) }

// getHealth shows everybody what answers and how quickly, and viewers what is wrong.
func (a *API) getHealth(w http.ResponseWriter, r *http.Request) error {
	h, err := a.health.get(r.Context())
	if err != nil {
		return err
	}
	shown := shownTo(r)
	d := healthDocument{
		Status: "healthy", Dependencies: make(map[string]Dependency, len(h.Dependencies)),
		Topology: shown(h.Topology), Uptime: a.uptime(), Timestamp: now(),
	}
	for name, dependency := range h.Dependencies {
		d.Dependencies[name] = shown(dependency)
	}
	d.Delivery = deliveryTo(r, h.Delivery)
	d.LastCheck = a.lastCheck(r, callOf(r.Context()).user.may(viewers))
	status := http.StatusOK
	if !h.Healthy {
		d.Status, status = "unhealthy", http.StatusServiceUnavailable
	}
	a.answer(w, r, status, d)
	return nil
}

// lastCheck is nil also where the ledger does not answer: health shows that anyway.
func (a *API) lastCheck(r *http.Request, detailed bool) *checkDocument {
	if a.parts.Runs == nil {
		return nil
	}
	const patience = time.Second // the ledger may be what is down
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	last, err := a.lastHealth.get(ctx)
	if err != nil || last == nil {
		return nil
	}
	c := &checkDocument{healthCheck: healthCheck{last.At, last.Healthy}}
	if detailed {
		c.Found = last.Document
	}
	return c
}

type readyDocument struct {
	Status       string                `json:"status"` // ready or not ready
	Leaving      bool                  `json:"leaving"`
	WaitingFor   []Waiting             `json:"waitingFor"` // now, also of a process that is ready
	Dependencies map[string]Dependency `json:"dependencies"`
	Timestamp    time.Time             `json:"timestamp"`
}

// getReady answers a balancer: yes once everything has answered, so that status, diagnosis
// and steering are reached during an outage as well. With full=true it answers for this
// moment.
func (a *API) getReady(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r)
	wanted := q.boolean("full")
	if err := q.problem(); err != nil {
		return err
	}
	full := wanted != nil && *wanted
	readiness, err := a.readiness[full].get(r.Context())
	if err != nil {
		return err
	}
	shown := shownTo(r)
	d := readyDocument{
		Status: "ready", Leaving: readiness.Leaving, WaitingFor: []Waiting{}, Timestamp: now(),
		Dependencies: make(map[string]Dependency, len(readiness.Dependencies)),
	}
	for _, waiting := range readiness.WaitingFor {
		waiting.Detail = shown(Dependency{Detail: waiting.Detail}).Detail
		d.WaitingFor = append(d.WaitingFor, waiting)
	}
	for name, dependency := range readiness.Dependencies {
		d.Dependencies[name] = shown(dependency)
	}
	status := http.StatusOK
	if !readiness.Started || readiness.Leaving || full && len(d.WaitingFor) > 0 {
		d.Status, status = "not ready", http.StatusServiceUnavailable
	}
	a.answer(w, r, status, d)
	return nil
}

// deliveryTo leaves out of a verdict what is only for viewers: names, and what to do.
func deliveryTo(r *http.Request, d *run.Delivery) *run.Delivery {
	if d == nil || callOf(r.Context()).user.may(viewers) {
		return d
	}
	return &run.Delivery{State: d.State, Link: d.Link, Since: d.Since, At: d.At, Queues: []run.QueueDelivery{}}
}

// shownTo leaves out what is only for viewers.
func shownTo(r *http.Request) func(Dependency) Dependency {
	detailed := callOf(r.Context()).user.may(viewers)
	return func(d Dependency) Dependency {
		if !detailed {
			d.Detail = ""
		}
		return d
	}
}

type liveDocument struct {
	Status    string    `json:"status"`
	Uptime    int64     `json:"uptime"` // seconds
	Timestamp time.Time `json:"timestamp"`
}

// getLive asks nothing and nobody: the process answers, so it lives.
func (a *API) getLive(w http.ResponseWriter, r *http.Request) error {
	a.answer(w, r, http.StatusOK, liveDocument{"alive", a.uptime(), now()})
	return nil
}
