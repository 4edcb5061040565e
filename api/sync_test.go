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

func TestSyncIsAccepted(t *testing.T) {
	t.Parallel()
	s := setup(t)
	a := s.do("POST", "/api/etl/sync", `{"dryRun": false, "batchSize": 100, "reason": "curl"}`).want(202)
	id, _ := a.get("id").(string)
	a.wantHeader("Location", "/api/etl/runs/"+id).wantHeader("Preference-Applied", "").wantFields(map[string]any{
		"status": "queued", "success": true, "links.self": "/api/etl/runs/" + id, "links.events": "/api/etl/runs/" + id + "/events",
		"request.mode": "replay", "request.batchSize": 100.0, "request.reason": "curl", "request.trigger": "http", "request.requestedBy": "admin@example.com",
		"totalProductsInSource": nil,
	})
	if len(s.rung) != 1 || s.rung[0].ID != id || !s.rung[0].Recorded || len(s.All()) != 1 || s.All()[0].ID != id || s.All()[0].Request.Recorded {
		t.Errorf("rung %+v, kept %+v", s.rung, s.All())
	}
	s.do("GET", "/api/etl/runs/"+id, "").want(200).wantFields(map[string]any{"id": id, "status": "queued"})
	if line := s.log.line("run requested"); line["run"] != id || line["user"] != "admin@example.com" || line["request"] == "" {
		t.Errorf("logged %v", line)
	}
}

func TestSyncTakesWhatIsAsked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, target, body, want string }{
		{"nothing", "", "", `"mode":"replay","repair":["missing"],"fallback":"none"`},
		{"an empty object", "", "{}", `"mode":"replay"`},
		{"the mode in the address", "?mode=direct", "", `"mode":"direct"`},
		{"the mode in both", "?mode=direct", `{"mode":"direct"}`, `"mode":"direct"`},
		{"the mode in the address, the rest in the body", "?mode=direct", `{"batchSize":5}`, `"mode":"direct","batchSize":5`},
		{"ids", "", `{"ids":["a","b","a"]}`, `"ids":["a","b"]`},
		{"a fallback", "", `{"fallback":"direct","maxRepairs":7}`, `"maxRepairs":7,"fallback":"direct"`},
		{"kinds", "", `{"repair":"orphaned, stale","maxDeletes":7}`, `"repair":["stale","orphaned"],"maxDeletes":7`},
		{"kinds as a list", "", `{"repair":["missing","orphaned"]}`, `"repair":["missing","orphaned"]`},
		{"a time", "", `{"since":"2026-11-22T10:00:00Z"}`, `"since":"2026-11-22T10:00:00Z"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			setup(t).do("POST", "/api/etl/sync"+tt.target, tt.body).want(202, tt.want)
		})
	}
}

func TestSyncNamesEachWrongField(t *testing.T) {
	t.Parallel()
	many := make([]string, run.MaxIDs+1)
	for i := range many {
		many[i] = fmt.Sprintf("%024x", i)
	}
	ids, _ := json.Marshal(many)
	for _, tt := range []struct {
		name, target, body string
		fields             []string
	}{
		{"two fields", "", `{"mode":"magic","batchSize":1001}`, []string{"mode", "batchSize"}},
		{"an unknown field", "", `{"dryrun":true}`, []string{"dryrun"}},
		{"a wrong type", "", `{"dryRun":"yes"}`, []string{"dryRun"}},
		{"no object", "", `[]`, []string{""}},
		{"cut off", "", `{"dryRun":`, []string{""}},
		{"too many ids", "", `{"ids":` + string(ids) + `}`, []string{"ids"}},
		{"two modes", "?mode=direct", `{"mode":"replay"}`, []string{"mode"}},
		{"a wrong mode in the address", "?mode=magic", ``, []string{"mode"}},
		{"a mode that does not go with the body", "?mode=direct", `{"fallback":"direct"}`, []string{"fallback"}},
		{"a parameter that is none", "?dryRun=true", ``, []string{"dryRun"}},
		{"a parameter twice", "?mode=direct&mode=replay", ``, []string{"mode"}},
		{"an address that cannot be read", "?mode=%zz", ``, []string{""}},
		{"an unknown kind", "", `{"repair":"stale,all","maxDeletes":-1}`, []string{"repair", "maxDeletes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			a := s.do("POST", "/api/etl/sync"+tt.target, tt.body).want(400)
			var failure struct{ Errors []run.FieldError }
			if err := json.Unmarshal(a.Body.Bytes(), &failure); err != nil {
				t.Fatal(err)
			}
			var named []string
			for _, e := range failure.Errors {
				named = append(named, e.Field)
			}
			if fmt.Sprint(named) != fmt.Sprint(tt.fields) {
				t.Errorf("fields %q, want %q: %s", named, tt.fields, a.Body)
			}
			if len(s.All()) > 0 || len(s.rung) > 0 {
				t.Error("a run was made all the same")
			}
		})
	}
}

func TestBodiesAreBoundedAndJSON(t *testing.T) {
	t.Parallel()
	s := setup(t)
	most := make([]string, run.MaxIDs)
	for i := range most {
		most[i] = fmt.Sprintf("0199a1b2-c3d4-7e5f-8a6b-%012x", i)
	}
	ids, _ := json.Marshal(most)
	s.do("POST", "/api/etl/sync", `{"dryRun":true,"ids":`+string(ids)+`}`).want(202, `"idCount":10000`).without(most[20])
	runID := s.All()[0].ID
	s.do("GET", "/api/etl/runs/"+runID, "").want(200, most[len(most)-1])
	s.do("POST", "/api/etl/sync", `{"reason":"`+strings.Repeat("x", api.MaxBody)+`"}`).want(413, `{"errors":[{"message":"the body is longer`)
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", ";"} {
		s.do("POST", "/api/etl/sync", `{}`, "Content-Type", kind).want(415, "application/json")
	}
	s.do("POST", "/api/etl/sync", `{}`, "Content-Type", "application/json; charset=utf-8").want(202)
}

func TestSyncWhileAnotherRunIsActive(t *testing.T) {
	t.Parallel()
	s := setup(t)
	active := s.add(run.Record{Status: run.StatusRunning})
	s.do("POST", "/api/etl/sync", "").want(409, "another repairing run is active: run "+active).
		wantHeader("Location", "/api/etl/runs/"+active).
		wantFields(map[string]any{"run.id": active, "run.links.self": "/api/etl/runs/" + active})
	if len(s.rung) > 0 {
		t.Errorf("rung %+v", s.rung)
	}
	s.do("POST", "/api/etl/sync", `{"dryRun":true}`).want(202)
	s.do("POST", "/api/etl/sync", `{"dryRun":true}`).want(409, "another comparison is active")
}

func TestOneOfTenConcurrentSyncsIsAccepted(t *testing.T) {
	t.Parallel()
	s := setup(t)
	server := s.serve()
	statuses := make(chan int, 10)
	var all sync.WaitGroup
	for range cap(statuses) {
		all.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api/etl/sync", strings.NewReader("{}"))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+token(t, admin))
			response, err := server.Client().Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			_ = response.Body.Close()
			statuses <- response.StatusCode
		})
	}
	all.Wait()
	close(statuses)
	count := make(map[int]int)
	for status := range statuses {
		count[status]++
	}
	if count[202] != 1 || count[409] != 9 || len(s.rung) != 1 || len(s.All()) != 1 {
		t.Errorf("%v, %d rung, %d runs; want one accepted", count, len(s.rung), len(s.All()))
	}
}

func TestSyncWithoutABroker(t *testing.T) {
	t.Parallel()
	refused := errors.New("connect to RabbitMQ at amqp://etl:********@rabbitmq: refused")
	t.Run("takes the run back", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.broken["Ring"] = refused
		s.do("POST", "/api/etl/sync", "").want(503, "it was taken back").without("amqp", "refused").wantHeader("Retry-After", "5")
		if len(s.All()) > 0 {
			t.Errorf("left behind: %v", s.All())
		}
		if line := s.log.line("request failed"); !strings.Contains(fmt.Sprint(line["err"]), "refused") || line["level"] != "ERROR" {
			t.Errorf("logged %v", line)
		}
	})
	t.Run("keeps a run that has begun", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.ring = func(r run.Request) error { // the message arrived, its confirm was lost
			s.Change(r.ID, func(record *run.Record) { record.Status = run.StatusRunning })
			return refused
		}
		s.do("POST", "/api/etl/sync", "").want(202).wantFields(map[string]any{"status": "running"})
	})
	t.Run("says so where the run cannot be taken back", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.broken["Ring"], s.broken["Discard"] = refused, errors.New("ledger away")
		s.do("POST", "/api/etl/sync", "").want(503, "RabbitMQ does not answer").without("ledger away")
		if line := s.log.line("request failed"); !strings.Contains(fmt.Sprint(line["err"]), "may still begin: ledger away") {
			t.Errorf("logged %v", line)
		}
	})
	t.Run("and without a ledger", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.broken["Submit"] = errors.New("FATAL: password authentication failed for user etl")
		a := s.do("POST", "/api/etl/sync", "", "X-Request-ID", "r-1").want(503, "/api/etl/health", "request id r-1").without("etl failed", "password")
		a.wantHeader("Retry-After", "5")
	})
}

// done is how a worker ends a run that repaired three of four missing products.
func done(record *run.Record) {
	record.Status, record.Finished, record.Error = run.StatusPartial, time.Now(), "write to the cart: connection lost"
	record.Report = &run.Report{Run: record.ID, Result: run.Partial, Products: 100, Rows: 96, Duration: 1234, Unrepaired: 1,
		Found: map[product.Kind]int64{product.Missing: 4}, Outcomes: map[run.State]int64{run.Verified: 3, run.Blocked: 1},
		ByKind: map[product.Kind]map[run.State]int64{product.Missing: {run.Verified: 3, run.Blocked: 1}}, Mode: run.Replay,
		Notes: []run.Note{{Code: run.NoteFallback, Number: 1}}}
}

// The clock in these tests is that of synctest: nothing waits in truth.
func TestPreferWait(t *testing.T) {
	t.Parallel()
	work := func(s *service, after time.Duration) {
		s.ring = func(r run.Request) error {
			time.AfterFunc(after, func() { s.Change(r.ID, done) })
			return nil
		}
	}
	t.Run("answers with the result", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := setup(t)
			work(s, 20*time.Second)
			began := time.Now()
			a := s.do("POST", "/api/etl/sync", "", "Prefer", "respond-async, wait=30").want(200).wantHeader("Preference-Applied", "wait=30")
			if waited := time.Since(began); waited < 20*time.Second || waited > 22*time.Second {
				t.Errorf("answered after %v", waited)
			}
			want := map[string]any{"totalProductsInSource": 100.0, "totalProductsInTarget": 96.0, "missingProducts": 4.0, "syncedProducts": 3.0, "duration": 1234.0}
			a.wantFields(want).wantFields(map[string]any{"success": false, "status": "partial", "results.dryRun": false,
				"message": "Differences remain: 3 of 4 missing products verified in the cart, 1 not, in 1.234s by replay."})
			for name, value := range want {
				a.wantFields(map[string]any{"results.productSync." + name: value})
			}
			a.want(200, `"errors":["write to the cart: connection lost","blocked: 1 products; correct the product in the Product Service, then run again"]`)
		})
	})
	t.Run("gives up when the wait is over", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := setup(t)
			work(s, 2*time.Minute)
			began := time.Now()
			s.do("POST", "/api/etl/sync", "", "Prefer", "wait=600").want(202).wantHeader("Preference-Applied", "wait=60").
				wantFields(map[string]any{"status": "queued"})
			if waited := time.Since(began); waited != time.Minute {
				t.Errorf("answered after %v", waited)
			}
		})
	})
	t.Run("does not wait for 0 seconds", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := setup(t)
			began := time.Now()
			s.do("POST", "/api/etl/sync", "", "Prefer", "wait=0").want(202).wantHeader("Preference-Applied", "wait=0")
			if waited := time.Since(began); waited != 0 {
				t.Errorf("answered after %v", waited)
			}
		})
	})
	t.Run("outlives a ledger that is away for a while", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := setup(t)
			work(s, 10*time.Second)
			s.broken["Run"] = errors.New("away")
			time.AfterFunc(20*time.Second, func() { s.with(func() { delete(s.broken, "Run") }) })
			s.do("POST", "/api/etl/sync", "", "Prefer", "wait=60").want(200)
		})
	})
	t.Run("ends when the service stops", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := setup(t)
			time.AfterFunc(3*time.Second, s.api.Drain)
			began := time.Now()
			s.do("POST", "/api/etl/sync", "", "Prefer", "wait=60").want(202)
			if waited := time.Since(began); waited != 3*time.Second {
				t.Errorf("answered after %v", waited)
			}
		})
	})
}

func TestFormerPipelinesAreNotOurs(t *testing.T) {
	t.Parallel()
	s := setup(t)
	seller := "Bearer " + token(t, api.User{ID: "1", Role: "seller"})
	s.do("POST", "/api/etl/sync/user", "", "Authorization", seller).want(501, "etl-service")
	s.do("POST", "/api/etl/sync/elasticsearch", `{"dryRun":true}`).want(501, "etl-service")
	s.do("GET", "/api/etl/sync/elasticsearch/stats", "").want(501, "etl-service")
	s.do("POST", "/api/etl/sync/somewhere", "").want(404)
}
