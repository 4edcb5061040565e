package source

import (
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

// BenchmarkScan sets Scan beside the raw drain of the same cursor: what the
// driver and the server give without a look at the documents.
func BenchmarkScan(b *testing.B) {
	const products = 200_000
	catalogue := testenv.Products(b)
	seeded := catalogue.Seed(products)
	s, err := Open(Config{URL: secret.URL(catalogue.URL), User: catalogue.User, Password: secret.Text(catalogue.Password), Collection: "products"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close(b.Context()) })
	filter, err := rangeFilter(product.Range{Class: product.ObjectIDs})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("raw", func(b *testing.B) {
		for b.Loop() {
			cursor, err := catalogue.Collection.Find(b.Context(), filter, options.Find().
				SetProjection(scanFields(product.ObjectIDs, product.CartFields())).SetSort(bson.D{{Key: "_id", Value: 1}}).SetBatchSize(pageSize))
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for cursor.Next(b.Context()) {
				n++
			}
			if cursor.Err() != nil || n != products {
				b.Fatalf("%d products, %v", n, cursor.Err())
			}
		}
		perSecond(b, products)
	})
	b.Run("scan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for page, err := range s.Scan(b.Context(), product.Range{Class: product.ObjectIDs}, product.CartFields(), time.Time{}) {
				if err != nil {
					b.Fatal(err)
				}
				n += len(page)
			}
			if n != products {
				b.Fatalf("%d products", n)
			}
		}
		perSecond(b, products)
	})
	b.Run("sample-1000", func(b *testing.B) {
		for b.Loop() {
			if ids, err := s.Sample(b.Context(), 1000); err != nil || len(ids) < 900 {
				b.Fatalf("%d ids, %v", len(ids), err)
			}
		}
	})
	for _, n := range []int{1, 100, 1000} {
		ids := make([]product.ID, 0, n)
		for i := range n {
			ids = append(ids, product.ID(seeded.Key(i*(products/n))))
		}
		b.Run(fmt.Sprintf("find-%d", n), func(b *testing.B) {
			for b.Loop() {
				for range 1000 / n {
					if found, err := s.Find(b.Context(), ids); err != nil || len(found) != n {
						b.Fatalf("%d products, %v", len(found), err)
					}
				}
			}
			perSecond(b, 1000)
		})
	}
}

func perSecond(b *testing.B, products int) {
	b.ReportMetric(float64(products*b.N)/b.Elapsed().Seconds(), "products/s")
}

func BenchmarkDecode(b *testing.B) {
	doc, err := bson.Marshal(bson.D{
		{Key: "_id", Value: bson.NewObjectID()}, {Key: "title", Value: "Größe 42, a title as products have them"}, {Key: "price", Value: 1299.0},
		{Key: "image", Value: "https://images.shop.example/products/65f2a1b2c3d4e5f6a7b8c9d0.jpg"}, {Key: "sellerId", Value: bson.NewObjectID()},
		{Key: "quantity", Value: int32(5)}, {Key: "createdAt", Value: time.Now()}, {Key: "updatedAt", Value: time.Now()},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var p product.Product
	for b.Loop() {
		if ok, err := decode(doc, &p, nil); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
	perSecond(b, 1)
}
