package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/browser"
)

// tokenFor is a token of somebody with a role.
func (s *shop) tokenFor(role string) string {
	s.tb.Helper()
	token, err := api.NewToken(secret.Text(s.env["JWT_KEY"]), api.User{ID: "1", Email: "ann@shop", Role: role}, time.Hour)
	if err != nil {
		s.tb.Fatal(err)
	}
	return token
}

// signedIn is a browser in which somebody with a role has signed in.
func (r *replica) signedIn(s *shop, role string) *browser.Page {
	r.tb.Helper()
	p := browser.Open(r.tb)
	p.Look(1280, 900, false)
	p.Visit(r.url + "/")
	p.Sees("Sign in")
	p.Fill("input[name=token]", s.tokenFor(role))
	p.Click("Sign in")
	return p
}

// An operator's night: events were lost, the binding is gone, a product cannot be stored.
func TestPagesTellAndSteer(t *testing.T) {
	t.Parallel()
	s := newShop(t, 300, every(10))
	blocked := s.products.Product(5)
	s.catalogue.Set(blocked.ID, bson.E{Key: "price", Value: "12,50 €"}) // which the cart's column cannot hold
	s.cart.Exec("DELETE FROM product WHERE id = $1", blocked.ID.Hex())
	s.consumer()
	r := s.serve(map[string]string{"RABBITMQ_MANAGEMENT_URL": s.broker.Management, "SYNC_CRON_SCHEDULE": "*/30 * * * *"})
	r.ready()
	pictures := os.Getenv("ETL_PICTURES") // a folder to keep them in
	p := r.signedIn(s, api.RoleOperator)
	p.Sees("It is not known whether the cart is complete")
	p.Accessible()

	// One click finds what is wrong, two more repair it.
	p.Click("Compare now")
	p.Sees("Repair what it found")
	p.Sees("Differences found: 31 missing")
	p.Sees("Why products are left")
	p.Sees(`"12,50 €" is not a number`)
	p.Accessible()
	p.Picture(pictures, "found")
	p.Click("Repair")
	p.Sees("30 verified")
	p.Picture(pictures, "repaired")
	p.Accessible()
	p.Click("Overview")
	p.Sees("The cart lacks 1 product")
	p.Sees("1 product that the cart cannot hold")

	// The cause of a blocked product.
	p.Fill("#search", blocked.ID.Hex()+"\r")
	p.Sees("12,50 €")
	p.Sees("blocked")
	p.Picture(pictures, "product")
	p.Accessible()

	// A binding that is gone is named where it is missing.
	s.broker.Unbind(rabbit.CreatedQueue)
	s.cart.Exec(`INSERT INTO etl_ledger.sample (pipeline, at, missing, stale, orphaned, blocked, delivery, lag)
		SELECT pipeline, date_trunc('hour', now(), 'UTC') - h * interval '1 hour', CASE WHEN h BETWEEN 6 AND 9 THEN 40 * (10 - h) ELSE 0 END,
			CASE WHEN h BETWEEN 5 AND 7 THEN 12 ELSE 0 END, 0, 0, CASE WHEN h BETWEEN 8 AND 9 THEN 4 ELSE 1 END, interval '0'
		FROM generate_series(1, 400) AS h, etl_ledger.pipeline`)
	p.Click("Overview")
	p.Sees("Events do not arrive")
	p.Sees("not bound")
	p.Sees("restart the Cart Service, which binds it")
	p.Sees("events did not arrive in")
	for name, look := range map[string]struct {
		width int64
		dark  bool
	}{"overview": {1280, false}, "overview-dark": {1280, true}, "overview-narrow": {360, false}, "overview-narrow-dark": {360, true}, "overview-4k": {3840, false}} {
		p.Look(look.width, 900, look.dark)
		p.Accessible()
		p.Picture(pictures, name)
	}
	p.Look(1280, 900, false)
	s.broker.Bind(rabbit.CreatedQueue)
	p.Sees("Events arrive") // by itself

	// The scheduler.
	p.Click("Stop")
	p.Sees("Scheduled runs are off")
	p.Sees("ann@shop")
	p.Click("Start")
	p.Sees("Scheduled runs are on")

	// What was no request is kept, can be tried again, and dropped.
	s.broker.PublishTo("etl", "sync", amqp.Publishing{AppId: "a script", Body: []byte(`{"version":1,"mode":"<b>reply</b>"}`)})
	testenv.Eventually(t, watchFor, func() bool { return s.broker.QueueStats("etl.dead").Ready == 1 }, "the dead letter")
	p.Sees("1 message that is no request")
	p.Click("Dead letters")
	p.Sees("mode must be")
	p.Sees(`{"version":1,"mode":"<b>reply</b>"}`)
	p.Accessible()
	p.Picture(pictures, "letters")
	p.Submit("Requeue") // and it dies again
	testenv.Eventually(t, watchFor, func() bool { return s.broker.QueueStats("etl.dead").Ready == 1 }, "the dead letter to be back")
	p.Visit(r.url + "/api/etl/ui/letters")
	p.Click("Drop")
	p.Sees("There are none.")

	for _, page := range []string{"Runs", "Start a run", "Health", "Settings"} {
		p.Click(page)
		p.Sees(map[string]string{"Start a run": "What it does", "Health": "Everything answers", "Settings": "SYNC_SETTLE", "Runs": "Started by"}[page])
		p.Accessible()
		p.Picture(pictures, strings.ReplaceAll(strings.ToLower(page), " ", "-"))
	}
	if p.Shows(s.env["JWT_KEY"]) {
		t.Error("a secret is shown")
	}
	p.Click("Sign out")
	p.Sees("Token")
	p.Quiet()
}

// A viewer sees everything and no buttons; a form that is sent all the same does nothing.
func TestPagesRespectRoles(t *testing.T) {
	t.Parallel()
	s := newShop(t, 50, every(10))
	hostile := `<script>document.title="taken over"</script>`
	s.catalogue.Set(s.products.Product(0).ID, bson.E{Key: "title", Value: hostile})
	s.consumer()
	r := s.serve(nil)
	r.ready()
	r.ended(r.post("/api/etl/sync", `{"dryRun":true}`).ID)
	p := r.signedIn(s, api.RoleViewer)
	p.Sees("The cart lacks 5 products")
	for _, selector := range []string{"main form[method=post]", "main button.primary"} {
		if p.Has(selector) {
			t.Errorf("a viewer sees %s", selector)
		}
	}
	p.Click("Review and repair")
	p.Sees(hostile)
	if p.Has("main form[method=post]") {
		t.Error("a viewer may repair")
	}
	p.Quiet()

	for name, ask := range map[string]struct {
		token, site string
		want        int
	}{
		"nobody":        {"", "", http.StatusSeeOther},
		"a viewer":      {s.tokenFor(api.RoleViewer), "", http.StatusForbidden},
		"another site":  {s.tokenFor(api.RoleOperator), "cross-site", http.StatusForbidden},
		"a plain user":  {s.tokenFor("user"), "", http.StatusForbidden},
		"a wrong token": {"wrong", "", http.StatusSeeOther},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+filepath.Join("/api/etl/ui", "scheduler"), strings.NewReader("do=stop"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.AddCookie(&http.Cookie{Name: api.TokenCookie, Value: ask.token})
		if ask.site != "" {
			request.Header.Set("Sec-Fetch-Site", ask.site)
		}
		answer, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != ask.want {
			t.Errorf("%s: %d, want %d", name, answer.StatusCode, ask.want)
		}
	}
	p.Visit(r.url + "/api/etl/ui/")
	p.Sees("Scheduled runs are on")
}
