package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/ecom-micro/etl/internal/run"
)

// BenchmarkRawWork sets a direct run beside the work that no program can avoid who
// compares two stores and repairs a tenth of the products: both stores read once, what
// is missing read by id before and after the repair on both sides, and written. The
// drivers do that work here as fast as they can, without a look at what they read.
// ETL_BENCH_PRODUCTS is the number of products.
func BenchmarkRawWork(b *testing.B) {
	products, err := strconv.Atoi(cmp.Or(os.Getenv("ETL_BENCH_PRODUCTS"), "1000000"))
	if err != nil || products < 100 {
		b.Fatalf("ETL_BENCH_PRODUCTS is %q, it must be a number of at least 100", os.Getenv("ETL_BENCH_PRODUCTS"))
	}
	s := newShop(b, products, every(10))
	s.consumer()
	raw := rawWork{shop: s}
	for p := range s.products.Where(every(10)) {
		raw.missing = append(raw.missing, p.ID)
		raw.keys = append(raw.keys, p.ID.Hex())
		raw.rows = append(raw.rows, []any{p.ID.Hex(), p.Title, p.Price, p.Image, p.SellerID.Hex(), p.Quantity})
	}
	s.cart.Exec("CREATE TABLE copied (LIKE product INCLUDING ALL)")
	s.cart.Exec("VACUUM ANALYZE product")
	s.consumer() // a cart that is there: an empty queue without one says nothing for a minute

	for b.Loop() {
		work := raw.measure(b)
		began := time.Now()
		report := s.mustSync(b.Context(), exitOK, "--mode", string(run.Direct), "--batch-size", "1000", "--max-repairs", strconv.Itoa(len(raw.keys)))
		took := time.Since(began)
		if got := report.Outcomes[run.Verified]; got != int64(len(raw.keys)) {
			b.Fatalf("%d verified, want %d", got, len(raw.keys))
		}
		b.StopTimer()
		var sum time.Duration
		for _, part := range work {
			sum += part.took
			b.Logf("%-28s %8.2f s  %s", part.name, part.took.Seconds(), part.batches)
		}
		b.Logf("%-28s %8.2f s", "raw work", sum.Seconds())
		b.Logf("%-28s %8.2f s", "etl sync --mode direct", took.Seconds())
		b.ReportMetric(sum.Seconds(), "raw-s")
		b.ReportMetric(took.Seconds(), "sync-s")
		b.ReportMetric(took.Seconds()/sum.Seconds(), "sync/raw")
		s.cart.Exec("DELETE FROM product WHERE id = ANY($1)", raw.keys)
		s.cart.Exec("VACUUM ANALYZE product")
		b.StartTimer()
	}
}

// rawWork is the unavoidable work on one shop.
type rawWork struct {
	*shop
	missing []bson.ObjectID
	keys    []string // the same as text
	rows    [][]any  // the rows that they lack
}

// workPart is one part of the raw work.
type workPart struct {
	name, batches string
	took          time.Duration
}

// What is read and written: what the engine needs for finding, and for an event.
var (
	rawColumns    = []string{"id", "title", "price", "image", "sellerId", "quantity"}
	rawSelect     = `SELECT id, title, price, image, "sellerId", quantity FROM `
	rawScanFields = rawProjection("title", "price", "image", "sellerId", "quantity", "createdAt", "updatedAt")
	rawReadFields = append(rawProjection("category", "originalPrice", "stockQuantity", "tags"), rawScanFields...)
)

func rawProjection(names ...string) bson.D {
	var fields bson.D
	for _, name := range names {
		fields = append(fields, bson.E{Key: name, Value: 1})
	}
	return fields
}

// batchSizes are tried for each part; drivers and servers differ in what they like.
var batchSizes = []int{500, 1000, 2000, 5000, 10_000}

// rawSample is how many products a batch size is tried on.
const rawSample = 50_000

func (w *rawWork) measure(b *testing.B) []workPart {
	b.Helper()
	part := func(name string, work func(batch, n int) error, n int) workPart {
		best := bestBatch(b, name, func(batch int) error { return work(batch, min(n, rawSample)) })
		took := timed(b, name, func() error { return work(best, n) })
		return workPart{name, fmt.Sprintf("batches of %d", best), took}
	}
	ctx := b.Context()
	scan := bestBatch(b, "scan", func(batch int) error { return w.scan(ctx, batch, min(w.products.N, rawSample)) })
	drains := timed(b, "both drains", func() error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return w.scan(ctx, scan, w.products.N) })
		group.Go(func() error {
			return w.drain(ctx, w.products.N-len(w.keys), rawSelect+"product ORDER BY id")
		})
		return group.Wait()
	})
	find := func(batch, n int) error { return w.find(ctx, batch, n) }
	absent := func(batch, n int) error { return w.lookUp(ctx, "product", 0, batch, n) }
	present := func(batch, n int) error { return w.lookUp(ctx, "copied", 1, batch, n) }
	work := []workPart{
		{"both drains", fmt.Sprintf("scanned in batches of %d", scan), drains},
		part("$in before", find, len(w.keys)),
		part("= ANY before", absent, len(w.keys)),
		part("COPY", func(batch, n int) error { return w.copy(ctx, batch, n) }, len(w.keys)),
		part("$in after", find, len(w.keys)),
		part("= ANY after", present, len(w.keys)),
	}
	w.cart.Exec("TRUNCATE copied")
	return work
}

func timed(b *testing.B, name string, work func() error) time.Duration {
	b.Helper()
	began := time.Now()
	if err := work(); err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	return time.Since(began)
}

// bestBatch is the size with which work is fastest.
func bestBatch(b *testing.B, name string, work func(batch int) error) int {
	b.Helper()
	var best int
	var least time.Duration
	for _, batch := range batchSizes {
		if took := timed(b, name, func() error { return work(batch) }); best == 0 || took < least {
			best, least = batch, took
		}
	}
	return best
}

// scan drains a cursor over the first n products.
func (w *rawWork) scan(ctx context.Context, batch, n int) error {
	cursor, err := w.catalogue.Collection.Find(ctx, bson.D{}, options.Find().
		SetProjection(rawScanFields).SetSort(bsonDocument("_id", 1)).SetBatchSize(int32(batch)).SetLimit(int64(n)))
	if err != nil {
		return err
	}
	seen := 0
	for cursor.Next(ctx) {
		seen++
	}
	return wantRead(seen, n, cursor.Err())
}

// find reads the first n missing products by id.
func (w *rawWork) find(ctx context.Context, batch, n int) error {
	for ids := range slices.Chunk(w.missing[:n], batch) {
		cursor, err := w.catalogue.Collection.Find(ctx, bsonDocument("_id", bsonDocument("$in", ids)), options.Find().
			SetProjection(rawReadFields).SetBatchSize(int32(len(ids)+1)))
		if err != nil {
			return err
		}
		seen := 0
		for cursor.Next(ctx) {
			seen++
		}
		if err := wantRead(seen, len(ids), cursor.Err()); err != nil {
			return err
		}
	}
	return nil
}

// lookUp reads rows of the first n missing products, of which the table has a share.
func (w *rawWork) lookUp(ctx context.Context, table string, share, batch, n int) error {
	for keys := range slices.Chunk(w.keys[:n], batch) {
		if err := w.drain(ctx, share*len(keys), rawSelect+table+" WHERE id = ANY($1)", keys); err != nil {
			return err
		}
	}
	return nil
}

func (w *rawWork) drain(ctx context.Context, want int, sql string, args ...any) error {
	rows, err := w.cart.Pool.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	seen := 0
	for rows.Next() {
		_ = rows.RawValues()
		seen++
	}
	return wantRead(seen, want, rows.Err())
}

// copy writes the first n missing rows into the empty table.
func (w *rawWork) copy(ctx context.Context, batch, n int) error {
	if _, err := w.cart.Pool.Exec(ctx, "TRUNCATE copied"); err != nil {
		return err
	}
	for rows := range slices.Chunk(w.rows[:n], batch) {
		if _, err := w.cart.Pool.CopyFrom(ctx, pgx.Identifier{"copied"}, rawColumns, pgx.CopyFromRows(rows)); err != nil {
			return err
		}
	}
	return nil
}

func wantRead(seen, want int, err error) error {
	if err == nil && seen != want {
		err = fmt.Errorf("%d read, want %d", seen, want)
	}
	return err
}
