package testenv_test

import (
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// stored are a catalogue's products in ascending order of their ids.
func stored(t *testing.T, catalogue *testenv.Catalogue) []platform.Product {
	t.Helper()
	cursor, err := catalogue.Collection.Find(t.Context(), bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		t.Fatal(err)
	}
	var products []platform.Product
	if err := cursor.All(t.Context(), &products); err != nil {
		t.Fatal(err)
	}
	for i := range products {
		products[i].CreatedAt, products[i].UpdatedAt = products[i].CreatedAt.UTC(), products[i].UpdatedAt.UTC()
	}
	return products
}

func productService(t *testing.T, opts ...testenv.ProductServiceOption) (*testenv.ProductService, *testenv.Catalogue, *testenv.Broker) {
	t.Helper()
	catalogue, broker := testenv.Products(t), testenv.Vhost(t)
	broker.DeclareTopology()
	return testenv.NewProductService(t, catalogue, broker, opts...), catalogue, broker
}

func TestProductServiceStoresFirstAndPublishesAfterwards(t *testing.T) {
	t.Parallel()
	const perSecond = 100
	service, catalogue, broker := productService(t, testenv.PublishRate(perSecond))
	began := time.Now().Truncate(time.Second) // as exact as an id is
	products := service.Create(250)
	answered := time.Now()
	if got := stored(t, catalogue); !slices.EqualFunc(got, products, equal) {
		t.Fatalf("%d products are stored, not those %d that were created", len(got), len(products))
	}
	for _, p := range products {
		if made := p.ID.Timestamp(); made.Before(began) || made.After(answered) || p.CreatedAt.Truncate(time.Second) != made.UTC() || p.UpdatedAt != p.CreatedAt {
			t.Fatalf("%s of %s was created at %s and updated at %s", p.ID.Hex(), made, p.CreatedAt, p.UpdatedAt)
		}
	}
	service.WaitPublished()
	if least := time.Duration(len(products)) * time.Second / perSecond; time.Since(began) < least {
		t.Errorf("%d events left within %s, want at least %s", len(products), time.Since(began), least)
	}
	for i, d := range broker.Drain(created) {
		if string(d.Body) != string(products[i].Event()) {
			t.Fatalf("event %d is %s", i, d.Body)
		}
	}
	if service.Published() != len(products) || service.Waiting() != 0 {
		t.Errorf("%d are published and %d wait", service.Published(), service.Waiting())
	}
}

func TestProductServiceUpdatesAndDeletes(t *testing.T) {
	t.Parallel()
	service, catalogue, broker := productService(t, testenv.PublishRate(1_000))
	products := service.Create(2)
	updated := service.Update(products[0].ID, bson.E{Key: "title", Value: "New"}, bson.E{Key: "price", Value: int32(7)})
	if updated.Title != "New" || updated.Price != 7 || updated.Image != products[0].Image || !updated.UpdatedAt.After(updated.CreatedAt) {
		t.Errorf("updated to %+v", updated)
	}
	service.Delete(products[1].ID)
	service.WaitPublished()
	for queue, want := range map[string][]string{
		platform.ProductCreated: {string(products[0].Event()), string(products[1].Event())},
		platform.ProductUpdated: {string(updated.Event())},
		platform.ProductDeleted: {string(products[1].DeletedEvent())},
	} {
		if got := bodies(broker.Drain(queue)); !slices.Equal(got, want) {
			t.Errorf("%s has got %q, want %q", queue, got, want)
		}
	}
	if got := stored(t, catalogue); len(got) != 1 || got[0].Title != "New" {
		t.Errorf("stored are %+v", got)
	}
}

func TestFreshProductsAreOfNow(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	old := catalogue.Seed(10)
	began := time.Now().Truncate(time.Second)
	fresh := catalogue.SeedFresh(300)
	all := stored(t, catalogue)
	if len(all) != 310 || all[9].ID != old.ID(9) || !slices.EqualFunc(all[10:], fresh, equal) {
		t.Fatalf("%d products are stored, want 10 old ones and the fresh ones behind", len(all))
	}
	if fresh[0].CreatedAt.Before(began) || fresh[0].ID.Timestamp().Before(began) {
		t.Errorf("%s was created at %s", fresh[0].ID.Hex(), fresh[0].CreatedAt)
	}
}
