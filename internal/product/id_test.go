package product_test

import (
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/product"
)

func TestKeysOf(t *testing.T) {
	t.Parallel()
	const hex, uuid = "64b7f0c2a1d3e4f5a6b7c8d9", "0e02b2c3-58cc-4372-a567-0e02b2c3d479"
	tests := []struct {
		name  string
		id    product.ID
		other []product.Class // besides Strings
	}{
		{"an ObjectId", hex, []product.Class{product.ObjectIDs}},
		{"an ObjectId of digits only", "123456789012345678901234", []product.Class{product.ObjectIDs}},
		{"upper-case hexadecimal", "64B7F0C2A1D3E4F5A6B7C8D9", nil},
		{"23 digits", product.ID(hex[1:]), nil},
		{"25 digits", hex + "0", nil},
		{"24 characters, one not hexadecimal", product.ID(hex[:23] + "g"), nil},
		{"a UUID", uuid, []product.Class{product.UUIDs}},
		{"an upper-case UUID", "0E02B2C3-58CC-4372-A567-0E02B2C3D479", nil},
		{"a UUID without dashes", "0e02b2c358cc4372a5670e02b2c3d479", nil},
		{"a UUID with a dash in another place", "0e02b2c35-8cc-4372-a567-0e02b2c3d479", nil},
		{"a UUID with a dash too many", "0e02b2c3-58cc-4372-a567-0e02b2-3d479", nil},
		{"zero", "0", []product.Class{product.Integers}},
		{"a negative integer", "-42", []product.Class{product.Integers}},
		{"the largest long", "9223372036854775807", []product.Class{product.Integers}},
		{"the smallest long", "-9223372036854775808", []product.Class{product.Integers}},
		{"more than a long", "9223372036854775808", nil},
		{"a plus sign", "+42", nil},
		{"a leading zero", "042", nil},
		{"negative zero", "-0", nil},
		{"an integer and a space", "42 ", nil},
		{"a decimal", "42.0", nil},
		{"the empty text", "", nil},
		{"a word", "Lamp", nil},
		{"36 bytes that are no text", product.ID(string(make([]byte, 36))), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			want := []product.Key{{Class: product.Strings, ID: test.id}}
			for _, class := range test.other {
				want = append(want, product.Key{Class: class, ID: test.id})
			}
			if got := product.KeysOf(test.id); !slices.Equal(got, want) {
				t.Errorf("KeysOf(%q) is %v, want %v", test.id, got, want)
			}
			if got := test.id.IsObjectID(); got != slices.Contains(test.other, product.ObjectIDs) {
				t.Errorf("IsObjectID of %q is %v", test.id, got)
			}
		})
	}
}

// Whatever class a key is of, its text leads back to it.
func TestEveryKeyIsFoundByItsText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.OneOf(
			rapid.Map(rapid.Int64(), func(n int64) product.Key {
				return product.Key{Class: product.Integers, ID: product.ID(strconv.FormatInt(n, 10))}
			}),
			rapid.Map(rapid.String(), func(s string) product.Key { return product.Key{Class: product.Strings, ID: product.ID(s)} }),
			rapid.Map(rapid.StringMatching(`[0-9a-f]{24}`), func(s string) product.Key {
				return product.Key{Class: product.ObjectIDs, ID: product.ID(s)}
			}),
			rapid.Map(rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), func(s string) product.Key {
				return product.Key{Class: product.UUIDs, ID: product.ID(s)}
			}),
		).Draw(t, "key")
		keys := product.KeysOf(key.ID)
		if !slices.Contains(keys, key) {
			t.Fatalf("KeysOf(%q) is %v, without %v", key.ID, keys, key)
		}
		classes := make(map[product.Class]bool)
		for _, k := range keys {
			if k.ID != key.ID || classes[k.Class] || !slices.Contains(product.Classes(), k.Class) {
				t.Fatalf("KeysOf(%q) holds %v", key.ID, k)
			}
			classes[k.Class] = true
		}
	})
}

func TestRangesReadWell(t *testing.T) {
	t.Parallel()
	tests := []struct {
		r    product.Range
		want string
	}{
		{product.Range{Class: product.Integers}, "integer (start..end]"},
		{product.Range{Class: product.Strings, After: "a", Through: "m"}, `string ("a".."m"]`},
		{product.Range{Class: product.UUIDs, Through: "m"}, "uuid (start..m]"},
		{product.Range{Class: product.ObjectIDs, After: "a"}, "objectId (a..end]"},
	}
	for _, test := range tests {
		if got := test.r.String(); got != test.want {
			t.Errorf("%#v reads %q, want %q", test.r, got, test.want)
		}
	}
}
