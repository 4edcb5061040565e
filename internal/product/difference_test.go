package product_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
)

// Each kind has one rule, which shares nothing with the others that tells them apart.
func TestEachKindHasItsRule(t *testing.T) {
	t.Parallel()
	kinds := []product.Kind{product.Missing, product.Stale, product.Orphaned}
	if !slices.Equal(product.Kinds(), kinds) || len(product.Rules()) != len(kinds) {
		t.Fatalf("kinds %v, %d rules; want %v, the gravest first", product.Kinds(), len(product.Rules()), kinds)
	}
	taken := make(map[string]product.Kind)
	for i := range product.Rules() {
		r := &product.Rules()[i]
		if r.Kind != kinds[i] || r.Kind.Rule() != r {
			t.Errorf("rule %d is of %s, and the rule of that kind is %+v", i, r.Kind, r.Kind.Rule())
		}
		for _, mark := range []string{r.Meaning, r.Queue, r.Event, fmt.Sprintf("in the source %t, in the cart %t", r.InSource, r.InCart)} {
			if other, known := taken[mark]; known || mark == "" {
				t.Errorf("%s and %s share %q", r.Kind, other, mark)
			}
			taken[mark] = r.Kind
		}
	}
}

// A queue is named like its routing key, which says what its events are.
func TestRulesNameTheirEvents(t *testing.T) {
	t.Parallel()
	for _, r := range product.Rules() {
		dashed := strings.ToLower(strings.Replace(r.Event, "Product", "product-", 1))
		if r.Queue != dashed {
			t.Errorf("%s is repaired by %s through queue %s", r.Kind, r.Event, r.Queue)
		}
	}
}

// A row that shall be there is proved by its fields, one that shall not by its absence.
func TestRulesProveWhatTheyRepair(t *testing.T) {
	t.Parallel()
	for _, r := range product.Rules() {
		var want []product.Field
		if r.InSource {
			want = product.ProofFields()
		}
		if !slices.Equal(r.Proof, want) {
			t.Errorf("%s is proved by %v, want %v", r.Kind, r.Proof, want)
		}
	}
}

func TestAnUnknownKindHasNoRule(t *testing.T) {
	t.Parallel()
	for _, kind := range []product.Kind{"", "Missing", "lost"} {
		func() {
			defer func() {
				if said := fmt.Sprint(recover()); said != "there is no kind of difference "+string(kind) {
					t.Errorf("the rule of %q: %s", kind, said)
				}
			}()
			t.Errorf("%q has the rule %+v", kind, kind.Rule())
		}()
	}
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		inSource, inCart bool
		want             product.Kind
	}{
		{false, false, ""}, {true, false, product.Missing}, {false, true, product.Orphaned}, {true, true, ""},
	} {
		if got := product.KindOf(test.inSource, test.inCart); got != test.want {
			t.Errorf("in the source %t, in the cart %t: %q, want %q", test.inSource, test.inCart, got, test.want)
		}
	}
}

func TestFatesThatMayArrive(t *testing.T) {
	t.Parallel()
	for fate, want := range map[product.Fate]bool{product.Untried: false, product.Confirmed: true, product.Unknown: true, product.Nacked: false} {
		if got := fate.MayArrive(); got != want {
			t.Errorf("fate %d may arrive: %t", fate, got)
		}
	}
	if (product.Result{}).Fate != product.Untried {
		t.Error("a result says more than that nothing was tried")
	}
}
