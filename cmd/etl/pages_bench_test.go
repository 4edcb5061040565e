package main

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/ecom-micro/etl/api"
)

// BenchmarkPages is how long a browser waits for the first byte of each page, with 10,000 runs
// and 1,000,000 differences in the ledger.
func BenchmarkPages(b *testing.B) {
	s := newShop(b, 100, every(10))
	s.consumer()
	r := s.serve(nil)
	r.ready()
	found := r.ended(r.post("/api/etl/sync", `{"dryRun":true}`).ID)
	s.cart.Exec(`INSERT INTO etl_ledger.run SELECT copy.* FROM etl_ledger.run r, generate_series(1, 10000) AS n,
		LATERAL jsonb_populate_record(r, jsonb_build_object('id', gen_random_uuid(), 'attention', 'none',
			'requested_at', r.requested_at - n * interval '1 minute', 'finished_at', r.finished_at - n * interval '1 minute')) AS copy WHERE r.id = $1`, found.ID)
	s.cart.Exec(`INSERT INTO etl_ledger.difference SELECT copy.* FROM (SELECT d FROM etl_ledger.difference d LIMIT 1) AS one (d), generate_series(1, 1000000) AS n,
		LATERAL jsonb_populate_record(d, jsonb_build_object('product', lpad(n::text, 24, '0'))) AS copy`)
	s.cart.Exec("VACUUM ANALYZE etl_ledger.difference")
	s.cart.Exec("VACUUM ANALYZE etl_ledger.run")
	cookie := &http.Cookie{Name: api.TokenCookie, Value: r.token}
	for _, page := range []struct{ name, path string }{
		{"overview", ""}, {"runs", "runs"}, {"failed", "runs?status=failed"}, {"run", "runs/" + found.ID}, {"filtered", "runs/" + found.ID + "?state=found&kind=missing"},
		{"product", "products/" + s.products.Key(3)}, {"health", "health"},
	} {
		b.Run(page.name, func(b *testing.B) {
			var slowest time.Duration
			for b.Loop() {
				request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, r.url+"/api/etl/ui/"+page.path, nil)
				if err != nil {
					b.Fatal(err)
				}
				request.AddCookie(cookie)
				began := time.Now()
				answer, err := http.DefaultClient.Do(request)
				if err != nil {
					b.Fatal(err)
				}
				slowest = max(slowest, time.Since(began))
				_, _ = io.Copy(io.Discard, answer.Body) // only the first byte is measured
				_ = answer.Body.Close()
				if answer.StatusCode != http.StatusOK {
					b.Fatalf("%s: %d", page.path, answer.StatusCode)
				}
			}
			b.ReportMetric(float64(slowest.Microseconds())/1000, "slowest-ms")
		})
	}
}
