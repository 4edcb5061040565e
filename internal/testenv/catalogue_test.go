package testenv_test

import (
	"net/url"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

func TestCatalogueHoldsWhatIsSeeded(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	products := catalogue.Seed(12_000)
	all := stored(t, catalogue)
	if len(all) != products.N {
		t.Fatalf("%d products are stored, want %d", len(all), products.N)
	}
	for i, got := range all {
		if want := products.Product(i); !equal(got, want) {
			t.Fatalf("product %d is stored as\n%+v, want\n%+v", i, got, want)
		}
	}
	if more := catalogue.Seed(10); more.Key(0) == products.Key(0) {
		t.Error("the second call seeded the products of the first")
	}
}

func equal(a, b platform.Product) bool {
	tags := slices.Equal(a.Tags, b.Tags)
	a.Tags, b.Tags = nil, nil
	type comparable struct {
		platform.Product
	}
	first, err := bson.Marshal(comparable{a})
	second, err2 := bson.Marshal(comparable{b})
	return tags && err == nil && err2 == nil && slices.Equal(first, second)
}

func TestCatalogueURLNeedsTheCredentials(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	u, err := url.Parse(catalogue.URL)
	if err != nil || u.User != nil || u.Path != "/"+catalogue.Database || u.Query().Get("authSource") != catalogue.AuthSource {
		t.Fatalf("got URL %s (%v) for database %s and authSource %q", catalogue.URL, err, catalogue.Database, catalogue.AuthSource)
	}
	authSource := catalogue.AuthSource
	if authSource == "" {
		authSource = catalogue.Database
	}
	ping := func(password string) error {
		client, err := mongo.Connect(options.Client().ApplyURI(catalogue.URL).SetAuth(options.Credential{
			Username: catalogue.User, Password: password, AuthSource: authSource,
		}))
		if err != nil {
			return err
		}
		defer func() { _ = client.Disconnect(t.Context()) }()
		return client.Ping(t.Context(), nil)
	}
	if err := ping(catalogue.Password); err != nil {
		t.Errorf("with the password: %v", err)
	}
	if err := ping("not " + catalogue.Password); err == nil {
		t.Error("a wrong password was accepted")
	}
}

func TestCatalogueTakesOddDocuments(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	first := catalogue.InsertOdd(bson.E{Key: "price", Value: 9.99}, bson.E{Key: "image", Value: platform.Absent})
	second := catalogue.InsertOdd(bson.E{Key: "_id", Value: "text"})
	catalogue.Set(first.ID, bson.E{Key: "title", Value: "changed"})

	var stored bson.M
	if err := catalogue.Collection.FindOne(t.Context(), bson.D{{Key: "_id", Value: first.ID}}).Decode(&stored); err != nil {
		t.Fatal(err)
	}
	if _, ok := stored["image"]; ok || stored["price"] != 9.99 || stored["title"] != "changed" {
		t.Errorf("stored as %v", stored)
	}
	if first.ID == second.ID {
		t.Errorf("two odd documents were made of product %s", first.ID.Hex())
	}
	catalogue.Delete(first.ID, "text")
	if n, err := catalogue.Collection.CountDocuments(t.Context(), bson.D{}); n != 0 || err != nil {
		t.Errorf("%d documents are left, %v", n, err)
	}
}
