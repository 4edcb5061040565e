package main

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/words"
)

// behindProxies is a shop whose databases the service reaches through proxies. The
// ledger stays where it is.
func (s *shop) behindProxies() (mongo, postgres *testenv.Proxy, env map[string]string) {
	s.tb.Helper()
	mongo, products := testenv.ProxyTo(s.tb, s.catalogue.URL)
	postgres, rows := testenv.ProxyTo(s.tb, s.cart.URL)
	products = testenv.ChangedURL(s.tb, products, func(u *url.URL) {
		q := u.Query()
		q.Set("serverSelectionTimeoutMS", "500")
		q.Set("connectTimeoutMS", "500")
		u.RawQuery = q.Encode()
	})
	return mongo, postgres, map[string]string{
		"PRODUCT_SERVICE_MONGODB_URL": products, "CART_DB_URL": rows, "ETL_STATE_DB_URL": s.cart.URL, "REPLAY_MAX_QUEUE_DEPTH": "20",
	}
}

// MongoDB goes in the middle of a run, and comes back: the run says that it waits, and
// goes on.
func TestCaseD13ARunWaitsForMongoDB(t *testing.T) {
	t.Parallel()
	s := newShop(t, 400, every(2))
	events := s.consumer(slowly)
	mongo, _, env := s.behindProxies()
	r := s.serve(env).ready()
	shown := r.post("/api/etl/sync", `{"maxRepairs": 200, "batchSize": 20}`)
	r.while(shown, "the first events", func(p *words.ProgressDocument) bool { return p.Acted > 20 })
	mongo.Cut()
	r.while(shown, "the run to wait for MongoDB", func(p *words.ProgressDocument) bool {
		return slices.ContainsFunc(p.Waits, func(w words.WaitDocument) bool {
			return w.Code == run.ReasonAway && strings.HasPrefix(w.Text, "MongoDB does not answer since ")
		})
	})
	mongo.Restore()
	if shown = r.ended(shown.ID); shown.Status != run.StatusSucceeded || shown.Takeovers != 0 || shown.Report.Outcomes[run.Verified] != 200 {
		t.Errorf("%+v %+v", shown, shown.Report)
	}
	s.wantComplete()
	wantEach(t, events, 200)
	s.wantNothingLeft()
}

// Where a database stays away the run goes back to the ledger, and is taken up from
// there until it can go on: nothing is repaired twice, and all is counted once.
func TestCaseD13ARunIsHandedBackWhileADatabaseIsAway(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"MongoDB", "PostgreSQL"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 400, every(2))
			events := s.consumer(slowly)
			mongo, postgres, env := s.behindProxies()
			env["SYNC_STALL_TIMEOUT"] = "2s"
			away := map[string]*testenv.Proxy{"MongoDB": mongo, "PostgreSQL": postgres}[server]
			r := s.serve(env).ready()
			shown := r.post("/api/etl/sync", `{"maxRepairs": 200, "batchSize": 20}`)
			r.while(shown, "the first events", func(p *words.ProgressDocument) bool { return p.Acted > 20 })
			away.Cut()
			id := shown.ID
			testenv.Eventually(t, watchFor, func() bool {
				shown = record{}
				return r.get("/api/etl/runs/"+id, &shown) == http.StatusOK && shown.Status == run.StatusQueued && shown.Error != ""
			}, "the run to be handed back")
			t.Logf("handed back: %s", shown.Error)
			if s.number("SELECT count(*) FROM etl_ledger.key_range") == 0 {
				t.Error("its key ranges are gone")
			}
			away.Restore()
			if shown = r.ended(id); shown.Status != run.StatusSucceeded || shown.Takeovers == 0 || shown.Error != "" || shown.Report.Outcomes[run.Verified] != 200 {
				t.Errorf("%+v %+v", shown, shown.Report)
			}
			s.wantComplete()
			wantEach(t, events, 200)
			s.wantNothingLeft()
		})
	}
}

// DNS, which names the servers of a cluster, is away at the start: the service waits for it,
// says so, and goes on by itself; doctor names it; nothing is wrong with the configuration.
func TestCaseD1ServeWaitsForDNS(t *testing.T) {
	t.Parallel()
	s := newShop(t, 40, every(4))
	s.consumer()
	names := testenv.NewNameServer(t)
	names.Silence()
	products, err := url.Parse(s.catalogue.URL)
	if err != nil {
		t.Fatal("the catalogue's URL cannot be read")
	}
	port, err := strconv.ParseUint(products.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	s = s.with(map[string]string{"PRODUCT_SERVICE_MONGODB_URL": "mongodb+srv://" + names.Domain + products.Path + "?tls=false&authSource=admin"})
	const silence = "no answer from DNS, which names the servers of "
	if o := s.etl(t.Context(), "doctor"); o.code != exitService || !strings.Contains(o.stdout, silence+names.Domain) {
		t.Errorf("doctor ended with %d:\n%s%s", o.code, o.stdout, o.stderr)
	}
	r := s.serve(nil)
	testenv.Eventually(t, 2*watchFor, func() bool {
		a := r.do(http.MethodGet, "/api/etl/ready?full=true", "")
		return a.status == http.StatusServiceUnavailable && strings.Contains(a.body, `"for":"mongodb"`) && !strings.Contains(a.body, `"for":"postgresql"`) && !strings.Contains(a.body, `"for":"start"`)
	}, "the service to wait for MongoDB alone")
	shown := r.post("/api/etl/sync", `{"mode": "direct"}`)
	testenv.Eventually(t, 2*watchFor, func() bool {
		return strings.Contains(r.do(http.MethodGet, "/api/etl/runs/"+shown.ID, "").body, silence)
	}, "the run to say what it waits for")
	names.Names(uint16(port))
	if shown = r.ended(shown.ID); shown.Status != run.StatusSucceeded {
		t.Errorf("%+v", shown)
	}
	r.ready()
	s.wantComplete()
}
