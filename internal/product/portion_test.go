package product_test

import (
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
)

func TestPortion(t *testing.T) {
	t.Parallel()
	p := product.NewPortion(1000, 4000)
	for _, step := range []struct {
		what            string
		products, bytes int
		want            int
	}{
		{"small ones", 1000, 1000, 1000},
		{"nothing", 0, 0, 1000},
		{"large ones", 100, 40_000, 10},
		{"nothing says nothing", 0, 0, 10},
		{"larger than a portion", 1, 16_000, 1},
		{"small ones again", 1, 1, 2},
		{"it grows by steps", 2, 0, 4},
		{"as far as they fit", 4, 3000, 5},
	} {
		p.Learn(step.products, step.bytes)
		if got := p.Now(); got != step.want {
			t.Errorf("%s: %d products at once, want %d", step.what, got, step.want)
		}
	}
	p.Shrink(3)
	if p.Now() != 3 {
		t.Errorf("shrunk to %d, want 3", p.Now())
	}
	for range 5 {
		p.Shrink(3) // which does not help: fewer
	}
	if p.Now() != 1 {
		t.Errorf("shrunk to %d, want 1", p.Now())
	}
}

func TestBytesCountAllThatIsLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1000)
	p := product.Product{Key: product.Key{ID: product.ID(long)}, Tags: []string{long}}
	p.Values[product.Category] = product.TextValue(long)
	if got := p.Bytes(); got < 3000 || got > 3100 {
		t.Errorf("a product of 3,000 bytes has %d", got)
	}
	row := product.Row{ID: product.ID(long)}
	row.Values[product.Image] = product.TextValue(long)
	if got := row.Bytes(); got != 2000 {
		t.Errorf("a row of 2,000 bytes has %d", got)
	}
}
