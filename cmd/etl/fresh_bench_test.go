package main

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
)

// traffic is the Product Service under load, and what it has announced.
type traffic struct {
	*shop
	at map[string]time.Time // when each product was created
}

// created products come at each interval: a hundred a second.
const created, interval = 5, 50 * time.Millisecond

// flow creates and announces products until done.
func (f *traffic) flow(done func() bool) {
	f.tb.Helper()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for !done() {
		now := time.Now()
		for _, p := range f.announce(created) {
			f.at[p.ID.Hex()] = now
		}
		<-tick.C
	}
}

// flowFor is flow for a time.
func (f *traffic) flowFor(d time.Duration) {
	f.tb.Helper()
	end := time.Now().Add(d)
	f.flow(func() bool { return time.Now().After(end) })
}

// BenchmarkFreshness is how long after its creation a product is proved to be in the cart
// whose event was lost, by the way in which it was: with 100 products created each second on
// a catalogue of ETL_BENCH_PRODUCTS, and the service's own settings.
func BenchmarkFreshness(b *testing.B) {
	products := benchProducts(b)
	s := newShop(b, products, none)
	s.cart.Exec("VACUUM ANALYZE product")
	defaults := map[string]string{"ETL_ROLES": "", "SYNC_RECENT_SCHEDULE": "", "SYNC_SETTLE": "", "SYNC_GRACE": ""}
	f := &traffic{shop: s, at: make(map[string]time.Time)}
	events := s.consumer()
	r, process := s.serveApart(defaults)
	r.ready()
	r.tapping()
	f.flowFor(5 * time.Second)
	const outage = 500 * time.Millisecond
	for _, way := range []struct {
		name string
		lose func()
	}{
		{"unbound", func() {
			s.broker.Unbind(rabbit.CreatedQueue)
			f.flowFor(outage)
			s.broker.Bind(rabbit.CreatedQueue)
		}},
		{"forgotten", func() {
			events.Stop()
			forgetful := s.consumer(func(c *cart.Config) { c.Forgetful = true })
			f.flowFor(outage)
			forgetful.Stop()
			events = s.consumer()
		}},
		{"dropped", func() {
			release := s.standstill()
			s.broker.LimitLength(rabbit.CreatedQueue, 5, testenv.DropHead)
			f.flowFor(outage)
			s.broker.LimitLength(rabbit.CreatedQueue, 100_000, testenv.DropHead)
			release()
		}},
		{"unpublished", func() {
			now := time.Now()
			for _, p := range s.catalogue.SeedFresh(50) {
				f.at[p.ID.Hex()] = now
			}
			f.flowFor(outage)
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			var waits []float64
			began, cpu, announced := time.Now(), processTime(b, process.Pid), len(f.at)
			for b.Loop() {
				lost := time.Now()
				way.lose()
				f.flow(func() bool { return f.verified(lost, &waits) })
			}
			slices.Sort(waits)
			used := processTime(b, process.Pid) - cpu
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(len(waits)), "lost")
			b.ReportMetric(waits[len(waits)/2], "p50-s")
			b.ReportMetric(waits[len(waits)*99/100], "p99-s")
			b.ReportMetric(100*used.Seconds()/time.Since(began).Seconds(), "cpu-%")
			b.Logf("%d events meanwhile", len(f.at)-announced)
		})
	}
	testenv.Eventually(b, watchFor, func() bool { return s.cart.Count() == products+len(f.at) }, "the last events to be consumed")
	if n := s.number(`SELECT count(*) FROM (SELECT FROM etl_ledger.outcome WHERE state = 'verified' GROUP BY product HAVING count(*) > 1) AS twice`); n > 0 {
		b.Errorf("%d products were replayed twice", n)
	}
}

// verified tells whether all that was lost since a moment has been proved to be there, and adds
// how long each took.
func (f *traffic) verified(since time.Time, waits *[]float64) bool {
	f.tb.Helper()
	const settled = 5 * time.Second // what is younger may be on its way by itself
	if time.Since(since) < settled {
		return false
	}
	ids := make([]string, 0, len(f.at))
	for id, at := range f.at {
		if at.After(since.Add(-time.Second)) && time.Since(at) > settled {
			ids = append(ids, id)
		}
	}
	if f.number("SELECT count(*) FROM product WHERE id = ANY($1)", ids) < len(ids) || f.number("SELECT count(*) FROM etl_ledger.difference WHERE closed_at IS NULL") > 0 {
		return false
	}
	rows, err := f.cart.Pool.Query(f.tb.Context(), "SELECT product, at FROM etl_ledger.outcome WHERE state = 'verified' AND product = ANY($1)", ids)
	if err != nil {
		f.tb.Fatal(err)
	}
	defer rows.Close()
	var more []float64
	for rows.Next() {
		var id string
		var at time.Time
		if err := rows.Scan(&id, &at); err != nil {
			f.tb.Fatal(err)
		}
		more = append(more, at.Sub(f.at[id]).Seconds())
	}
	if err := rows.Err(); err != nil {
		f.tb.Fatal(err)
	}
	*waits = append(*waits, more...)
	return len(more) > 0
}

// processTime is the processor time that a process has used so far. The kernel counts it in
// hundredths of a second: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
func processTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		b.Fatal(err)
	}
	_, behind, _ := strings.Cut(string(stat), ") ") // the name may hold anything
	fields := strings.Fields(behind)
	var ticks time.Duration
	for _, field := range fields[11:13] { // user and system
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * time.Second / 100
}
