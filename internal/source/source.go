package source

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/text"
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
	closeTimeout = time.Second
)

// Source is the products collection.
type Source struct {
	config     Config
	connecting sync.Mutex
	client     *mongo.Client     // set by connect, before which nothing is asked
	collection *mongo.Collection // likewise
	where      string            // for messages: database.collection
	direct     bool              // the URL names one server for itself, whatever it is
	idle       time.Duration
	page       int
	portion    *product.Portion // of a scan
	findBytes  int
	freshFor   time.Duration
	catchUp    time.Duration
	freshness  freshness
}

// Open prepares connections to the Product Service's database. It returns without waiting
// for the server, nor for a DNS that has to name it; Ping does.
func Open(config Config) (*Source, error) {
	parsed, err := config.parse()
	if err != nil {
		return nil, err
	}
	s := &Source{
		config:    config,
		where:     config.databaseOf(parsed) + "." + config.Collection,
		idle:      idleLimit,
		page:      pageSize,
		portion:   product.NewPortion(pageSize, pageBytes),
		findBytes: findBytes,
		freshFor:  freshFor,
		catchUp:   catchUpLimit,
		freshness: freshness{turn: make(chan struct{}, 1)},
	}
	if host, _ := config.cluster(); host == "" {
		err = s.makeClient()
	}
	return s, err
}

// Close ends the connections.
func (s *Source) Close(ctx context.Context) error {
	s.connecting.Lock()
	defer s.connecting.Unlock()
	if s.client == nil {
		return nil
	}
	return s.client.Disconnect(ctx)
}

// Name is the collection, as database.collection.
func (s *Source) Name() string { return s.where }

// Ping checks that the server answers, that the credentials hold and that the
// collection may be read. skew is the server's clock minus ours.
func (s *Source) Ping(ctx context.Context) (skew time.Duration, err error) {
	asked := time.Now()
	hello, err := s.hello(ctx)
	if err != nil {
		return 0, fmt.Errorf("reach MongoDB: %w", explained(away(err)))
	}
	middle := asked.Add(time.Since(asked) / 2)
	if !hello.LocalTime.IsZero() {
		skew = hello.LocalTime.Sub(middle).Round(time.Millisecond)
	}
	err = s.collection.FindOne(ctx, bson.D{}, options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return 0, fmt.Errorf("read %s: %w", s.where, explained(away(err)))
	}
	return skew, nil
}

// Exists tells whether the server knows the collection at all; a wrong name
// otherwise looks like an empty one.
func (s *Source) Exists(ctx context.Context) (bool, error) {
	names, err := attempt(ctx, s, func() ([]string, error) {
		return s.collection.Database().ListCollectionNames(ctx, bson.D{{Key: "name", Value: s.collection.Name()}})
	})
	if err != nil {
		return false, fmt.Errorf("list collections of %s: %w", s.collection.Database().Name(), err)
	}
	return len(names) > 0, nil
}

// Count counts the products exactly.
func (s *Source) Count(ctx context.Context) (int64, error) {
	n, err := attempt(ctx, s, func() (int64, error) { return s.collection.CountDocuments(ctx, bson.D{}) })
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", s.where, err)
	}
	return n, nil
}

// CountSince counts the products whose ObjectId says that they were created at or after
// since, to the second. Other keys do not tell.
func (s *Source) CountSince(ctx context.Context, since time.Time) (int64, error) {
	newer := bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: firstOf(since)}}}}
	n, err := attempt(ctx, s, func() (int64, error) { return s.collection.CountDocuments(ctx, newer) })
	if err != nil {
		return 0, fmt.Errorf("count the newest of %s: %w", s.where, err)
	}
	return n, nil
}

// EstimatedCount is the collection's own figure: instant, and possibly a little off.
func (s *Source) EstimatedCount(ctx context.Context) (int64, error) {
	n, err := attempt(ctx, s, func() (int64, error) { return s.collection.EstimatedDocumentCount(ctx) })
	if err != nil {
		return 0, fmt.Errorf("estimate the size of %s: %w", s.where, err)
	}
	return n, nil
}

// unsupportedTypes are those that an _id may have and that no scan visits. Of others
// some values are unsupported: binary data unless it is a UUID, and numbers that are
// not whole or beyond 64 bits.
var unsupportedTypes = bson.A{"object", "bool", "date", "null", "timestamp", "symbol", "javascript", "dbPointer", "minKey", "maxKey"}

// Unsupported counts the products whose _id cannot be compared, by type.
func (s *Source) Unsupported(ctx context.Context) (map[string]int64, error) {
	binary, err := outside(product.UUIDs)
	if err != nil {
		return nil, err
	}
	numbers, err := outside(product.Integers)
	if err != nil {
		return nil, err
	}
	pipeline := mongo.Pipeline{
		{{Key: "$match", Value: bson.D{{Key: "$or", Value: bson.A{
			ofTypes(unsupportedTypes),
			bson.D{{Key: "$and", Value: bson.A{ofTypes(bson.A{"binData"}), binary}}},
			bson.D{{Key: "$and", Value: bson.A{ofTypes(fractionalTypes), bson.D{{Key: "$or", Value: bson.A{numbers, isFraction}}}}}},
		}}}}},
		{{Key: "$group", Value: bson.D{
			{Key: "_id", Value: bson.D{{Key: "$type", Value: "$_id"}}},
			{Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}},
		}}},
	}
	type group struct {
		Type string `bson:"_id"`
		N    int64  `bson:"n"`
	}
	groups, err := attempt(ctx, s, func() (groups []group, err error) {
		cursor, err := s.collection.Aggregate(ctx, pipeline)
		if err != nil {
			return nil, err
		}
		err = cursor.All(ctx, &groups)
		return groups, err
	})
	if err != nil {
		return nil, fmt.Errorf("count unsupported ids of %s: %w", s.where, err)
	}
	counts := make(map[string]int64, len(groups))
	for _, g := range groups {
		counts[g.Type] = g.N
	}
	return counts, nil
}

// fractionalTypes are those of numbers that need not be whole.
var fractionalTypes = bson.A{"double", "decimal"}

// isFraction selects the numbers that are not whole, NaN among them. The condition
// keeps the arithmetic away from other types, in whatever order the server filters.
var isFraction = bson.D{{Key: "$expr", Value: bson.D{{Key: "$cond", Value: bson.A{
	bson.D{{Key: "$in", Value: bson.A{bson.D{{Key: "$type", Value: "$_id"}}, fractionalTypes}}},
	bson.D{{Key: "$ne", Value: bson.A{bson.D{{Key: "$mod", Value: bson.A{"$_id", 1}}}, 0}}},
	false,
}}}}}

func ofTypes(types bson.A) bson.D {
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$type", Value: types}}}}
}

// outside selects what is of the class's type bracket and beyond its bounds.
func outside(c product.Class) (bson.D, error) {
	low, high, err := classBounds(c)
	return bson.D{{Key: "$or", Value: bson.A{
		bson.D{{Key: "_id", Value: bson.D{{Key: "$lt", Value: low.Value}}}},
		bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: high.Value}}}},
	}}}, err
}

// eventFields are what a repair needs.
var eventFields = append(projection("category", "originalPrice", "stockQuantity", "tags"), scanFields(product.ObjectIDs, product.CartFields())...)

// scanFields are what a comparison of these fields needs. Of ids alone that is the key where
// it tells its age: the server then reads nothing but the index.
func scanFields(class product.Class, fields []product.Field) bson.D {
	if len(fields) == 0 && class == product.ObjectIDs {
		return projection("_id")
	}
	names := []string{"createdAt"}
	for _, f := range fields {
		names = append(names, f.String())
	}
	if len(fields) > 0 { // else nothing is stale
		names = append(names, "updatedAt")
	}
	return projection(names...)
}

func projection(names ...string) bson.D {
	var d bson.D
	for _, n := range names {
		d = append(d, bson.E{Key: n, Value: 1})
	}
	return d
}

// Scan yields the products of r in key order, with these of the cart's fields and what tells
// their age, in pages that stay as they are, their texts
// included, until the one after the next is asked for. With since set it yields only those
// created at or after it: by the time in the key where keys are ObjectIds, by createdAt
// otherwise, and then also those whose createdAt is none that can be told. A cursor that
// breaks is reopened at the last key; an error is yielded once, at the end, after several
// attempts that read nothing.
func (s *Source) Scan(ctx context.Context, r product.Range, fields []product.Field, since time.Time) iter.Seq2[[]product.Product, error] {
	return func(yield func([]product.Product, error) bool) {
		if !since.IsZero() && r.Class == product.ObjectIDs {
			r.After = max(r.After, keyBefore(since))
			since = time.Time{}
		}
		var patience retry
		for {
			last, done, err := s.scanCursor(ctx, r, fields, since, yield)
			if done && err == nil {
				return
			}
			if last != r.After {
				r.After = last
				patience = retry{}
			}
			if err != nil {
				if err = patience.wait(ctx, err); err != nil {
					yield(nil, fmt.Errorf("read source range %s of %s: %w", r, s.where, err))
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

// notBefore leaves out what was certainly created before since. Dates alone compare with
// dates; every other type passes, an array that holds a date among them.
func notBefore(since time.Time) bson.E {
	return bson.E{Key: "$or", Value: bson.A{
		bson.D{{Key: "createdAt", Value: bson.D{{Key: "$not", Value: bson.D{{Key: "$lt", Value: since}}}}}},
		bson.D{{Key: "createdAt", Value: bson.D{{Key: "$type", Value: "array"}}}},
	}}
}

// scanCursor reads r with one cursor until its end, an error, or an idle pause.
// last is the last key that was yielded; done is set at the end of the range, or
// when the reader wants no more.
func (s *Source) scanCursor(ctx context.Context, r product.Range, fields []product.Field, since time.Time, yield func([]product.Product, error) bool) (last product.ID, done bool, err error) {
	last = r.After
	filter, err := rangeFilter(r)
	if err != nil {
		return last, false, err
	}
	opened, err := s.fresh(ctx)
	if err != nil {
		return last, false, err
	}
	if !since.IsZero() {
		since = since.Truncate(time.Millisecond) // as dates are
		filter = append(filter, notBefore(since))
	}
	cursor, err := s.collection.Find(ctx, filter, options.Find().
		SetProjection(scanFields(r.Class, fields)).SetSort(bson.D{{Key: "_id", Value: 1}}).SetBatchSize(int32(s.batch())))
	if err != nil {
		return last, false, err
	}
	defer discard(ctx, cursor)
	page, spare := newSpace(), newSpace() // spare is the page before the last one that was yielded
	size := 0
	for cursor.Next(ctx) {
		p := page.add(s.batch())
		ok, err := decode(cursor.Current, p, page.texts)
		if err != nil {
			return last, false, err
		}
		size += len(cursor.Current)
		if !ok || p.Created.Before(since) && !p.Created.IsZero() {
			page.products = page.products[:len(page.products)-1] // a type that Unsupported counts, or a time of a type that the filter lets pass
		}
		if n := len(page.products); n == 0 || n < s.page && size < s.portion.Bytes() {
			continue
		}
		s.portion.Learn(len(page.products), size)
		cursor.SetBatchSize(int32(s.batch()))
		last = page.last()
		handed := time.Now()
		if !yield(page.products, nil) {
			return last, true, nil
		}
		page, spare, size = spare, page, 0
		page.clear()
		// A server that is the primary no longer goes on answering for its cursors.
		if election, err := s.fresh(ctx); err != nil || election != opened || time.Since(handed) > s.idle {
			return last, false, err
		}
	}
	if err := cursor.Err(); err != nil {
		return last, false, err
	}
	if len(page.products) > 0 {
		s.portion.Learn(len(page.products), size)
		last = page.last()
		yield(page.products, nil)
	}
	return last, true, nil
}

// space is the memory of a page.
type space struct {
	products []product.Product
	texts    *text.Slab
}

func newSpace() space { return space{texts: new(text.Slab)} }

// add appends a product that has nothing yet. size is about how many there will be.
func (p *space) add(size int) *product.Product {
	if p.products == nil {
		p.products = make([]product.Product, 0, size)
	}
	p.products = append(p.products, product.Product{})
	return &p.products[len(p.products)-1]
}

// last is the last id, which outlives the page.
func (p *space) last() product.ID {
	return product.ID(strings.Clone(string(p.products[len(p.products)-1].ID())))
}

// clear makes room for another page.
func (p *space) clear() {
	p.products = p.products[:0]
	p.texts.Reset()
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
	return byID(ctx, s, ids, eventFields, func(cursor *mongo.Cursor) (map[product.ID]product.Product, error) {
		found, size := make(map[product.ID]product.Product, len(ids)), 0
		for cursor.Next(ctx) {
			if size >= s.findBytes && len(ids) > 1 {
				return nil, &product.TooLargeError{Fits: max(len(found), 1)}
			}
			size += len(cursor.Current)
			var p product.Product
			if ok, err := decode(cursor.Current, &p, nil); err != nil {
				return nil, err
			} else if !ok {
				continue
			}
			if twin, exists := found[p.ID()]; exists {
				p.Ambiguous = twin.Ambiguous || twin.Key != p.Key // a cursor may return one document twice
			}
			found[p.ID()] = p
		}
		return found, cursor.Err()
	})
}

// Present tells which products are in the collection.
func (s *Source) Present(ctx context.Context, ids []product.ID) (map[product.ID]bool, error) {
	return byID(ctx, s, ids, projection("_id"), func(cursor *mongo.Cursor) (map[product.ID]bool, error) {
		present := make(map[product.ID]bool, len(ids))
		for cursor.Next(ctx) {
			var p product.Product
			if ok, err := decode(cursor.Current, &p, nil); err != nil {
				return nil, err
			} else if ok {
				present[p.ID()] = true
			}
		}
		return present, cursor.Err()
	})
}

// byID reads what a cursor has over some fields of products.
func byID[T any](ctx context.Context, s *Source, ids []product.ID, fields bson.D, read func(*mongo.Cursor) (map[product.ID]T, error)) (map[product.ID]T, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	keys, err := wireKeys(ids)
	if err != nil {
		return nil, err
	}
	found, err := attempt(ctx, s, func() (map[product.ID]T, error) {
		cursor, err := s.collection.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: keys}}}},
			options.Find().SetProjection(fields).SetBatchSize(int32(len(ids)+1)))
		if err != nil {
			return nil, err
		}
		defer discard(ctx, cursor)
		return read(cursor)
	})
	if err != nil {
		return nil, fmt.Errorf("read %d products of %s by id: %w", len(ids), s.where, err)
	}
	return found, nil
}
