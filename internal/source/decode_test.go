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
				if ok, err := decode(document, &p, nil); !ok || err != nil {
					t.Fatalf("%s: decoded %t, %v", tt.name, ok, err)
				}
				for other := range product.NumFields {
					want := product.Value{}
					if other == field {
						want = tt.want
					}
					if want.Kind() == product.Absent {
						want = map[product.Field]product.Value{product.Quantity: product.IntegerValue(5), product.Category: product.TextValue("other")}[other]
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
		{7.0, product.Key{Class: product.Integers, ID: "7"}},
		{-1e15, product.Key{Class: product.Integers, ID: "-1000000000000000"}},
		{math.Copysign(0, -1), product.Key{Class: product.Integers, ID: "0"}}, // one key with 0, as the server has it
		{-math.Ldexp(1, 63), product.Key{Class: product.Integers, ID: "-9223372036854775808"}},
		{decimal(t, "7"), product.Key{Class: product.Integers, ID: "7"}},
		{decimal(t, "7.00"), product.Key{Class: product.Integers, ID: "7"}},
		{decimal(t, "-0E+3"), product.Key{Class: product.Integers, ID: "0"}},
		{decimal(t, "1E+3"), product.Key{Class: product.Integers, ID: "1000"}},
		{decimal(t, "9223372036854775807"), product.Key{Class: product.Integers, ID: "9223372036854775807"}},
		// Unsupported, so without a key:
		{1.5, product.Key{}},
		{math.NaN(), product.Key{}},
		{math.Inf(1), product.Key{}},
		{math.Ldexp(1, 63), product.Key{}},
		{1e300, product.Key{}},
		{decimal(t, "7.5"), product.Key{}},
		{decimal(t, "9223372036854775808"), product.Key{}},
		{decimal(t, "1E+6000"), product.Key{}},
		{decimal(t, "Infinity"), product.Key{}},
		{decimal(t, "NaN"), product.Key{}},
		{true, product.Key{}},
		{bson.DateTime(0), product.Key{}},
		{bson.D{{Key: "sku", Value: "a"}}, product.Key{}},
		{bson.Binary{Subtype: bson.TypeBinaryUUID, Data: []byte{1, 2, 3}}, product.Key{}},
		{bson.Binary{Subtype: bson.TypeBinaryUUIDOld, Data: make([]byte, 16)}, product.Key{}},
		{bson.Binary{Data: make([]byte, 16)}, product.Key{}},
		{nil, product.Key{}},
	} {
		var p product.Product
		ok, err := decode(encoded(t, bson.D{{Key: "title", Value: "a"}, {Key: "_id", Value: tt.id}}), &p, nil)
		if err != nil {
			t.Fatalf("%v: %v", tt.id, err)
		}
		if supported := tt.want.Class != ""; ok != supported || p.Key != tt.want {
			t.Errorf("_id %v (%T): key %+v, supported %t; want %+v", tt.id, tt.id, p.Key, ok, tt.want)
		}
	}
	var p product.Product
	if ok, err := decode(encoded(t, bson.D{{Key: "title", Value: "a"}}), &p, nil); ok || err != nil {
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
		if _, err := decode(encoded(t, bson.D{{Key: "tags", Value: tt.tags}}), &p, nil); err != nil || !reflect.DeepEqual(p.Tags, tt.want) {
			t.Errorf("tags %v are %q, %v; want %q", tt.tags, p.Tags, err, tt.want)
		}
	}

	created, updated := time.UnixMilli(1_700_000_000_123), time.UnixMilli(-5)
	var p product.Product
	document := encoded(t, bson.D{{Key: "createdAt", Value: created}, {Key: "updatedAt", Value: updated}})
	if _, err := decode(document, &p, nil); err != nil || !p.Created.Equal(created) || !p.Updated.Equal(updated) {
		t.Errorf("created %s, updated %s, %v", p.Created, p.Updated, err)
	}
}

// A time is read whatever type it was stored with, and is none where it can only be guessed.
func TestCaseA8TimesOfEveryType(t *testing.T) {
	t.Parallel()
	want := time.UnixMilli(1_700_000_000_000)
	for _, readable := range []any{
		want, bson.Timestamp{T: 1_700_000_000, I: 7}, int64(1_700_000_000_000), 1.7e12, decimal(t, "1700000000000"), int32(1_700_000_000), int64(1_700_000_000), 1.7e9,
		"2023-11-14T22:13:20Z", "2023-11-14T22:13:20.000Z", "2023-11-14T23:13:20.000000+01:00", "2023-11-14T17:13:20-0500", "2023-11-14 22:13:20Z", "2023-11-14 22:13:20.000+0000",
	} {
		for _, field := range []string{"createdAt", "updatedAt"} {
			var p product.Product
			_, err := decode(encoded(t, bson.D{{Key: field, Value: readable}}), &p, nil)
			if got := map[string]time.Time{"createdAt": p.Created, "updatedAt": p.Updated}[field]; err != nil || !got.Equal(want) {
				t.Errorf("%s %v (%T) is %s, %v; want %s", field, readable, readable, got, err, want)
			}
		}
	}
	for _, unreadable := range []any{
		nil, bson.Undefined{}, "", "yesterday", "2023-11-14", "2023-11-14T22:13:20", "1700000000000", "Tue Nov 14 2023 22:13:20 GMT+0000 (Coordinated Universal Time)",
		0, -1, math.NaN(), math.Inf(1), 1e300, decimal(t, "NaN"), int64(math.MaxInt64), bson.DateTime(math.MaxInt64), bson.DateTime(math.MinInt64), "9999-12-31T23:59:59-12:00",
		true, bson.A{want}, bson.D{{Key: "$date", Value: "2023-11-14T22:13:20Z"}}, anObjectID,
	} {
		var p product.Product
		if _, err := decode(encoded(t, bson.D{{Key: "createdAt", Value: unreadable}}), &p, nil); err != nil || !p.Created.IsZero() {
			t.Errorf("createdAt %v (%T) is %s, %v; want none", unreadable, unreadable, p.Created, err)
		}
	}
}

// What a document older than the fields lacks is what the Product Service's model reads
// there; a null is what it says.
func TestCaseA13DefaultsOfTheModel(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fields             bson.D
		quantity, category product.Value
	}{
		{nil, product.IntegerValue(5), product.TextValue("other")},
		{bson.D{{Key: "quantity", Value: bson.Undefined{}}, {Key: "category", Value: bson.Undefined{}}}, product.IntegerValue(5), product.TextValue("other")},
		{bson.D{{Key: "quantity", Value: nil}, {Key: "category", Value: nil}}, product.NullValue(), product.NullValue()},
		{bson.D{{Key: "quantity", Value: 0}, {Key: "category", Value: ""}}, product.IntegerValue(0), product.TextValue("")},
		{bson.D{{Key: "quantity", Value: 7.0}, {Key: "category", Value: "lamps"}}, product.IntegerValue(7), product.TextValue("lamps")},
	} {
		var p product.Product
		if _, err := decode(encoded(t, append(bson.D{{Key: "_id", Value: anObjectID}}, tt.fields...)), &p, nil); err != nil {
			t.Fatal(err)
		}
		if p.Values[product.Quantity] != tt.quantity || p.Values[product.Category] != tt.category || p.Tags != nil {
			t.Errorf("%v is read as quantity %v, category %v, tags %q", tt.fields, p.Values[product.Quantity], p.Values[product.Category], p.Tags)
		}
		for _, required := range []product.Field{product.Title, product.Price, product.Image, product.SellerID, product.OriginalPrice, product.StockQuantity} {
			if p.Values[required].Kind() != product.Absent { // the model has no default for these
				t.Errorf("%s is %v", required, p.Values[required])
			}
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
		if _, err := decode(whole[:n], &p, nil); err == nil {
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
		ok, err := decode(raw, &p, nil)
		if ok && err == nil && p.Key.Class == "" {
			t.Errorf("a product without a key: %x", raw)
		}
	})
}
