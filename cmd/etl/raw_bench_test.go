package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/ecom-micro/etl/internal/testenv/cart"
)

// rawWork is the unavoidable work on one shop.
type rawWork struct {
	*shop
	consumer *cart.Consumer
	events   [][]byte        // of the products that the cart lacks
	missing  []bson.ObjectID // of the products, those that the cart lacks
	keys     []string        // the same as text
	rows     [][]any         // the rows that they lack
	batch    map[string]int  // the best size for each part, once it was found
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
	fields := bson.D{{Key: "_id", Value: 1}}
	for _, name := range names {
		fields = append(fields, bson.E{Key: name, Value: 1})
	}
	return fields
}

// batchSizes are tried for each part; drivers and servers differ in what they like.
var batchSizes = []int{500, 1000, 2000, 5000, 10_000}

// rawSample is how many products a batch size is tried on.
const rawSample = 50_000

// drains reads both stores whole and at once: the fields of a comparison, or ids alone.
func (w *rawWork) drains(b *testing.B, ids bool) workPart {
	b.Helper()
	ctx, name, fields, columns := b.Context(), "both drains", rawScanFields, rawSelect
	if ids {
		name, fields, columns = "both drains of ids", rawProjection(), "SELECT id FROM "
	}
	scan := w.best(b, name, func(batch int) error { return w.scan(ctx, fields, batch, min(w.products.N, rawSample)) })
	rows := w.number("SELECT count(*) FROM product")
	took := timed(b, name, func() error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return w.scan(ctx, fields, scan, w.products.N) })
		group.Go(func() error { return w.drain(ctx, rows, columns+"product ORDER BY id") })
		return group.Wait()
	})
	return workPart{name, fmt.Sprintf("scanned in batches of %d", scan), took}
}

// repair is all that a direct repair cannot avoid.
func (w *rawWork) repair(b *testing.B) []workPart {
	b.Helper()
	ctx := b.Context()
	part := func(name string, work func(batch, n int) error, n int) workPart {
		best := w.best(b, name, func(batch int) error { return work(batch, min(n, rawSample)) })
		took := timed(b, name, func() error { return work(best, n) })
		return workPart{name, fmt.Sprintf("batches of %d", best), took}
	}
	find := func(batch, n int) error { return w.find(ctx, batch, n) }
	absent := func(batch, n int) error { return w.lookUp(ctx, "product", 0, batch, n) }
	present := func(batch, n int) error { return w.lookUp(ctx, "copied", 1, batch, n) }
	work := []workPart{
		w.drains(b, false),
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

// best is the size with which a part of the work is fastest.
func (w *rawWork) best(b *testing.B, name string, work func(batch int) error) int {
	b.Helper()
	best := w.batch[name]
	if best > 0 {
		return best
	}
	var least time.Duration
	for _, batch := range batchSizes {
		if took := timed(b, name, func() error { return work(batch) }); best == 0 || took < least {
			best, least = batch, took
		}
	}
	if w.batch == nil {
		w.batch = make(map[string]int)
	}
	w.batch[name] = best
	return best
}

// scan drains a cursor over the first n products.
func (w *rawWork) scan(ctx context.Context, fields bson.D, batch, n int) error {
	cursor, err := w.catalogue.Collection.Find(ctx, bson.D{}, options.Find().
		SetProjection(fields).SetSort(bsonDocument("_id", 1)).SetBatchSize(int32(batch)).SetLimit(int64(n)))
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
