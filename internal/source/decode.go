package source

import (
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/text"
)

// decode reads one document. Fields that products do not have are passed over; a
// field of an unexpected type becomes a value that no column can hold. ok is
// false where the _id is of an unsupported type. Texts are of the slab, which may be nil.
func decode(doc bson.Raw, p *product.Product, slab *text.Slab) (ok bool, err error) {
	length, rest, valid := bsoncore.ReadLength(doc)
	if !valid || int(length) != len(doc) {
		return false, errors.New("broken document: its length is not what it says")
	}
	for len(rest) > 1 {
		var element bsoncore.Element
		if element, rest, valid = bsoncore.ReadElement(rest); !valid {
			return false, errors.New("broken document: its elements cannot be read")
		}
		v := element.Value()
		switch string(element.KeyBytes()) {
		case "_id":
			if p.Key, ok = keyOf(v, slab); !ok {
				return false, nil
			}
		case "title":
			p.Values[product.Title] = value(v, slab)
		case "price":
			p.Values[product.Price] = value(v, slab)
		case "image":
			p.Values[product.Image] = value(v, slab)
		case "sellerId":
			p.Values[product.SellerID] = value(v, slab)
		case "quantity":
			p.Values[product.Quantity] = value(v, slab)
		case "category":
			p.Values[product.Category] = value(v, slab)
		case "originalPrice":
			p.Values[product.OriginalPrice] = value(v, slab)
		case "stockQuantity":
			p.Values[product.StockQuantity] = value(v, slab)
		case "tags":
			p.Tags = texts(v)
		case "createdAt":
			p.Created = moment(v)
		case "updatedAt":
			p.Updated = moment(v)
		}
	}
	for _, d := range modelDefaults {
		if p.Values[d.field].Kind() == product.Absent {
			p.Values[d.field] = d.value
		}
	}
	return ok, nil
}

// modelDefaults are what the Product Service's own model reads where a document lacks a
// field, and so what its events carry: documents may be older than the fields. A null is
// no lack.
var modelDefaults = []struct {
	field product.Field
	value product.Value
}{
	{product.Quantity, product.IntegerValue(5)},
	{product.Category, product.TextValue("other")},
}

// keyOf is the canonical key of an _id.
func keyOf(v bsoncore.Value, slab *text.Slab) (product.Key, bool) {
	switch v.Type {
	case bsoncore.TypeObjectID:
		return product.Key{Class: product.ObjectIDs, ID: product.ID(hexText(v.Data[:12], slab))}, true
	case bsoncore.TypeString:
		return product.Key{Class: product.Strings, ID: product.ID(slab.Text(textBytes(v)))}, true
	case bsoncore.TypeInt32, bsoncore.TypeInt64, bsoncore.TypeDouble, bsoncore.TypeDecimal128:
		// MongoDB takes 7 and 7.0 for one key, whatever types they are of.
		if n, whole := value(v, nil).Int(); whole {
			return product.Key{Class: product.Integers, ID: product.ID(strconv.FormatInt(n, 10))}, true
		}
	case bsoncore.TypeBinary:
		if subtype, data := v.Binary(); subtype == bson.TypeBinaryUUID && len(data) == 16 {
			h := hexText(data, nil)
			return product.Key{Class: product.UUIDs, ID: product.ID(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:])}, true
		}
	}
	return product.Key{}, false
}

func hexText(data []byte, slab *text.Slab) string {
	var buffer [32]byte
	return slab.Text(buffer[:hex.Encode(buffer[:], data)])
}

// textBytes are those of a string, which has its length before it and a NUL behind.
func textBytes(v bsoncore.Value) []byte {
	if len(v.Data) < 5 {
		return nil
	}
	return v.Data[4 : len(v.Data)-1]
}

// value is the canonical form of a field.
func value(v bsoncore.Value, slab *text.Slab) product.Value {
	switch v.Type {
	case bsoncore.TypeString:
		return product.TextValue(slab.Text(textBytes(v)))
	case bsoncore.TypeInt32:
		return product.IntegerValue(int64(v.Int32()))
	case bsoncore.TypeInt64:
		return product.IntegerValue(v.Int64())
	case bsoncore.TypeDouble:
		return product.FloatValue(v.Double())
	case bsoncore.TypeObjectID:
		return product.TextValue(hexText(v.Data[:12], slab))
	case bsoncore.TypeNull:
		return product.NullValue()
	case bsoncore.TypeUndefined:
		return product.Value{}
	case bsoncore.TypeDecimal128:
		high, low := v.Decimal128()
		digits := bson.NewDecimal128(high, low).String()
		if n, ok := product.ParseNumber(digits); ok {
			return n
		}
		if n, ok := product.ParseNotFinite(digits); ok {
			return n
		}
		return product.OtherValue("Decimal128 " + digits)
	case bsoncore.TypeBoolean:
		return product.BooleanValue(v.Boolean())
	default:
		return product.OtherValue(v.Type.String())
	}
}

// texts are the strings of an array; Mongoose keeps nothing else in tags.
func texts(v bsoncore.Value) []string {
	array, ok := v.ArrayOK()
	if !ok {
		return nil
	}
	values, err := array.Values()
	if err != nil {
		return nil
	}
	var list []string
	for _, v := range values {
		if s, ok := v.StringValueOK(); ok {
			list = append(list, s)
		}
	}
	return list
}

// moment is the time that a field holds, zero where it holds none that can be told for
// certain: a text without a zone, or without a time of day, is off by hours.
func moment(v bsoncore.Value) time.Time {
	var t time.Time
	switch v.Type {
	case bsoncore.TypeDateTime:
		t = time.UnixMilli(v.DateTime())
	case bsoncore.TypeTimestamp:
		seconds, _ := v.Timestamp()
		t = time.Unix(int64(seconds), 0)
	case bsoncore.TypeString:
		t = written(v.StringValue())
	case bsoncore.TypeInt32, bsoncore.TypeInt64, bsoncore.TypeDouble, bsoncore.TypeDecimal128:
		t = counted(value(v, nil))
	}
	if year := t.UTC().Year(); year < 1 || year > 9999 { // which JSON cannot say
		return time.Time{}
	}
	return t
}

// written reads ISO 8601 text with a zone.
func written(moment string) time.Time {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05Z0700"} {
		if t, err := time.Parse(layout, moment); err == nil {
			return t
		}
	}
	return time.Time{}
}

// longestSeconds separates seconds from milliseconds since 1970: as the former it is in
// the year 5138, as the latter in 1973.
const longestSeconds = 1e11

// counted reads a number of seconds or milliseconds since 1970.
func counted(v product.Value) time.Time {
	n, err := strconv.ParseFloat(v.String(), 64)
	switch {
	case err != nil, n <= 0, n > 1e15: // nothing is as old, or as young
		return time.Time{}
	case n < longestSeconds:
		n *= 1000
	}
	return time.UnixMilli(int64(n))
}
