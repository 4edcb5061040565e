package source

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/ecom-micro/etl/internal/product"
)

// recentPage is how many ids of recent products are yielded at once, at most.
const recentPage = 1000

// Recent yields the ids of the products that were created at or after from and before until,
// to the second, by the time in their ObjectIds; where the collection has an index that begins
// with createdAt also those with other keys, and where it has one that begins with updatedAt
// also those that were updated then. It never reads more of the collection than that. An id
// may come more than once. An error is yielded once, at the end.
func (s *Source) Recent(ctx context.Context, from, until time.Time) iter.Seq2[[]product.ID, error] {
	return func(yield func([]product.ID, error) bool) {
		indexed, err := attempt(ctx, s, func() (map[string]bool, error) { return s.indexed(ctx) })
		if err != nil {
			yield(nil, fmt.Errorf("list the indexes of %s: %w", s.where, err))
			return
		}
		between := bson.D{{Key: "$gte", Value: from}, {Key: "$lt", Value: until}}
		filters := []bson.D{{{Key: "_id", Value: bson.D{{Key: "$gte", Value: firstOf(from)}, {Key: "$lt", Value: firstOf(until)}}}}}
		if indexed["createdAt"] {
			filters = append(filters, bson.D{{Key: "createdAt", Value: between}, {Key: "_id", Value: bson.D{{Key: "$not", Value: bson.D{{Key: "$type", Value: "objectId"}}}}}})
		}
		if indexed["updatedAt"] {
			filters = append(filters, bson.D{{Key: "updatedAt", Value: between}})
		}
		for _, filter := range filters {
			more, err := s.recent(ctx, filter, yield)
			if err != nil {
				yield(nil, fmt.Errorf("read what was created lately in %s: %w", s.where, explained(away(err))))
			}
			if err != nil || !more {
				return
			}
		}
	}
}

// firstOf is the first ObjectId of the second of t.
func firstOf(t time.Time) bson.ObjectID {
	first := bson.NewObjectIDFromTimestamp(t)
	clear(first[4:])
	return first
}

// indexed are the fields with which a usable index begins. Whoever may not see the indexes
// has none.
func (s *Source) indexed(ctx context.Context) (map[string]bool, error) {
	cursor, err := s.collection.Indexes().List(ctx)
	var refused mongo.CommandError
	if errors.As(err, &refused) && refused.Code == codeUnauthorized {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []struct {
		Key     bson.D   `bson:"key"`
		Hidden  bool     `bson:"hidden"`
		Sparse  bool     `bson:"sparse"`
		Partial bson.Raw `bson:"partialFilterExpression"`
	}
	if err := cursor.All(ctx, &all); err != nil {
		return nil, err
	}
	fields := make(map[string]bool)
	for _, index := range all {
		if len(index.Key) > 0 && !index.Hidden && !index.Sparse && index.Partial == nil {
			fields[index.Key[0].Key] = true
		}
	}
	return fields, nil
}

// recent yields the ids that match, in pages, and tells whether the reader wants more.
func (s *Source) recent(ctx context.Context, filter bson.D, yield func([]product.ID, error) bool) (more bool, err error) {
	if _, err := s.fresh(ctx); err != nil {
		return false, err
	}
	cursor, err := s.collection.Find(ctx, filter, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}).SetBatchSize(recentPage))
	if err != nil {
		return false, err
	}
	defer discard(ctx, cursor)
	page := make([]product.ID, 0, recentPage)
	for cursor.Next(ctx) {
		if k, ok := keyOf(coreValue(cursor.Current.Lookup("_id")), nil); ok {
			page = append(page, k.ID)
		}
		if len(page) == recentPage {
			if !yield(page, nil) {
				return false, nil
			}
			page = page[:0]
		}
	}
	if err := cursor.Err(); err != nil {
		return false, err
	}
	return len(page) == 0 || yield(page, nil), nil
}
