package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

func seller(t *testing.T) string {
	return "Bearer " + token(t, api.User{ID: "7", Email: "seller@example.com", Role: "seller"})
}

func TestStatusOfAnEmptyLedger(t *testing.T) {
	t.Parallel()
	setup(t).do("GET", "/api/etl/status", "").want(200).wantFields(map[string]any{
		"success": true, "productSync.stats": nil, "productSync.validation": nil, "activeRun": nil, "lastRun": nil,
		"scheduler.productSyncScheduler.running": true, "scheduler.healthCheckScheduler.lastCheck": nil, "scheduler.timezone": "UTC",
	})
}

func TestStatusShowsUsersNoDetails(t *testing.T) {
	t.Parallel()
	s := setup(t)
	by := run.Request{By: "boss@example.com", Order: run.Order{Reason: "a secret reason", IDs: []product.ID{"a-secret-id"}}}
	s.looked(func(r *run.Record) {
		r.Report.Products, r.Report.Rows, r.Report.ByKind[product.Orphaned] = 100, 98, map[run.State]int64{run.Found: 3}
	})
	failed := s.add(run.Record{Status: run.StatusFailed, Request: by, Error: "mongodb at 10.0.0.7", Owner: "etl-7f9c", Finished: time.Now(),
		Report: &run.Report{Source: "10.0.0.7/product", Notes: []run.Note{{Code: run.NoteLedger, Detail: "10.0.0.7"}}}})
	active := s.add(run.Record{Status: run.StatusRunning, Request: by, Owner: "etl-7f9c", Started: time.Now(),
		Progress: &run.Progress{Phase: run.PhaseComparing, Compared: 5, Total: 100, Throttle: "10.0.0.7 does not answer",
			Waits: []run.Wait{{Phase: run.PhaseConfirming, Kind: product.Missing, Products: 3, Reason: run.Reason{Code: run.ReasonUnseen, Queue: "product-created", Detail: "10.0.0.7 refused"}}}}})
	for _, on := range []bool{false, true} {
		if _, err := s.SetSwitch(t.Context(), on, run.Actor{Name: "boss@example.com"}); err != nil {
			t.Fatal(err)
		}
	}
	s.check(`{"where":"10.0.0.7"}`)
	a := s.do("GET", "/api/etl/status", "", "Authorization", seller(t)).want(200).without("boss", "secret", "10.0.0.7", "7f9c")
	a.wantFields(map[string]any{
		"activeRun.id": active, "activeRun.progress.compared": 5.0, "activeRun.message": "the run is running: comparing: 5 of 100 products compared, no differences so far, 3 missing wait: queue product-created cannot be seen", "activeRun.link": "/api/etl/runs/" + active, "activeComparison": nil,
		"lastRun.id": failed, "lastRun.success": false, "lastComparison.success": true,
		"productSync.stats.sourceCount": 100.0, "productSync.stats.targetCount": 98.0,
		"productSync.validation.isValid": false, "productSync.validation.details.missingInTarget": 2.0, "productSync.validation.details.extraInTarget": 3.0,
		"scheduler.productSyncScheduler.isRunning": true, "scheduler.switch.on": true, "scheduler.healthCheckScheduler.lastCheck.healthy": true,
	})
	s.do("GET", "/api/etl/scheduler/status", "", "Authorization", seller(t)).want(200).without("boss")
	s.do("GET", "/api/etl/scheduler/status", "").want(200).wantFields(map[string]any{"status.switch.changedBy": "boss@example.com"})
}

// A run that repaired everything says how the stores stand as well as a comparison.
func TestStatusAfterARepair(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		request run.Request
		status  run.Status
		want    any // missing, nil where the run says nothing of the whole
	}{
		"whole":          {run.Request{}, run.StatusPartial, 2.0},
		"failed":         {run.Request{}, run.StatusFailed, nil},
		"some products":  {run.Request{Order: run.Order{IDs: []product.ID{"a"}}}, run.StatusPartial, nil},
		"since a moment": {run.Request{Order: run.Order{Since: run.Moment{Time: time.Now()}}}, run.StatusPartial, nil},
		"findings":       {run.Request{Apply: run.NewRunID()}, run.StatusPartial, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			s.add(run.Record{Status: c.status, Request: c.request, Finished: time.Now(), Report: &run.Report{
				Products: 100, Rows: 90, Found: map[product.Kind]int64{product.Missing: 10},
				Outcomes: map[run.State]int64{run.Verified: 7, run.Gone: 1, run.Lost: 2},
				ByKind:   map[product.Kind]map[run.State]int64{product.Missing: {run.Verified: 7, run.Gone: 1, run.Lost: 2}},
			}})
			a := s.do("GET", "/api/etl/status", "").want(200)
			if c.want == nil {
				a.wantFields(map[string]any{"productSync.validation": nil, "productSync.stats": nil})
				return
			}
			a.wantFields(map[string]any{
				"productSync.validation.isValid": false, "productSync.validation.details.missingInTarget": c.want,
				"productSync.stats.sourceCount": 100.0, "productSync.stats.targetCount": 97.0,
			})
		})
	}
}

// What was repaired of any kind is no difference any more.
func TestStatusAfterARepairOfEveryKind(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.add(run.Record{Status: run.StatusPartial, Finished: time.Now(), Report: &run.Report{Products: 100, Rows: 95,
		Found: map[product.Kind]int64{product.Missing: 10, product.Stale: 4, product.Orphaned: 5},
		ByKind: map[product.Kind]map[run.State]int64{product.Missing: {run.Verified: 10}, product.Stale: {run.Verified: 3, run.Blocked: 1},
			product.Orphaned: {run.Verified: 2, run.Undone: 1, run.Found: 2}}}})
	details := "productSync.validation.details."
	s.do("GET", "/api/etl/status", "").want(200).wantFields(map[string]any{"productSync.validation.isValid": false,
		details + "targetCount": 103.0, details + "missingInTarget": 0.0, details + "staleInTarget": 1.0, details + "extraInTarget": 2.0})
}

// One piece of code judges the stores: what the last run says in words, in its report and
// as a validation agree, and name the kinds that they speak of.
func TestCaseE14OneJudgementOfTheStores(t *testing.T) {
	t.Parallel()
	type states = map[run.State]int64
	for name, c := range map[string]struct {
		result  run.Result
		kind    product.Kind
		states  states
		valid   bool
		message string
	}{
		"nothing differs": {run.InSync, product.Missing, nil, true, "In sync: 100 products compared in 0s."},
		"orphans are left alone": {run.Succeeded, product.Orphaned, states{run.Found: 71}, false,
			"No missing products. (0s) Left alone: 71 orphaned; `POST /api/etl/sync {\"repair\":[\"orphaned\"]}` repairs them."},
		"something is too young": {run.Succeeded, product.Missing, states{run.InFlight: 1}, false, "No missing products. (0s) 1 product cannot be judged yet."},
		"all is repaired":        {run.Succeeded, product.Missing, states{run.Verified: 71}, true, "Repaired: 71 of 71 missing products verified in the cart, in 0s by replay."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			report := run.Report{Result: c.result, Mode: run.Replay, Products: 100, Rows: 100, Found: map[product.Kind]int64{c.kind: c.states[run.Found] + c.states[run.Verified]},
				ByKind: map[product.Kind]map[run.State]int64{c.kind: c.states}}
			id := s.add(run.Record{Status: run.StatusSucceeded, Finished: time.Now(), Report: &report})
			if stores := report.Stores(); stores.InSync() != c.valid {
				t.Errorf("the report says in sync: %t", stores.InSync())
			}
			s.do("GET", "/api/etl/status", "").want(200).wantFields(map[string]any{"lastRun.message": c.message, "productSync.validation.isValid": c.valid})
			a := s.do("GET", "/api/etl/runs/"+id, "").want(200)
			if in := a.get("report.result") == string(run.InSync); in && !c.valid {
				t.Errorf("the run is %q, and the stores differ", a.get("report.result"))
			}
		})
	}
}

func TestStatusIsSharedForASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(t)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { s.do("GET", "/api/etl/status", "").want(200) })
		}
		all.Wait()
		time.Sleep(900 * time.Millisecond)
		s.do("GET", "/api/etl/status", "").want(200)
		if n := s.Calls("Active"); n != 2 { // one for each slot
			t.Errorf("the ledger was asked %d times", n)
		}
		time.Sleep(200 * time.Millisecond)
		s.do("GET", "/api/etl/status", "").want(200)
		if n := s.Calls("Active"); n != 4 {
			t.Errorf("the ledger was asked %d times, so the status stays old", n)
		}
		// What was just asked shows at once.
		id := s.do("POST", "/api/etl/sync", "").want(202).get("id")
		s.do("GET", "/api/etl/status", "").want(200).wantFields(map[string]any{"activeRun.id": id})
		s.do("POST", "/api/etl/scheduler/stop", "").want(200)
		s.do("GET", "/api/etl/status", "").want(200).wantFields(map[string]any{"scheduler.switch.on": false})
	})
}

func TestStatistics(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.do("GET", "/api/etl/stats", "").want(200).wantFields(map[string]any{
		"success": true, "products": 12.0, "rows": 10.0, "productSync.sourceCount": 12.0, "productSync.targetCount": 10.0, "queues.product-created.ready": 3.0})
	s.do("GET", "/api/etl/stats", "").want(200)
	if s.calls["Statistics"] != 1 {
		t.Errorf("counted %d times", s.calls["Statistics"])
	}
}

func TestValidateAnswersWithARecentComparison(t *testing.T) {
	t.Parallel()
	s := setup(t)
	id := s.looked(func(r *run.Record) {
		r.Finished = time.Now().Add(-4 * time.Minute)
		r.Report.Products, r.Report.Rows = 100, 98
		r.Report.Unsupported = map[string]int64{"double": 2, "array": 1}
	})
	s.do("GET", "/api/etl/validate", "").want(200).wantFields(map[string]any{
		"success": true, "isValid": false, "details.sourceCount": 100.0, "details.targetCount": 98.0, "details.missingInTarget": 2.0, "details.extraInTarget": 0.0,
		"details.unsupportedIds": 3.0, "productSync.isValid": false, "productSync.details.missingInTarget": 2.0, "run.id": id,
		"message": "Differences found: 2 missing, 0 stale, 0 orphaned. (0s, nothing was changed)"})
	s.do("GET", "/api/etl/validate?maxAge=10m", "").want(200)
	if len(s.rung) > 0 {
		t.Errorf("rung %v", s.rung)
	}
	s.do("GET", "/api/etl/validate?maxAge=3m", "", "Prefer", "wait=0").want(202)
	if len(s.rung) != 1 || !s.rung[0].DryRun {
		t.Errorf("rung %v", s.rung)
	}
}

func TestValidateComparesOnDemand(t *testing.T) {
	t.Parallel()
	inSync := func(r *run.Record) {
		r.Status, r.Finished, r.Report = run.StatusSucceeded, time.Now(), &run.Report{Result: run.InSync, Products: 5, Rows: 5}
	}
	t.Run("and waits", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := setup(t)
			s.ring = func(r run.Request) error {
				time.AfterFunc(30*time.Second, func() { s.Change(r.ID, inSync) })
				return nil
			}
			s.do("GET", "/api/etl/validate?maxAge=1m", "").want(200).wantFields(map[string]any{"isValid": true, "run.request.dryRun": true, "run.request.reason": "validation"}).
				wantHeader("Preference-Applied", "")
			s.do("GET", "/api/etl/validate?maxAge=1m", "").want(200)
			s.do("GET", "/api/etl/validate?maxAge=0s", "", "Prefer", "wait=40").want(200).wantHeader("Preference-Applied", "wait=40")
			if len(s.rung) != 2 {
				t.Errorf("rung %v", s.rung)
			}
		})
	})
	t.Run("but not for ever", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := setup(t)
			began := time.Now()
			a := s.do("GET", "/api/etl/validate?maxAge=1m", "").want(202).wantFields(map[string]any{"status": "queued"})
			a.wantHeader("Location", "/api/etl/runs/"+a.get("id").(string))
			if waited := time.Since(began); waited != 45*time.Second {
				t.Errorf("waited %v", waited)
			}
		})
	})
	t.Run("together with others", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := setup(t)
			id := s.add(run.Record{Status: run.StatusRunning, Request: run.Request{Order: run.Order{DryRun: true}}})
			time.AfterFunc(10*time.Second, func() { s.Change(id, inSync) })
			s.do("GET", "/api/etl/validate?maxAge=1m", "").want(200).wantFields(map[string]any{"run.id": id})
		})
	})
	t.Run("but not with those that look at a part", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.add(run.Record{Status: run.StatusRunning, Request: run.Request{Order: run.Order{DryRun: true, IDs: []product.ID{"a"}}}})
		s.do("GET", "/api/etl/validate?maxAge=1m", "").want(409, "another comparison is active")
	})
	t.Run("and a failure is no answer", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := setup(t)
			s.ring = func(r run.Request) error {
				time.AfterFunc(time.Second, func() {
					s.Change(r.ID, func(record *run.Record) { done(record); record.Status = run.StatusFailed })
				})
				return nil
			}
			s.do("GET", "/api/etl/validate?maxAge=1m", "").want(503, "the comparison is failed").without("isValid")
		})
	})
	t.Run("and without a broker nothing is left behind", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.broken["Ring"] = errors.New("away")
		s.do("GET", "/api/etl/validate?maxAge=1m", "").want(503)
		if len(s.All()) > 0 {
			t.Errorf("left behind: %v", s.All())
		}
	})
}

// HEAD starts nothing, whatever GET would do.
func TestCaseD8HeadStartsNothing(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, operation := range operations(t) {
		method, path, _ := strings.Cut(operation, " ")
		if method == http.MethodHead {
			s.do(method, strings.ReplaceAll(path, "{id}", run.NewRunID()), "")
		}
	}
	for _, query := range []string{"", "?maxAge=0s", "?maxAge=5m", "?maxAge=0s&maxAge=1s"} {
		for _, headers := range [][]string{nil, {"Prefer", "wait=5"}, {"X-HTTP-Method-Override", "POST"}} {
			s.do("HEAD", "/api/etl/validate"+query, "", headers...)
		}
	}
	if len(s.rung) > 0 || len(s.All()) > 0 {
		t.Errorf("HEAD started %v", s.All())
	}
	s.do("HEAD", "/api/etl/validate?maxAge=0s", "").want(404)
	s.looked()
	s.do("HEAD", "/api/etl/validate", "").want(200)
	s.do("HEAD", "/api/etl/validate?maxAge=1m", "").want(200)
}

// What callers of the former service read is there, and answered at once: from the newest
// run that looked at all products, however old. Only who asks for a younger one waits.
func TestCaseF6FormerCallersOfValidateAndStats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(t)
		s.do("GET", "/api/etl/validate", "").want(404, "have not been compared yet", "?maxAge=0s compares them now")
		s.do("GET", "/api/etl/stats", "").want(200).wantFields(map[string]any{"productSync.lastSyncTime": nil})
		id := s.looked(func(r *run.Record) { r.Finished = time.Now().Add(-90 * time.Minute) })
		s.Keep(id, run.Outcome{Key: run.Key{ID: "x", Kind: product.Orphaned}, State: run.Found}, run.Outcome{Key: run.Key{ID: "y", Kind: product.Missing}, State: run.InFlight})
		a := s.do("GET", "/api/etl/validate", "").want(200, `"missingProductIds":["a","b"],"extraProductIds":["x"]`).wantFields(map[string]any{
			"run.id": id, "age": 5400.0, "productSync.age": 5400.0, "checkedAt": time.Now().Add(-90 * time.Minute).UTC().Format(time.RFC3339Nano)})
		if a.get("productSync.details.missingProductIds") == nil {
			t.Errorf("the ids are not where the former service had them: %s", a.Body)
		}
		time.Sleep(10 * time.Second) // what is known of the ledger is shared meanwhile
		s.do("GET", "/api/etl/status", "").want(200).without("missingProductIds", "extraProductIds").wantFields(map[string]any{"productSync.validation.age": 5410.0})

		// A run that repaired is a proof as well, and the newer one counts.
		ended := time.Now().Add(-10 * time.Minute)
		repaired := s.add(run.Record{Status: run.StatusSucceeded, Finished: ended, Report: &run.Report{Result: run.Succeeded, Products: 5, Rows: 5}})
		s.do("GET", "/api/etl/validate", "").want(200, `"missingProductIds":[],"extraProductIds":[]`).wantFields(map[string]any{"run.id": repaired, "age": 600.0, "isValid": true})
		s.add(run.Record{Status: run.StatusFailed, Finished: time.Now(), Report: &run.Report{Result: run.Broken}})
		s.add(run.Record{Status: run.StatusSucceeded, Finished: time.Now(), Report: &run.Report{Result: run.InSync}, Request: run.Request{Order: run.Order{IDs: []product.ID{"a"}}}})
		s.do("GET", "/api/etl/validate", "").want(200).wantFields(map[string]any{"run.id": repaired})
		if len(s.rung) > 0 {
			t.Errorf("rung %v", s.rung)
		}
		time.Sleep(10 * time.Second)
		s.do("GET", "/api/etl/stats", "").want(200).wantFields(map[string]any{"productSync.lastSyncTime": ended.Add(10 * time.Minute).UTC().Format(time.RFC3339Nano)})

		// Who may look may not have a comparison made.
		viewer := "Bearer " + token(t, api.User{Email: "v@example.com", Role: api.RoleViewer})
		s.do("GET", "/api/etl/validate", "", "Authorization", viewer).want(200)
		s.do("GET", "/api/etl/validate?maxAge=0s", "", "Authorization", viewer).want(403, "the role etl:operator or admin is needed")
		if s.do("GET", "/api/etl/validate?maxAge=0s", "", "Prefer", "wait=0").want(202); len(s.rung) != 1 {
			t.Errorf("rung %v", s.rung)
		}
	})
}

// However many differ, the answer names the first 1,000.
func TestCaseF6AtMostAThousandIDs(t *testing.T) {
	t.Parallel()
	s := setup(t)
	id := s.looked()
	for i := range 1200 {
		s.Keep(id, run.Outcome{Key: run.Key{ID: product.ID(fmt.Sprintf("id%04d", i)), Kind: product.Orphaned}, State: run.Blocked})
	}
	a := s.do("GET", "/api/etl/validate", "").want(200)
	extra, _ := a.get("details.extraProductIds").([]any)
	if len(extra) != 1000 || extra[0] != "id0000" || extra[999] != "id0999" {
		t.Errorf("%d ids", len(extra))
	}
}

func TestSchedulerSwitch(t *testing.T) {
	t.Parallel()
	s := setup(t)
	job := "status.productSyncScheduler."
	s.do("GET", "/api/etl/scheduler/status", "").want(200).wantFields(map[string]any{
		"success": true, job + "exists": true, job + "running": true, job + "schedule": "*/30 * * * *", job + "nextAt": "2026-11-22T12:30:00Z", job + "lastRun": nil,
		"status.healthCheckScheduler.nextAt": "2026-11-22T12:05:00Z", "status.enabled": true})
	s.do("POST", "/api/etl/scheduler/stop", "").want(200, "scheduled runs are off").wantFields(map[string]any{
		job + "exists": true, job + "running": false, job + "nextAt": nil, "status.healthCheckScheduler.running": true, "status.switch.changedBy": "admin@example.com"})
	s.do("GET", "/api/etl/scheduler/status", "").want(200, "/api/etl/scheduler/start turns them on")
	s.do("POST", "/api/etl/scheduler/start", "").want(200, "scheduled runs are on").wantFields(map[string]any{job + "running": true})
	s.do("POST", "/api/etl/scheduler/start?now=1", "").want(400, `"field":"now"`)
}

func TestSchedulerThatIsOffForGood(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.schedule.Enabled = false
	s.do("POST", "/api/etl/scheduler/start", "").want(409, "ENABLE_SCHEDULER is false")
	s.do("GET", "/api/etl/scheduler/status", "").want(200, "ENABLE_SCHEDULER is false").wantFields(map[string]any{
		"status.enabled": false, "status.productSyncScheduler.exists": false, "status.productSyncScheduler.running": false, "status.switch.on": true})
	s.do("POST", "/api/etl/scheduler/stop", "").want(200)
	s.do("POST", "/api/etl/scheduler/trigger", "").want(202)
}

func TestTriggerDoesWhatATickDoes(t *testing.T) {
	t.Parallel()
	s := setup(t)
	id := s.do("POST", "/api/etl/scheduler/trigger", "").want(202).wantFields(map[string]any{
		"request.trigger": "schedule", "request.mode": "direct", "request.reason": "tick", "request.requestedBy": "admin@example.com"}).get("id")
	s.do("POST", "/api/etl/scheduler/trigger", "").want(409)
	s.do("GET", "/api/etl/scheduler/status", "").want(200).wantFields(map[string]any{"status.productSyncScheduler.lastRun.id": id})
}

// check keeps a health check that found nothing wrong.
func (s *service) check(document string) {
	s.t.Helper()
	if err := s.SaveHealth(s.t.Context(), run.HealthRecord{Healthy: true, Document: json.RawMessage(document)}); err != nil {
		s.t.Fatal(err)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.with(func() {
		s.health = api.Health{Healthy: false, Topology: api.Dependency{State: api.Down, Detail: "queue product-created is not bound"},
			Dependencies: map[string]api.Dependency{"mongodb": {State: api.Up, Latency: 1500 * time.Microsecond},
				"postgresql": {State: api.Down, Latency: time.Second, Detail: "10.0.0.7 refused"}, "management": {State: api.Off}}}
	})
	s.check(`{"where":"10.0.0.8"}`)
	everybody := map[string]any{"status": "unhealthy", "dependencies.mongodb.state": "up", "dependencies.mongodb.latencyMs": 1.5,
		"dependencies.postgresql.state": "down", "dependencies.management.state": "off", "topology.state": "down", "lastCheck.healthy": true}
	for _, header := range []string{"", "Bearer garbage", seller(t)} {
		s.do("GET", "/api/etl/health", "", "Authorization", header).want(503).wantFields(everybody).without("10.0.0", "bound")
	}
	s.do("GET", "/api/etl/health", "").want(503, "10.0.0.7 refused", "10.0.0.8", "is not bound").wantFields(everybody)
	if s.calls["Health"] != 1 {
		t.Errorf("the services were asked %d times", s.calls["Health"])
	}
}

func TestHealthNeedsNoLedger(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.broken["LastHealth"] = errors.New("away")
	s.do("GET", "/api/etl/health", "").want(200).wantFields(map[string]any{"status": "healthy", "lastCheck": nil})
	s.do("GET", "/api/etl/live", "", "Authorization", "").want(200).wantFields(map[string]any{"status": "alive", "uptime": 0.0})
}

func TestReady(t *testing.T) {
	t.Parallel()
	lacking := api.Readiness{
		WaitingFor:   []api.Waiting{{Role: "worker", For: "rabbitmq", Detail: "10.0.0.9 refused"}},
		Dependencies: map[string]api.Dependency{"rabbitmq": {State: api.Down, Detail: "10.0.0.9 refused"}},
	}
	started, leaving := lacking, lacking
	started.Started = true
	leaving.Started, leaving.Leaving, leaving.WaitingFor = true, true, nil
	for name, tt := range map[string]struct {
		readiness   api.Readiness
		plain, full int
		says        string
	}{
		"all is there":                      {api.Readiness{Started: true}, 200, 200, `"waitingFor":[]`},
		"something has never answered":      {lacking, 503, 503, `"waitingFor":[{"role":"worker","for":"rabbitmq"}]`},
		"something that answered went away": {started, 200, 503, `"rabbitmq":{"state":"down","latencyMs":0}`},
		"the process ends":                  {leaving, 503, 503, `"leaving":true`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			s.readiness = tt.readiness
			word := map[int]string{200: "ready", 503: "not ready"}
			for query, code := range map[string]int{"": tt.plain, "?full=false": tt.plain, "?full=true": tt.full} {
				s.do("GET", "/api/etl/ready"+query, "", "Authorization", "").want(code, tt.says).wantFields(map[string]any{"status": word[code]})
			}
			if len(tt.readiness.Dependencies) > 0 {
				s.do("GET", "/api/etl/ready", "").want(tt.plain, "10.0.0.9 refused")
			}
		})
	}
	setup(t).do("GET", "/api/etl/ready?full=maybe", "").want(400, "full")
}
