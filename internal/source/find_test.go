package source

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

// everyClass is a source with ids of every class, and with some that cannot be compared.
func everyClass(t *testing.T) (s *Source, byClass map[product.Class][]product.ID) {
	t.Helper()
	catalogue := testenv.Products(t)
	ids, byClass := mixedIDs()
	odd, _ := unsupportedIDs(t)
	catalogue.Insert(documentsOf(append(ids, odd...))...)
	return open(t, configOf(catalogue)), byClass
}

func TestFindByEveryClassOfKey(t *testing.T) {
	t.Parallel()
	s, byClass := everyClass(t)
	wanted := map[product.ID][]product.Class{}
	for class, ids := range byClass {
		for _, id := range ids {
			wanted[id] = append(wanted[id], class)
		}
	}
	asked := slices.Concat(slices.Collect(maps.Keys(wanted)), []product.ID{
		"absent", "65f2a1b2c3d4e5f6a7b8c9d1", "65F2A1B2C3D4E5F6A7B8C9D0", "07000000-0000-0000-0000-000000000008", "12", "09", "+9", "9.0", "A", "true"})
	found, err := s.Find(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	for id, classes := range wanted {
		p, ok := found[id]
		if !ok {
			t.Errorf("%q (%v) is not found", id, classes)
			continue
		}
		if p.ID() != id || !slices.Contains(classes, p.Key.Class) {
			t.Errorf("%q (%v) is found as %+v", id, classes, p.Key)
		}
		if ambiguous := len(classes) > 1; p.Ambiguous != ambiguous {
			t.Errorf("%q (%v): ambiguous %t", id, classes, p.Ambiguous)
		}
	}
	for id := range found {
		if len(wanted[id]) == 0 {
			t.Errorf("%q is found, it is not there", id)
		}
	}
}

func TestFindMarksTwinsAsAmbiguous(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	catalogue.Insert(documentsOf([]any{
		anObjectID, anObjectID.Hex(), int32(5), "5", uuidOf(7), "07000000-0000-0000-0000-000000000007", "alone", int64(6),
	})...)
	s := open(t, configOf(catalogue))
	found, err := s.Find(t.Context(), []product.ID{product.ID(anObjectID.Hex()), "5", "07000000-0000-0000-0000-000000000007", "alone", "6"})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[product.ID]bool{
		product.ID(anObjectID.Hex()): true, "5": true, "07000000-0000-0000-0000-000000000007": true, "alone": false, "6": false,
	} {
		if p, ok := found[id]; !ok || p.Ambiguous != want {
			t.Errorf("%s: found %t, ambiguous %t, want %t", id, ok, p.Ambiguous, want)
		}
	}
}

func TestFindReadsWhatAnEventCarries(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	want := catalogue.Seed(1).Product(0)
	bare := catalogue.InsertOdd(bson.E{Key: "tags", Value: nil}, bson.E{Key: "category", Value: 7}, bson.E{Key: "image", Value: nil}, bson.E{Key: "createdAt", Value: "yesterday"})
	s := open(t, configOf(catalogue))
	found, err := s.Find(t.Context(), []product.ID{product.ID(want.ID.Hex()), product.ID(bare.ID.Hex())})
	if err != nil {
		t.Fatal(err)
	}
	p := found[product.ID(want.ID.Hex())]
	for field, value := range map[product.Field]product.Value{
		product.Title: product.TextValue(want.Title), product.Price: product.IntegerValue(int64(want.Price)), product.Image: product.TextValue(want.Image),
		product.SellerID: product.TextValue(want.SellerID.Hex()), product.Quantity: product.IntegerValue(int64(want.Quantity)),
		product.Category: product.TextValue(want.Category), product.OriginalPrice: product.IntegerValue(int64(want.OriginalPrice)),
		product.StockQuantity: product.IntegerValue(int64(want.StockQuantity)),
	} {
		if p.Values[field] != value {
			t.Errorf("%s is %v, want %v", field, p.Values[field], value)
		}
	}
	if !slices.Equal(p.Tags, want.Tags) || !p.Created.Equal(want.CreatedAt) || !p.Updated.Equal(want.UpdatedAt) {
		t.Errorf("tags %q, created %s, updated %s; want %q, %s, %s", p.Tags, p.Created, p.Updated, want.Tags, want.CreatedAt, want.UpdatedAt)
	}
	p = found[product.ID(bare.ID.Hex())]
	if p.Tags != nil || p.Values[product.Category] != product.IntegerValue(7) || p.Values[product.Image] != product.NullValue() || !p.Created.IsZero() {
		t.Errorf("the odd document is %+v", p)
	}
	scan := scanned(t, s, product.Range{Class: product.ObjectIDs, Through: product.ID(want.ID.Hex())}, time.Time{})
	if len(scan) != 1 || scan[0].Values[product.Title] != product.TextValue(want.Title) || !scan[0].Updated.Equal(want.UpdatedAt) {
		t.Errorf("a scan reads %+v", scan)
	}
}

func TestFindAThousand(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	seeded := catalogue.Seed(3_000)
	s := open(t, configOf(catalogue))
	var asked []product.ID
	for i := range 1_000 {
		asked = append(asked, product.ID(seeded.Key(3*i)))
	}
	found, err := s.Find(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range asked {
		if p := found[id]; p.ID() != id || p.Ambiguous {
			t.Fatalf("%s is found as %+v", id, p.Key)
		}
	}
	if len(found) != len(asked) {
		t.Errorf("%d products, asked for %d", len(found), len(asked))
	}
	if none, err := s.Find(t.Context(), nil); err != nil || len(none) != 0 {
		t.Errorf("nothing asked: %v, %v", none, err)
	}
}

// Ids come from the cart and from the command line too: whatever they hold, they
// are found or they are not there.
func TestFindOddTexts(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	odd := []product.ID{"", " ", "$ne", "a.b", "null", "9223372036854775808", "-0", "ZZZZZZZZZZZZZZZZZZZZZZZZ", "😀", "\u2028", "a\x00b", "not UTF-8: \xff\xfe"}
	s := open(t, configOf(catalogue))
	for _, id := range odd {
		if found, err := s.Find(t.Context(), []product.ID{id}); err != nil || len(found) != 0 {
			t.Errorf("%q before it is there: %v, %v", id, found, err)
		}
	}
	for _, id := range odd {
		if _, err := catalogue.Collection.InsertOne(t.Context(), bson.D{{Key: "_id", Value: string(id)}, {Key: "title", Value: fmt.Sprintf("%q", id)}}); err != nil {
			t.Logf("the server does not keep %q: %v", id, err)
			continue
		}
		if found, err := s.Find(t.Context(), []product.ID{id}); err != nil || found[id].Key != (product.Key{Class: product.Strings, ID: id}) {
			t.Errorf("%q: %v, %v", id, found, err)
		}
	}
}

// MongoDB takes 7 and 7.0 for one key, so both are the product 7: for a scan, a look by
// id, split points and the sample, and for the count of what is left out.
func TestCaseA5WholeNumbersOfEveryTypeAreOneKey(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	catalogue.Insert(documentsOf([]any{
		int32(1), int64(2), 3.0, decimal(t, "4"), decimal(t, "5.00"), decimal(t, "6E+1"), math.Copysign(0, -1), "3", 7.5, decimal(t, "8.5"), math.NaN(),
	})...)
	s := open(t, configOf(catalogue))
	whole := []product.ID{"0", "1", "2", "3", "4", "5", "60"}
	for _, page := range []int{1, 3, 100} {
		s.page = page
		if got := idsOf(scanned(t, s, product.Range{Class: product.Integers}, time.Time{})); !slices.Equal(got, whole) {
			t.Errorf("pages of %d: a scan yields %q, want %q", page, got, whole)
		}
	}
	if got := idsOf(scanned(t, s, product.Range{Class: product.Integers, After: "3", Through: "5"}, time.Time{})); !slices.Equal(got, []product.ID{"4", "5"}) {
		t.Errorf("the range 3..5 is %q", got)
	}
	asked := append([]product.ID{"7", "7.5", "8", "8.5", "NaN", "3.0", "5.00", "-0"}, whole...)
	found, err := s.Find(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, whole) {
		t.Errorf("found by id are %q, want %q", got, whole)
	}
	for id, p := range found {
		if p.Ambiguous != (id == "3") { // which the string is as well
			t.Errorf("%s: ambiguous %t", id, p.Ambiguous)
		}
	}
	sampled, err := s.Sample(t.Context(), 100)
	if err != nil || !slices.Equal(sampled, whole) {
		t.Errorf("the sample is %q, %v", sampled, err)
	}
	unsupported, err := s.Unsupported(t.Context())
	if err != nil || !maps.Equal(unsupported, map[string]int64{"double": 2, "decimal": 1}) {
		t.Errorf("unsupported are %v, %v", unsupported, err)
	}
}
