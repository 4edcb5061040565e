package testenv_test

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

func TestCartHoldsWhatItIsFilledWith(t *testing.T) {
	t.Parallel()
	cart := testenv.Cart(t)
	products := platform.Assortment{Seed: 1, N: 5_000}
	cart.Fill(products.Where(func(i int) bool { return i != 17 }))
	if n := cart.Count(); n != products.N-1 {
		t.Errorf("%d rows, want %d", n, products.N-1)
	}
	if row, ok := cart.Row(products.Key(17)); ok {
		t.Errorf("product 17 is there: %+v", row)
	}
	if row, ok := cart.Row(products.Key(18)); !ok || row != testenv.RowOf(products.Product(18)) {
		t.Errorf("product 18 is %+v, %t", row, ok)
	}
	ids := make([]string, 0, cart.Count())
	for _, row := range cart.Rows() {
		ids = append(ids, row.ID)
	}
	if !slices.IsSorted(ids) || len(ids) != products.N-1 {
		t.Errorf("%d rows were read, sorted %t", len(ids), slices.IsSorted(ids))
	}
}

func TestCartKeepsReferencedProducts(t *testing.T) {
	t.Parallel()
	cart := testenv.Cart(t)
	cart.Insert(testenv.Row{ID: "held", Title: "t", Image: "i", SellerID: "s"})
	cart.Hold("held")
	if _, err := cart.Pool.Exec(t.Context(), "DELETE FROM product"); err == nil {
		t.Error("a product in somebody's cart was deleted")
	}
}

func TestCartMayBeCollated(t *testing.T) {
	t.Parallel()
	inOrder := func(opts ...testenv.CartOption) []string {
		cart := testenv.Cart(t, opts...)
		for _, id := range []string{"a", "B", "c"} {
			cart.Insert(testenv.Row{ID: id})
		}
		rows, err := cart.Pool.Query(t.Context(), "SELECT id FROM product ORDER BY id")
		if err != nil {
			t.Fatal(err)
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	for collation, want := range map[string][]string{
		"C":          {"B", "a", "c"},
		"en_US.utf8": {"a", "B", "c"},
	} {
		if got := inOrder(testenv.Collated(collation)); !slices.Equal(got, want) {
			t.Errorf("in %s the order is %v, want %v", collation, got, want)
		}
	}
}

func TestCartRoleHasOnlyItsRights(t *testing.T) {
	t.Parallel()
	cart := testenv.Cart(t)
	conn, err := pgx.Connect(t.Context(), cart.Role("SELECT ON product", "INSERT ON cart"))
	if err != nil {
		t.Fatal(err)
	}
	// Left open on purpose: the role and the database are to go all the same.
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	if _, err := conn.Exec(t.Context(), "SELECT * FROM product"); err != nil {
		t.Errorf("reading: %v", err)
	}
	if _, err := conn.Exec(t.Context(), "DELETE FROM product"); err == nil {
		t.Error("deleting was allowed")
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE mine ()"); err == nil {
		t.Error("creating a table was allowed")
	}
}
