package product_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/product"
)

func TestCreatedAt(t *testing.T) {
	t.Parallel()
	said := time.Date(2026, 11, 22, 10, 0, 0, 123e6, time.UTC)
	tests := []struct {
		name    string
		key     product.Key
		created time.Time
		want    time.Time
	}{
		{"as the document says", product.Key{Class: product.ObjectIDs, ID: "507f191e810c19729de860ea"}, said, said},
		{"as the document of another class says", product.Key{Class: product.Integers, ID: "7"}, said, said},
		// https://www.mongodb.com/docs/manual/reference/method/ObjectId.getTimestamp
		{"as the key says", product.Key{Class: product.ObjectIDs, ID: "507f191e810c19729de860ea"}, time.Time{}, time.Date(2012, 10, 17, 20, 46, 22, 0, time.UTC)},
		{"the first second", product.Key{Class: product.ObjectIDs, ID: "000000000000000000000000"}, time.Time{}, time.Unix(0, 0)},
		{"beyond 31 bits", product.Key{Class: product.ObjectIDs, ID: "ffffffff0000000000000000"}, time.Time{}, time.Date(2106, 2, 7, 6, 28, 15, 0, time.UTC)},
		{"the text of an ObjectId", product.Key{Class: product.Strings, ID: "507f191e810c19729de860ea"}, time.Time{}, time.Time{}},
		{"a UUID", product.Key{Class: product.UUIDs, ID: "0e02b2c3-58cc-4372-a567-0e02b2c3d479"}, time.Time{}, time.Time{}},
		{"an integer", product.Key{Class: product.Integers, ID: "7"}, time.Time{}, time.Time{}},
		{"no key at all", product.Key{}, time.Time{}, time.Time{}},
	}
	for _, test := range tests {
		p := product.Product{Key: test.key, Created: test.created, Updated: said.Add(time.Hour)}
		if got := p.CreatedAt(); !got.Equal(test.want) || got.IsZero() != test.want.IsZero() {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// The first four bytes of a key are its second, whatever the others hold.
func TestCreatedAtIsTheKeysFirstFourBytes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		second := rapid.Uint32().Draw(t, "second")
		rest := rapid.StringMatching(`[0-9a-f]{16}`).Draw(t, "the rest of the key")
		p := product.Product{Key: product.Key{Class: product.ObjectIDs, ID: product.ID(fmt.Sprintf("%08x%s", second, rest))}}
		if got := p.CreatedAt().Unix(); got != int64(second) {
			t.Fatalf("%s was made in second %d, want %d", p.ID(), got, second)
		}
	})
}
