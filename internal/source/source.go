package source

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/ecom-micro/etl/internal/product"
)

const (
	// pageSize is the number of products that Scan reads and yields at once, or fewer that
	// have pageBytes together.
	pageSize  = 2000
	pageBytes = 2 << 20
	// findBytes is the most that Find holds of several documents.
	findBytes = 4 << 20
	// idleLimit is how long a cursor may wait for its reader before it is closed
	// and reopened at the last key: servers and the network drop idle cursors.
	idleLimit = time.Minute
	// closeTimeout bounds the closing of a cursor that is no longer needed. The
	// server drops it by itself after a while.
	closeTimeout = 2 * time.Second
)

// Source is the products collection.
type Source struct {
	client     *mongo.Client
	collection *mongo.Collection
	where      string // for messages: database.collection
	idle       time.Duration
	page       int
	portion    *product.Portion // of a scan
	findBytes  int
}

// Open connects to the Product Service's database. It returns without waiting
// for the server; Ping does.
func Open(config Config) (*Source, error) {
	opts, database, err := config.clientOptions()
	if err != nil {
		return nil, err
	}
	client, err := mongo.Connect(opts)
	if err != nil {
		return nil, fmt.Errorf("connect to MongoDB: %w", err)
	}
	return &Source{
		client:     client,
		collection: client.Database(database).Collection(config.Collection),
		where:      database + "." + config.Collection,
		idle:       idleLimit,
		page:       pageSize,
		portion:    product.NewPortion(pageSize, pageBytes),
		findBytes:  findBytes,
	}, nil
}

// Close ends the connections.
func (s *Source) Close(ctx context.Context) error { return s.client.Disconnect(ctx) }

// Name is the collection, as database.collection.
func (s *Source) Name() string { return s.where }

// Ping checks that the server answers, that the credentials hold and that the
// collection may be read. skew is the server's clock minus ours.
func (s *Source) Ping(ctx context.Context) (skew time.Duration, err error) {
	asked := time.Now()
	var hello struct {
		LocalTime time.Time `bson:"localTime"`
	}
	if err := s.collection.Database().RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err != nil {
		return 0, fmt.Errorf("reach MongoDB: %w", explained(err))
	}
	middle := asked.Add(time.Since(asked) / 2)
	if !hello.LocalTime.IsZero() {
		skew = hello.LocalTime.Sub(middle).Round(time.Millisecond)
	}
	err = s.collection.FindOne(ctx, bson.D{}, options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return 0, fmt.Errorf("read %s: %w", s.where, explained(err))
	}
	return skew, nil
}

// Exists tells whether the server knows the collection at all; a wrong name
// otherwise looks like an empty one.
func (s *Source) Exists(ctx context.Context) (bool, error) {
	names, err := s.collection.Database().ListCollectionNames(ctx, bson.D{{Key: "name", Value: s.collection.Name()}})
	if err != nil {
		return false, fmt.Errorf("list collections of %s: %w", s.collection.Database().Name(), explained(err))
	}
	return len(names) > 0, nil
}

// Count counts the products exactly.
func (s *Source) Count(ctx context.Context) (int64, error) {
	n, err := s.collection.CountDocuments(ctx, bson.D{})
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", s.where, explained(err))
	}
	return n, nil
}

// EstimatedCount is the collection's own figure: instant, and possibly a little off.
func (s *Source) EstimatedCount(ctx context.Context) (int64, error) {
	n, err := s.collection.EstimatedDocumentCount(ctx)
	if err != nil {
		return 0, fmt.Errorf("estimate the size of %s: %w", s.where, explained(err))
	}
	return n, nil
}

// unsupportedTypes are those that an _id may have and that no scan visits. Binary
// data is unsupported unless it is a UUID.
var unsupportedTypes = bson.A{"double", "decimal", "object", "bool", "date", "null", "timestamp", "symbol", "javascript", "dbPointer", "minKey", "maxKey"}

// Unsupported counts the products whose _id cannot be compared, by type.
func (s *Source) Unsupported(ctx context.Context) (map[string]int64, error) {
	low, high, err := classBounds(product.UUIDs)
	if err != nil {
		return nil, err
	}
	isBinary := bson.D{{Key: "_id", Value: bson.D{{Key: "$type", Value: "binData"}}}}
	pipeline := mongo.Pipeline{
		{{Key: "$match", Value: bson.D{{Key: "$or", Value: bson.A{
			bson.D{{Key: "_id", Value: bson.D{{Key: "$type", Value: unsupportedTypes}}}},
			bson.D{{Key: "$and", Value: bson.A{isBinary, bson.D{{Key: "$or", Value: bson.A{
				bson.D{{Key: "_id", Value: bson.D{{Key: "$lt", Value: low.Value}}}},
				bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: high.Value}}}},
			}}}}}},
		}}}}},
		{{Key: "$group", Value: bson.D{
			{Key: "_id", Value: bson.D{{Key: "$type", Value: "$_id"}}},
			{Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}},
		}}},
	}
	cursor, err := s.collection.Aggregate(ctx, pipeline)
	if err != nil {
		return nil, fmt.Errorf("count unsupported ids of %s: %w", s.where, explained(err))
	}
	var groups []struct {
		Type string `bson:"_id"`
		N    int64  `bson:"n"`
	}
	if err := cursor.All(ctx, &groups); err != nil {
		return nil, fmt.Errorf("count unsupported ids of %s: %w", s.where, explained(err))
	}
	counts := make(map[string]int64, len(groups))
	for _, g := range groups {
		counts[g.Type] = g.N
	}
	return counts, nil
}

// scanFields are what a comparison needs; eventFields what a repair needs.
var (
	scanFields  = projection("title", "price", "image", "sellerId", "quantity", "createdAt", "updatedAt")
	eventFields = append(projection("category", "originalPrice", "stockQuantity", "tags"), scanFields...)
)

func projection(names ...string) bson.D {
	var d bson.D
	for _, n := range names {
		d = append(d, bson.E{Key: n, Value: 1})
	}
	return d
}

// Scan yields the products of r in key order, in pages that the caller may keep.
// With since set it yields only those created at or after it: by the time in the
// key where keys are ObjectIds, by createdAt otherwise. A cursor that breaks is
// reopened at the last key; an error is yielded once, at the end, after several
// attempts that read nothing.
func (s *Source) Scan(ctx context.Context, r product.Range, since time.Time) iter.Seq2[[]product.Product, error] {
	return func(yield func([]product.Product, error) bool) {
		if !since.IsZero() && r.Class == product.ObjectIDs {
			r.After = max(r.After, keyBefore(since))
			since = time.Time{}
		}
		var patience retry
		for {
			last, done, err := s.scanCursor(ctx, r, since, yield)
			if done && err == nil {
				return
			}
			if last != r.After {
				r.After = last
				patience = retry{}
			}
			if err != nil {
				if err = patience.wait(ctx, err); err != nil {
					yield(nil, fmt.Errorf("read source range %s of %s: %w", r, s.where, explained(err)))
					return
				}
			}
		}
	}
}

// keyBefore is the last ObjectId of the second before t, empty where t is before
// the first of all. ObjectIds begin with their time as an unsigned 32-bit number
// of seconds: https://www.mongodb.com/docs/manual/reference/bson-types/#objectid
func keyBefore(t time.Time) product.ID {
	second := t.Unix() - 1
	if second < 0 {
		return ""
	}
	return product.ID(fmt.Sprintf("%08xffffffffffffffff", min(second, math.MaxUint32)))
}

// scanCursor reads r with one cursor until its end, an error, or an idle pause.
// last is the last key that was yielded; done is set at the end of the range, or
// when the reader wants no more.
func (s *Source) scanCursor(ctx context.Context, r product.Range, since time.Time, yield func([]product.Product, error) bool) (last product.ID, done bool, err error) {
	last = r.After
	filter, err := rangeFilter(r)
	if err != nil {
		return last, false, err
	}
	if !since.IsZero() {
		filter = append(filter, bson.E{Key: "createdAt", Value: bson.D{{Key: "$gte", Value: since}}})
	}
	cursor, err := s.collection.Find(ctx, filter, options.Find().
		SetProjection(scanFields).SetSort(bson.D{{Key: "_id", Value: 1}}).SetBatchSize(int32(s.batch())))
	if err != nil {
		return last, false, err
	}
	defer discard(ctx, cursor)
	page, size := make([]product.Product, 0, s.batch()), 0
	for cursor.Next(ctx) {
		page = append(page, product.Product{})
		ok, err := decode(cursor.Current, &page[len(page)-1])
		if err != nil {
			return last, false, err
		}
		size += len(cursor.Current)
		if !ok {
			page = page[:len(page)-1] // a type that Unsupported counts
		}
		if len(page) == 0 || len(page) < s.page && size < s.portion.Bytes() {
			continue
		}
		s.portion.Learn(len(page), size)
		cursor.SetBatchSize(int32(s.batch()))
		last = page[len(page)-1].ID()
		handed := time.Now()
		if !yield(page, nil) {
			return last, true, nil
		}
		page, size = make([]product.Product, 0, s.batch()), 0
		if time.Since(handed) > s.idle {
			return last, false, nil
		}
	}
	if err := cursor.Err(); err != nil {
		return last, false, err
	}
	if len(page) > 0 {
		s.portion.Learn(len(page), size)
		last = page[len(page)-1].ID()
		yield(page, nil)
	}
	return last, true, nil
}

// batch is how many products a cursor shall bring at once.
func (s *Source) batch() int { return min(s.page, s.portion.Now()) }

// discard closes a cursor, also when ctx has ended.
func discard(ctx context.Context, cursor *mongo.Cursor) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = cursor.Close(ctx)
}

// Find reads products by id with all the fields that an event carries. An id
// that is not in the result is not in the collection; two documents whose _id
// has the same canonical text come as one Ambiguous product. Several that are too large
// to be held together are a *product.TooLargeError.
func (s *Source) Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Product, error) {
	found := make(map[product.ID]product.Product, len(ids))
	size := 0
	err := s.each(ctx, ids, eventFields, func() { clear(found); size = 0 }, func(document bson.Raw) error {
		if size >= s.findBytes && len(ids) > 1 {
			return &product.TooLargeError{Fits: max(len(found), 1)}
		}
		size += len(document)
		var p product.Product
		if ok, err := decode(document, &p); err != nil || !ok {
			return err
		}
		if twin, exists := found[p.ID()]; exists {
			p.Ambiguous = twin.Ambiguous || twin.Key != p.Key // a cursor may return one document twice
		}
		found[p.ID()] = p
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Present tells which products are in the collection.
func (s *Source) Present(ctx context.Context, ids []product.ID) (map[product.ID]bool, error) {
	present := make(map[product.ID]bool, len(ids))
	err := s.each(ctx, ids, projection("_id"), func() { clear(present) }, func(document bson.Raw) error {
		var p product.Product
		ok, err := decode(document, &p)
		if ok {
			present[p.ID()] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return present, nil
}

// each reads fields of products by id. Where it is done once more after an error, begin is
// called before.
func (s *Source) each(ctx context.Context, ids []product.ID, fields bson.D, begin func(), do func(bson.Raw) error) error {
	if len(ids) == 0 {
		return nil
	}
	keys, err := wireKeys(ids)
	if err != nil {
		return err
	}
	var patience retry
	for {
		begin()
		err := s.eachOnce(ctx, keys, len(ids), fields, do)
		if err == nil || errors.As(err, new(*product.TooLargeError)) {
			return err
		}
		if err = patience.wait(ctx, err); err != nil {
			return fmt.Errorf("read %d products of %s by id: %w", len(ids), s.where, explained(err))
		}
	}
}

func (s *Source) eachOnce(ctx context.Context, keys bson.A, expected int, fields bson.D, do func(bson.Raw) error) error {
	cursor, err := s.collection.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: keys}}}},
		options.Find().SetProjection(fields).SetBatchSize(int32(expected+1)))
	if err != nil {
		return err
	}
	defer discard(ctx, cursor)
	for cursor.Next(ctx) {
		if err := do(cursor.Current); err != nil {
			return err
		}
	}
	return cursor.Err()
}
