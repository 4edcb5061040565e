package product_test

import (
	"slices"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

func TestFieldNamed(t *testing.T) {
	t.Parallel()
	for _, f := range product.CartFields() {
		if got, known := product.FieldNamed(f.String()); !known || got != f {
			t.Errorf("FieldNamed(%q) is %v, %v", f, got, known)
		}
	}
	if f, known := product.FieldNamed("SELLERID"); !known || f != product.SellerID {
		t.Errorf("case matters: %v, %v", f, known)
	}
	for _, name := range []string{"", "id", "category", "tags", "price "} {
		if f, known := product.FieldNamed(name); known {
			t.Errorf("FieldNamed(%q) is %v; the cart has no such field", name, f)
		}
	}
}

func TestEveryFieldHasAName(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for f := range product.NumFields {
		if f.String() == "" || seen[f.String()] {
			t.Errorf("field %d is named %q", f, f.String())
		}
		seen[f.String()] = true
	}
}

// Order events lower the cart's quantity, so it neither proves nor disproves a repair.
func TestProofFieldsAreTheCartsWithoutQuantity(t *testing.T) {
	t.Parallel()
	want := slices.DeleteFunc(product.CartFields(), func(f product.Field) bool { return f == product.Quantity })
	if got := product.ProofFields(); !slices.Equal(got, want) {
		t.Errorf("proof fields %v, want %v", got, want)
	}
}

func TestPausedErrorSaysWhyAndHowLong(t *testing.T) {
	t.Parallel()
	err := &product.PausedError{Reason: "nobody consumes product-created", Waited: 90*time.Second + 400*time.Millisecond}
	if got, want := err.Error(), "paused for 1m30s: nobody consumes product-created"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
