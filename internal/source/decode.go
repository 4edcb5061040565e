package source

import (
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/ecom-micro/etl/internal/product"
)

// decode reads one document. Fields that products do not have are passed over; a
// field of an unexpected type becomes a value that no column can hold. ok is
// false where the _id is of an unsupported type.
func decode(doc bson.Raw, p *product.Product) (ok bool, err error) {
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
			if p.Key, ok = keyOf(v); !ok {
				return false, nil
			}
		case "title":
			p.Values[product.Title] = value(v)
		case "price":
			p.Values[product.Price] = value(v)
		case "image":
			p.Values[product.Image] = value(v)
		case "sellerId":
			p.Values[product.SellerID] = value(v)
		case "quantity":
			p.Values[product.Quantity] = value(v)
		case "category":
			p.Values[product.Category] = value(v)
		case "originalPrice":
			p.Values[product.OriginalPrice] = value(v)
		case "stockQuantity":
			p.Values[product.StockQuantity] = value(v)
		case "tags":
			p.Tags = texts(v)
		case "createdAt":
			p.Created = moment(v)
		case "updatedAt":
			p.Updated = moment(v)
		}
	}
	return ok, nil
}

// keyOf is the canonical key of an _id.
func keyOf(v bsoncore.Value) (product.Key, bool) {
	switch v.Type {
	case bsoncore.TypeObjectID:
		return product.Key{Class: product.ObjectIDs, ID: product.ID(hexText(v.Data[:12]))}, true
	case bsoncore.TypeString:
		return product.Key{Class: product.Strings, ID: product.ID(v.StringValue())}, true
	case bsoncore.TypeInt32:
		return product.Key{Class: product.Integers, ID: product.ID(strconv.FormatInt(int64(v.Int32()), 10))}, true
	case bsoncore.TypeInt64:
		return product.Key{Class: product.Integers, ID: product.ID(strconv.FormatInt(v.Int64(), 10))}, true
	case bsoncore.TypeBinary:
		if subtype, data := v.Binary(); subtype == bson.TypeBinaryUUID && len(data) == 16 {
			h := hexText(data)
			return product.Key{Class: product.UUIDs, ID: product.ID(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:])}, true
		}
	}
	return product.Key{}, false
}

func hexText(data []byte) string {
	var buffer [32]byte
	return string(buffer[:hex.Encode(buffer[:], data)])
}

// value is the canonical form of a field.
func value(v bsoncore.Value) product.Value {
	switch v.Type {
	case bsoncore.TypeString:
		return product.TextValue(v.StringValue())
	case bsoncore.TypeInt32:
		return product.IntegerValue(int64(v.Int32()))
	case bsoncore.TypeInt64:
		return product.IntegerValue(v.Int64())
	case bsoncore.TypeDouble:
		return product.FloatValue(v.Double())
	case bsoncore.TypeObjectID:
		return product.TextValue(hexText(v.Data[:12]))
	case bsoncore.TypeNull:
		return product.NullValue()
	case bsoncore.TypeUndefined:
		return product.Value{}
	case bsoncore.TypeDecimal128:
		high, low := v.Decimal128()
		text := bson.NewDecimal128(high, low).String()
		if n, ok := product.ParseNumber(text); ok {
			return n
		}
		if n, ok := product.ParseNotFinite(text); ok {
			return n
		}
		return product.OtherValue("Decimal128 " + text)
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

func moment(v bsoncore.Value) time.Time {
	if ms, ok := v.DateTimeOK(); ok {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}
