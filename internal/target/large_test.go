package target

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

// withLarge has small rows and then large ones.
func withLarge(t *testing.T, small, large, size int) (*Target, []product.ID) {
	t.Helper()
	db := testenv.Cart(t)
	db.Exec(`INSERT INTO product SELECT lpad(n::text, 4, '0'), 'Lamp', 1, CASE WHEN n < $1 THEN 'small.png' ELSE repeat('x', $2) END, 'seller', 5 FROM generate_series(0, $3::int - 1) n`,
		small, size, small+large)
	var ids []product.ID
	for i := range small + large {
		ids = append(ids, product.ID(fmt.Sprintf("%04d", i)))
	}
	return described(t, db.URL, "public"), ids
}

// A page ends at a number of bytes as well as of rows.
func TestPagesOfLargeRowsAreShort(t *testing.T) {
	t.Parallel()
	const small, large, size = 200, 100, 300_000
	target, want := withLarge(t, small, large, size)
	for _, again := range []bool{false, true} { // once it knows of the size
		var got []product.ID
		pages := 0
		for page, err := range target.Span(t.Context(), "", "", product.CartFields()) {
			page = testenv.KeptRows(page)
			if err != nil {
				t.Fatal(err)
			}
			bytes := 0
			for i := range page {
				got = append(got, page[i].ID)
				bytes += page[i].Bytes()
			}
			if bytes > pageBytes+size {
				t.Errorf("a page of %d rows has %d bytes, want at most %d and one row", len(page), bytes, pageBytes)
			}
			pages++
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d rows, want each of %d once and in order", len(got), len(want))
		}
		if most := large/(pageBytes/size) + 8; pages > most {
			t.Errorf("again %t: %d pages, want at most %d", again, pages, most)
		}
	}
}

func TestFindHoldsNoMoreThanFits(t *testing.T) {
	t.Parallel()
	const large, size = 60, 300_000
	target, ids := withLarge(t, 1, large, size)
	_, err := target.Find(t.Context(), ids)
	var tooLarge *product.TooLargeError
	if !errors.As(err, &tooLarge) || tooLarge.Fits < 1 || tooLarge.Fits > pageBytes/size+2 {
		t.Fatalf("%v, want that they are too large", err)
	}
	if found, err := target.Find(t.Context(), ids[1:tooLarge.Fits]); err != nil || len(found) != tooLarge.Fits-1 {
		t.Errorf("%d of %d that fit are found: %v", len(found), tooLarge.Fits-1, err)
	}
	target.portion = product.NewPortion(pageSize, 1)
	if found, err := target.Find(t.Context(), append(ids[:1:1], "nobody")); err != nil || len(found) != 1 {
		t.Errorf("one alone always fits: %d, %v", len(found), err)
	}
	if present, err := target.Present(t.Context(), append(ids, "nobody", "\x00")); err != nil || len(present) != len(ids) || present["nobody"] {
		t.Errorf("%d of %d are present: %v", len(present), len(ids), err)
	}
}
