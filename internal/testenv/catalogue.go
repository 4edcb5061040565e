package testenv

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// Catalogue is a Product Service's database of its own for one test.
type Catalogue struct {
	// URL names servers and database, without credentials: the platform passes those in MONGO_USER and
	// MONGO_PASSWORD. Like the platform's, it has no authSource option unless the server insists on one.
	URL            string
	User, Password string
	AuthSource     string // the URL's authSource option; empty: none, the user may log in at the database of the URL
	Database       string
	Collection     *mongo.Collection // the products

	tb    testing.TB
	seeds uint64 // how many seeds this catalogue has used up
	odd   int    // how many odd documents it has made
}

// The seed of odd documents, far from those that SeedFrom is called with.
const oddSeed = 1 << 32

// Products makes an empty catalogue. It is dropped when the test ends.
func Products(tb testing.TB) *Catalogue {
	tb.Helper()
	server, err := parseMongoURL(Services(tb).MongoDB)
	if err != nil {
		tb.Fatalf("read the stack's MongoDB URL: %v", err)
	}
	authSource, err := server.requiredAuthSource()
	if err != nil {
		tb.Fatalf("log in at the stack's MongoDB: %v", err)
	}

	c := &Catalogue{
		User: server.user, Password: server.password, AuthSource: authSource,
		Database: randomName("products"),
		tb:       tb,
	}
	c.URL = server.database(c.Database, authSource)
	client, err := server.connect(c.URL, cmp.Or(authSource, c.Database))
	if err != nil {
		tb.Fatalf("connect to %s: %v", c.URL, err)
	}
	c.Collection = client.Database(c.Database).Collection(platform.ProductCollection)
	tb.Cleanup(func() {
		ctx, cancel := cleanupContext(tb)
		defer cancel()
		if err := c.Collection.Database().Drop(ctx); err != nil {
			tb.Errorf("drop database %s: %v", c.Database, err)
		}
		if err := client.Disconnect(ctx); err != nil {
			tb.Errorf("disconnect from MongoDB: %v", err)
		}
	})
	return c
}

// Seed inserts n products that no earlier call has inserted and returns them. The same calls in the same order
// insert the same products in every run.
func (c *Catalogue) Seed(n int) platform.Assortment {
	c.tb.Helper()
	c.seeds++
	return c.SeedFrom(c.seeds, n)
}

// SeedFrom inserts the first n products of a seed. Seeds are numbers of the caller's; Seed counts from 1.
func (c *Catalogue) SeedFrom(seed uint64, n int) platform.Assortment {
	c.tb.Helper()
	products := platform.Assortment{Seed: seed, N: n}
	if err := platform.InsertProducts(c.tb.Context(), c.Collection, products.All()); err != nil {
		c.tb.Fatal(err)
	}
	return products
}

// SeedFresh inserts n products that were created this very moment, and returns them in ascending order of their ids.
// Nobody has published an event for them.
func (c *Catalogue) SeedFresh(n int) []platform.Product {
	c.tb.Helper()
	c.seeds++
	products := make([]platform.Product, 0, n)
	now := time.Now()
	for p := range (platform.Assortment{Seed: c.seeds, N: n}).All() {
		products = append(products, p.CreatedAnew(now))
	}
	if err := platform.InsertProducts(c.tb.Context(), c.Collection, slices.Values(products)); err != nil {
		c.tb.Fatal(err)
	}
	return products
}

// InsertOdd inserts one more product with some of its fields changed, added or, with the value platform.Absent,
// removed. It returns the proper product that the odd document was made of.
func (c *Catalogue) InsertOdd(changes ...bson.E) platform.Product {
	c.tb.Helper()
	product := platform.Assortment{Seed: oddSeed}.Product(c.odd)
	c.odd++
	document, err := product.Document(changes...)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.Insert(document)
	return product
}

// insertedAtOnce is how many documents are inserted with one command: they may be large, and the server is waited for
// with a patience for each command.
const insertedAtOnce = 20

// Insert inserts documents as they are.
func (c *Catalogue) Insert(documents ...any) {
	c.tb.Helper()
	for some := range slices.Chunk(documents, insertedAtOnce) {
		if _, err := c.Collection.InsertMany(setupContext(c.tb), some); err != nil {
			c.tb.Fatalf("insert %d documents: %v", len(some), err)
		}
	}
}

// Set changes fields of one product.
func (c *Catalogue) Set(id any, fields ...bson.E) {
	c.tb.Helper()
	result, err := c.Collection.UpdateByID(setupContext(c.tb), id, bson.D{{Key: "$set", Value: bson.D(fields)}})
	if err != nil || result.MatchedCount != 1 {
		c.tb.Fatalf("change product %v: %d found, %v", id, result.MatchedCount, err)
	}
}

// Delete removes products.
func (c *Catalogue) Delete(ids ...any) {
	c.tb.Helper()
	result, err := c.Collection.DeleteMany(setupContext(c.tb), bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
	if err != nil {
		c.tb.Fatalf("delete %d products: %v", len(ids), err)
	}
	if int(result.DeletedCount) != len(ids) {
		c.tb.Fatalf("deleted %d products of %d", result.DeletedCount, len(ids))
	}
}
