package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// largeMemory is what a process may take at its peak whatever the size of documents. A
// container of 192 MiB has room for it.
const largeMemory = 128 << 20

// largeProduct is a product whose image is a text of some size.
type largeProduct struct {
	platform.Product
	size int
}

// large makes n products of some size that nobody has.
func (s *shop) large(seed uint64, n, size int) []largeProduct {
	all := make([]largeProduct, n)
	for i := range all {
		all[i] = largeProduct{platform.Assortment{Seed: seed, N: n}.Product(i), size}
	}
	return all
}

// document is the product's with the image and other fields changed.
func (p *largeProduct) document(tb testing.TB, changes ...bson.E) bson.D {
	tb.Helper()
	document, err := p.Document(append(changes, bsonField("image", p.image("new")))...)
	if err != nil {
		tb.Fatal(err)
	}
	return document
}

// image differs by its end only.
func (p *largeProduct) image(end string) string {
	const head = "data:image/png;base64,"
	return head + strings.Repeat("iVBORw0KGgo/", (p.size-len(head)-len(end))/12) + end
}

// insertLarge puts products into the source, a few at a time.
func (s *shop) insertLarge(products []largeProduct) {
	s.tb.Helper()
	const most = 8 << 20
	var documents []any
	size := 0
	for i := range products {
		documents, size = append(documents, products[i].document(s.tb)), size+products[i].size
		if size > most || i == len(products)-1 {
			s.catalogue.Insert(documents...)
			documents, size = nil, 0
		}
	}
}

// fillLarge puts rows of products into the cart.
func (s *shop) fillLarge(products []largeProduct, end string) {
	s.tb.Helper()
	for _, p := range products {
		row := testenv.RowOf(p.Product)
		row.Image = p.image(end)
		s.cart.Insert(row)
	}
}

// largeShop has products of 300 KB and 3 MB of each kind of difference, and some that
// are in sync.
func largeShop(t *testing.T) *shop {
	t.Helper()
	s := newShop(t, 100, none)
	s.env["SYNC_BATCH_SIZE"] = "1000"
	for seed, size := range map[uint64]int{200: 300_000, 300: 3_000_000} {
		n := of300KB
		if size == 3_000_000 {
			n = of3MB
		}
		missing, stale, orphaned, same := s.large(seed, n, size), s.large(seed+1, n, size), s.large(seed+2, n, size), s.large(seed+3, n, size)
		s.insertLarge(missing)
		s.insertLarge(stale)
		s.fillLarge(stale, "old")
		s.fillLarge(orphaned, "old")
		s.insertLarge(same)
		s.fillLarge(same, "new")
	}
	return s
}

// measured runs the real binary, whose peak must stay within largeMemory.
func (s *shop) measured(t *testing.T, code int, args ...string) *process {
	t.Helper()
	p := s.command(t.Context(), args...)
	began := time.Now()
	peak, err := p.runMeasured()
	t.Logf("%v: %s", args, time.Since(began).Round(time.Millisecond))
	if got := p.ProcessState.ExitCode(); got != code {
		t.Fatalf("%v ended with %d (%v), not %d\nstdout: %.5000s\nstderr: %.5000s", args, got, err, code, &p.stdout, &p.stderr)
	}
	wantPeak(t, peak, largeMemory)
	return p
}

// Of each kind of difference so many products of either size.
const of300KB, of3MB = 16, 4

// Products of any size, in every shape, are found, replayed, explained and reported within
// bounded memory.
func TestCaseA6LargeProducts(t *testing.T) {
	t.Parallel()
	s := largeShop(t)
	consumer := s.consumer()
	explained := s.measured(t, exitDifferences, "explain", platform.Assortment{Seed: 301}.Key(0), "--output", "json")
	if n := explained.stdout.Len(); n > 20_000 || !strings.Contains(explained.stdout.String(), `"bytes": 2999`) {
		t.Errorf("the explanation has %d bytes: %.3000s", n, &explained.stdout)
	}
	report := s.measured(t, exitOK, "sync", "--repair", "missing,stale,orphaned", "--max-deletes", "1000", "--max-repairs", "1000", "--output", "json").report(t)
	const each = of300KB + of3MB
	for _, kind := range product.Kinds() {
		wantOutcomes(t, report, kind, map[run.State]int64{run.Verified: each})
	}
	for _, o := range report.Samples {
		if o.Kind == product.Stale {
			wantExcerpt(t, o.Fields)
		}
	}
	wantEvents(t, consumer, run.Replay, cart.Counts{Inserted: each, Updated: each, Deleted: each})
	s.wantAgreement()
}

// wantExcerpt insists that the difference of a large image is shown, and its size told.
func wantExcerpt(t *testing.T, fields []run.FieldChange) {
	t.Helper()
	if len(fields) != 1 {
		t.Fatalf("%d fields differ", len(fields))
	}
	if f := fields[0]; !strings.HasSuffix(f.Source, "new") || !strings.HasSuffix(f.Cart, "old") || len(f.Source) > run.MaxValue || f.SourceWhole.Bytes < 200_000 || f.SourceWhole == f.CartWhole {
		t.Fatalf("%d bytes are shown of %+v: %.2000s", len(f.Source), f.SourceWhole, f.Source)
	}
}

// The service judges, tells of, applies and resumes runs over large products within the
// same memory.
func TestCaseA6TheServiceWithLargeProducts(t *testing.T) {
	t.Parallel()
	const each = of300KB + of3MB
	s := largeShop(t)
	s.consumer()
	env := map[string]string{"ETL_LEASE": "5s"}
	r, process := s.serveApart(env)
	peak := watchPeak(t, process.Pid)
	found := r.ready().post("/api/etl/sync", `{"dryRun": true, "repair": ["missing", "stale", "orphaned"]}`)
	found = r.ended(found.ID)
	const most = 2 << 20
	for _, path := range []string{"/products?limit=500", "", "/../../validate?maxAge=1h"} {
		a := r.do(http.MethodGet, "/api/etl/runs/"+found.ID+path, "")
		if len(a.body) > most {
			t.Errorf("GET …%s: %d bytes, want at most %d", path, len(a.body), most)
		}
	}
	if a := r.do(http.MethodGet, "/api/etl/products/"+platform.Assortment{Seed: 301, N: 1}.Key(0), ""); a.status != http.StatusOK || len(a.body) > 20_000 {
		t.Errorf("a product's answer: %d, %d bytes", a.status, len(a.body))
	}
	applied := r.post("/api/etl/runs/"+found.ID+"/apply", `{"mode": "direct", "maxDeletes": 1000, "batchSize": 1000}`)
	// Killed in the middle, and resumed.
	testenv.Eventually(t, watchFor, func() bool {
		return r.get("/api/etl/runs/"+applied.ID, &applied) == http.StatusOK && applied.Progress != nil && applied.Progress.Acted > 0
	}, "the first repairs")
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.wait()
	peak()
	r, process = s.serveApart(env)
	peak = watchPeak(t, process.Pid)
	ended := r.ready().ended(applied.ID)
	if ended.Status != run.StatusSucceeded || ended.Report.Outcomes[run.Verified] != 3*each {
		t.Errorf("applied: %s, %+v", ended.Status, ended.Report.Outcomes)
	}
	peak()
	s.wantAgreement()
}

// watchPeak looks at a process's memory until done is called, which insists that it
// stayed within largeMemory.
func watchPeak(t *testing.T, pid int) (done func()) {
	t.Helper()
	stop, peak := make(chan struct{}), make(chan int64)
	go func() {
		var most int64
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, peakMemory(pid))
			select {
			case <-tick.C:
			case <-stop:
				peak <- most
				return
			}
		}
	}()
	return func() {
		t.Helper()
		close(stop)
		wantPeak(t, <-peak, largeMemory)
	}
}

// An event above the broker's limit is blocked, with its size and the limit, and takes no
// other with it: not the first time, when the limit is learnt by a refusal, nor later.
func TestCaseA7AnEventAboveTheBrokersLimit(t *testing.T) {
	t.Parallel()
	server, _ := testenv.PrivateBroker(t)
	for _, limit := range []int{16 << 20, 1 << 20} { // RabbitMQ 4's own, and a lower one
		if limit != 16<<20 {
			order := fmt.Sprintf("application:set_env(rabbit, max_message_size, %d), persistent_term:put(max_message_size, %d).", limit, limit)
			if output, err := server.Control("eval", order); err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
		}
		const small = 50
		broker := testenv.VhostOn(t, server.URL, server.Management)
		s := newShopOn(t, broker, 100+small, func(i int) bool { return i < small })
		// A large event is with its consumer for a while, which nothing shows at once.
		s = s.with(map[string]string{"SYNC_GRACE": "2s"})
		// Tags are in the event and not in the cart: the product itself fits. JSON doubles
		// quotes, so that MongoDB holds what is above the limit. It sorts first.
		s.catalogue.InsertOdd(bsonField("_id", firstObjectID), bsonField("tags", manyTags(limit*6/10, `"`)))
		below := s.catalogue.InsertOdd(bsonField("tags", manyTags(limit/8, "t")))
		consumer := s.consumer()
		for _, last := range []string{"", " again"} {
			report := s.mustSync(t.Context(), exitDifferences)
			if last == "" {
				wantOutcomes(t, report, product.Missing, map[run.State]int64{run.Verified: small + 1, run.Blocked: 1})
			} else {
				wantOutcomes(t, report, product.Missing, map[run.State]int64{run.Blocked: 1})
			}
			wantReason(t, report, firstObjectID.Hex(), product.Missing, run.ReasonMisfit, strconv.Itoa(limit))
			if n := note(report, run.NoteConsumed); n != nil {
				t.Errorf("limit %d%s: it claims consumption: %+v", limit, last, n)
			}
		}
		wantEvents(t, consumer, run.Replay, cart.Counts{Inserted: small + 1})
		if _, there := s.cart.Row(below.ID.Hex()); !there {
			t.Errorf("limit %d: the one below it was not repaired", limit)
		}
		report := s.mustSync(t.Context(), exitOK, "--mode", string(run.Direct))
		wantOutcomes(t, report, product.Missing, map[run.State]int64{run.Verified: 1})
	}
}

// Control characters are six bytes each in JSON: the event of a document that MongoDB takes
// would have 90 MB. It is not made, and what may be sent needs no more memory than other
// large products.
func TestCaseA7AnEventThatJSONMakesLarge(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, none)
	s.env["GOMEMLIMIT"] = "64MiB"
	consumer := s.consumer()
	control := func(size int) bson.E { return bsonField("image", strings.Repeat("\x01", size)) }
	above := s.catalogue.InsertOdd(control(15 << 20)).ID.Hex()
	s.catalogue.InsertOdd(control(3 << 20))
	s.catalogue.InsertOdd(control(16<<20/6 - 1000))
	report := s.measured(t, exitDifferences, "sync", "--output", "json").report(t)
	wantOutcomes(t, report, product.Missing, map[run.State]int64{run.Verified: 1, run.Blocked: 2})
	wantReason(t, report, above, product.Missing, run.ReasonMisfit, "etl sends at most 16777216")
	wantEvents(t, consumer, run.Replay, cart.Counts{Inserted: 1})
}

// firstObjectID sorts before all others.
var firstObjectID = bson.ObjectID{0x50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}

// manyTags are tags of so many bytes together.
func manyTags(size int, of string) bson.A {
	const each = 1000
	var tags bson.A
	for range size / each {
		tags = append(tags, strings.Repeat(of, each))
	}
	return tags
}
