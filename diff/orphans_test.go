package diff_test

import (
	"testing"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
)

func TestHowOrphansAreFound(t *testing.T) {
	t.Parallel()
	const hex = "64b7f0c2a1d3e4f5a6b7c8d9"
	objectIDs := []product.Range{{Class: product.ObjectIDs, Through: hex}, {Class: product.ObjectIDs, After: hex}}
	tests := []struct {
		name  string
		scope diff.Scope
		want  [3]diff.Orphans // for each of orders
	}{
		{"ObjectIds", diff.Scope{Ranges: objectIDs}, [3]diff.Orphans{diff.OrphansJoined, diff.OrphansJoined, diff.OrphansApart}},
		{"strings", diff.Scope{Ranges: []product.Range{{Class: product.Strings, Through: "m"}, {Class: product.Strings, After: "m"}}},
			[3]diff.Orphans{diff.OrphansJoined, diff.OrphansApart, diff.OrphansApart}},
		{"UUIDs", diff.Scope{Ranges: []product.Range{{Class: product.UUIDs}}}, [3]diff.Orphans{diff.OrphansJoined, diff.OrphansApart, diff.OrphansApart}},
		{"integers", diff.Scope{Ranges: []product.Range{{Class: product.Integers}}}, [3]diff.Orphans{diff.OrphansApart, diff.OrphansApart, diff.OrphansApart}},
		{"two classes", diff.Scope{Ranges: append([]product.Range{{Class: product.Strings}}, objectIDs...)},
			[3]diff.Orphans{diff.OrphansApart, diff.OrphansApart, diff.OrphansApart}},
		{"a bound that is no text", diff.Scope{Ranges: []product.Range{{Class: product.Strings, Through: "m\x00"}, {Class: product.Strings, After: "m\x00"}}},
			[3]diff.Orphans{diff.OrphansApart, diff.OrphansApart, diff.OrphansApart}},
		{"an empty source", diff.Scope{}, [3]diff.Orphans{diff.OrphansApart, diff.OrphansApart, diff.OrphansApart}},
		{"named products", diff.Scope{Ranges: objectIDs, IDs: []product.ID{hex}}, [3]diff.Orphans{diff.NoOrphans, diff.NoOrphans, diff.NoOrphans}},
		{"recent products", diff.Scope{Ranges: objectIDs, Since: longAgo}, [3]diff.Orphans{diff.NoOrphans, diff.NoOrphans, diff.NoOrphans}},
	}
	for _, test := range tests {
		for i, o := range orders() {
			if got := newStores(o).finder(10).Orphans(test.scope); got != test.want[i] {
				t.Errorf("%s, %s: %s, want %s", test.name, o.name, got, test.want[i])
			}
		}
	}
}

// A scan that goes on where another one ended sees only the ranges that are left, by
// which it must not decide how orphans are found.
func TestAScanFindsOrphansAsItIsTold(t *testing.T) {
	t.Parallel()
	s := newStores(orders()[0])
	for _, id := range []product.ID{"a", "b", "c"} {
		s.put(newProduct(product.Strings, id))
		s.putRows(newRow(id))
	}
	s.put(newProduct(product.Integers, "1"))
	s.putRows(newRow("1"), newRow("a orphan"), newRow("b orphan"))
	left := []product.Range{{Class: product.Strings, After: "b"}} // finished: the integers, and strings through "b"
	for how, want := range map[diff.Orphans][]product.ID{
		diff.OrphansJoined: {"b orphan"},
		diff.OrphansApart:  {"a orphan", "b orphan"},
		diff.NoOrphans:     nil,
	} {
		found := run(t.Context(), t, s, diff.Config{Compare: compared, Batch: 10}, diff.Scope{Ranges: left, Orphans: how})
		expected := make(findings)
		for _, id := range want {
			expected[finding{product.Orphaned, id}]++
		}
		if different := found.suspected.differs(expected); found.err != nil || different != "" {
			t.Errorf("%s: %s (%v)", how, different, found.err)
		}
		if _, apart := found.ended[1]; apart != (how == diff.OrphansApart) {
			t.Errorf("%s: ended %v", how, found.ended)
		}
	}
}
