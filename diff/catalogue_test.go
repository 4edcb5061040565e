package diff_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv/memoryshop"
)

// longAgo is when most of the catalogues' products were created.
var longAgo = memoryshop.LongAgo

var newProduct = memoryshop.Lamp

func newRow(id product.ID) product.Row {
	return product.Row{ID: id, Values: newProduct(product.Strings, id).Values}
}

// finding is what an oracle or the engine says of one product.
type finding struct {
	kind product.Kind
	id   product.ID
}

type findings map[finding]int // with the number of times it was found

func (f findings) of(kind product.Kind) []product.ID {
	var ids []product.ID
	for _, found := range slices.Collect(maps.Keys(f)) {
		if found.kind == kind {
			ids = append(ids, found.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// differs compares what was found with what there is to find, each product once or more.
func (f findings) differs(want findings) string {
	for _, kind := range product.Kinds() {
		if got, want := f.of(kind), want.of(kind); !slices.Equal(got, want) {
			return fmt.Sprintf("%s: found %q, want %q", kind, got, want)
		}
	}
	return ""
}

// oracle compares the two stores the naive way, as sets.
func (s *stores) oracle(scope diff.Scope) findings {
	want := make(findings)
	rows := make(map[product.ID]product.Row)
	for _, row := range s.Rows {
		rows[row.ID] = row
	}
	in := func(id product.ID) bool { return len(scope.IDs) == 0 || slices.Contains(scope.IDs, id) }
	inSource := make(map[product.ID]bool)
	for _, p := range s.Products {
		inSource[p.ID()] = true
		if !in(p.ID()) || p.Created.Before(scope.Since) {
			continue
		}
		if row, inCart := rows[p.ID()]; !inCart {
			want[finding{product.Missing, p.ID()}]++
		} else if row.Values[product.Title] != p.Values[product.Title] {
			want[finding{product.Stale, p.ID()}]++
		}
	}
	if scope.Since.IsZero() {
		for id := range rows {
			if in(id) && !inSource[id] {
				want[finding{product.Orphaned, id}]++
			}
		}
	}
	return want
}

// eachOrder checks stores that differ at random, with each order of the id column.
func eachOrder(t *testing.T, check func(*rapid.T, *stores)) {
	for _, o := range orders() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { check(t, drawStores(t, o)) })
		})
	}
}

// drawStores makes two stores that differ at random: ids of mixed classes, some
// of them close to each other in one order and far apart in another.
func drawStores(t *rapid.T, o order) *stores {
	s := newStores(o)
	sizes := rapid.SliceOfN(rapid.IntRange(0, 6), 1, 4).Draw(t, "page sizes")
	sizes = append(sizes, rapid.IntRange(1, 9).Draw(t, "last page size"))
	s.pages = sizes
	s.overlap = rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 0, 1, 2}), 1, 4).Draw(t, "products that the cursor repeats")
	s.Held = rapid.IntRange(0, 5).Draw(t, "products that are held at once")
	classes := rapid.SampledFrom([][]product.Class{
		{product.ObjectIDs}, {product.Strings}, {product.UUIDs}, {product.Integers},
		{product.ObjectIDs, product.Strings}, product.Classes(), {},
	}).Draw(t, "classes of the source")
	keys := rapid.SliceOfNDistinct(drawKey(), 0, 30, rapid.ID[product.Key]).Draw(t, "keys")
	state := make(map[product.ID]string)
	for _, k := range keys {
		inSource := slices.Contains(classes, k.Class)
		if _, known := state[k.ID]; !known {
			states := []string{"same", "missing", "stale", "orphaned"}
			switch {
			case !memoryshop.Storable(k.ID):
				states = []string{"missing"}
			case !inSource:
				states = []string{"orphaned"}
			}
			state[k.ID] = rapid.SampledFrom(states).Draw(t, "state")
			if state[k.ID] != "missing" {
				row := newRow(k.ID)
				if state[k.ID] == "stale" {
					row.Values[product.Title] = product.TextValue("Old lamp")
				}
				s.putRows(row)
			}
		}
		if inSource && state[k.ID] != "orphaned" {
			p := newProduct(k.Class, k.ID)
			p.Created = rapid.SampledFrom([]time.Time{{}, longAgo, longAgo.Add(time.Hour)}).Draw(t, "created")
			s.put(p)
		}
	}
	return s
}

// drawKey draws keys of all classes; a string may have the text of another class's key.
func drawKey() *rapid.Generator[product.Key] {
	key := func(class product.Class, pattern string) *rapid.Generator[product.Key] {
		return rapid.Map(rapid.StringMatching(pattern), func(id string) product.Key {
			return product.Key{Class: class, ID: product.ID(id)}
		})
	}
	const hex, uuid = `64b7f0c2a1d3e4f5a6b7c8[a0][0-9a-f]`, `0e02b2c3-58cc-4372-a567-0e02b2c3d4[a0][0-9a-f]`
	integer := rapid.Map(rapid.OneOf(rapid.Int64Range(-12, 12), rapid.Int64()), func(n int64) product.Key {
		return product.Key{Class: product.Integers, ID: product.ID(fmt.Sprint(n))}
	})
	return rapid.OneOf(
		key(product.ObjectIDs, hex), key(product.ObjectIDs, `[0-9a-f]{24}`),
		key(product.UUIDs, uuid), integer,
		key(product.Strings, `[a-cA-C_. äé0-]{0,3}`), key(product.Strings, `[a-zA-Z0-9_-]{1,12}`),
		key(product.Strings, hex), key(product.Strings, uuid), key(product.Strings, `-?[0-9]`),
		rapid.SampledFrom([]product.Key{{Class: product.Strings, ID: "b\x00"}, {Class: product.Strings, ID: "b\xff"}}),
	)
}

// drawRanges covers the keys of every class that the source holds, cut at random.
func (s *stores) drawRanges(t *rapid.T) []product.Range {
	var ranges []product.Range
	for _, class := range product.Classes() {
		var points []product.ID
		held := s.Within(product.Range{Class: class}, time.Time{})
		if len(held) == 0 {
			continue
		}
		for _, p := range held {
			if p.ID() != "" && rapid.IntRange(0, 5).Draw(t, "split") == 0 {
				points = append(points, p.ID())
			}
		}
		r := product.Range{Class: class}
		for _, point := range points {
			r.Through = point
			ranges = append(ranges, r)
			r = product.Range{Class: class, After: point}
		}
		ranges = append(ranges, r)
	}
	return ranges
}
