package source

import (
	"math"
	"reflect"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/ecom-micro/etl/internal/product"
)

// encoded is a document as the server sends it.
func encoded(t *testing.T, document any) bson.Raw {
	t.Helper()
	raw, err := bson.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func decimal(t *testing.T, text string) bson.Decimal128 {
	t.Helper()
	d, err := bson.ParseDecimal128(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var anObjectID = bson.ObjectID{0x65, 0xf2, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0xa7, 0xb8, 0xc9, 0xd0}

func TestDecodeEveryTypeOfEveryField(t *testing.T) {
	t.Parallel()
	number := func(text string) product.Value {
		v, ok := product.ParseNumber(text)
		if !ok {
			t.Fatalf("%q is no number", text)
		}
		return v
	}
	types := []struct {
		name  string
		value any
		want  product.Value
	}{
		{"string", "Größe 42\x00", product.TextValue("Größe 42\x00")},
		{"empty string", "", product.TextValue("")},
		{"invalid UTF-8", "\xff", product.TextValue("\xff")},
		{"int", int32(math.MinInt32), product.IntegerValue(math.MinInt32)},
		{"long", int64(math.MaxInt64), product.IntegerValue(math.MaxInt64)},
		{"whole double", 9.0, product.IntegerValue(9)},
		{"negative zero", math.Copysign(0, -1), product.IntegerValue(0)},
		{"double", 9.99, number("9.99")},
		{"big double", 1e20, number("100000000000000000000")},
		{"double NaN", math.NaN(), product.FloatValue(math.NaN())},
		{"double infinity", math.Inf(-1), product.FloatValue(math.Inf(-1))},
		{"whole Decimal128", decimal(t, "9.00"), product.IntegerValue(9)},
		{"Decimal128", decimal(t, "9.990"), number("9.99")},
		{"Decimal128 with an exponent", decimal(t, "1E+3"), product.IntegerValue(1000)},
		{"Decimal128 NaN", decimal(t, "NaN"), product.FloatValue(math.NaN())},
		{"Decimal128 infinity", decimal(t, "-Infinity"), product.FloatValue(math.Inf(-1))},
		{"ObjectId", anObjectID, product.TextValue("65f2a1b2c3d4e5f6a7b8c9d0")},
		{"null", nil, product.NullValue()},
		{"undefined", bson.Undefined{}, product.Value{}},
		{"boolean", true, product.BooleanValue(true)},
		{"date", bson.DateTime(0), product.OtherValue("UTC datetime")},
		{"timestamp", bson.Timestamp{T: 1}, product.OtherValue("timestamp")},
		{"object", bson.D{{Key: "id", Value: "other"}}, product.OtherValue("embedded document")},
		{"array", bson.A{"a"}, product.OtherValue("array")},
		{"binary", bson.Binary{Data: []byte{1}}, product.OtherValue("binary")},
		{"UUID", bson.Binary{Subtype: bson.TypeBinaryUUID, Data: make([]byte, 16)}, product.OtherValue("binary")},
		{"regex", bson.Regex{Pattern: "a"}, product.OtherValue("regex")},
		{"symbol", bson.Symbol("a"), product.OtherValue("symbol")},
		{"code", bson.JavaScript("a"), product.OtherValue("javascript")},
		{"code with scope", bson.CodeWithScope{Code: "a", Scope: bson.D{}}, product.OtherValue("code with scope")},
		{"pointer", bson.DBPointer{DB: "a", Pointer: anObjectID}, product.OtherValue("dbPointer")},
		{"min key", bson.MinKey{}, product.OtherValue("min key")},
		{"max key", bson.MaxKey{}, product.OtherValue("max key")},
	}
	for field := range product.NumFields {
		t.Run(field.String(), func(t *testing.T) {
			t.Parallel()
			for _, tt := range types {
				document := encoded(t, bson.D{
					{Key: "__v", Value: tt.value}, // a field that products do not have here is passed over
					{Key: "_id", Value: anObjectID},
					{Key: field.String(), Value: tt.value},
				})
				var p product.Product
				if ok, err := decode(document, &p); !ok || err != nil {
					t.Fatalf("%s: decoded %t, %v", tt.name, ok, err)
				}
				for other := range product.NumFields {
					want := product.Value{}
					if other == field {
						want = tt.want
					}
					if p.Values[other] != want {
						t.Errorf("%s: %s is %v, want %v", tt.name, other, p.Values[other], want)
					}
				}
			}
		})
	}
}

func TestDecodeID(t *testing.T) {
	t.Parallel()
	uuid := bson.Binary{Subtype: bson.TypeBinaryUUID, Data: []byte{0xc0, 0xff, 0xee, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0xff}}
	for _, tt := range []struct {
		id   any
		want product.Key
	}{
		{anObjectID, product.Key{Class: product.ObjectIDs, ID: "65f2a1b2c3d4e5f6a7b8c9d0"}},
		{"65f2a1b2c3d4e5f6a7b8c9d0", product.Key{Class: product.Strings, ID: "65f2a1b2c3d4e5f6a7b8c9d0"}},
		{"", product.Key{Class: product.Strings}},
		{uuid, product.Key{Class: product.UUIDs, ID: "c0ffee00-0102-0304-0506-0708090a0bff"}},
		{int32(-7), product.Key{Class: product.Integers, ID: "-7"}},
		{int64(math.MinInt64), product.Key{Class: product.Integers, ID: "-9223372036854775808"}},
		// Unsupported, so without a key:
		{7.0, product.Key{}},
		{decimal(t, "7"), product.Key{}},
		{true, product.Key{}},
		{bson.DateTime(0), product.Key{}},
		{bson.D{{Key: "sku", Value: "a"}}, product.Key{}},
		{bson.Binary{Subtype: bson.TypeBinaryUUID, Data: []byte{1, 2, 3}}, product.Key{}},
		{bson.Binary{Subtype: bson.TypeBinaryUUIDOld, Data: make([]byte, 16)}, product.Key{}},
		{bson.Binary{Data: make([]byte, 16)}, product.Key{}},
		{nil, product.Key{}},
	} {
		var p product.Product
		ok, err := decode(encoded(t, bson.D{{Key: "title", Value: "a"}, {Key: "_id", Value: tt.id}}), &p)
		if err != nil {
			t.Fatalf("%v: %v", tt.id, err)
		}
		if supported := tt.want.Class != ""; ok != supported || p.Key != tt.want {
			t.Errorf("_id %v (%T): key %+v, supported %t; want %+v", tt.id, tt.id, p.Key, ok, tt.want)
		}
	}
	var p product.Product
	if ok, err := decode(encoded(t, bson.D{{Key: "title", Value: "a"}}), &p); ok || err != nil {
		t.Errorf("a document without _id: supported %t, %v", ok, err)
	}
}

func TestDecodeTagsAndTimes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		tags any
		want []string
	}{
		{bson.A{"a", "", "ü"}, []string{"a", "", "ü"}},
		{bson.A{"a", 1, nil, bson.D{}, "b"}, []string{"a", "b"}},
		{bson.A{}, nil},
		{"a", nil},
		{nil, nil},
		{bson.D{{Key: "0", Value: "a"}}, nil},
	} {
		var p product.Product
		if _, err := decode(encoded(t, bson.D{{Key: "tags", Value: tt.tags}}), &p); err != nil || !reflect.DeepEqual(p.Tags, tt.want) {
			t.Errorf("tags %v are %q, %v; want %q", tt.tags, p.Tags, err, tt.want)
		}
	}

	created, updated := time.UnixMilli(1_700_000_000_123), time.UnixMilli(-5)
	var p product.Product
	document := encoded(t, bson.D{{Key: "createdAt", Value: created}, {Key: "updatedAt", Value: updated}})
	if _, err := decode(document, &p); err != nil || !p.Created.Equal(created) || !p.Updated.Equal(updated) {
		t.Errorf("created %s, updated %s, %v", p.Created, p.Updated, err)
	}
	for _, odd := range []any{"2024-01-01T00:00:00Z", int64(1_700_000_000_123), nil, bson.Timestamp{T: 1}} {
		p = product.Product{}
		if _, err := decode(encoded(t, bson.D{{Key: "createdAt", Value: odd}}), &p); err != nil || !p.Created.IsZero() {
			t.Errorf("createdAt %v (%T) is %s, %v; want none", odd, odd, p.Created, err)
		}
	}
}

// A document of which a part was lost must be an error, never a product without
// the fields that were lost.
func TestDecodeBrokenDocument(t *testing.T) {
	t.Parallel()
	whole := encoded(t, bson.D{{Key: "_id", Value: anObjectID}, {Key: "title", Value: "a title"}, {Key: "price", Value: 7}})
	for n := range len(whole) {
		var p product.Product
		if _, err := decode(whole[:n], &p); err == nil {
			t.Errorf("the first %d of %d bytes count as a whole document", n, len(whole))
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, document := range []bson.D{
		{{Key: "_id", Value: anObjectID}, {Key: "title", Value: "a"}, {Key: "tags", Value: bson.A{"a", 1}}},
		{{Key: "_id", Value: "a"}, {Key: "price", Value: 9.99}, {Key: "createdAt", Value: bson.DateTime(1)}},
		{{Key: "_id", Value: int64(1)}, {Key: "price", Value: bson.NewDecimal128(0x3040000000000000, 99)}, {Key: "image", Value: nil}},
	} {
		raw, err := bson.Marshal(document)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p product.Product
		ok, err := decode(raw, &p)
		if ok && err == nil && p.Key.Class == "" {
			t.Errorf("a product without a key: %x", raw)
		}
	})
}
