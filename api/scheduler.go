package api

import (
	"net/http"
	"time"

	"github.com/ecom-micro/etl/internal/run"
)

// schedulerDocument is how the scheduler stands, on all replicas together.
type schedulerDocument struct {
	Sync        syncJob   `json:"productSyncScheduler"`
	HealthCheck healthJob `json:"healthCheckScheduler"`
	TimeZone    string    `json:"timezone"`
	Enabled     bool      `json:"enabled"` // ENABLE_SCHEDULER
	Switch      switched  `json:"switch"`
}

type job struct {
	Exists   bool      `json:"exists"`
	Running  bool      `json:"running"` // ticks come
	Schedule string    `json:"schedule"`
	Next     time.Time `json:"nextAt,omitzero"`
}

type syncJob struct {
	job
	IsRunning bool   `json:"isRunning"` // a repairing run is active
	Last      *brief `json:"lastRun"`
}

type healthJob struct {
	job
	Last *healthCheck `json:"lastCheck"`
}

type healthCheck struct {
	At      time.Time `json:"at"`
	Healthy bool      `json:"healthy"`
}

// switched is the switch that start and stop turn.
type switched struct {
	On bool      `json:"on"`
	By string    `json:"changedBy,omitempty"` // for viewers
	At time.Time `json:"changedAt,omitzero"`
}

func (a *API) scheduler(o Overview, user *User) schedulerDocument {
	s := a.parts.Schedule()
	timed := func(j Job, running bool) job {
		if !running {
			j.Next = time.Time{}
		}
		return job{Exists: s.Enabled, Running: running, Schedule: j.Expression, Next: j.Next}
	}
	d := schedulerDocument{
		Sync:        syncJob{timed(s.Sync, s.Enabled && o.Wanted.On), o.Active != nil, briefly(o.Scheduled, user.may(viewers))},
		HealthCheck: healthJob{timed(s.HealthCheck, s.Enabled), nil},
		TimeZone:    s.TimeZone, Enabled: s.Enabled,
		Switch: switched{On: o.Wanted.On, At: o.Wanted.At},
	}
	if user.may(viewers) {
		d.Switch.By = o.Wanted.By
	}
	if o.LastHealth != nil {
		d.HealthCheck.Last = &healthCheck{o.LastHealth.At, o.LastHealth.Healthy}
	}
	return d
}

type schedulerAnswer struct {
	Success   bool              `json:"success"`
	Message   string            `json:"message"`
	Status    schedulerDocument `json:"status"`
	Timestamp time.Time         `json:"timestamp"`
}

func (a *API) getScheduler(w http.ResponseWriter, r *http.Request) error {
	o, err := a.summary.get(r.Context())
	if err != nil {
		return err
	}
	d := a.scheduler(o, callOf(r.Context()).user)
	message := "scheduled runs are off: ENABLE_SCHEDULER is false"
	switch {
	case d.Sync.Running:
		message = "scheduled runs are on"
	case d.Enabled:
		message = "scheduled runs are off: POST " + Prefix + "/scheduler/start turns them on"
	}
	a.answer(w, r, http.StatusOK, schedulerAnswer{true, message, d, now()})
	return nil
}

// setSwitch turns scheduled runs on or off, for all replicas and for good.
func (a *API) setSwitch(on bool) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := readQuery(r).problem(); err != nil {
			return err
		}
		if err := withoutBody(w, r); err != nil {
			return err
		}
		if err := a.SetSwitch(r.Context(), on); err != nil {
			return err
		}
		o, err := a.summary.get(r.Context())
		if err != nil {
			return err
		}
		message := "scheduled runs are off"
		if on {
			message = "scheduled runs are on"
		}
		a.answer(w, r, http.StatusOK, schedulerAnswer{true, message, a.scheduler(o, callOf(r.Context()).user), now()})
		return nil
	}
}

// postTrigger starts what a tick would start, whether or not ticks come.
func (a *API) postTrigger(w http.ResponseWriter, r *http.Request) error {
	if err := readQuery(r).problem(); err != nil {
		return err
	}
	if err := withoutBody(w, r); err != nil {
		return err
	}
	return a.start(w, r, run.Request{Trigger: run.BySchedule, Order: a.parts.Schedule().Order})
}
