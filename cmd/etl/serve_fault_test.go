package main

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/words"
)

// wantNothingLeft insists that no run is active, and that the ledger keeps nothing
// that only an active run needs.
func (s *shop) wantNothingLeft() {
	s.tb.Helper()
	for what, sql := range map[string]string{
		"active runs":      "SELECT count(*) FROM etl_ledger.run WHERE status IN ('queued', 'running', 'paused')",
		"products in hand": "SELECT count(*) FROM etl_ledger.in_hand",
		"key ranges":       "SELECT count(*) FROM etl_ledger.key_range",
	} {
		if n := s.number(sql); n != 0 {
			s.tb.Errorf("%d %s are left in the ledger", n, what)
		}
	}
}

// wantEach insists that the cart consumed one event for each of n products.
func wantEach(tb testing.TB, events *cart.Consumer, n int) {
	tb.Helper()
	if c := events.Counts(); c.Inserted != n || c.Ignored != 0 {
		tb.Errorf("%+v events for %d missing products", c, n)
	}
}

// A replica that stands still for longer than its lease, and then goes on: another
// one has the run, which the first leaves alone from then on.
func TestAStoppedReplicaLosesItsRun(t *testing.T) {
	t.Parallel()
	s := newShop(t, 800, every(2))
	events := s.consumer(slowly)
	env := map[string]string{"REPLAY_MAX_QUEUE_DEPTH": "20", "ETL_LEASE": "5s"}
	first, process := s.serveApart(env)
	first.ready()
	shown := first.post("/api/etl/sync", `{"maxRepairs": 400, "batchSize": 20}`)
	first.while(shown, "the first events", func(p *words.ProgressDocument) bool { return p.Acted > 20 })
	second, _ := s.serveApart(env)
	second.ready()
	signal := func(what syscall.Signal) {
		if err := process.Signal(what); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	t.Cleanup(func() { _ = process.Signal(syscall.SIGCONT) })
	testenv.Eventually(t, watchFor, func() bool {
		return second.get("/api/etl/runs/"+shown.ID, &shown) == http.StatusOK && shown.Takeovers == 1
	}, "the run to be taken over")
	signal(syscall.SIGCONT)
	testenv.Eventually(t, watchFor, func() bool { return strings.Contains(first.stdout.String(), "a run is left") }, "the first replica to notice")
	if shown = second.ended(shown.ID); shown.Status != run.StatusSucceeded || shown.Report.Outcomes[run.Verified] != 400 {
		t.Errorf("%+v %+v", shown, shown.Report)
	}
	s.wantComplete()
	wantEach(t, events, 400)
	s.wantNothingLeft()
}

// Whichever replica has the run is killed, at moments that nobody chose, three
// times over: nothing is lost and nothing is repaired twice.
func TestReplicasAreKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1600, every(2))
	events := s.consumer(slowly)
	env := map[string]string{"REPLAY_MAX_QUEUE_DEPTH": "20", "ETL_LEASE": "5s", "SYNC_SETTLE": "1s"}
	var replicas [2]*replica
	var processes [2]*os.Process
	for i := range replicas {
		replicas[i], processes[i] = s.serveApart(env)
		replicas[i].ready()
	}
	shown := replicas[0].post("/api/etl/sync", `{"maxRepairs": 800, "batchSize": 20}`)
	for kill := range 3 {
		wait := time.Duration(rand.IntN(4000)) * time.Millisecond
		t.Logf("kill %d after %s", kill, wait)
		time.Sleep(wait) // the moment itself, which is to be any
		replicas[0].get("/api/etl/runs/"+shown.ID, &shown)
		victim := 0
		if strings.Contains(shown.Owner, fmt.Sprintf("process %d,", processes[1].Pid)) {
			victim = 1
		}
		if err := processes[victim].Kill(); err != nil {
			t.Fatal(err)
		}
		replicas[victim].wait()
		replicas[victim], processes[victim] = s.serveApart(env)
		replicas[victim].ready()
	}
	if shown = replicas[0].ended(shown.ID); shown.Status != run.StatusSucceeded || shown.Report.Outcomes[run.Verified] != 800 {
		a := replicas[0].do(http.MethodGet, "/api/etl/runs/"+shown.ID+"/products?state=in-flight,lost,failed,blocked", "")
		t.Errorf("%s, %+v\n%s", shown.Status, *shown.Report.Report, a.body)
	}
	s.wantComplete()
	wantEach(t, events, 800)
	s.wantNothingLeft()
}

// The servers come one by one, long after the service: it lives, says what it waits
// for, and needs nobody's help in the end. Later PostgreSQL dies in the middle of a
// run, which goes on when it is back.
func TestServersComeLaterAndGo(t *testing.T) {
	t.Parallel()
	server, broker := testenv.PrivateBroker(t)
	postgres := testenv.PrivatePostgreSQL(t)
	s := newShopOn(t, broker, 200, every(2))
	own := testenv.Cart(t, testenv.OnPostgreSQL(postgres.URL))
	own.Fill(s.products.Where(func(i int) bool { return i%2 != 0 }))
	s.cart = own
	products, err := url.Parse(s.catalogue.URL)
	if err != nil {
		t.Fatal(err)
	}
	mongo := testenv.NewProxy(t, products.Host)
	s = s.with(map[string]string{"CART_DB_URL": own.URL, "PRODUCT_SERVICE_MONGODB_URL": withHost(t, s.catalogue.URL, mongo.Addr)})
	mongo.Cut()
	for _, kill := range []func() error{server.Kill, postgres.Kill} {
		if err := kill(); err != nil {
			t.Fatal(err)
		}
	}
	r := s.serve(map[string]string{"ETL_LEASE": "5s"})
	waits := func(want ...string) {
		t.Helper()
		testenv.Eventually(t, 2*watchFor, func() error {
			var shown struct {
				WaitingFor []struct{ For string }
			}
			a := r.do(http.MethodGet, "/api/etl/ready", "")
			a.decode(t, &shown)
			names := make(map[string]bool)
			for _, waiting := range shown.WaitingFor {
				names[waiting.For] = true
			}
			wanted := make(map[string]bool)
			for _, name := range want {
				wanted[name] = true
			}
			if !maps.Equal(names, wanted) {
				return fmt.Errorf("it waits for %v: %d %s", names, a.status, a.body)
			}
			return nil
		}, "the service to wait for "+strings.Join(want, ", "))
		if status := r.get("/api/etl/live", nil); status != http.StatusOK {
			t.Errorf("it does not live: %d", status)
		}
	}
	waits("mongodb", "postgresql", "ledger", "rabbitmq", "listener", "start")
	mongo.Restore()
	waits("postgresql", "ledger", "rabbitmq", "listener", "start")
	if err := postgres.Start(); err != nil {
		t.Fatal(err)
	}
	waits("rabbitmq", "listener", "start")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	r.ready()
	events := s.consumer(slowly)
	shown := r.post("/api/etl/sync", `{"maxRepairs": 100, "batchSize": 10}`)
	r.while(shown, "the first events", func(p *words.ProgressDocument) bool { return p.Acted > 0 })
	if err := postgres.Kill(); err != nil {
		t.Fatal(err)
	}
	waits("postgresql", "ledger")
	if err := postgres.Start(); err != nil {
		t.Fatal(err)
	}
	r.ready()
	events.Stop() // its real counterpart dies with its database, and is started again
	testenv.Eventually(t, watchFor, func() bool {
		return r.get("/api/etl/runs/"+shown.ID, &shown) == http.StatusOK && shown.Takeovers > 0
	}, "the run to go on, though nobody consumes yet")
	s.consumer()
	if shown = r.ended(shown.ID); shown.Status != run.StatusSucceeded {
		t.Errorf("%+v %+v", shown, shown.Report)
	}
	s.wantComplete()
	s.wantNothingLeft()
}

// PostgreSQL falls silent in the middle of a run, for longer than the lease, and
// answers again: the process drops the run, and takes it up again itself.
func TestServiceOutlivesASilentDatabase(t *testing.T) {
	t.Parallel()
	s := newShop(t, 400, every(2))
	events := s.consumer(slowly)
	proxy, address := testenv.ProxyTo(t, s.cart.URL)
	r := s.serve(map[string]string{"CART_DB_URL": address, "ETL_LEASE": "5s", "REPLAY_MAX_QUEUE_DEPTH": "20"}).ready()
	shown := r.post("/api/etl/sync", `{"maxRepairs": 200, "batchSize": 10}`)
	r.while(shown, "the first events", func(p *words.ProgressDocument) bool { return p.Acted > 0 })
	proxy.Freeze()
	testenv.Eventually(t, watchFor, func() bool { return strings.Contains(r.stdout.String(), "a run is left") }, "the run to be dropped")
	if status := r.get("/api/etl/live", nil); status != http.StatusOK {
		t.Errorf("it does not live: %d", status)
	}
	proxy.Thaw()
	if shown = r.ended(shown.ID); shown.Status != run.StatusSucceeded || shown.Takeovers == 0 {
		t.Errorf("%+v %+v", shown, shown.Report)
	}
	s.wantComplete()
	wantEach(t, events, 200)
	s.wantNothingLeft()
}

// A replica's node is lost: its connections never end for the server. The lock that
// one of them holds must end all the same, for another replica to go on.
func TestALostNodesRunIsTakenOver(t *testing.T) {
	t.Parallel()
	s := newShop(t, 400, every(2))
	events := s.consumer(slowly)
	proxy, address := testenv.ProxyTo(t, s.cart.URL)
	env := map[string]string{"REPLAY_MAX_QUEUE_DEPTH": "20", "ETL_LEASE": "5s"}
	first, process := s.with(map[string]string{"CART_DB_URL": address}).serveApart(env)
	first.ready()
	shown := first.post("/api/etl/sync", `{"maxRepairs": 200, "batchSize": 10}`)
	first.while(shown, "the first events", func(p *words.ProgressDocument) bool { return p.Acted > 20 })
	second, _ := s.serveApart(env)
	second.ready()
	proxy.Freeze()
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 3*watchFor, func() bool {
		return second.get("/api/etl/runs/"+shown.ID, &shown) == http.StatusOK && !shown.Status.Active()
	}, "the run to end")
	if shown.Status != run.StatusSucceeded || shown.Takeovers == 0 || shown.Report.Outcomes[run.Verified] != 200 {
		t.Errorf("%+v %+v", shown, shown.Report)
	}
	s.wantComplete()
	wantEach(t, events, 200)
	s.wantNothingLeft()
}

// Told to end while its database is silent, the service ends within its time, and
// says that it did not end as it should only where it did not.
func TestServiceEndsWhileItsDatabaseIsSilent(t *testing.T) {
	t.Parallel()
	s := newShop(t, 400, every(2))
	s.consumer(slowly)
	proxy, address := testenv.ProxyTo(t, s.cart.URL)
	r := s.serve(map[string]string{"CART_DB_URL": address, "REPLAY_MAX_QUEUE_DEPTH": "20"}).ready()
	shown := r.post("/api/etl/sync", `{"maxRepairs": 200, "batchSize": 10}`)
	r.while(shown, "the first events", func(p *words.ProgressDocument) bool { return p.Acted > 0 })
	proxy.Freeze()
	begun := time.Now()
	r.stop()
	select {
	case <-r.running.ended:
	case <-time.After(40 * time.Second): // Kubernetes kills after 45 s
		t.Error("it does not end")
	}
	t.Logf("it ended after %s", time.Since(begun).Round(time.Millisecond))
}

// The cart has never started on this broker, so its queues are not there: a run says so, and
// goes on by itself when they are.
func TestCaseF7TheCartHasNotStartedYet(t *testing.T) {
	t.Parallel()
	s := newShop(t, 40, every(4))
	s.broker.Do(func(ch *amqp.Channel) error {
		var problems error
		for _, queue := range rabbit.CartQueues() {
			_, err := ch.QueueDelete(queue, false, false, false)
			problems = errors.Join(problems, err)
		}
		return problems
	})
	r := s.serve(map[string]string{"SYNC_CRON_SCHEDULE": "*/10 * * * * *"}).ready() // time enough to ask, on a busy machine too
	const why = "queue product-created does not exist: the Cart Service, which declares it, has not started on this broker yet"
	testenv.Eventually(t, watchFor, func() bool {
		var page runPage
		r.get("/api/etl/runs?status=queued", &page)
		return len(page.Runs) == 1 && page.Runs[0].Takeovers == 0 && strings.Contains(page.Runs[0].Error, why) && page.Runs[0].Request.Trigger == run.BySchedule
	}, "the tick's run to say what it waits for")
	testenv.Eventually(t, watchFor, func() bool {
		a := r.do(http.MethodGet, "/api/etl/status", "")
		return strings.Contains(a.body, why)
	}, "the status to say it")
	s.consumer()
	testenv.Eventually(t, 2*watchFor, func() bool {
		var page runPage
		r.get("/api/etl/runs?status=succeeded", &page)
		return len(page.Runs) > 0
	}, "the run to go on")
	if strings.Contains(r.stdout.String(), `"level":"ERROR"`) {
		t.Error("it is logged as an error")
	}
	s.wantComplete()
}
