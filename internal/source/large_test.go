package source

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

// seedLarge inserts small products and then large ones, and returns their ids in order.
func seedLarge(t *testing.T, small, large, size int) (*Source, []product.ID) {
	t.Helper()
	catalogue := testenv.Products(t)
	var ids []product.ID
	documents := make([]any, 0, small+large)
	for i := range small + large {
		image := "small.png"
		if i >= small {
			image = strings.Repeat("x", size)
		}
		id := fmt.Sprintf("%04d", i)
		ids = append(ids, product.ID(id))
		documents = append(documents, bson.D{{Key: "_id", Value: id}, {Key: "title", Value: "Lamp"}, {Key: "image", Value: image}})
	}
	catalogue.Insert(documents...)
	return open(t, configOf(catalogue)), ids
}

// A page ends at a number of bytes as well as of products, and with small products
// before and behind it is as large as ever.
func TestPagesOfLargeProductsAreShort(t *testing.T) {
	t.Parallel()
	const small, large, size = 200, 60, 300_000
	s, want := seedLarge(t, small, large, size)
	var got []product.ID
	var pages []int
	for page, err := range s.Scan(t.Context(), product.Range{Class: product.Strings}, product.CartFields(), time.Time{}) {
		page = testenv.KeptProducts(page)
		if err != nil {
			t.Fatal(err)
		}
		bytes := 0
		for i := range page {
			got = append(got, page[i].ID())
			bytes += page[i].Bytes()
		}
		if bytes > pageBytes+size {
			t.Errorf("a page of %d products has %d bytes, want at most %d and one product", len(page), bytes, pageBytes)
		}
		pages = append(pages, len(page))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d products, want each of %d once and in order", len(got), len(want))
	}
	if pages[0] < small || len(pages) > large/(pageBytes/size)+2 {
		t.Errorf("pages of %v products, want the small ones in one", pages)
	}
}

// Small products behind large ones are read by full pages again, soon.
func TestPagesGrowAgain(t *testing.T) {
	t.Parallel()
	s := open(t, configOf(testenv.Products(t)))
	s.portion.Learn(1, 16<<20)
	for range 12 {
		s.portion.Learn(s.batch(), 100*s.batch())
	}
	if s.batch() != pageSize {
		t.Errorf("pages of %d products, want %d", s.batch(), pageSize)
	}
}

func TestFindHoldsNoMoreThanFits(t *testing.T) {
	t.Parallel()
	const large, size = 30, 300_000
	s, ids := seedLarge(t, 1, large, size)
	_, err := s.Find(t.Context(), ids)
	var tooLarge *product.TooLargeError
	if !errors.As(err, &tooLarge) || tooLarge.Fits < 1 || tooLarge.Fits > findBytes/size+2 {
		t.Fatalf("%v, want that they are too large", err)
	}
	if found, err := s.Find(t.Context(), ids[1:1+tooLarge.Fits-1]); err != nil || len(found) != tooLarge.Fits-1 {
		t.Errorf("%d of %d that fit are found: %v", len(found), tooLarge.Fits-1, err)
	}
	s.findBytes = 1
	if found, err := s.Find(t.Context(), ids[:1]); err != nil || len(found) != 1 {
		t.Errorf("one alone always fits: %d, %v", len(found), err)
	}
	if present, err := s.Present(t.Context(), append(ids, "nobody")); err != nil || len(present) != len(ids) || present["nobody"] {
		t.Errorf("%d of %d are present: %v", len(present), len(ids), err)
	}
}
