package source

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

// A read comes back while whoever called it still has patience, whatever the server's
// absence looks like, and with the timeouts that nobody has changed.
func TestCaseD13AbsenceIsToldInTime(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault func(*testenv.Proxy)
		limit time.Duration
	}{
		"gone": {(*testenv.Proxy).Cut, 15 * time.Second},
		"hung": {(*testenv.Proxy).Freeze, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			catalogue := testenv.Products(t)
			seeded := catalogue.Seed(60)
			proxy, url := testenv.ProxyTo(t, catalogue.URL)
			config := configOf(catalogue)
			config.URL = secret.URL(url)
			s := open(t, config)
			s.page = 20
			var begun time.Time
			var last error
			n := 0
			for page, err := range s.Scan(t.Context(), product.Range{Class: product.ObjectIDs}, product.CartFields(), time.Time{}) {
				if n, last = n+len(page), err; begun.IsZero() {
					begun = time.Now()
					tt.fault(proxy)
				}
			}
			took := time.Since(begun)
			t.Logf("it took %s", took)
			checkAway(t, last, "no server answers", proxy.Addr)
			if took > tt.limit || n != 20 {
				t.Errorf("%d products, and %s until the error", n, took)
			}
			proxy.Thaw()
			proxy.Restore()
			if _, err := s.Find(t.Context(), []product.ID{product.ID(seeded.Key(1))}); err != nil {
				t.Errorf("once it is back: %v", err)
			}
		})
	}
}

// Waiting makes no certificate valid.
func TestCaseD13UntrustedCertificateIsNotAway(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the refusals are what is tested
	server.StartTLS()
	t.Cleanup(server.Close)
	s := open(t, Config{URL: secret.URL("mongodb://" + server.Listener.Addr().String() + "/shop?tls=true&" + patient), User: "etl", Password: "hunter2", Collection: "products"})
	_, err := s.Count(t.Context())
	testenv.CheckMessage(t, err, "certificate is not trusted", "tlsCAFile")
	if errors.As(err, new(*product.AwayError)) {
		t.Errorf("it counts as away: %v", err)
	}
}
