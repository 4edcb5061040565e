package source

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/ecom-micro/etl/internal/product"
)

// Range operators of MongoDB match values of one type bracket only, so every
// scan is of one class and names a bound on each side where the bracket holds
// more than the class (binary data that is no UUID).

// rangeFilter selects the keys of r.
func rangeFilter(r product.Range) (bson.D, error) {
	low, high, err := classBounds(r.Class)
	if err != nil {
		return nil, err
	}
	if r.After != "" {
		key, err := wireKey(product.Key{Class: r.Class, ID: r.After})
		if err != nil {
			return nil, err
		}
		low = bson.E{Key: "$gt", Value: key}
	}
	if r.Through != "" {
		key, err := wireKey(product.Key{Class: r.Class, ID: r.Through})
		if err != nil {
			return nil, err
		}
		high = bson.E{Key: "$lte", Value: key}
	}
	bounds := bson.D{low}
	if high.Key != "" {
		bounds = append(bounds, high)
	}
	return bson.D{{Key: "_id", Value: bounds}}, nil
}

func classBounds(c product.Class) (low, high bson.E, err error) {
	switch c {
	case product.ObjectIDs:
		var last bson.ObjectID
		for i := range last {
			last[i] = 0xff
		}
		return bson.E{Key: "$gte", Value: bson.ObjectID{}}, bson.E{Key: "$lte", Value: last}, nil
	case product.Strings:
		return bson.E{Key: "$gte", Value: ""}, bson.E{}, nil
	case product.UUIDs:
		first, last := make([]byte, 16), make([]byte, 16)
		for i := range last {
			last[i] = 0xff
		}
		return bson.E{Key: "$gte", Value: bson.Binary{Subtype: bson.TypeBinaryUUID, Data: first}},
			bson.E{Key: "$lte", Value: bson.Binary{Subtype: bson.TypeBinaryUUID, Data: last}}, nil
	case product.Integers:
		return bson.E{Key: "$gte", Value: int64(math.MinInt64)}, bson.E{Key: "$lte", Value: int64(math.MaxInt64)}, nil
	}
	return bson.E{}, bson.E{}, fmt.Errorf("unknown class of keys %q", c)
}

// wireKey is a key as the driver sends it.
func wireKey(k product.Key) (any, error) {
	switch k.Class {
	case product.ObjectIDs:
		return bson.ObjectIDFromHex(string(k.ID))
	case product.Strings:
		return string(k.ID), nil
	case product.Integers:
		return strconv.ParseInt(string(k.ID), 10, 64)
	case product.UUIDs:
		data, err := hex.DecodeString(strings.ReplaceAll(string(k.ID), "-", ""))
		return bson.Binary{Subtype: bson.TypeBinaryUUID, Data: data}, err
	}
	return nil, fmt.Errorf("unknown class of keys %q", k.Class)
}

// wireKeys are all the keys that may have one of ids as their canonical text.
func wireKeys(ids []product.ID) (bson.A, error) {
	keys := make(bson.A, 0, 2*len(ids))
	for _, id := range ids {
		for _, k := range product.KeysOf(id) {
			key, err := wireKey(k)
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
	}
	return keys, nil
}
