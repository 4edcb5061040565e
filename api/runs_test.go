package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

func TestRunsAreListedAndFiltered(t *testing.T) {
	t.Parallel()
	s := setup(t)
	at := time.Now().Add(-time.Hour)
	add := func(status run.Status, trigger run.Trigger, order run.Order) string {
		at = at.Add(10 * time.Minute)
		return s.add(run.Record{Status: status, Request: run.Request{Trigger: trigger, Order: order, At: at}})
	}
	first := add(run.StatusSucceeded, run.BySchedule, run.Order{})
	second := add(run.StatusFailed, run.ByHTTP, run.Order{Mode: run.Direct})
	third := add(run.StatusPartial, run.ByCLI, run.Order{DryRun: true})
	next := s.do("GET", "/api/etl/runs?limit=2", "").want(200).get("next").(string)
	for _, tt := range []struct {
		query string
		want  []string
	}{
		{"", []string{third, second, first}},
		{"?status=failed", []string{second}},
		{"?status=failed,succeeded", []string{second, first}},
		{"?trigger=schedule,cli", []string{third, first}},
		{"?mode=direct", []string{second}},
		{"?mode=direct,replay", []string{third, second, first}},
		{"?dryRun=true", []string{third}},
		{"?dryRun=false", []string{second, first}},
		{"?since=45m", []string{third, second}},
		{"?since=" + at.Add(-time.Minute).UTC().Format(time.RFC3339), []string{third}},
		{"?limit=2", []string{third, second}},
		{"?limit=2&before=" + url.QueryEscape(next), []string{first}},
		{"?status=queued", nil},
	} {
		t.Run(tt.query, func(t *testing.T) {
			t.Parallel()
			var got []string
			a := s.do("GET", "/api/etl/runs"+tt.query, "").want(200)
			for _, shown := range a.get("runs").([]any) {
				got = append(got, shown.(map[string]any)["id"].(string))
			}
			if strings.Join(got, " ") != strings.Join(tt.want, " ") {
				t.Errorf("%v, want %v", got, tt.want)
			}
			if got, more := a.get("next").(string); more != (tt.query == "?limit=2") || more && got != next {
				t.Errorf("next is %q", got)
			}
		})
	}
}

func TestWrongFiltersAreNamed(t *testing.T) {
	t.Parallel()
	s := setup(t)
	id := s.looked()
	for _, tt := range []struct{ query, field string }{
		{"runs?status=done", "status"},
		{"runs?status=failed,", "status"},
		{"runs?trigger=magic", "trigger"},
		{"runs?mode=magic", "mode"},
		{"runs?dryRun=yes", "dryRun"},
		{"runs?since=yesterday", "since"},
		{"runs?since=-2h", "since"},
		{"runs?limit=0", "limit"},
		{"runs?limit=501", "limit"},
		{"runs?limit=many", "limit"},
		{"runs?before=nowhere", "before"},
		{"runs?stauts=failed", "stauts"},
		{"runs?status=failed&status=partial", "status"},
		{"runs?" + strings.Repeat("x", 100) + "=1", strings.Repeat("x", 57) + "…"},
		{"runs/" + id + "/products?state=missing", "state"},
		{"runs/" + id + "/products?kind=lost", "kind"},
		{"runs/" + id + "/products?after=x", "after"},
		{"runs/" + id + "/products?limit=-1", "limit"},
		{"validate?maxAge=old", "maxAge"},
		{"validate?maxAge=-5m", "maxAge"},
		{"validate?maxage=5m", "maxage"},
	} {
		t.Run(tt.query, func(t *testing.T) {
			t.Parallel()
			s.do("GET", "/api/etl/"+tt.query, "").want(400, `"field":"`+tt.field+`"`)
		})
	}
}

func TestARunShowsItsOutcomes(t *testing.T) {
	t.Parallel()
	s := setup(t)
	id := s.looked()
	s.do("GET", "/api/etl/runs/"+id+"/products", "").want(200, `"id":"a"`, `"id":"c"`).wantFields(map[string]any{"next": nil})
	s.do("GET", "/api/etl/runs/"+id+"/products?kind=stale&state=found,lost", "").want(200, `"id":"c"`).without(`"id":"a"`)
	s.do("GET", "/api/etl/runs/"+id+"/products?state=in%20flight", "").want(200, `"products":[]`)
	next := s.do("GET", "/api/etl/runs/"+id+"/products?limit=1", "").want(200, `"id":"a"`, `"next":"`).get("next").(string)
	s.do("GET", "/api/etl/runs/"+id+"/products?limit=1&after="+url.QueryEscape(next), "").want(200, `"id":"b"`)
}

// Programs get codes and whole values, people words in the terms of requests.
func TestOutcomesHaveWords(t *testing.T) {
	t.Parallel()
	s := setup(t)
	id := s.looked()
	long := strings.Repeat("x", 300)
	s.Keep(id,
		run.Outcome{Key: run.Key{ID: "a", Kind: product.Missing}, State: run.Blocked, Column: "price", Reason: run.Reason{Code: run.ReasonMisfit, Detail: "9.99 has a fraction"}},
		run.Outcome{Key: run.Key{ID: "b", Kind: product.Missing}, State: run.Lost, Attempts: 2, Reason: run.Reason{Code: run.ReasonConsumed, Number: 2}},
		run.Outcome{Key: run.Key{ID: "c", Kind: product.Stale}, State: run.Found, Fields: []run.FieldChange{{Field: "image", Source: long + ".jpg", Cart: long + ".png"}}})
	s.do("GET", "/api/etl/runs/"+id+"/products", "").want(200,
		`{"id":"a","kind":"missing","state":"blocked","column":"price","code":"misfit","reason":"9.99 has a fraction","remedy":"correct the product in the Product Service, then run again"}`,
		`"state":"lost","attempts":2,"code":"consumed","reason":"2 events were consumed and left no row"`, "`POST /api/etl/sync {\\\"mode\\\":\\\"direct\\\"}` writes it",
		`"reason":"image is \"…xxx`, `"fields":[{"field":"image","source":"`+long+`.jpg","cart":"`+long+`.png"}]`).without("etl sync")
	s.do("GET", "/api/etl/products/b", "").want(200, `"history":[{"run":"`+id, `"reason":"2 events were consumed and left no row"`)
}

func TestReportsHaveWords(t *testing.T) {
	t.Parallel()
	s := setup(t)
	id := s.add(run.Record{Status: run.StatusPartial, Report: &run.Report{Result: run.Stopped, Repair: run.Kinds{product.Missing},
		Notes: []run.Note{{Code: run.NoteTooMany, Kind: product.Missing, Number: 1500, Of: 2000, Detail: "1,000"}}}})
	s.do("GET", "/api/etl/runs/"+id, "").want(200, `"notes":[{"code":"too-many","text":"Stopped: 1,500 of 2,000 products are missing`,
		"POST /api/etl/runs/{id}/apply", `"samples":[]`).without("--max-repairs")
	id = s.add(run.Record{Status: run.StatusRunning, Progress: &run.Progress{Phase: run.PhaseConfirming, Waits: []run.Wait{{Phase: run.PhaseConfirming, Kind: product.Missing, Products: 2,
		Reason: run.Reason{Code: run.ReasonQueue, Queue: "product-created", Ready: 1, Since: time.Unix(0, 0), Until: time.Unix(600, 0)}}}}})
	s.do("GET", "/api/etl/runs/"+id, "").want(200,
		`"text":"1 event waiting in product-created, 0 consumers since 1970-01-01T00:00:00Z, given up at 1970-01-01T00:10:00Z","since":`)
}

func TestRunsThatAreNot(t *testing.T) {
	t.Parallel()
	s := setup(t)
	known := s.looked()
	for _, id := range []string{run.NewRunID(), "1", "no-uuid", "{" + known + "}", strings.ReplaceAll(known, "-", ""), "urn:uuid:" + known, "%2e%2e", known + "%20"} {
		for _, path := range []string{"", "/products", "/events"} {
			s.do("GET", "/api/etl/runs/"+id+path, "").want(404, `{"errors":[{"message":"no such run"}]}`)
		}
		for _, path := range []string{"/cancel", "/pause", "/resume", "/apply"} {
			s.do("POST", "/api/etl/runs/"+id+path, "").want(404, `{"errors":[{"message":"no such run"}]}`)
		}
	}
	s.do("GET", "/api/etl/runs/"+strings.ToUpper(known), "").want(200, known)
}

func TestRunsAreSteered(t *testing.T) {
	t.Parallel()
	s := setup(t)
	id := s.add(run.Record{Status: run.StatusRunning})
	path := "/api/etl/runs/" + id
	s.do("POST", path+"/pause", "").want(202).wantFields(map[string]any{"wanted": "pause"}).wantHeader("Location", path)
	s.do("POST", path+"/resume", "").want(202).wantFields(map[string]any{"wanted": "run"})
	s.do("POST", path+"/cancel", "").want(202).wantFields(map[string]any{"wanted": "cancel", "status": "running"})
	if line := s.log.line("run steered"); line["run"] != id || line["wanted"] != "pause" || line["user"] != "admin@example.com" {
		t.Errorf("logged %v", line)
	}
	s.do("POST", path+"/cancel?force=true", "").want(400, `"field":"force"`)
	s.do("GET", path, "").want(200).wantFields(map[string]any{"actions.0.action": "cancel", "actions.2.action": "pause", "actions.2.by": "admin@example.com", "actions.2.trigger": "http"})
	s.do("POST", "/api/etl/scheduler/stop", "").want(200)
	first := s.do("GET", "/api/etl/actions?limit=1", "").want(200).wantFields(map[string]any{"actions.0.action": "scheduler-stop", "actions.0.by": "admin@example.com"})
	s.do("GET", "/api/etl/actions?limit=1&before="+url.QueryEscape(first.get("next").(string)), "").want(200).wantFields(map[string]any{"actions.0.action": "cancel", "actions.0.run": id})
	s.do("GET", "/api/etl/actions?before=x&by=me", "").want(400, `"field":"by"`)
	s.do("GET", "/api/etl/actions?before=x", "").want(400, `"field":"before"`)
	s.Change(id, done)
	for _, action := range []string{"/pause", "/resume", "/cancel"} {
		s.do("POST", path+action, "").want(409, "is partial, so it cannot").wantFields(map[string]any{"run.id": id})
	}
	queued := s.add(run.Record{Status: run.StatusQueued})
	s.do("POST", "/api/etl/runs/"+queued+"/cancel", "").want(200).wantFields(map[string]any{"status": "cancelled", "success": false})
}

func TestEachStatusHasItsMessage(t *testing.T) {
	t.Parallel()
	dry := run.Request{Order: run.Order{DryRun: true}}
	found := map[product.Kind]int64{product.Missing: 4, product.Stale: 1}
	verified := map[product.Kind]map[run.State]int64{product.Missing: {run.Verified: 4}}
	for _, tt := range []struct {
		run     run.Record
		success bool
		says    string
	}{
		{run.Record{Status: run.StatusQueued}, true, "waits for a worker"},
		{run.Record{Status: run.StatusWaiting, Error: "needs one that knows more"}, false, "waits for a newer version of this service, which can read its request: needs one that knows more"},
		{run.Record{Status: run.StatusRunning}, true, "the run is running"},
		{run.Record{Status: run.StatusPaused}, true, "the run is paused"},
		{run.Record{Status: run.StatusFailed, Error: "mongodb at 10.0.0.7: refused"}, false, "the run failed: mongodb at 10.0.0.7: refused"},
		{run.Record{Status: run.StatusCancelled}, false, "was cancelled"},
		{run.Record{Status: run.StatusSkipped, ActiveRun: run.NewRunID()}, false, "was skipped"},
		{run.Record{Status: run.StatusSucceeded}, true, "has ended"},
		{run.Record{Status: run.StatusSucceeded, Report: &run.Report{Result: run.InSync}}, true, "In sync"},
		{run.Record{Status: run.StatusSucceeded, Report: &run.Report{Result: run.Succeeded, Found: found, ByKind: verified}},
			true, "4 of 4 missing products verified in the cart"},
		{run.Record{Status: run.StatusPartial, Report: &run.Report{Result: run.Partial, Found: found, Unrepaired: 4}}, false, "0 of 4 missing products verified in the cart, 4 not"},
		{run.Record{Status: run.StatusPartial, Report: &run.Report{Result: run.Stopped, Found: found}}, false, "Stopped at its findings: 4 missing"},
		{run.Record{Status: run.StatusPartial, Request: dry, Report: &run.Report{Result: run.Partial, DryRun: true, Found: found}}, true, "4 missing, 1 stale, 0 orphaned"},
		{run.Record{Status: run.StatusFailed, Request: dry}, false, "the run failed"},
	} {
		t.Run(tt.says, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			id := s.add(tt.run)
			a := s.do("GET", "/api/etl/runs/"+id, "").want(200).wantFields(map[string]any{"success": tt.success})
			message, _ := a.get("message").(string)
			if !strings.Contains(message, tt.says) {
				t.Errorf("message %q, want %q", message, tt.says)
			}
		})
	}
}

func TestProductsAreExplained(t *testing.T) {
	t.Parallel()
	s := setup(t)
	runID := s.looked()
	// Any text may be an id.
	for _, id := range []product.ID{"656f3a2b9d1c4e0012345678", "a", "with/slash", "..", "ü b%c", "a?b#c"} {
		s.products[id] = &run.Explanation{ID: id, Verdict: run.VerdictMissing, InSource: true, Created: time.Now(),
			Fields: []run.FieldComparison{{FieldChange: run.FieldChange{Field: "title", Source: "Lamp"}, Compared: true}}}
		escaped := strings.NewReplacer("%", "%25", "/", "%2F", "?", "%3F", "#", "%23", " ", "%20", ".", "%2E", "ü", "%C3%BC").Replace(string(id))
		s.do("GET", "/api/etl/products/"+escaped, "").want(200).
			wantFields(map[string]any{"id": string(id), "verdict": "missing", "inSource": true, "why": "the source has it and the cart does not; its event may still wait in the cart's queue"})
	}
	s.do("GET", "/api/etl/products/a", "").want(200, `"history":[{"run":"`+runID)
	s.do("GET", "/api/etl/products/656f3a2b9d1c4e0012345678", "").want(200, `"history":[]`)
	s.do("GET", "/api/etl/products/b", "").want(200, `"verdict":"unknown"`) // a run has met it
	s.do("GET", "/api/etl/products/x", "").want(404, "neither store has this product", "check the id")
	s.do("GET", "/api/etl/products/"+strings.Repeat("x", 3001), "").want(400, `"field":"id"`)
	s.do("GET", "/api/etl/products/a%00b", "").want(400, `"field":"id"`)
	s.do("GET", "/api/etl/products/%ff", "").want(400, `"field":"id"`)
	s.do("GET", "/api/etl/products/", "").want(404)
}

// Nothing of what a database says reaches a caller.
func TestFailuresOfTheLedgerStayInTheLog(t *testing.T) {
	t.Parallel()
	for call, path := range map[string]string{
		"Runs": "GET /api/etl/runs", "Run": "GET /api/etl/runs/{id}", "Outcomes": "GET /api/etl/runs/{id}/products", "Ask": "POST /api/etl/runs/{id}/pause", "Actions": "GET /api/etl/actions",
		"Findings": "POST /api/etl/runs/{id}/apply", "LatestLook": "GET /api/etl/validate", "Statistics": "GET /api/etl/stats", "Active": "GET /api/etl/status",
		"Switch": "GET /api/etl/scheduler/status", "SetSwitch": "POST /api/etl/scheduler/stop", "Submit": "POST /api/etl/scheduler/trigger",
		"Explain": "GET /api/etl/products/{id}", "History": "GET /api/etl/products/{id}", "Latest": "GET /api/etl/status",
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			id := s.looked()
			s.broken[call] = errors.New("dial tcp 10.0.0.7:5432: refused")
			method, path, _ := strings.Cut(strings.ReplaceAll(path, "{id}", id), " ")
			s.do(method, path, "").want(http.StatusServiceUnavailable, "/api/etl/health").without("10.0.0.7").wantHeader("Retry-After", "5")
			if line := s.log.line("request failed"); line["err"] != "dial tcp 10.0.0.7:5432: refused" {
				t.Errorf("logged %v", line)
			}
		})
	}
}

// A list has no ids of its runs, however many they were asked for, and only their number.
func TestCaseE10ListsHaveNoIDs(t *testing.T) {
	t.Parallel()
	s := setup(t)
	ids := make([]product.ID, run.MaxIDs)
	for i := range ids {
		ids[i] = product.ID(fmt.Sprintf("%024x", i))
	}
	counts := map[product.Kind]int64{product.Missing: 10_000, product.Stale: 3, product.Orphaned: 7}
	var last string
	for range run.MaxPage {
		last = s.add(run.Record{Status: run.StatusPartial, Finished: time.Now(), Request: run.Request{By: "ann@shop.example.com", Order: run.Order{IDs: ids}},
			Progress: &run.Progress{Phase: run.PhaseDone, Compared: run.MaxIDs, Found: counts}, Report: &run.Report{Found: counts, Result: run.Partial}})
	}
	a := s.do("GET", "/api/etl/runs?limit=500", "").want(200, `"idCount":10000`).without(`"ids"`, "totalProductsInSource")
	if n := a.Body.Len(); n > 1<<20 {
		t.Errorf("the list has %d bytes", n)
	}
	s.do("GET", "/api/etl/runs/"+last, "").want(200, string(ids[len(ids)-1])).without("idCount")
	s.do("GET", "/api/etl/status", "").want(200).without(string(ids[0]))
}

// The document requires of each answer what every state of a run has, and the figures of
// both stores are there for runs that looked at both.
func TestCaseD12EveryStateOfARun(t *testing.T) {
	t.Parallel()
	whole := map[bool]int{}
	for _, status := range run.Statuses() {
		for name, request := range map[string]run.Request{
			"whole": {}, "a dry run": {Order: run.Order{DryRun: true}}, "ids": {Order: run.Order{IDs: []product.ID{"a"}}},
			"since": {Order: run.Order{Since: run.Moment{Time: time.Now()}}}, "findings": {Apply: run.NewRunID()},
		} {
			for _, report := range []*run.Report{nil, {}, {Result: run.Partial, Products: 5, Rows: 4, Error: "away", Outcomes: map[run.State]int64{run.Lost: 1}}} {
				s := setup(t) // which checks each answer against the document
				record := run.Record{Status: status, Request: request, Report: report, Error: map[bool]string{true: "it went wrong"}[status == run.StatusFailed]}
				if !status.Active() {
					record.Finished = time.Now()
				}
				id := s.add(record)
				a := s.do("GET", "/api/etl/runs/"+id, "").want(200)
				s.do("GET", "/api/etl/runs", "").want(200)
				s.do("GET", "/api/etl/status", "").want(200)
				s.do("GET", "/api/etl/runs/"+id+"/products", "").want(200)
				all := report != nil && !status.Active() && (name == "whole" || name == "a dry run")
				if there := a.get("totalProductsInSource") != nil && a.get("totalProductsInTarget") != nil && a.get("results.productSync.totalProductsInSource") != nil; there != all {
					t.Errorf("%s, %s: totals are there: %t: %s", status, name, there, a.Body)
				}
				whole[all]++
			}
		}
	}
	if whole[true] == 0 || whole[false] == 0 {
		t.Errorf("%v", whole)
	}
}
