package source

import (
	"fmt"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

// A sample that is larger than the collection is all of it: each id once, also where
// keys of two classes have one text, and none that cannot be compared.
func TestSampleOfEveryClass(t *testing.T) {
	t.Parallel()
	s, byClass := everyClass(t)
	var want []product.ID
	for _, ids := range byClass {
		want = append(want, ids...)
	}
	slices.Sort(want)
	want = slices.Compact(want)
	got, err := s.Sample(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("sampled %q, want %q", got, want)
	}
}

func TestSampleOfAnEmptyCollection(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	s := open(t, configOf(catalogue))
	if got, err := s.Sample(t.Context(), 1000); err != nil || len(got) != 0 {
		t.Errorf("a collection that is not there: %q, %v", got, err)
	}
	catalogue.Insert(bson.D{{Key: "_id", Value: "a"}})
	catalogue.Delete("a")
	if got, err := s.Sample(t.Context(), 1000); err != nil || len(got) != 0 {
		t.Errorf("an empty one: %q, %v", got, err)
	}
}

// Two samples of a few out of many are not the same.
func TestSampleDrawsAtRandom(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	const products, size = 5_000, 100
	known := make(map[product.ID]bool, products)
	for _, id := range catalogue.Seed(products).Keys() {
		known[product.ID(id)] = true
	}
	s := open(t, configOf(catalogue))
	samples := make(map[string]bool)
	for range 5 {
		ids, err := s.Sample(t.Context(), size)
		if err != nil {
			t.Fatal(err)
		}
		if len(ids) > size || len(ids) < size/2 {
			t.Errorf("%d ids, want about %d", len(ids), size)
		}
		once := make(map[product.ID]bool)
		for _, id := range ids {
			if !known[id] || once[id] {
				t.Errorf("%s is sampled: known %t, for the second time %t", id, known[id], once[id])
			}
			once[id] = true
		}
		samples[fmt.Sprint(ids)] = true
	}
	if len(samples) == 1 {
		t.Error("five samples are one and the same")
	}
}
