package main

import (
	"cmp"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// The benchmarks set the binary beside the work that no program can avoid: the drivers do
// that work as fast as they can, without a look at what they read. Both sides are measured in
// turn, in each round of b.N; what is reported are medians of the rounds.

// benchProducts is the size of the catalogue: ETL_BENCH_PRODUCTS.
func benchProducts(b *testing.B) int {
	b.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("ETL_BENCH_PRODUCTS"), "1000000"))
	if err != nil || n < 100 {
		b.Fatalf("ETL_BENCH_PRODUCTS is %q, it must be a number of at least 100", os.Getenv("ETL_BENCH_PRODUCTS"))
	}
	return n
}

// benchShop is a shop whose tables are as a database keeps them that is long in use.
func benchShop(b *testing.B, products int, lost func(i int) bool) *rawWork {
	b.Helper()
	s := newShop(b, products, lost)
	s.cart.Exec("VACUUM ANALYZE product")
	w := &rawWork{shop: s, consumer: s.consumer()} // an empty queue without one says nothing for a minute
	for p := range s.products.Where(lost) {
		w.events = append(w.events, p.Event())
		w.missing = append(w.missing, p.ID)
		w.keys = append(w.keys, p.ID.Hex())
		w.rows = append(w.rows, []any{p.ID.Hex(), p.Title, p.Price, p.Image, p.SellerID.Hex(), p.Quantity})
	}
	return w
}

// duel is what was measured of both sides.
type duel struct {
	raw, etl       []time.Duration
	rawCPU, etlCPU []time.Duration // in user mode
	peak           int64           // the most memory of etl, in bytes
}

// command runs the binary as a user does.
func (d *duel) command(b *testing.B, w *rawWork, args ...string) *run.Report {
	b.Helper()
	p := w.command(b.Context(), append(args, "--output", "json")...)
	began := time.Now()
	peak, err := p.runMeasured()
	d.etl = append(d.etl, time.Since(began))
	if err != nil {
		b.Fatalf("etl %v: %v\n%s\n%s", args, err, &p.stdout, &p.stderr)
	}
	d.etlCPU = append(d.etlCPU, p.ProcessState.UserTime())
	d.peak = max(d.peak, peak)
	return p.report(b).Report
}

// plain measures the drivers.
func (d *duel) plain(b *testing.B, parts func() []workPart) {
	b.Helper()
	before := userTime(b)
	var sum time.Duration
	for _, part := range parts() {
		b.Logf("%-28s %8.2f s  %s", part.name, part.took.Seconds(), part.batches)
		sum += part.took
	}
	d.raw = append(d.raw, sum)
	d.rawCPU = append(d.rawCPU, userTime(b)-before)
}

func userTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano())
}

// report tells medians, how far the rounds of the plain work lie apart, and the peak.
func (d *duel) report(b *testing.B) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(d.raw).Seconds(), "raw-s")
	b.ReportMetric(median(d.etl).Seconds(), "etl-s")
	b.ReportMetric(ratio(d.etl, d.raw), "etl/raw")
	b.ReportMetric(ratio(d.raw, d.etl), "raw/etl")
	b.ReportMetric(slices.Max(d.raw).Seconds()/slices.Min(d.raw).Seconds(), "raw-spread")
	b.ReportMetric(ratio(d.etlCPU, d.rawCPU), "cpu-etl/raw")
	b.ReportMetric(float64(d.peak)/(1<<20), "peak-MiB")
}

func median[N cmp.Ordered](values []N) N {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// ratio is the median of the rounds' own.
func ratio(of, to []time.Duration) float64 {
	ratios := make([]float64, len(of))
	for i := range ratios {
		ratios[i] = of[i].Seconds() / to[i].Seconds()
	}
	return median(ratios)
}

// BenchmarkCompare is a comparison of stores that agree.
func BenchmarkCompare(b *testing.B) {
	products := benchProducts(b)
	w := benchShop(b, products, none)
	for _, line := range []struct {
		name string
		ids  bool
		args []string
	}{
		{"fields", false, []string{"sync", "--dry-run"}},
		{"ids", true, []string{"sync", "--dry-run", "--fields", "none"}},
	} {
		b.Run(line.name, func(b *testing.B) {
			var d duel
			w.drains(b, line.ids) // finds the best batch, and warms both servers
			for b.Loop() {
				d.plain(b, func() []workPart { return []workPart{w.drains(b, line.ids)} })
				if report := d.command(b, w, line.args...); report.Products != int64(products) || report.Rows != int64(products) {
					b.Fatalf("%d products and %d rows compared", report.Products, report.Rows)
				}
			}
			d.report(b)
		})
	}
}

// BenchmarkDirect is a direct repair of a tenth of the products, its proof included: both
// stores are read once, what is missing is read by id before and after the repair on both
// sides, and written.
func BenchmarkDirect(b *testing.B) {
	products := benchProducts(b)
	w := benchShop(b, products, every(10))
	w.cart.Exec("CREATE TABLE copied (LIKE product INCLUDING ALL)")
	w.repair(b)
	var d duel
	for b.Loop() {
		d.plain(b, func() []workPart { return w.repair(b) })
		report := d.command(b, w, "sync", "--mode", string(run.Direct), "--batch-size", "1000", "--max-repairs", strconv.Itoa(len(w.keys)))
		if got := report.Outcomes[run.Verified]; got != int64(len(w.keys)) {
			b.Fatalf("%d verified, want %d", got, len(w.keys))
		}
		w.lose(b)
	}
	d.report(b)
}

// lose takes away what was repaired.
func (w *rawWork) lose(b *testing.B) {
	b.Helper()
	w.cart.Exec("DELETE FROM product WHERE id = ANY($1)", w.keys)
	w.cart.Exec("VACUUM ANALYZE product")
}

// BenchmarkReplay is a repair by events, at the default depth and at one that is no limit to
// the consumer of this benchmark: it is set beside a comparison, and what the same consumer
// needs for the same events when they are published at once.
func BenchmarkReplay(b *testing.B) {
	products := benchProducts(b)
	const lost = 20_000
	w := benchShop(b, products, every(max(products/lost, 2)))
	for name, depth := range map[string]string{"default": "", "deep": "1000"} {
		w := *w
		w.shop = w.with(map[string]string{"REPLAY_MAX_QUEUE_DEPTH": depth})
		b.Run(name, func(b *testing.B) { w.replay(b) })
	}
}

func (w *rawWork) replay(b *testing.B) {
	var d duel
	for b.Loop() {
		drained := w.consumed()
		var comparison duel
		comparison.command(b, w, "sync", "--dry-run")
		w.lose(b)
		d.raw = append(d.raw, comparison.etl[0]+drained)
		d.rawCPU = append(d.rawCPU, comparison.etlCPU[0])
		b.Logf("a comparison %.2f s, its events consumed in %.2f s", comparison.etl[0].Seconds(), drained.Seconds())
		report := d.command(b, w, "sync", "--max-repairs", strconv.Itoa(len(w.keys)))
		if got := report.Outcomes[run.Verified]; got != int64(len(w.keys)) {
			b.Fatalf("%d verified, want %d", got, len(w.keys))
		}
		w.lose(b)
	}
	d.report(b)
}

// consumed is how long the consumer takes for the events of what is missing, published at
// once.
func (w *rawWork) consumed() time.Duration {
	w.tb.Helper()
	before := w.consumer.Counts().Inserted
	began := time.Now()
	w.broker.Publish(platform.ProductCreated, w.events...)
	testenv.Eventually(w.tb, time.Minute, func() bool { return w.consumer.Counts().Inserted == before+len(w.events) }, "the events to be consumed")
	return time.Since(began)
}

// BenchmarkMemory is the most memory that a direct repair takes, by how many products there
// are and how many of them are missing. ETL_BENCH_LARGE is the largest catalogue.
func BenchmarkMemory(b *testing.B) {
	large, err := strconv.Atoi(cmp.Or(os.Getenv("ETL_BENCH_LARGE"), "5000000"))
	if err != nil {
		b.Fatalf("ETL_BENCH_LARGE is no number: %v", err)
	}
	for _, products := range []int{100_000, 1_000_000, 5_000_000} {
		if products > large {
			continue
		}
		b.Run(strconv.Itoa(products), func(b *testing.B) {
			s := newShop(b, products, none)
			s.consumer()
			w := &rawWork{shop: s}
			for _, line := range []struct {
				name string
				lost string // which rows
			}{{"none", "false"}, {"tenth", "('x' || right(id, 6))::bit(24)::int % 10 = 0"}, {"all", "true"}} {
				b.Run(line.name, func(b *testing.B) {
					var d duel
					for b.Loop() {
						s.cart.Exec("DELETE FROM product WHERE " + line.lost)
						s.cart.Exec("VACUUM ANALYZE product")
						report := d.command(b, w, "sync", "--mode", string(run.Direct), "--batch-size", "1000", "--max-repairs", strconv.Itoa(products))
						if rows := w.number("SELECT count(*) FROM product"); rows != products {
							b.Fatalf("%v, and %d rows", report.Outcomes, rows)
						}
					}
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(median(d.etl).Seconds(), "etl-s")
					b.ReportMetric(float64(d.peak)/(1<<20), "peak-MiB")
				})
			}
		})
	}
}
