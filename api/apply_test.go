package api_test

import (
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// looked adds a dry run that has found what is given.
func (s *service) looked(change ...func(*run.Record)) string {
	record := run.Record{Status: run.StatusPartial, Finished: time.Now(), Request: run.Request{Order: run.Order{DryRun: true}},
		Report: &run.Report{Result: run.Partial, DryRun: true, Found: map[product.Kind]int64{product.Missing: 2},
			ByKind: map[product.Kind]map[run.State]int64{product.Missing: {run.Found: 2}}}}
	for _, c := range change {
		c(&record)
	}
	id := s.add(record)
	s.Keep(id,
		run.Outcome{Key: run.Key{ID: "a", Kind: product.Missing}, State: run.Found},
		run.Outcome{Key: run.Key{ID: "b", Kind: product.Missing}, State: run.Found},
		run.Outcome{Key: run.Key{ID: "c", Kind: product.Stale}, State: run.Found, Fields: []run.FieldChange{{Field: "price", Source: "5", Cart: "4"}}})
	return id
}

func TestApplyStartsARunOverTheFindings(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*run.Record){
		"of a dry run": func(*run.Record) {},
		"of a run that stopped": func(r *run.Record) {
			r.Request.DryRun, r.Report.DryRun, r.Report.Result = false, false, run.Stopped
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

// The kinds are those that the run looked for, unless the body says otherwise.
func TestApplyRepairsTheKindsThatWereLookedFor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		sought run.Kinds
		body   string
		status int
		want   string
	}{
		{nil, "", 202, `"repair":["missing"]`},
		{run.Kinds{product.Missing, product.Stale}, "", 202, `"repair":["missing","stale"]`},
		{run.Kinds{product.Missing, product.Stale}, `{"repair":"stale","maxDeletes":3}`, 202, `"repair":["stale"]`},
		{run.Kinds{product.Stale}, `{"mode":"direct"}`, 202, `"repair":["stale"]`},
		{nil, `{"repair":["stale","orphaned"]}`, 202, `"repair":["stale","orphaned"]`},
		{nil, `{"repair":"orphaned"}`, 409, "found no orphaned products"},
		{run.Kinds{product.Orphaned}, "", 409, "found no orphaned products"},
		{nil, `{"repair":"all"}`, 400, `"field":"repair"`},
	} {
		t.Run(tt.sought.String()+tt.body, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			id := s.looked(func(r *run.Record) { r.Request.Repair = tt.sought })
			s.do("POST", "/api/etl/runs/"+id+"/apply", tt.body).want(tt.status, tt.want)
			if rung := len(s.rung); (rung == 1) != (tt.status == 202) {
				t.Errorf("rung %+v", s.rung)
			}
		})
	}
}

func TestApplyIsRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*run.Record)
		then   func(*service, string)
		says   string
	}{
		"while the run goes on": {change: func(r *run.Record) { r.Status = run.StatusRunning }, says: "wait for its end"},
		"of a failed run":       {change: func(r *run.Record) { r.Status = run.StatusFailed }, says: "start a new dry run"},
		"of a cancelled run":    {change: func(r *run.Record) { r.Status = run.StatusCancelled }, says: "start a new dry run"},
		"of a skipped run":      {change: func(r *run.Record) { r.Status, r.Report = run.StatusSkipped, nil }, says: "start a new dry run"},
		"of a repairing run":    {change: func(r *run.Record) { r.Request.DryRun = false }, says: "only a dry run"},
		"of incomplete findings": {then: func(s *service, id string) { s.Drop(id) },
			says: "more missing products than the ledger keeps (100000): POST /api/etl/sync"},
		"of nothing": {then: func(s *service, id string) {
			s.Keep(id, run.Outcome{Key: run.Key{ID: "a", Kind: product.Missing}, State: run.Gone}, run.Outcome{Key: run.Key{ID: "b", Kind: product.Missing}, State: run.Gone})
		}, says: "nothing to apply"},
		"while another run repairs": {then: func(s *service, _ string) { s.add(run.Record{Status: run.StatusRunning}) },
			says: "another repairing run is active"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			var changes []func(*run.Record)
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
	s.do("POST", "/api/etl/runs/"+run.NewRunID()+"/apply", "").want(404, "no such run")
}
