package api

import (
	"context"
	"net/http"
	"time"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// Overview is what the ledger knows at a glance. Runs are nil where there is none.
type Overview struct {
	Active, Look      *run.Record // active runs of both slots
	LastRun, LastLook *run.Record
	Validation        *run.Record // the last run that looked at all products to the end
	Scheduled         *run.Record // the last run that a schedule asked for
	Wanted            run.Switch
	LastHealth        *run.HealthRecord
	Detection         run.Detection
}

func (a *API) look(ctx context.Context) (Overview, error) {
	var o Overview
	var err error
	ask := func(into **run.Record, question func() (*run.Record, error)) {
		if err == nil {
			*into, err = question()
		}
	}
	runs := a.parts.Runs
	ask(&o.Active, func() (*run.Record, error) { return runs.Active(ctx, run.RepairSlot) })
	ask(&o.Look, func() (*run.Record, error) { return runs.Active(ctx, run.LookSlot) })
	ask(&o.LastRun, func() (*run.Record, error) { return runs.Latest(ctx, run.RepairSlot) })
	ask(&o.LastLook, func() (*run.Record, error) { return runs.Latest(ctx, run.LookSlot) })
	ask(&o.Validation, func() (*run.Record, error) { return runs.LatestLook(ctx, time.Time{}) })
	ask(&o.Scheduled, func() (*run.Record, error) {
		page, err := runs.Runs(ctx, run.Filter{Trigger: []run.Trigger{run.BySchedule}, Limit: 1})
		if err != nil || len(page.Runs) == 0 {
			return nil, err
		}
		return &page.Runs[0], nil
	})
	if err == nil {
		o.Wanted, err = runs.Switch(ctx)
	}
	if err == nil {
		o.LastHealth, err = runs.LastHealth(ctx)
	}
	if err == nil {
		o.Detection, err = runs.Detection(ctx)
	}
	return o, err
}

// brief is of a run what any user may see.
type brief struct {
	ID        string                  `json:"id"`
	Status    run.Status              `json:"status"`
	Trigger   run.Trigger             `json:"trigger"`
	Mode      run.Mode                `json:"mode"`
	DryRun    bool                    `json:"dryRun"`
	Requested time.Time               `json:"requestedAt"`
	Started   time.Time               `json:"startedAt,omitzero"`
	Finished  time.Time               `json:"finishedAt,omitzero"`
	Progress  *words.ProgressDocument `json:"progress,omitempty"`
	Success   bool                    `json:"success"`
	Message   string                  `json:"message"`
	Link      string                  `json:"link"`
}

// briefly shows those who may see details why a run fails or waits.
func briefly(record *run.Record, detailed bool) *brief {
	if record == nil {
		return nil
	}
	b := &brief{
		ID: record.ID, Status: record.Status, Trigger: record.Request.Trigger, Mode: record.Request.Mode, DryRun: record.Request.DryRun,
		Requested: record.Request.At, Started: record.Started, Finished: record.Finished,
		Success: successful(*record), Message: describe(record, words.API), Link: runPath(record.ID),
	}
	if detailed {
		b.Message = inDetail(record, words.API)
	}
	if record.Status.Active() {
		b.Progress = words.API.Progress(discreet(record.Progress))
	}
	return b
}

type statusDocument struct {
	Success     bool `json:"success"`
	ProductSync struct {
		Stats      *counts     `json:"stats"`
		Validation *validation `json:"validation"`
	} `json:"productSync"`
	ActiveRun        *brief            `json:"activeRun"`
	ActiveComparison *brief            `json:"activeComparison"`
	LastRun          *brief            `json:"lastRun"`
	LastComparison   *brief            `json:"lastComparison"`
	Scheduler        schedulerDocument `json:"scheduler"`
	Delivery         *run.Delivery     `json:"delivery"`  // whether events reach the cart, as last seen
	Detection        run.Detection     `json:"detection"` // of lost events, beside the runs
	Timestamp        time.Time         `json:"timestamp"`
}

// detectionTo shows those who may see details what is wrong, and who does the work.
func detectionTo(d run.Detection, detailed bool) run.Detection {
	shown := run.Detection{Detectors: append([]run.DetectorState{}, d.Detectors...), Pending: d.Pending}
	for i := range shown.Detectors {
		one := &shown.Detectors[i]
		if !detailed {
			one.Owner = ""
		}
		if !detailed && one.Problem != "" {
			one.Problem = "it does not work at present"
		}
	}
	return shown
}

// counts are those of the last look at all products: counting anew whenever
// somebody asks would be work for both databases.
type counts struct {
	Source   int64      `json:"sourceCount"`
	Target   int64      `json:"targetCount"`
	LastSync *time.Time `json:"lastSyncTime"` // the end of the last repairing run, if there was one
	As       time.Time  `json:"countedAt,omitzero"`
}

func (o *Overview) lastSync() *time.Time {
	if o.LastRun == nil {
		return nil
	}
	return &o.LastRun.Finished
}

func (a *API) getStatus(w http.ResponseWriter, r *http.Request) error {
	o, err := a.summary.get(r.Context())
	if err != nil {
		return err
	}
	user := callOf(r.Context()).user
	detailed := user.may(viewers)
	d := statusDocument{
		Success: true, Timestamp: now(), Scheduler: a.scheduler(o, user),
		ActiveRun: briefly(o.Active, detailed), ActiveComparison: briefly(o.Look, detailed),
		Delivery:  deliveryTo(r, a.parts.Probes.Delivery()),
		Detection: detectionTo(o.Detection, detailed),
		LastRun:   briefly(o.LastRun, detailed), LastComparison: briefly(o.LastLook, detailed),
	}
	if v := o.Validation; v != nil && v.Report != nil {
		d.ProductSync.Validation = judge(v)
		d.ProductSync.Validation.compare(a.statistics.newest(r.Context()))
		found := d.ProductSync.Validation.Details
		d.ProductSync.Stats = &counts{Source: found.Source, Target: found.Target, LastSync: o.lastSync(), As: v.Finished}
	}
	a.answer(w, r, http.StatusOK, d)
	return nil
}

type statistics struct {
	Success bool `json:"success"`
	Statistics
	ProductSync counts    `json:"productSync"` // under their former names
	Timestamp   time.Time `json:"timestamp"`
}

func (a *API) getStats(w http.ResponseWriter, r *http.Request) error {
	s, err := a.statistics.get(r.Context())
	if err != nil {
		return err
	}
	o, err := a.summary.get(r.Context())
	if err != nil {
		return err
	}
	a.answer(w, r, http.StatusOK, statistics{Success: true, Statistics: s.Statistics, Timestamp: now(),
		ProductSync: counts{Source: s.Products, Target: s.Rows, LastSync: o.lastSync(), As: s.at}})
	return nil
}
