package api_test

import (
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/reconcile"
)

// looked adds a dry run that has found what is given.
func (s *service) looked(change ...func(*reconcile.Record)) string {
	run := reconcile.Record{Status: reconcile.StatusPartial, Finished: time.Now(), Request: reconcile.Request{Order: reconcile.Order{DryRun: true}},
		Report: &reconcile.Report{Result: reconcile.Partial, DryRun: true, Found: map[product.Kind]int64{product.Missing: 2}}}
	for _, c := range change {
		c(&run)
	}
	id := s.add(run)
	s.with(func() {
		s.outcomes[id] = []reconcile.Outcome{
			{ID: "a", Kind: product.Missing, State: reconcile.Found},
			{ID: "b", Kind: product.Missing, State: reconcile.Found},
			{ID: "c", Kind: product.Stale, State: reconcile.Found},
		}
	})
	return id
}

func TestApplyStartsARunOverTheFindings(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*reconcile.Record){
		"of a dry run": func(*reconcile.Record) {},
		"of a run that stopped": func(r *reconcile.Record) {
			r.Request.DryRun, r.Report.DryRun, r.Report.Result = false, false, reconcile.Stopped
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			id := s.looked(change)
			a := s.do("POST", "/api/etl/runs/"+id+"/apply", `{"mode":"direct","batchSize":5,"maxRepairs":9,"reason":"checked"}`).want(202)
			a.wantFields(map[string]any{"request.apply": id, "request.mode": "direct", "request.batchSize": 5.0, "request.maxRepairs": 9.0,
				"request.reason": "checked", "request.trigger": "http", "status": "queued"})
			if made := a.get("id"); made == id || len(s.rung) != 1 || s.rung[0].Apply != id || s.rung[0].DryRun {
				t.Errorf("run %v, rung %+v", made, s.rung)
			}
		})
	}
	t.Run("without a body", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.do("POST", "/api/etl/runs/"+s.looked()+"/apply", "").want(202).wantFields(map[string]any{"request.mode": "replay"})
	})
}

func TestApplyIsRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*reconcile.Record)
		then   func(*service, string)
		says   string
	}{
		"while the run goes on": {change: func(r *reconcile.Record) { r.Status = reconcile.StatusRunning }, says: "wait for its end"},
		"of a failed run":       {change: func(r *reconcile.Record) { r.Status = reconcile.StatusFailed }, says: "start a new dry run"},
		"of a cancelled run":    {change: func(r *reconcile.Record) { r.Status = reconcile.StatusCancelled }, says: "start a new dry run"},
		"of a skipped run":      {change: func(r *reconcile.Record) { r.Status, r.Report = reconcile.StatusSkipped, nil }, says: "start a new dry run"},
		"of a repairing run":    {change: func(r *reconcile.Record) { r.Request.DryRun = false }, says: "only a dry run"},
		"of incomplete findings": {then: func(s *service, id string) { s.dropped[id] = true },
			says: "more missing products than the ledger keeps (100000): POST /api/etl/sync"},
		"of nothing": {then: func(s *service, id string) { delete(s.outcomes, id) }, says: "nothing to apply"},
		"while another run repairs": {then: func(s *service, _ string) { s.add(reconcile.Record{Status: reconcile.StatusRunning}) },
			says: "another repairing run is active"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			var changes []func(*reconcile.Record)
			if tt.change != nil {
				changes = append(changes, tt.change)
			}
			id := s.looked(changes...)
			if tt.then != nil {
				tt.then(s, id)
			}
			s.do("POST", "/api/etl/runs/"+id+"/apply", "").want(409, tt.says, `"run":{"id":`)
			if len(s.rung) > 0 {
				t.Errorf("rung %+v", s.rung)
			}
		})
	}
}

func TestApplySaysWhatToRepairNotWhich(t *testing.T) {
	t.Parallel()
	s := setup(t)
	path := "/api/etl/runs/" + s.looked() + "/apply"
	s.do("POST", path, `{"ids":["a"]}`).want(400, `"field":"ids"`)
	s.do("POST", path, `{"dryRun":true}`).want(400, `"field":"dryRun"`)
	s.do("POST", path, `{"since":"2h"}`).want(400, `"field":"since"`)
	s.do("POST", path, `{"mode":"magic"}`).want(400, `"field":"mode"`)
	s.do("POST", path+"?mode=direct", "").want(400, `"field":"mode"`)
	s.do("POST", "/api/etl/runs/"+reconcile.NewRunID()+"/apply", "").want(404, "no such run")
}
