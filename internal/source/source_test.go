package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func configOf(c *testenv.Catalogue) Config {
	return Config{URL: secret.URL(c.URL), User: c.User, Password: secret.Text(c.Password), Collection: platform.ProductCollection}
}

func open(t *testing.T, config Config) *Source {
	t.Helper()
	s, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// scanned are the products of a range, read to its end.
func scanned(t *testing.T, s *Source, r product.Range, since time.Time) []product.Product {
	t.Helper()
	var products []product.Product
	for page, err := range s.Scan(t.Context(), r, product.CartFields(), since) {
		page = testenv.KeptProducts(page)
		if err != nil {
			t.Fatalf("scan %s: %v", r, err)
		}
		if len(page) == 0 || len(page) > s.page {
			t.Fatalf("a page of %d products, at most %d are asked for", len(page), s.page)
		}
		products = append(products, page...)
	}
	return products
}

func idsOf(products []product.Product) []product.ID {
	ids := make([]product.ID, len(products))
	for i := range products {
		ids[i] = products[i].ID()
	}
	return ids
}

func uuidOf(b byte) bson.Binary {
	data := make([]byte, 16)
	data[0], data[15] = b, b
	return bson.Binary{Subtype: bson.TypeBinaryUUID, Data: data}
}

// mixedIDs are _ids of every class, in no order, with what a scan of the class
// must yield, in order.
func mixedIDs() (ids []any, want map[product.Class][]product.ID) {
	low, high := bson.ObjectID{}, bson.ObjectID{}
	for i := range high {
		high[i] = 0xff
	}
	lowUUID, highUUID := uuidOf(0), uuidOf(0xff)
	for i := range highUUID.Data {
		highUUID.Data[i] = 0xff
	}
	return []any{
			"b", high, int64(5_000_000_000), uuidOf(7), "", anObjectID, int32(-3), "65f2a1b2c3d4e5f6a7b8c9d0", "ü", highUUID, int32(10), "B",
			int64(math.MinInt64), low, "5", int32(9), lowUUID, "😀", int64(math.MaxInt64), "a\x01", "a", int64(-3_000_000_000), int32(0), "\uffff",
			11.0, -4.0, math.Ldexp(1, 53), int64(1<<53 + 1), 4e18,
		}, map[product.Class][]product.ID{
			product.ObjectIDs: {"000000000000000000000000", "65f2a1b2c3d4e5f6a7b8c9d0", "ffffffffffffffffffffffff"},
			product.Strings:   {"", "5", "65f2a1b2c3d4e5f6a7b8c9d0", "B", "a", "a\x01", "b", "ü", "\uffff", "😀"},
			product.UUIDs: {"00000000-0000-0000-0000-000000000000", "07000000-0000-0000-0000-000000000007",
				"ffffffff-ffff-ffff-ffff-ffffffffffff"},
			product.Integers: {"-9223372036854775808", "-3000000000", "-4", "-3", "0", "9", "10", "11", "5000000000",
				"9007199254740992", "9007199254740993", "4000000000000000000", "9223372036854775807"},
		}
}

// unsupportedIDs are _ids that no scan may yield, with what Unsupported must say.
func unsupportedIDs(t *testing.T) (ids []any, want map[string]int64) {
	short, long := make([]byte, 15), make([]byte, 17)
	return []any{
		1.5, -7.25, math.Inf(1), math.Inf(-1), math.NaN(), math.Ldexp(1, 63), -1e19, 1e300, decimal(t, "2.5"), decimal(t, "1E-30"), decimal(t, "1E+30"), true, false, bson.DateTime(1), bson.D{{Key: "sku", Value: "a"}}, bson.D{},
		bson.Binary{Data: make([]byte, 16)}, bson.Binary{Subtype: bson.TypeBinaryUUIDOld, Data: make([]byte, 16)},
		bson.Binary{Subtype: bson.TypeBinaryMD5, Data: make([]byte, 16)}, bson.Binary{Subtype: bson.TypeBinaryUUID, Data: short},
		bson.Binary{Subtype: bson.TypeBinaryUUID, Data: long}, bson.Binary{Data: []byte{}}, nil,
		bson.Timestamp{T: 1}, bson.MinKey{}, bson.MaxKey{},
	}, map[string]int64{"double": 8, "decimal": 3, "bool": 2, "date": 1, "object": 2, "binData": 6, "null": 1, "timestamp": 1, "minKey": 1, "maxKey": 1}
}

func documentsOf(ids []any) []any {
	documents := make([]any, len(ids))
	for i, id := range ids {
		documents[i] = bson.D{{Key: "_id", Value: id}, {Key: "title", Value: fmt.Sprintf("product %d", i)}}
	}
	return documents
}

func TestScanYieldsEachClassInOrder(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	ids, want := mixedIDs()
	odd, wantUnsupported := unsupportedIDs(t)
	catalogue.Insert(documentsOf(append(ids, odd...))...)
	for _, page := range []int{1, 2, 3, 1000} {
		s := open(t, configOf(catalogue))
		s.page = page
		for _, class := range product.Classes() {
			got := scanned(t, s, product.Range{Class: class}, time.Time{})
			if !slices.Equal(idsOf(got), want[class]) {
				t.Errorf("pages of %d: class %s is %q, want %q", page, class, idsOf(got), want[class])
			}
			for _, p := range got {
				if p.Key.Class != class || !strings.HasPrefix(p.Values[product.Title].String(), "product ") {
					t.Errorf("a scan of class %s yields %+v", class, p)
				}
			}
		}
	}
	s := open(t, configOf(catalogue))
	unsupported, err := s.Unsupported(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(unsupported, wantUnsupported) {
		t.Errorf("unsupported ids: %v, want %v", unsupported, wantUnsupported)
	}
	n, err := s.Count(t.Context())
	if err != nil || int(n) != len(ids)+len(odd) {
		t.Errorf("%d products, %v; want %d", n, err, len(ids)+len(odd))
	}
}

func TestScanBounds(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	ids, want := mixedIDs()
	odd, _ := unsupportedIDs(t)
	catalogue.Insert(documentsOf(append(ids, odd...))...)
	s := open(t, configOf(catalogue))
	s.page = 2
	for _, class := range product.Classes() {
		// Each pair of neighbours, itself no key where the class allows that.
		all := want[class]
		for i, after := range all {
			for j, through := range all {
				if after == "" || through == "" {
					continue // stands for an open bound
				}
				var inside []product.ID
				if i < j {
					inside = all[i+1 : j+1]
				}
				got := scanned(t, s, product.Range{Class: class, After: after, Through: through}, time.Time{})
				if !slices.Equal(idsOf(got), inside) {
					t.Errorf("%s (%s..%s] is %q, want %q", class, after, through, idsOf(got), inside)
				}
			}
		}
	}
}

func TestRangesCoverAllKeysOnce(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	var ids []any
	want := map[product.Class]int{}
	for i := range 400 {
		ids = append(ids, bson.ObjectID{0x65, byte(i >> 4), byte(i << 4), 11: byte(i)}, fmt.Sprintf("sku-%03x", i*i), int64(i-200)*1_000_000_007)
		uuid := uuidOf(byte(i))
		uuid.Data[1] = byte(i >> 3)
		ids = append(ids, uuid)
	}
	for _, class := range product.Classes() {
		want[class] = 400
	}
	ids = append(ids, "") // ends up in the first range of strings, whatever the sample holds
	want[product.Strings]++
	odd, _ := unsupportedIDs(t)
	catalogue.Insert(documentsOf(append(ids, odd...))...)
	s := open(t, configOf(catalogue))
	s.page = 37
	for _, parts := range []int{1, 2, 8, 64} {
		ranges, err := s.Ranges(t.Context(), parts)
		if err != nil {
			t.Fatal(err)
		}
		if parts == 1 && len(ranges) != 4 || parts > 4 && len(ranges) < parts/2 || len(ranges) > parts+4 {
			t.Errorf("%d ranges for %d parts", len(ranges), parts)
		}
		seen := map[product.Key]int{}
		for _, r := range ranges {
			for _, p := range scanned(t, s, r, time.Time{}) {
				seen[p.Key]++
			}
		}
		got := map[product.Class]int{}
		for key, times := range seen {
			got[key.Class]++
			if times != 1 {
				t.Errorf("%d parts: %v is in %d ranges", parts, key, times)
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%d parts cover %v, want %v", parts, got, want)
		}
	}
}

func TestSplitRange(t *testing.T) {
	t.Parallel()
	r := product.Range{Class: product.Strings}
	for _, tt := range []struct{ sampled, parts int }{
		{0, 1}, {1, 1}, {samplesPerPart, 1}, {2*samplesPerPart - 1, 1}, {2 * samplesPerPart, 2}, {3*samplesPerPart - 1, 2}, {8 * samplesPerPart, 8},
	} {
		sampled := make([]product.ID, tt.sampled)
		for i := range sampled {
			sampled[i] = product.ID(fmt.Sprintf("%04d", i))
		}
		parts := splitRange(r, sampled)
		if len(parts) != tt.parts {
			t.Errorf("%d sampled keys make %d parts, want %d", tt.sampled, len(parts), tt.parts)
		}
		after := product.ID("")
		for i, part := range parts {
			if part.Class != r.Class || part.After != after || (part.Through == "") != (i == len(parts)-1) {
				t.Errorf("%d sampled keys: part %d is %s after %q", tt.sampled, i, part, after)
			}
			inside := 0
			for _, id := range sampled {
				if id > part.After && (part.Through == "" || id <= part.Through) {
					inside++
				}
			}
			if len(parts) > 1 && (inside < samplesPerPart-1 || inside > 2*samplesPerPart) {
				t.Errorf("%d sampled keys: part %d holds %d of them", tt.sampled, i, inside)
			}
			after = part.Through
		}
	}
	// The empty text cannot be a bound: it stands for an open one.
	sampled := make([]product.ID, 3*samplesPerPart)
	if parts := splitRange(r, sampled); len(parts) != 1 || parts[0] != r {
		t.Errorf("a sample of empty keys makes %v", parts)
	}
}

func TestRangesOfAnEmptyCollection(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	s := open(t, configOf(catalogue))
	for _, parts := range []int{1, 8} {
		if ranges, err := s.Ranges(t.Context(), parts); err != nil || len(ranges) != 0 {
			t.Errorf("%v, %v", ranges, err)
		}
	}
	if got := scanned(t, s, product.Range{Class: product.ObjectIDs}, time.Time{}); len(got) != 0 {
		t.Errorf("%d products", len(got))
	}
	if unsupported, err := s.Unsupported(t.Context()); err != nil || len(unsupported) != 0 {
		t.Errorf("%v, %v", unsupported, err)
	}
}

func TestScanStopsWithItsReader(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	catalogue.Seed(50)
	s := open(t, configOf(catalogue))
	s.page = 10
	pages := 0
	for _, err := range s.Scan(t.Context(), product.Range{Class: product.ObjectIDs}, product.CartFields(), time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		if pages++; pages == 2 {
			break
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	because := errors.New("the run was stopped")
	n := 0
	var last error
	for page, err := range s.Scan(ctx, product.Range{Class: product.ObjectIDs}, product.CartFields(), time.Time{}) {
		if last != nil {
			t.Fatal("the error was not the end")
		}
		n += len(page)
		last = err
		cancel(because)
	}
	if !errors.Is(last, because) || n >= 50 {
		t.Errorf("%d products and %v; a scan that was stopped must not look complete", n, last)
	}
}

func TestCaseA8ScanSince(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	moment := time.Date(2024, 3, 14, 15, 9, 26, 0, time.UTC)
	at := func(seconds int) bson.ObjectID {
		return bson.NewObjectIDFromTimestamp(moment.Add(time.Duration(seconds) * time.Second))
	}
	before, exact, later := at(-1), at(0), at(1)
	byHand := bson.ObjectID{} // as made of a time alone: nothing but zeros follow
	copy(byHand[:4], exact[:4])
	catalogue.Insert(
		// The key's time counts, not createdAt, which may be missing.
		bson.D{{Key: "_id", Value: before}, {Key: "createdAt", Value: moment}}, bson.D{{Key: "_id", Value: byHand}}, bson.D{{Key: "_id", Value: exact}},
		bson.D{{Key: "_id", Value: later}, {Key: "createdAt", Value: moment.Add(-time.Hour)}},
		bson.D{{Key: "_id", Value: "before"}, {Key: "createdAt", Value: moment.Add(-time.Millisecond)}},
		bson.D{{Key: "_id", Value: "exactly"}, {Key: "createdAt", Value: moment}},
		bson.D{{Key: "_id", Value: "later"}, {Key: "createdAt", Value: moment.Add(time.Hour)}},
		bson.D{{Key: "_id", Value: "iso before"}, {Key: "createdAt", Value: "2024-03-14T15:09:25.999Z"}},
		bson.D{{Key: "_id", Value: "iso exactly"}, {Key: "createdAt", Value: "2024-03-14T16:09:26+01:00"}},
		bson.D{{Key: "_id", Value: "ms before"}, {Key: "createdAt", Value: moment.UnixMilli() - 1}},
		bson.D{{Key: "_id", Value: "ms exactly"}, {Key: "createdAt", Value: float64(moment.UnixMilli())}},
		bson.D{{Key: "_id", Value: "timestamp before"}, {Key: "createdAt", Value: bson.Timestamp{T: uint32(moment.Unix() - 1)}}},
		bson.D{{Key: "_id", Value: "unknown"}}, bson.D{{Key: "_id", Value: "unknown array"}, {Key: "createdAt", Value: bson.A{moment.Add(-time.Hour)}}},
		bson.D{{Key: "_id", Value: "unknown null"}, {Key: "createdAt", Value: nil}}, bson.D{{Key: "_id", Value: "unknown text"}, {Key: "createdAt", Value: "yesterday"}},
		bson.D{{Key: "_id", Value: 1}, {Key: "createdAt", Value: moment.Add(-time.Hour)}},
		bson.D{{Key: "_id", Value: 2}, {Key: "createdAt", Value: moment.Add(time.Hour)}},
	)
	hexOf := func(id bson.ObjectID) product.ID { return product.ID(id.Hex()) }
	if n, err := open(t, configOf(catalogue)).CountSince(t.Context(), moment); err != nil || n != 3 {
		t.Errorf("%d products with a key of that time or later, want 3 (%v)", n, err)
	}
	for _, tt := range []struct {
		r     product.Range
		since time.Time
		want  []product.ID
	}{
		{product.Range{Class: product.ObjectIDs}, moment, []product.ID{hexOf(byHand), hexOf(exact), hexOf(later)}},
		{product.Range{Class: product.ObjectIDs}, moment.Add(999 * time.Millisecond), []product.ID{hexOf(byHand), hexOf(exact), hexOf(later)}},
		{product.Range{Class: product.ObjectIDs}, moment.Add(time.Second), []product.ID{hexOf(later)}},
		{product.Range{Class: product.ObjectIDs}, moment.Add(time.Minute), nil},
		{product.Range{Class: product.ObjectIDs}, time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), []product.ID{hexOf(before), hexOf(byHand), hexOf(exact), hexOf(later)}},
		{product.Range{Class: product.ObjectIDs}, time.Unix(0, 0), []product.ID{hexOf(before), hexOf(byHand), hexOf(exact), hexOf(later)}},
		{product.Range{Class: product.ObjectIDs}, time.Date(2155, 1, 1, 0, 0, 0, 0, time.UTC), nil},
		{product.Range{Class: product.ObjectIDs, After: hexOf(exact)}, moment, []product.ID{hexOf(later)}},
		{product.Range{Class: product.ObjectIDs, Through: hexOf(exact)}, moment, []product.ID{hexOf(byHand), hexOf(exact)}},
		{product.Range{Class: product.Strings}, moment, []product.ID{"exactly", "iso exactly", "later", "ms exactly", "unknown", "unknown array", "unknown null", "unknown text"}},
		{product.Range{Class: product.Strings}, moment.Add(time.Microsecond), []product.ID{"exactly", "iso exactly", "later", "ms exactly", "unknown", "unknown array", "unknown null", "unknown text"}},
		{product.Range{Class: product.Strings, After: "ms exactly"}, moment.Add(24 * time.Hour), []product.ID{"unknown", "unknown array", "unknown null", "unknown text"}},
		{product.Range{Class: product.Integers}, moment, []product.ID{"2"}},
	} {
		s := open(t, configOf(catalogue))
		s.page = 1
		if got := idsOf(scanned(t, s, tt.r, tt.since)); !slices.Equal(got, tt.want) {
			t.Errorf("%s since %s: %q, want %q", tt.r, tt.since, got, tt.want)
		}
	}
}

func TestPingExistsAndCounts(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	s := open(t, configOf(catalogue))
	if got, want := s.Name(), catalogue.Database+".products"; got != want {
		t.Errorf("name %q, want %q", got, want)
	}
	if exists, err := s.Exists(t.Context()); err != nil || exists {
		t.Errorf("exists %t, %v; nothing was inserted", exists, err)
	}
	if _, err := s.Ping(t.Context()); err != nil {
		t.Errorf("ping without a collection: %v", err)
	}
	catalogue.Seed(7)
	if exists, err := s.Exists(t.Context()); err != nil || !exists {
		t.Errorf("exists %t, %v", exists, err)
	}
	skew, err := s.Ping(t.Context())
	if err != nil || skew.Abs() > 10*time.Second {
		t.Errorf("skew %s, %v; the server is on this machine", skew, err)
	}
	if n, err := s.Count(t.Context()); err != nil || n != 7 {
		t.Errorf("count %d, %v", n, err)
	}
	if n, err := s.EstimatedCount(t.Context()); err != nil || n < 0 || n > 1_000 {
		t.Errorf("estimate %d, %v", n, err)
	}
}
