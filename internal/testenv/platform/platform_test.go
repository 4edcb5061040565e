package platform_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/ecom-micro/etl/internal/testenv/platform"
)

func TestAssortmentIsTheSameEachTime(t *testing.T) {
	t.Parallel()
	a := platform.Assortment{Seed: 7, N: 1_000}
	first, again := slices.Collect(a.All()), slices.Collect(a.All())
	for i, p := range first {
		if encode(t, p) != encode(t, again[i]) {
			t.Fatalf("product %d was made twice:\n%s\n%s", i, encode(t, p), encode(t, again[i]))
		}
	}
	other := platform.Assortment{Seed: 8, N: 1}
	if first[0].Title == other.Product(0).Title {
		t.Errorf("seeds 7 and 8 both begin with %q", first[0].Title)
	}
}

func TestAssortmentIDsAscendAndDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for seed := range uint64(5) {
		keys := platform.Assortment{Seed: seed, N: 2_000}.Keys()
		if !slices.IsSorted(keys) {
			t.Errorf("the ids of seed %d do not ascend", seed)
		}
		for _, key := range keys {
			if seen[key] {
				t.Fatalf("id %s was made twice", key)
			}
			seen[key] = true
		}
	}
}

func TestProductsKeepTheRulesOfTheSchema(t *testing.T) {
	t.Parallel()
	nonASCII := 0
	for p := range (platform.Assortment{Seed: 1, N: 10_000}).All() {
		switch {
		case p.Title == "" || strings.TrimSpace(p.Title) != p.Title,
			p.Image == "", p.Category == "", p.Tags == nil,
			p.Price < 0, p.OriginalPrice < 10, p.OriginalPrice > 5_000_000,
			p.StockQuantity < 5, p.SellerID.IsZero(),
			p.CreatedAt.Truncate(time.Second) != p.ID.Timestamp().UTC(),
			p.UpdatedAt.Before(p.CreatedAt), p.UpdatedAt.After(time.Now()):
			t.Fatalf("product breaks a rule: %+v", p)
		}
		if strings.ContainsFunc(p.Title, func(r rune) bool { return r > 127 }) {
			nonASCII++
		}
	}
	if nonASCII < 1_000 {
		t.Errorf("%d of 10,000 titles are not plain ASCII, want at least 1,000", nonASCII)
	}
	last := platform.Assortment{Seed: 1, N: 10_000_000}
	if made := last.Product(last.N - 1).UpdatedAt; made.After(time.Now()) {
		t.Errorf("product 10,000,000 is of %s, want the past", made)
	}
}

func TestDocumentChangesFields(t *testing.T) {
	t.Parallel()
	p := platform.Assortment{Seed: 1, N: 1}.Product(0)
	document, err := p.Document(
		bson.E{Key: "price", Value: 9.99},
		bson.E{Key: "image", Value: platform.Absent},
		bson.E{Key: "colour", Value: bson.A{"red"}},
		bson.E{Key: "rating", Value: platform.Absent},
		bson.E{Key: "description", Value: "d"},
	)
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]string, len(document))
	fields := map[string]any{}
	for i, field := range document {
		keys[i], fields[field.Key] = field.Key, field.Value
	}
	if keys[0] != "_id" || slices.Contains(keys, "image") || slices.Contains(keys, "rating") ||
		fields["price"] != 9.99 || fields["description"] != "d" || fields["colour"] == nil || fields["title"] != p.Title {
		t.Errorf("got %v", document)
	}
}

func TestEventHasTheFieldsOfTheProductService(t *testing.T) {
	t.Parallel()
	p := platform.Assortment{Seed: 1, N: 1}.Product(0)
	var event map[string]any
	if err := json.Unmarshal(p.Event(), &event); err != nil {
		t.Fatal(err)
	}
	want := []string{"category", "id", "image", "originalPrice", "price", "quantity", "sellerId", "stockQuantity", "tags", "title"}
	got := make([]string, 0, len(event))
	for field := range event {
		got = append(got, field)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got fields %v, want %v", got, want)
	}
	if event["id"] != p.ID.Hex() || event["title"] != p.Title {
		t.Errorf("got %v for %+v", event, p)
	}
	if want := `{"id":"` + p.ID.Hex() + `"}`; string(p.DeletedEvent()) != want {
		t.Errorf("got %s, want %s", p.DeletedEvent(), want)
	}
}

func encode(t *testing.T, p platform.Product) string {
	t.Helper()
	encoded, err := bson.MarshalExtJSON(p, true, false)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}
