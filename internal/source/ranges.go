package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/ecom-micro/etl/internal/product"
)

// samplesPerPart is how many sampled keys stand for one part; more even out the
// parts' sizes.
const samplesPerPart = 20

// Ranges covers the keys of all supported classes that the collection holds with
// about parts ranges of similar size, at least one a class. An empty collection
// has none.
func (s *Source) Ranges(ctx context.Context, parts int) ([]product.Range, error) {
	ranges, err := attempt(ctx, s, func() ([]product.Range, error) { return s.ranges(ctx, parts) })
	if err != nil {
		return nil, fmt.Errorf("plan the scan of %s: %w", s.where, err)
	}
	return ranges, nil
}

func (s *Source) ranges(ctx context.Context, parts int) ([]product.Range, error) {
	var ranges []product.Range
	for _, class := range product.Classes() {
		r := product.Range{Class: class}
		filter, err := rangeFilter(r)
		if err != nil {
			return nil, err
		}
		err = s.collection.FindOne(ctx, filter, options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
		if errors.Is(err, mongo.ErrNoDocuments) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, r)
	}
	if parts <= 1 || len(ranges) == 0 {
		return ranges, nil
	}
	points, err := s.sampleKeys(ctx, parts*samplesPerPart)
	if err != nil {
		return nil, err
	}
	var split []product.Range
	for _, r := range ranges {
		split = append(split, splitRange(r, points[r.Class])...)
	}
	return split, nil
}

// Sample draws at most n ids at random from the whole collection, each once, also where
// keys of two classes have one text. n is at least 1. Servers may draw neighbours
// together.
func (s *Source) Sample(ctx context.Context, n int) ([]product.ID, error) {
	keys, err := attempt(ctx, s, func() (map[product.Class][]product.ID, error) { return s.sampleKeys(ctx, n) })
	if err != nil {
		return nil, fmt.Errorf("sample %s: %w", s.where, err)
	}
	var ids []product.ID
	for _, class := range product.Classes() {
		ids = append(ids, keys[class]...)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// sampleKeys draws keys at random, by class, each class in source order.
func (s *Source) sampleKeys(ctx context.Context, n int) (map[product.Class][]product.ID, error) {
	cursor, err := s.collection.Aggregate(ctx, mongo.Pipeline{
		{{Key: "$sample", Value: bson.D{{Key: "size", Value: n}}}},
		{{Key: "$project", Value: bson.D{{Key: "_id", Value: 1}}}},
	})
	if err != nil {
		return nil, err
	}
	defer discard(ctx, cursor)
	keys := make(map[product.Class][]product.ID)
	for cursor.Next(ctx) {
		if k, ok := keyOf(coreValue(cursor.Current.Lookup("_id")), nil); ok {
			keys[k.Class] = append(keys[k.Class], k.ID)
		}
	}
	for class, ids := range keys {
		slices.SortFunc(ids, func(a, b product.ID) int { return compareKeys(class, a, b) })
		keys[class] = slices.Compact(ids)
	}
	return keys, cursor.Err()
}

func coreValue(v bson.RawValue) bsoncore.Value {
	return bsoncore.Value{Type: bsoncore.Type(v.Type), Data: v.Value}
}

// compareKeys orders keys of one class as the source does.
func compareKeys(class product.Class, a, b product.ID) int {
	if class != product.Integers {
		return strings.Compare(string(a), string(b))
	}
	m, _ := strconv.ParseInt(string(a), 10, 64) // keyOf made the text from an int64
	n, _ := strconv.ParseInt(string(b), 10, 64)
	return cmp.Compare(m, n)
}

// splitRange cuts r at every samplesPerPart-th of the sampled keys.
func splitRange(r product.Range, sampled []product.ID) []product.Range {
	var parts []product.Range
	for i := samplesPerPart; i <= len(sampled)-samplesPerPart; i += samplesPerPart {
		if sampled[i] == "" || sampled[i] == r.After {
			continue
		}
		parts = append(parts, product.Range{Class: r.Class, After: r.After, Through: sampled[i]})
		r.After = sampled[i]
	}
	return append(parts, r)
}
