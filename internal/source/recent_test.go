package source

import (
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

func recentIDs(t *testing.T, s *Source, from, until time.Time) (ids []product.ID) {
	t.Helper()
	for page, err := range s.Recent(t.Context(), from, until) {
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > recentPage {
			t.Errorf("a page of %d ids", len(page))
		}
		ids = append(ids, page...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// What was created lately is found by what keys and indexes tell, and by nothing that would
// read the whole collection.
func TestRecent(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	moment := time.Date(2024, 3, 14, 15, 9, 26, 0, time.UTC)
	at := func(seconds int) time.Time { return moment.Add(time.Duration(seconds) * time.Second) }
	key := func(seconds int) bson.ObjectID { return bson.NewObjectIDFromTimestamp(at(seconds)) }
	before, first, last, after := key(-1), key(0), key(59), key(60)
	catalogue.Insert(
		bson.D{{Key: "_id", Value: before}, {Key: "createdAt", Value: at(5)}, {Key: "updatedAt", Value: at(5)}}, bson.D{{Key: "_id", Value: first}},
		bson.D{{Key: "_id", Value: last}, {Key: "createdAt", Value: at(-500)}}, bson.D{{Key: "_id", Value: after}},
		bson.D{{Key: "_id", Value: "text before"}, {Key: "createdAt", Value: at(-1)}}, bson.D{{Key: "_id", Value: "text within"}, {Key: "createdAt", Value: at(0)}},
		bson.D{{Key: "_id", Value: "text after"}, {Key: "createdAt", Value: at(60)}}, bson.D{{Key: "_id", Value: "unknown"}},
		bson.D{{Key: "_id", Value: 7}, {Key: "createdAt", Value: at(59)}},
		bson.D{{Key: "_id", Value: true}, {Key: "createdAt", Value: at(59)}}, // which is no product that can be compared
	)
	hex := func(id bson.ObjectID) product.ID { return product.ID(id.Hex()) }
	s := open(t, configOf(catalogue))
	want := func(ids ...product.ID) {
		t.Helper()
		slices.Sort(ids)
		if got := recentIDs(t, s, at(0), at(60)); !slices.Equal(got, ids) {
			t.Errorf("%q, want %q", got, ids)
		}
	}
	want(hex(first), hex(last))
	index := func(model mongo.IndexModel) {
		t.Helper()
		if _, err := catalogue.Collection.Indexes().CreateOne(t.Context(), model); err != nil {
			t.Fatal(err)
		}
	}
	index(mongo.IndexModel{Keys: bson.D{{Key: "title", Value: 1}, {Key: "createdAt", Value: 1}}}) // begins with another field
	want(hex(first), hex(last))
	index(mongo.IndexModel{Keys: bson.D{{Key: "createdAt", Value: -1}}})
	want(hex(first), hex(last), "text within", "7")
	index(mongo.IndexModel{Keys: bson.D{{Key: "updatedAt", Value: 1}}})
	want(hex(first), hex(last), "text within", "7", hex(before))
}

func TestRecentInPages(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	products := catalogue.SeedFresh(2*recentPage + 7)
	s := open(t, configOf(catalogue))
	if ids := recentIDs(t, s, time.Now().Add(-time.Minute), time.Now().Add(time.Minute)); len(ids) != len(products) {
		t.Errorf("%d ids, want %d", len(ids), len(products))
	}
	pages := 0
	for _, err := range s.Recent(t.Context(), time.Now().Add(-time.Minute), time.Now().Add(time.Minute)) {
		if err != nil {
			t.Fatal(err)
		}
		pages++
		break
	}
	if pages != 1 {
		t.Errorf("%d pages for a reader who wants one", pages)
	}
	if ids := recentIDs(t, s, time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)); len(ids) != 0 {
		t.Errorf("%d ids of the future", len(ids))
	}
}
