package main

import (
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

// Whatever process has the run dies with kill -9 at the same product. A takeover does not
// go on dying: soon the product is named and left alone, and the others are repaired.
func TestProcessesThatDieOfOneProduct(t *testing.T) {
	t.Parallel()
	const lost = 12
	s := newShop(t, 60, func(i int) bool { return i < lost })
	s.consumer()
	deadly := s.products.Key(0)
	// Writing it waits for a transaction that never ends, which gives the time to kill.
	tx, err := s.cart.Pool.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), `INSERT INTO product (id, title, price, image, "sellerId", quantity) VALUES ($1, '', 1, '', '', 1)`, deadly)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		s.cart.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") // of the dead
		_ = tx.Rollback(t.Context())
	}()
	// The ledger's statements wait for each other too, and for moments only.
	const atProduct = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_start > $1
		AND wait_event_type = 'Lock' AND wait_event = 'transactionid' AND query NOT LIKE '%etl_ledger%'`
	env := map[string]string{"ETL_LEASE": "5s"}
	begun := time.Now() // of the present process: sessions of the dead wait on for a while
	r, process := s.serveApart(env)
	shown := r.ready().post("/api/etl/sync", `{"mode": "direct", "maxRepairs": 100, "batchSize": 5}`)
	const most = 4
	for deaths := 1; ; deaths++ {
		ended := false
		testenv.Eventually(t, 2*watchFor, func() bool {
			ended = r.get("/api/etl/runs/"+shown.ID, &shown) == 200 && !shown.Status.Active()
			return ended || s.number(atProduct, begun) > 0
		}, "the process to wait at the product, or the run to end")
		if ended {
			t.Logf("it ended behind %d deaths", deaths-1)
			break
		}
		if deaths > most {
			t.Fatalf("%d processes died", deaths)
		}
		if err := process.Kill(); err != nil {
			t.Fatal(err)
		}
		r.wait()
		begun = time.Now()
		r, process = s.serveApart(env)
		r.ready()
	}
	if shown.Status != run.StatusPartial {
		t.Errorf("the run is %s: %s", shown.Status, shown.Error)
	}
	if states := shown.Report.ByKind[product.Missing]; states[run.Verified] != lost-1 || states[run.Failed] != 1 {
		t.Errorf("%v, want one failed and %d verified", states, lost-1)
	}
	var page struct {
		Products []struct {
			ID   string   `json:"id"`
			Code run.Code `json:"code"`
		} `json:"products"`
	}
	if r.get("/api/etl/runs/"+shown.ID+"/products?state=failed", &page) != 200 || len(page.Products) != 1 || page.Products[0].ID != deadly || page.Products[0].Code != run.ReasonDeadly {
		t.Errorf("what failed: %+v", page)
	}
	if n := s.cart.Count(); n != 60-1 {
		t.Errorf("the cart has %d rows", n)
	}
}
