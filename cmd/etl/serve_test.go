package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/sethvargo/go-envconfig"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/words"
)

// replica is a process of the service, in this one.
type replica struct {
	*running
	tb    testing.TB
	url   string
	token string
	stop  func()
}

var address = regexp.MustCompile(`"address":"[^"]*:(\d+)"`)

// serviceDefaults let a service of a test choose a port, and leave lost events to what the test asks for.
var serviceDefaults = map[string]string{"PORT": "0", "NODE_ENV": "production", "SYNC_CRON_SCHEDULE": "0 0 1 1 *", "ETL_HOST": "127.0.0.1", "ETL_LAME_DUCK": "0s",
	"ETL_ROLES": "api,worker,scheduler", "SYNC_RECENT_SCHEDULE": "off"}

// serve starts the service in this process; it ends with the test.
func (s *shop) serve(env map[string]string) *replica {
	s.tb.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(s.tb.Context()))
	return s.replica(s.with(serviceDefaults).with(env).start(ctx, "serve"), stop)
}

// serveApart starts the service as a process of the real binary, which can be killed.
func (s *shop) serveApart(env map[string]string) (*replica, *os.Process) {
	s.tb.Helper()
	return s.serveFrom(s.with(serviceDefaults).with(env).command(context.WithoutCancel(s.tb.Context()), "serve"))
}

// serveFrom starts a prepared process of the service.
func (s *shop) serveFrom(p *process) (*replica, *os.Process) {
	s.tb.Helper()
	r := &running{ended: make(chan struct{})}
	p.Stdout, p.Stderr = &r.stdout, &r.stderr
	if err := p.Start(); err != nil {
		s.tb.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		_ = p.Wait() // its code says it
		r.code = p.ProcessState.ExitCode()
	}()
	return s.replica(r, func() { _ = p.Process.Signal(syscall.SIGTERM) }), p.Process
}

// replica waits for the address of a service.
func (s *shop) replica(service *running, stop func()) *replica {
	s.tb.Helper()
	r := &replica{tb: s.tb, stop: stop, running: service}
	s.tb.Cleanup(func() {
		stop()
		if o := r.wait(); s.tb.Failed() {
			s.tb.Logf("a replica ended with %d; its log:\n%s%s", o.code, o.stdout, o.stderr)
		}
	})
	testenv.Eventually(s.tb, watchFor, func() bool {
		found := address.FindStringSubmatch(r.stdout.String())
		if found != nil {
			r.url = "http://127.0.0.1:" + found[1]
		}
		return found != nil
	}, "the service's address")
	r.token = s.token()
	return r
}

// token is an admin's.
func (s *shop) token() string {
	s.tb.Helper()
	token, err := api.NewToken(secret.Text(s.env["JWT_KEY"]), api.User{ID: "1", Email: "ann@shop", Role: api.RoleAdmin}, time.Hour)
	if err != nil {
		s.tb.Fatal(err)
	}
	return token
}

// ready waits until the service is.
func (r *replica) ready() *replica {
	r.tb.Helper()
	testenv.Eventually(r.tb, watchFor, func() bool { return r.get("/api/etl/ready", nil) == http.StatusOK }, "the service to be ready")
	return r
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) decode(tb testing.TB, into any) {
	tb.Helper()
	if err := json.Unmarshal([]byte(a.body), into); err != nil {
		tb.Fatalf("%d %s: %v", a.status, a.body, err)
	}
}

// do sends a request as an admin.
func (r *replica) do(method, path, body string, headers ...string) answer {
	r.tb.Helper()
	request, err := http.NewRequestWithContext(context.WithoutCancel(r.tb.Context()), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.tb.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+r.token)
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{body: err.Error()} // the test looks at the status
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{body: err.Error()}
	}
	return answer{response.StatusCode, response.Header, string(content)}
}

// get decodes an answer if into is not nil, and returns its status.
func (r *replica) get(path string, into any) int {
	r.tb.Helper()
	a := r.do(http.MethodGet, path, "")
	if into != nil && a.status == http.StatusOK {
		a.decode(r.tb, into)
	}
	return a.status
}

// record is a run as the API shows it.
type record struct {
	run.Record
	Progress *words.ProgressDocument `json:"progress"`
	Report   *words.ReportDocument   `json:"report"`
}

// runPage is a page of runs as the API shows it.
type runPage struct{ Runs []record }

// post starts a run, which must be accepted.
func (r *replica) post(path, body string) record {
	r.tb.Helper()
	a := r.do(http.MethodPost, path, body)
	if a.status != http.StatusAccepted {
		r.tb.Fatalf("POST %s %s: %d %s", path, body, a.status, a.body)
	}
	var shown record
	if at := a.header.Get("Location"); r.get(at, &shown) != http.StatusOK {
		r.tb.Fatalf("the run is not at its Location %q: %s", at, a.body)
	}
	return shown
}

// ended waits until a run has ended.
func (r *replica) ended(id string) record {
	r.tb.Helper()
	var shown record
	testenv.Follow(r.tb, watchFor, func() (seen string, done bool) {
		shown = record{}
		ended := r.get("/api/etl/runs/"+id, &shown) == http.StatusOK && !shown.Status.Active()
		if p := shown.Progress; p != nil && p.Progress != nil {
			seen = fmt.Sprint(p.Phase, p.Compared, p.Suspects, p.Acted)
		}
		return fmt.Sprint(shown.Status, shown.Takeovers, seen), ended
	}, "run "+id+" to end")
	return shown
}

// The service does what the seed's examples show, once a token is added.
func TestServiceRepairs(t *testing.T) {
	t.Parallel()
	s := newShop(t, 300, every(10))
	s.consumer()
	r := s.serve(nil).ready()
	a := r.do(http.MethodPost, "/api/etl/sync", `{"dryRun": false, "batchSize": 100}`, "Content-Type", "application/json", "Prefer", "wait=60")
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var result struct {
		Success                                                bool
		TotalProductsInSource, MissingProducts, SyncedProducts int
	}
	a.decode(t, &result)
	if !result.Success || result.TotalProductsInSource != 300 || result.MissingProducts != 30 || result.SyncedProducts != 30 {
		t.Errorf("%+v from %s", result, a.body)
	}
	s.wantComplete()
	var page runPage
	if r.get("/api/etl/runs", &page) != http.StatusOK || len(page.Runs) != 1 || page.Runs[0].Status != run.StatusSucceeded || page.Runs[0].Request.By != "ann@shop" {
		t.Errorf("runs: %+v", page)
	} else if p := page.Runs[0].Progress; p == nil || p.Phase != run.PhaseDone || p.Compared != 300 || len(p.Phases) == 0 {
		t.Errorf("its progress in the end: %+v", p)
	}
	for _, path := range []string{"/api/etl/status", "/api/etl/validate", "/api/etl/stats", "/api/etl/health", "/api/etl/scheduler/status", "/metrics", "/api/etl/openapi.yaml"} {
		if a := r.do(http.MethodGet, path, ""); a.status != http.StatusOK {
			t.Errorf("GET %s: %d %s", path, a.status, a.body)
		}
	}
	if log := r.stdout.String(); strings.Contains(log, s.env["JWT_KEY"]) || strings.Contains(log, s.env["MONGO_PASSWORD"]) || strings.Contains(log, r.token) {
		t.Errorf("the log shows a secret:\n%s", log)
	}
}

// Ten at once: one is taken, nine learn which.
func TestConcurrentRequestsMakeOneRun(t *testing.T) {
	t.Parallel()
	s := newShop(t, 100, every(2))
	r := s.serve(map[string]string{"SYNC_STALL_TIMEOUT": "5m"}).ready() // nobody consumes, so that it lasts
	answers := make(chan answer)
	for range 10 {
		go func() { answers <- r.do(http.MethodPost, "/api/etl/sync", `{"maxRepairs": 50}`) }()
	}
	statuses := make(map[int]int)
	for range 10 {
		a := <-answers
		statuses[a.status]++
		if a.status == http.StatusConflict && !strings.Contains(a.body, "/api/etl/runs/") {
			t.Errorf("no link to the active run: %s", a.body)
		}
	}
	if statuses[http.StatusAccepted] != 1 || statuses[http.StatusConflict] != 9 {
		t.Errorf("answers %v, want one 202 and nine 409", statuses)
	}
}

// A request that somebody publishes by hand starts a run; one that makes no sense
// is a dead letter with the reason.
func TestPublishedRequestStartsARun(t *testing.T) {
	t.Parallel()
	s := newShop(t, 40, every(4))
	s.consumer()
	r := s.serve(nil).ready()
	s.broker.PublishTo("etl", "sync", amqp.Publishing{Body: []byte(`{"version":1,"mode":"direct","reason":"by hand"}`)})
	var page runPage
	testenv.Eventually(t, watchFor, func() bool {
		return r.get("/api/etl/runs?trigger=message", &page) == http.StatusOK && len(page.Runs) == 1 && page.Runs[0].Status == run.StatusSucceeded
	}, "the run")
	s.wantComplete()
	s.broker.PublishTo("etl", "sync", amqp.Publishing{Body: []byte(`{"version":1,"mode":"magic"}`)})
	testenv.Eventually(t, watchFor, func() bool {
		listed := s.etl(t.Context(), "dead", "list", "--output", "json")
		return strings.Contains(listed.stdout, "mode must be replay or direct")
	}, "the dead letter")
	for _, wrong := range [][]string{{"dead", "drop", ""}, {"dead", "requeue", "7"}, {"dead", "drop"}, {"dead", "drop", "1", "--all"}} {
		if o := s.etl(t.Context(), wrong...); o.code != exitUsage || strings.Contains(o.stdout, "1 ") {
			t.Errorf("%q: %d %s%s", wrong, o.code, o.stdout, o.stderr)
		}
	}
	if o := s.etl(t.Context(), "dead", "drop", "1"); o.code != exitOK || !strings.Contains(o.stdout, "1 dropped") {
		t.Errorf("drop: %d %s%s", o.code, o.stdout, o.stderr)
	}
	if o := s.etl(t.Context(), "dead", "list"); !strings.Contains(o.stdout, "no dead letters") {
		t.Errorf("list: %s%s", o.stdout, o.stderr)
	}
	o := s.etl(t.Context(), "sync", "--enqueue", "--dry-run", "--reason", "from the command line", "--output", "json")
	var sent run.Request
	if err := json.Unmarshal([]byte(o.stdout), &sent); err != nil || o.code != exitOK {
		t.Fatalf("%d %s%s", o.code, o.stdout, o.stderr)
	}
	testenv.Eventually(t, watchFor, func() bool { return r.get("/api/etl/runs/"+sent.ID, nil) == http.StatusOK }, "the run of the command line")
	if shown := r.ended(sent.ID); shown.Status != run.StatusSucceeded || shown.Request.Trigger != run.ByCLI {
		t.Errorf("%+v", shown)
	}
}

// The broker is away: no run is left behind, the service says what it waits for,
// lives, and recovers by itself.
func TestServiceOutlivesTheBroker(t *testing.T) {
	t.Parallel()
	server, broker := testenv.PrivateBroker(t)
	s := newShopOn(t, broker, 40, every(4))
	s.consumer()
	r := s.serve(nil).ready()
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, watchFor, func() bool { return r.get("/api/etl/ready?full=true", nil) == http.StatusServiceUnavailable }, "the service to lack something")
	var shown struct{ WaitingFor []struct{ For string } }
	testenv.Eventually(t, watchFor, func() bool {
		return r.get("/api/etl/ready", &shown) == http.StatusOK && len(shown.WaitingFor) > 0
	}, "the service to be reached all the same, and to say what it lacks")
	if status := r.get("/api/etl/live", nil); status != http.StatusOK {
		t.Errorf("it does not live: %d", status)
	}
	a := r.do(http.MethodPost, "/api/etl/sync", `{}`)
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("POST: %d %v %s", a.status, a.header, a.body)
	}
	var page runPage
	if r.get("/api/etl/runs", &page); len(page.Runs) != 0 {
		t.Errorf("a run is left behind: %+v", page.Runs)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	r.ready()
	s.consumer()
	if shown := r.ended(r.post("/api/etl/sync", `{}`).ID); shown.Status != run.StatusSucceeded {
		t.Errorf("%+v", shown)
	}
	s.wantComplete()
}

// What a dry run found is repaired by applying it, each product looked at again.
func TestApply(t *testing.T) {
	t.Parallel()
	s := newShop(t, 60, every(3))
	s.consumer()
	r := s.serve(nil).ready()
	look := r.ended(r.post("/api/etl/sync", `{"dryRun": true}`).ID)
	if look.Status != run.StatusPartial || look.Report.Outcomes[run.Verified] != 0 {
		t.Fatalf("%+v", look)
	}
	var found struct{ Products []words.OutcomeDocument }
	if r.get("/api/etl/runs/"+look.ID+"/products?limit=500", &found); len(found.Products) != 20 {
		t.Errorf("%d products are kept", len(found.Products))
	}
	first := found.Products[0].ID
	s.cart.Fill(s.products.Where(func(i int) bool { return s.products.Key(i) == string(first) })) // arrives meanwhile
	shown := r.ended(r.post("/api/etl/runs/"+look.ID+"/apply", `{}`).ID)
	if shown.Status != run.StatusSucceeded || shown.Report.Acted != 19 || shown.Report.Outcomes[run.Verified] != 19 {
		t.Errorf("%+v", shown.Report)
	}
	s.wantComplete()
	var explained words.ExplanationDocument
	if r.get("/api/etl/products/"+string(first), &explained) != http.StatusOK || explained.Verdict != run.VerdictInSync || len(explained.History) == 0 {
		t.Errorf("%+v", explained)
	}
	o := s.etl(t.Context(), "explain", string(first))
	if o.code != exitOK || !strings.Contains(o.stdout, "in sync") || !strings.Contains(o.stdout, look.ID) {
		t.Errorf("%d %s%s", o.code, o.stdout, o.stderr)
	}
}

// slowly is a cart that takes long enough for a test to act meanwhile.
func slowly(c *cart.Config) { c.DelayPerEvent = 20 * time.Millisecond }

// while waits until an active run shows what is wanted.
func (r *replica) while(shown record, what string, wanted func(*words.ProgressDocument) bool) {
	r.tb.Helper()
	id := shown.ID
	testenv.Eventually(r.tb, watchFor, func() bool {
		var shown record // an answer leaves out what is empty
		if r.get("/api/etl/runs/"+id, &shown) != http.StatusOK {
			return false
		}
		if !shown.Status.Active() {
			r.tb.Fatalf("the run has ended before %s: %+v", what, shown)
		}
		return shown.Progress != nil && wanted(shown.Progress)
	}, what)
}

// steer asks something of a run.
func (r *replica) steer(shown record, action string) {
	r.tb.Helper()
	if a := r.do(http.MethodPost, "/api/etl/runs/"+shown.ID+"/"+action, ""); a.status >= 300 {
		r.tb.Fatalf("%s: %d %s", action, a.status, a.body)
	}
}

// Cancelled at whatever it does: the ledger is consistent, the slot is free and no
// queue is stuck afterwards. Paused, it acts no more, and continued it ends well.
func TestSteering(t *testing.T) {
	t.Parallel()
	s := newShop(t, 400, every(2))
	s.consumer(slowly)
	r := s.serve(map[string]string{"SYNC_GRACE": "3s", "REPLAY_MAX_QUEUE_DEPTH": "20"}).ready()
	for _, moment := range []struct {
		what   string
		most   int // repairs
		wanted func(*words.ProgressDocument) bool
	}{
		{"its begin", 10, nil},
		{"its judgement", 10, func(p *words.ProgressDocument) bool { return p.Phase == run.PhaseConfirming }},
		{"its repairs", 400, func(p *words.ProgressDocument) bool { return p.Acted > 0 }},
		{"its last proofs", 10, func(p *words.ProgressDocument) bool { return p.Phase == run.PhaseProving && p.Acted == 10 }},
	} {
		shown := r.post("/api/etl/sync", fmt.Sprintf(`{"maxRepairs": %d}`, moment.most))
		if moment.wanted != nil {
			r.while(shown, moment.what, moment.wanted)
		}
		r.steer(shown, "cancel")
		if shown = r.ended(shown.ID); shown.Status != run.StatusCancelled {
			t.Errorf("cancelled in %s: %+v", moment.what, shown)
		}
	}
	shown := r.post("/api/etl/sync", `{"maxRepairs": 400, "batchSize": 10}`)
	r.while(shown, "the first events", func(p *words.ProgressDocument) bool { return p.Acted > 0 })
	r.steer(shown, "pause")
	testenv.Eventually(t, watchFor, func() bool {
		return r.get("/api/etl/runs/"+shown.ID, &shown) == http.StatusOK && shown.Status == run.StatusPaused && s.broker.QueueStats("product-created").Ready == 0
	}, "the pause, and the queue to be consumed")
	r.steer(shown, "resume")
	if shown = r.ended(shown.ID); shown.Status != run.StatusSucceeded {
		t.Errorf("%+v", shown)
	}
	s.wantComplete()
}

// A process that is told to end hands its run to another one, which repairs nothing
// twice.
func TestARunIsHandedOver(t *testing.T) {
	t.Parallel()
	s := newShop(t, 400, every(2))
	events := s.consumer(slowly)
	env := map[string]string{"REPLAY_MAX_QUEUE_DEPTH": "20"}
	first := s.serve(env).ready()
	shown := first.post("/api/etl/sync", `{"maxRepairs": 200, "batchSize": 20}`)
	first.while(shown, "the first events", func(p *words.ProgressDocument) bool { return p.Acted > 0 })
	second := s.serve(env).ready()
	first.stop()
	if o := first.wait(); o.code != exitOK {
		t.Errorf("the first one ended with %d: %s", o.code, o.stderr)
	}
	if shown = second.ended(shown.ID); shown.Status != run.StatusSucceeded || shown.Takeovers == 0 && shown.Report.Outcomes[run.Verified] != 200 {
		t.Errorf("%+v %+v", shown, shown.Report)
	}
	s.wantComplete()
	if n := events.Counts(); n.Inserted != 200 || n.Ignored != 0 {
		t.Errorf("%+v events for 200 missing products", n)
	}
}

// A process that is killed in the middle of a run: another one takes the run over
// when its lease ends, and repairs nothing twice.
func TestAKilledReplicasRunIsTakenOver(t *testing.T) {
	t.Parallel()
	s := newShop(t, 800, every(2))
	events := s.consumer(slowly)
	env := map[string]string{"REPLAY_MAX_QUEUE_DEPTH": "20", "ETL_LEASE": "5s"}
	first, process := s.serveApart(env)
	first.ready()
	shown := first.post("/api/etl/sync", `{"maxRepairs": 400, "batchSize": 20}`)
	first.while(shown, "the first events", func(p *words.ProgressDocument) bool { return p.Acted > 20 })
	first.steer(shown, "pause") // so that the queue is consumed, and what was sent is proved
	var acted int64
	first.while(shown, "the first proofs", func(p *words.ProgressDocument) bool {
		acted = p.Acted
		return p.Verified > 20
	})
	first.steer(shown, "resume")
	first.while(shown, "more events", func(p *words.ProgressDocument) bool { return p.Acted > acted })
	second, _ := s.serveApart(env)
	second.ready()
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	shown = second.ended(shown.ID)
	if shown.Status != run.StatusSucceeded || shown.Takeovers != 1 || shown.Report.Outcomes[run.Verified] != 400 || shown.Report.Found[product.Missing] != 400 {
		t.Errorf("%+v %+v", shown, shown.Report)
	}
	if p := shown.Progress; p == nil || p.Found[product.Missing] != 400 || p.Verified != 400 {
		t.Errorf("whoever watched it saw at last: %+v", p)
	}
	s.wantComplete()
	if n := events.Counts(); n.Inserted != 400 || n.Ignored != 0 {
		t.Errorf("%+v events for 400 missing products", n)
	}
}

// number asks the ledger, which is in the cart's database.
func (s *shop) number(sql string, args ...any) (n int) {
	s.tb.Helper()
	if err := s.cart.Pool.QueryRow(s.tb.Context(), sql, args...).Scan(&n); err != nil {
		s.tb.Fatal(err)
	}
	return n
}

// Three replicas whose clocks tick each second: of each instant there is one row in
// the ledger, run or skipped, and a skipped one names the run that was in the way.
func TestTicksOnThreeReplicas(t *testing.T) { checkTicks(t, 30) }

func TestLongTicksOnThreeReplicas(t *testing.T) {
	testenv.Long(t)
	checkTicks(t, 200)
}

func checkTicks(t *testing.T, ticks int) {
	t.Parallel()
	s := newShop(t, 50, every(5))
	s.consumer(func(c *cart.Config) { c.DelayPerEvent = 100 * time.Millisecond })
	env := map[string]string{"SYNC_CRON_SCHEDULE": "* * * * * *", "SYNC_SETTLE": "0s"}
	var replicas []*replica
	for range 3 {
		r, _ := s.serveApart(env)
		replicas = append(replicas, r.ready())
	}
	begun := time.Now().Add(2 * time.Second).UTC().Truncate(time.Second)
	keys := func(at time.Time) string { return "tick " + at.Format(time.RFC3339) }
	last := begun.Add(time.Duration(ticks-1) * time.Second)
	// The last one may be skipped while the run before it, that is in its way, goes on.
	ended := func() bool {
		const of = `SELECT count(*) FROM etl_ledger.run WHERE trigger = 'schedule' AND key BETWEEN $1 AND $2 AND status `
		return s.number(of+"NOT IN ('queued', 'running')", keys(last), keys(last)) == 1 && s.number(of+"IN ('queued', 'running')", keys(begun), keys(last)) == 0
	}
	s.cart.Exec("DELETE FROM product") // so that one run takes longer than a second
	testenv.Eventually(t, time.Duration(ticks)*time.Second+watchFor, ended, "the last tick's run")
	const between = ` FROM etl_ledger.run WHERE trigger = 'schedule' AND key BETWEEN $1 AND $2`
	if rows, unique := s.number("SELECT count(*)"+between, keys(begun), keys(last)), s.number("SELECT count(DISTINCT key)"+between, keys(begun), keys(last)); rows != ticks || unique != ticks {
		t.Errorf("%d rows, %d keys, of %d ticks", rows, unique, ticks)
	}
	ran := s.number("SELECT count(*)"+between+" AND status = 'succeeded'", keys(begun), keys(last))
	skipped := s.number("SELECT count(*)"+between+" AND status = 'skipped' AND (active_run IS NOT NULL OR error LIKE 'expired%')", keys(begun), keys(last))
	if ran+skipped != ticks || ran == 0 || skipped == 0 {
		t.Errorf("%d ran and %d were skipped, of %d ticks", ran, skipped, ticks)
	}
	t.Logf("%d ran, %d were skipped", ran, skipped)
	// The switch holds on all replicas.
	if a := replicas[0].do(http.MethodPost, "/api/etl/scheduler/stop", ""); a.status != http.StatusOK {
		t.Fatalf("stop: %d %s", a.status, a.body)
	}
	for _, r := range replicas {
		testenv.Eventually(t, watchFor, func() error {
			var shown struct {
				Status struct {
					Switch run.Switch
					Sync   struct{ Running bool } `json:"productSyncScheduler"`
				}
			}
			a := r.do(http.MethodGet, "/api/etl/scheduler/status", "")
			a.decode(t, &shown)
			if status := shown.Status; a.status != http.StatusOK || status.Switch.On || status.Switch.By != "ann@shop" || status.Sync.Running {
				return fmt.Errorf("%d %s", a.status, a.body)
			}
			return nil
		}, "the switch to hold")
	}
	s.wantComplete()
}

// What the clock passed while no scheduler ran is made up for by one run, which says so, where
// that is wanted.
func TestMissedTicks(t *testing.T) {
	t.Parallel()
	s := newShop(t, 30, every(3))
	s.consumer()
	first := s.serve(map[string]string{"SYNC_CRON_SCHEDULE": "* * * * * *"}).ready()
	testenv.Eventually(t, watchFor, func() bool {
		return s.number(`SELECT count(*) FROM etl_ledger.run WHERE trigger = 'schedule' AND status = 'succeeded'`) > 0
	}, "a scheduled run")
	first.stop()
	first.wait()

	// From here on there is one instant a day, twelve hours away from now, and days pass.
	dayPasses := func() {
		t.Helper()
		const passed = `UPDATE etl_ledger.run r SET key = o.key, requested_at = o.at, request = jsonb_set(jsonb_set(r.request::jsonb, '{key}', to_jsonb(o.key)), '{requestedAt}', to_jsonb(o.at))
			FROM (SELECT id, requested_at - interval '1 day' AS at, 'tick ' || to_char((substr(key, 6)::timestamptz - interval '1 day') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS key FROM etl_ledger.run WHERE key LIKE 'tick %') o
			WHERE o.id = r.id`
		if _, err := s.cart.Pool.Exec(t.Context(), passed); err != nil {
			t.Fatal(err)
		}
	}
	daily := func(catchUp, says string) *replica {
		t.Helper()
		r := s.serve(map[string]string{"SYNC_CRON_SCHEDULE": fmt.Sprintf("0 %d * * *", (time.Now().UTC().Hour()+12)%24), "SYNC_CATCH_UP": catchUp}).ready()
		testenv.Eventually(t, watchFor, func() bool { return strings.Contains(r.stdout.String(), says) }, says)
		return r
	}
	made := func(r *replica, want int) {
		t.Helper()
		var page runPage
		r.get("/api/etl/runs?trigger=schedule&limit=200", &page)
		var all []string
		for _, shown := range page.Runs {
			if shown.Request.Reason != "" {
				all = append(all, shown.Request.Reason)
			}
		}
		if says := regexp.MustCompile(`^makes up for scheduled runs missed since 20\S+Z: 1$`); len(all) != want || want > 0 && !says.MatchString(all[0]) {
			t.Errorf("the runs that make up for others: %q, want %d", all, want)
		}
		r.stop()
		r.wait()
	}
	made(daily("true", "no scheduled run was missed"), 0)
	dayPasses()
	made(daily("false", "is not asked whether scheduled runs were missed"), 0)
	second := daily("true", `"msg":"tick","component":"scheduler"`)
	if a := second.do(http.MethodGet, "/metrics", ""); !strings.Contains(a.body, `etl_scheduler_ticks_total{job="sync",result="caught_up"} 1`) || !strings.Contains(a.body, `etl_scheduler_tick_lateness_seconds{job="sync"} 4`) {
		t.Errorf("the metrics do not tell of a tick about 12 hours late: %s", a.body)
	}
	made(second, 1)
	made(daily("true", "no scheduled run was missed"), 1)
	// What was switched off was not missed.
	s.said(t, exitOK, "scheduler", "stop")
	dayPasses()
	made(daily("true", "scheduled runs were missed while they were switched off"), 1)
	s.said(t, exitOK, "scheduler", "start")
	made(daily("true", "scheduled runs were missed while they were switched off"), 1)
	// And of what was missed, only what came after it was switched on is counted.
	dayPasses()
	dayPasses()
	if _, err := s.cart.Pool.Exec(t.Context(), `UPDATE etl_ledger.switch SET changed_at = changed_at - interval '1 day'`); err != nil {
		t.Fatal(err)
	}
	made(daily("true", `"msg":"tick","component":"scheduler"`), 2)
	s.wantComplete()
}

// The roles run apart too: one process takes requests, another one executes them.
func TestRolesApart(t *testing.T) {
	t.Parallel()
	s := newShop(t, 60, every(3))
	s.consumer()
	front := s.serve(map[string]string{"ETL_ROLES": "api"}).ready()
	back := s.serve(map[string]string{"ETL_ROLES": "worker"}).ready()
	if status := back.get("/api/etl/runs", nil); status != http.StatusNotFound {
		t.Errorf("a worker answers for the API: %d", status)
	}
	if shown := front.ended(front.post("/api/etl/sync", `{}`).ID); shown.Status != run.StatusSucceeded {
		t.Errorf("%+v", shown)
	}
	s.wantComplete()
	ticking := s.serve(map[string]string{"ETL_ROLES": "scheduler", "SYNC_CRON_SCHEDULE": "* * * * * *"}).ready()
	testenv.Eventually(t, watchFor, func() bool {
		var page runPage
		return front.get("/api/etl/runs?trigger=schedule&status=succeeded", &page) == http.StatusOK && len(page.Runs) > 0
	}, "a scheduled run")
	ticking.stop()
	if strings.Contains(front.stdout.String(), "a run begins") || strings.Contains(ticking.stdout.String(), "a run begins") {
		t.Error("a process without the role worker executed a run")
	}
}

// Commands and the service take the same slot.
func TestCommandsAndServiceShareTheSlot(t *testing.T) {
	t.Parallel()
	s := newShop(t, 400, every(2))
	s.consumer(slowly)
	s = s.with(map[string]string{"REPLAY_MAX_QUEUE_DEPTH": "20"})
	r := s.serve(nil).ready()
	shown := r.post("/api/etl/sync", `{"maxRepairs": 400}`)
	r.while(shown, "the first events", func(p *words.ProgressDocument) bool { return p.Acted > 0 })
	o := s.etl(t.Context(), "sync")
	if o.code != exitActive || !strings.Contains(o.stderr, shown.ID) {
		t.Errorf("a command meanwhile ended with %d: %s", o.code, o.stderr)
	}
	if o := s.etl(t.Context(), "validate", "--id", s.products.Key(1)); o.code != exitOK {
		t.Errorf("a command that only looks ended with %d: %s", o.code, o.stderr)
	}
	r.steer(shown, "cancel")
	r.ended(shown.ID)

	command := s.start(t.Context(), "sync", "--max-repairs", "400")
	var page runPage
	testenv.Eventually(t, watchFor, func() bool {
		r.get("/api/etl/runs?trigger=cli&status=running", &page)
		return len(page.Runs) == 1
	}, "the command's run to show")
	a := r.do(http.MethodPost, "/api/etl/sync", `{}`)
	if a.status != http.StatusConflict || !strings.Contains(a.body, page.Runs[0].ID) {
		t.Errorf("a POST meanwhile: %d %s", a.status, a.body)
	}
	if o := command.wait(); o.code != exitOK {
		t.Errorf("the command ended with %d: %s%s", o.code, o.stdout, o.stderr)
	}
	if shown := r.ended(page.Runs[0].ID); shown.Status != run.StatusSucceeded {
		t.Errorf("%+v", shown)
	}
	s.wantComplete()
}

// With the seed's variables only, the service starts with the seed's defaults, lives,
// and says what it waits for.
func TestServeWithTheSeedsVariablesOnly(t *testing.T) {
	t.Parallel()
	s := newShop(t, 0, none)
	s.env = map[string]string{
		"PRODUCT_SERVICE_MONGODB_URL": "mongodb://mongo.invalid:27017/product",
		"CART_DB_URL":                 "postgresql://postgres:hush@postgres.invalid:5432/cart",
		"MONGO_USER":                  "admin", "MONGO_PASSWORD": "hush", "JWT_KEY": "hush hush",
	}
	c, err := load(t.Context(), environment{envconfig.MapLookuper(s.env), func() []string { return nil }}, (*config).sections)
	if err != nil {
		t.Fatal(err)
	}
	if c.API.Port != 4000 || c.Sync.BatchSize != 100 || !c.Schedule.Enabled || c.Schedule.Sync != "*/30 * * * *" || c.Schedule.Health != "*/5 * * * *" || c.Schedule.Timezone != "UTC" || c.Service.Environment != "development" {
		t.Errorf("defaults: %+v", c)
	}
	r := s.serve(nil)
	if status := r.get("/api/etl/live", nil); status != http.StatusOK {
		t.Errorf("live: %d", status)
	}
	a := r.do(http.MethodGet, "/api/etl/ready", "")
	for _, what := range []string{"mongodb", "postgresql", "ledger", "rabbitmq"} {
		if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, `"for":"`+what+`"`) {
			t.Errorf("ready does not say that it waits for %s: %d %s", what, a.status, a.body)
		}
	}
	testenv.Eventually(t, watchFor, func() bool {
		log := r.stdout.String()
		return strings.Contains(log, "waiting for the ledger") && strings.Contains(log, "waiting for the broker")
	}, "the log to say what it waits for")
	r.stop()
	if o := r.wait(); o.code != exitOK || strings.Contains(o.stdout+o.stderr+a.body, "hush") {
		t.Errorf("it ended with %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}
