package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/words"
)

// life is what a pod says at each step of its life, with the real binary.
type life struct {
	t *testing.T
	*shop
	servers map[string]*testenv.Proxy
	said    table.Writer
}

// wanted is what must be said after a step; 0 is no answer at all.
type wanted struct {
	live, ready, status int
	statusSays          string // in what /status answers
	runsCode            int    // of `etl runs list`
	runsSay             string
}

// look waits until a pod says what is wanted after a step, and writes down what it says.
func (l *life) look(step string, pod *replica, want wanted) {
	l.t.Helper()
	var live, ready, status answer
	var runs outcome
	testenv.Eventually(l.t, time.Minute, func() error {
		live, ready = pod.do(http.MethodGet, "/api/etl/live", ""), pod.do(http.MethodGet, "/api/etl/ready", "")
		status, runs = pod.do(http.MethodGet, "/api/etl/status", ""), l.etl(l.t.Context(), "runs", "list", "--limit", "1")
		if live.status != want.live || ready.status != want.ready || status.status != want.status || runs.code != want.runsCode {
			return fmt.Errorf("live %d, ready %d %s, status %d %s, runs %d %s", live.status, ready.status, ready.body, status.status, status.body, runs.code, runs.stderr)
		}
		if !strings.Contains(status.body, want.statusSays) {
			return fmt.Errorf("status says %s", status.body)
		}
		if said := runs.stdout + runs.stderr; !strings.Contains(said, want.runsSay) {
			return fmt.Errorf("`etl runs list` says %s", said)
		}
		return nil
	}, step)
	l.said.AppendRow(table.Row{step, code(live), code(ready) + waitingFor(ready), code(status) + statusInShort(status), runsInShort(runs)})
}

func code(a answer) string {
	if a.status == 0 {
		return "no answer"
	}
	return fmt.Sprint(a.status)
}

// waitingFor is what a pod that is not ready waits for.
func waitingFor(a answer) (names string) {
	var shown struct {
		WaitingFor []struct{ For string } `json:"waitingFor"`
	}
	if json.Unmarshal([]byte(a.body), &shown) == nil && len(shown.WaitingFor) > 0 {
		for _, w := range shown.WaitingFor { // of several roles for the same
			if !strings.Contains(names+" ", " "+w.For+" ") {
				names += " " + w.For
			}
		}
		return ": waits for" + names
	}
	return ""
}

// statusInShort is of a status what a person reads first.
func statusInShort(a answer) string {
	var shown struct {
		ActiveRun, LastRun *struct{ Message string }
		Errors             []run.FieldError
	}
	if json.Unmarshal([]byte(a.body), &shown) != nil {
		return ""
	}
	switch {
	case shown.ActiveRun != nil:
		return ": " + shown.ActiveRun.Message
	case len(shown.Errors) > 0:
		return ": " + shown.Errors[0].Message
	case shown.LastRun != nil:
		return ": " + shown.LastRun.Message
	}
	return ""
}

// runsInShort is the state of the latest run, or why the command cannot tell.
func runsInShort(o outcome) string {
	if o.code != exitOK {
		return fmt.Sprintf("exit %d: %s", o.code, strings.TrimSpace(o.stderr))
	}
	var rows []string
	for line := range strings.Lines(o.stdout) {
		if cells := strings.Split(line, "│"); len(cells) > 4 && !strings.Contains(line, "RUN") {
			rows = append(rows, strings.Join(strings.Fields(strings.Join(cells[2:], " ")), " "))
		}
	}
	return strings.Join(append(rows, strings.TrimSpace(o.stdout))[:1], "")
}

// away cuts servers off, and back restores them.
func (l *life) away(names ...string) {
	for _, name := range names {
		l.servers[name].Cut()
	}
}

func (l *life) back(names ...string) {
	for _, name := range names {
		l.servers[name].Restore()
	}
}

// repairing asks a pod for a repair and waits until it acts.
func (l *life) repairing(pod *replica) record {
	l.t.Helper()
	l.cart.Exec("DELETE FROM product WHERE id IN (SELECT id FROM product ORDER BY id LIMIT 80)")
	shown := pod.post("/api/etl/sync", `{"maxRepairs":1000,"batchSize":10}`)
	pod.while(shown, "the first events", func(p *words.ProgressDocument) bool { return p.Acted > 0 })
	return shown
}

// repaired waits for the end of a repair.
func (l *life) repaired(pod *replica, shown record) {
	l.t.Helper()
	if shown = pod.ended(shown.ID); shown.Status != run.StatusSucceeded {
		l.t.Errorf("%s: %+v", shown.Status, shown.Report)
	}
	l.wantComplete()
}

// A pod's life: it is started before any server, its servers come and go, it is upgraded,
// told to end, and killed. At each step liveness, readiness, status and the terminal say
// what an operator needs, and no run is lost.
func TestLongPodsLife(t *testing.T) {
	testenv.Long(t)
	t.Parallel()
	s := newShop(t, 400, none)
	s.consumer(func(c *cart.Config) { c.DelayPerEvent = 200 * time.Millisecond }) // so that each step is seen
	said := table.NewWriter()
	said.AppendHeader(table.Row{"step", "/live", "/ready", "/status", "etl runs list"})
	l := &life{t: t, shop: s, servers: make(map[string]*testenv.Proxy), said: said}
	products, err := url.Parse(s.catalogue.URL)
	if err != nil {
		t.Fatal(err)
	}
	l.servers["mongodb"] = testenv.NewProxy(t, products.Host)
	through := map[string]string{"PRODUCT_SERVICE_MONGODB_URL": withHost(t, s.catalogue.URL, l.servers["mongodb"].Addr)}
	l.servers["postgresql"], through["CART_DB_URL"] = testenv.ProxyTo(t, s.cart.URL)
	l.servers["rabbitmq"], through["RABBITMQ_ENDPOINT"] = testenv.ProxyTo(t, s.broker.URL)
	l.shop = s.with(through)
	everything := []string{"mongodb", "postgresql", "rabbitmq"}
	env := map[string]string{"ETL_LEASE": "5s", "ETL_LAME_DUCK": "3s", "REPLAY_MAX_QUEUE_DEPTH": "10", "SYNC_SETTLE": "1s"}

	l.away(everything...)
	first, _ := l.serveApart(env)
	lost := wanted{http.StatusOK, http.StatusServiceUnavailable, http.StatusServiceUnavailable, "GET /api/etl/health shows which", exitService, "CART_DB_URL"}
	l.look("started before any server", first, lost)
	l.back("postgresql")
	l.look("PostgreSQL comes", first, wanted{http.StatusOK, http.StatusServiceUnavailable, http.StatusOK, `"activeRun":null`, exitOK, "There are no such runs."})
	l.back("mongodb", "rabbitmq")
	well := wanted{http.StatusOK, http.StatusOK, http.StatusOK, "", exitOK, ""}
	l.look("MongoDB and RabbitMQ come", first, well)

	shown := l.repairing(first)
	active := func(says string) wanted {
		return wanted{http.StatusOK, http.StatusOK, http.StatusOK, says, exitOK, "running"}
	}
	l.look("a run repairs", first, active(`"activeRun":{`))
	l.away("postgresql")
	l.look("PostgreSQL goes", first, wanted{http.StatusOK, http.StatusOK, http.StatusServiceUnavailable, "GET /api/etl/health shows which", exitService, "CART_DB_URL"})
	l.back("postgresql")
	l.repaired(first, shown)
	l.look("PostgreSQL comes back, and the run ends", first, wanted{http.StatusOK, http.StatusOK, http.StatusOK, "Repaired: 80 of 80", exitOK, "succeeded"})

	shown = l.repairing(first)
	l.away("rabbitmq")
	l.look("RabbitMQ goes in the middle of a run", first, wanted{http.StatusOK, http.StatusOK, http.StatusOK, "broker", exitOK, ""})
	l.back("rabbitmq")
	l.repaired(first, shown)
	shown = l.repairing(first)
	l.away("mongodb")
	l.look("MongoDB goes in the middle of a run", first, wanted{http.StatusOK, http.StatusOK, http.StatusOK, `"activeRun":{`, exitOK, ""})
	l.back("mongodb")
	l.repaired(first, shown)
	l.look("all are back, and the runs have ended", first, well)

	// A rolling upgrade: the older program runs, a newer one joins it and goes on with its run.
	first.stop()
	if o := first.wait(); o.code != exitOK {
		t.Errorf("it ended with %d", o.code)
	}
	command := l.with(serviceDefaults).with(env).command(t.Context(), "serve")
	command.Path = oldest(t)
	older, process := l.serveFrom(command)
	older.ready()
	shown = l.repairing(older)
	newer, killed := l.serveApart(env)
	newer.ready()
	l.look("an upgrade: the older program's run", newer, active(""))
	if err := process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if o := older.wait(); o.code != exitOK {
		t.Errorf("the older program ended with %d", o.code)
	}
	l.repaired(newer, shown)
	l.look("the newer one has gone on with it", newer, wanted{http.StatusOK, http.StatusOK, http.StatusOK, "Repaired: 80 of 80", exitOK, "succeeded"})

	// Killed in the middle of a run, which another goes on with.
	shown = l.repairing(newer)
	if err := killed.Kill(); err != nil {
		t.Fatal(err)
	}
	newer.wait()
	l.look("killed in the middle of a run", newer, wanted{0, 0, 0, "", exitOK, "running"})
	last, process := l.serveApart(env)
	last.ready()
	l.look("another pod starts", last, active(""))
	l.repaired(last, shown)

	// Told to end, it serves on for a moment, so that nobody is sent to a closed door.
	shown = l.repairing(last)
	if err := process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	l.look("told to end in the middle of a run", last, wanted{http.StatusOK, http.StatusServiceUnavailable, http.StatusOK, "", exitOK, ""})
	if o := last.wait(); o.code != exitOK {
		t.Errorf("it ended with %d", o.code)
	}
	l.look("it has ended, and its run waits", last, wanted{0, 0, 0, "", exitOK, "queued"})
	final, _ := l.serveApart(env)
	l.repaired(final.ready(), shown)
	l.look("the next pod has ended the run", final, wanted{http.StatusOK, http.StatusOK, http.StatusOK, "Repaired: 80 of 80", exitOK, "succeeded"})
	s.wantNothingLeft()

	said.SetColumnConfigs([]table.ColumnConfig{{Number: 1, WidthMax: 24, WidthMaxEnforcer: text.WrapSoft}, {Number: 3, WidthMax: 24, WidthMaxEnforcer: text.WrapSoft},
		{Number: 4, WidthMax: 44, WidthMaxEnforcer: text.WrapSoft}, {Number: 5, WidthMax: 44, WidthMaxEnforcer: text.WrapSoft}})
	t.Logf("\n%s", said.Render())
	if file := os.Getenv("PODS_LIFE"); file != "" {
		if err := os.WriteFile(file, []byte(said.RenderMarkdown()), 0o644); err != nil {
			t.Error(err)
		}
	}
}
