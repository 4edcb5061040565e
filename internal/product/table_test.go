package product_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/product"
)

// cartTable is the cart's product table as TypeORM makes it.
func cartTable() *product.Table {
	table := &product.Table{Name: "public.product", HexOrdered: true}
	column := func(name string) product.Column {
		return product.Column{Name: name, Type: product.TextColumn, TypeName: "character varying"}
	}
	table.ID = column("id")
	for _, f := range product.CartFields() {
		table.Fields[f] = column(f.String())
	}
	for _, f := range []product.Field{product.Price, product.Quantity} {
		table.Fields[f] = product.Column{Name: f.String(), Type: product.IntegerColumn, TypeName: "integer", Bits: 32}
	}
	return table
}

func lamp() *product.Product {
	p := &product.Product{Key: product.Key{Class: product.ObjectIDs, ID: "64b7f0c2a1d3e4f5a6b7c8d9"}}
	p.Values[product.Title] = product.TextValue("Lamp")
	p.Values[product.Price] = product.FloatValue(777.0)
	p.Values[product.Image] = product.TextValue("https://images.example/lamp.png")
	p.Values[product.SellerID] = product.TextValue("64b7f0c2a1d3e4f5a6b7c8d0")
	p.Values[product.Quantity] = product.TextValue("5")
	p.Values[product.Category] = product.OtherValue("array") // the cart does not keep it
	return p
}

func TestTableFitGivesTheRowToStore(t *testing.T) {
	t.Parallel()
	p := lamp()
	row, err := cartTable().Fit(p)
	if err != nil {
		t.Fatal(err)
	}
	want := product.Row{ID: p.ID()}
	want.Values[product.Title] = product.TextValue("Lamp")
	want.Values[product.Price] = product.IntegerValue(777)
	want.Values[product.Image] = product.TextValue("https://images.example/lamp.png")
	want.Values[product.SellerID] = product.TextValue("64b7f0c2a1d3e4f5a6b7c8d0")
	want.Values[product.Quantity] = product.IntegerValue(5)
	if row != want {
		t.Errorf("row %v, want %v", row, want)
	}
}

func TestTableFitNamesTheColumnThatDoesNotFit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*product.Product, *product.Table)
		column string
		reason string
	}{
		{"two documents with one id", func(p *product.Product, _ *product.Table) { p.Ambiguous = true }, "id", "ambiguous id"},
		{"an empty id", func(p *product.Product, _ *product.Table) { p.Key.ID = "" }, "id", "the id is empty"},
		{"an id that no index holds", func(p *product.Product, _ *product.Table) { p.Key.ID = product.ID(strings.Repeat("x", 2601)) }, "id", "2601 bytes"},
		{"an ambiguous empty id", func(p *product.Product, _ *product.Table) { p.Key.ID, p.Ambiguous = "", true }, "id", "id"},
		{"a NUL in the id", func(p *product.Product, _ *product.Table) { p.Key.ID = "a\x00b" }, "id", "NUL"},
		{"an id that is no text", func(p *product.Product, _ *product.Table) { p.Key.ID = "a\xffb" }, "id", "not valid UTF-8"},
		{"an id longer than its column", func(_ *product.Product, table *product.Table) { table.ID.MaxLength = 23 }, "id", "has 24 characters"},
		{"a price with cents", func(p *product.Product, _ *product.Table) { p.Values[product.Price] = product.FloatValue(9.99) }, "price", "9.99 has a fraction"},
		{"a price beyond the column", func(p *product.Product, _ *product.Table) { p.Values[product.Price] = product.FloatValue(3e9) }, "price", "3000000000 is out of range"},
		{"no image", func(p *product.Product, _ *product.Table) { p.Values[product.Image] = product.Value{} }, "image", "is missing in the source"},
		{"image null", func(p *product.Product, _ *product.Table) { p.Values[product.Image] = product.NullValue() }, "image", "is null in the source"},
		{"no seller", func(p *product.Product, _ *product.Table) { p.Values[product.SellerID] = product.Value{} }, "sellerId", "is missing in the source"},
		{"a NUL in the title", func(p *product.Product, _ *product.Table) { p.Values[product.Title] = product.TextValue("La\x00mp") }, "title", "NUL"},
		{"a quantity that is an object", func(p *product.Product, _ *product.Table) {
			p.Values[product.Quantity] = product.OtherValue("embedded document")
		}, "quantity", "embedded document"},
		{"a column of another name", func(p *product.Product, table *product.Table) {
			table.Fields[product.Price].Name = "Preis"
			p.Values[product.Price] = product.NullValue()
		}, "Preis", "is null in the source"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, table := lamp(), cartTable()
			test.change(p, table)
			row, err := table.Fit(p)
			var misfit *product.Misfit
			if !errors.As(err, &misfit) {
				t.Fatalf("Fit is %v, %v; want a misfit", row, err)
			}
			if row != (product.Row{}) {
				t.Errorf("a product that does not fit comes with the row %v", row)
			}
			if misfit.Column != test.column || !strings.Contains(misfit.Reason, test.reason) {
				t.Errorf("misfit %q, want column %q and a reason with %q", misfit, test.column, test.reason)
			}
			if !strings.HasPrefix(misfit.Error(), test.column+": ") {
				t.Errorf("the message %q does not begin with its column", misfit)
			}
			checkReadable(t, misfit.Error())
		})
	}
}

func TestDiffering(t *testing.T) {
	t.Parallel()
	nullable := func(table *product.Table) { table.Fields[product.Image].Nullable = true }
	withDefault := func(table *product.Table) { table.Fields[product.Image].HasDefault = true }
	tests := []struct {
		name   string
		table  func(*product.Table)
		source func(*product.Product)
		row    func(*product.Row)
		want   []product.Field
	}{
		{name: "nothing differs, though the price is a double and the quantity a text"},
		{name: "the price", row: func(r *product.Row) { r.Values[product.Price] = product.IntegerValue(778) }, want: []product.Field{product.Price}},
		{name: "fields in the order asked for", row: func(r *product.Row) {
			r.Values[product.SellerID], r.Values[product.Title] = product.TextValue("x"), product.TextValue("y")
		}, want: []product.Field{product.Title, product.SellerID}},
		{name: "texts by code points", source: func(p *product.Product) { p.Values[product.Title] = product.TextValue("e\u0301") },
			row: func(r *product.Row) { r.Values[product.Title] = product.TextValue("\u00e9") }, want: []product.Field{product.Title}},
		{name: "texts by case", row: func(r *product.Row) { r.Values[product.Title] = product.TextValue("LAMP") }, want: []product.Field{product.Title}},
		{name: "the quantity is not asked for", row: func(r *product.Row) { r.Values[product.Quantity] = product.IntegerValue(1) }},
		{name: "a number that the title column holds as text", source: func(p *product.Product) { p.Values[product.Title] = product.IntegerValue(7) },
			row: func(r *product.Row) { r.Values[product.Title] = product.TextValue("7") }},
		{name: "what does not fit differs from what is there", source: func(p *product.Product) { p.Values[product.Price] = product.FloatValue(9.99) },
			row: func(r *product.Row) { r.Values[product.Price] = product.IntegerValue(9) }, want: []product.Field{product.Price}},
		{name: "absent in the source, something in the cart", source: func(p *product.Product) { p.Values[product.Image] = product.Value{} }, want: []product.Field{product.Image}},
		{name: "absent in the source, null in the cart", table: nullable, source: func(p *product.Product) { p.Values[product.Image] = product.Value{} },
			row: func(r *product.Row) { r.Values[product.Image] = product.NullValue() }},
		{name: "absent in the source, the column's default in the cart", table: withDefault, source: func(p *product.Product) { p.Values[product.Image] = product.Value{} }},
		{name: "null in the source, null in the cart", table: nullable, source: func(p *product.Product) { p.Values[product.Image] = product.NullValue() },
			row: func(r *product.Row) { r.Values[product.Image] = product.NullValue() }},
		{name: "null in the source, something in the cart", table: nullable, source: func(p *product.Product) { p.Values[product.Image] = product.NullValue() }, want: []product.Field{product.Image}},
		{name: "something in the source, null in the cart", table: nullable, row: func(r *product.Row) { r.Values[product.Image] = product.NullValue() }, want: []product.Field{product.Image}},
		{name: "NaN on both sides", source: func(p *product.Product) { p.Values[product.Title] = product.FloatValue(math.NaN()) },
			row: func(r *product.Row) { r.Values[product.Title] = product.FloatValue(math.NaN()) }},
		{name: "the empty text is not null", table: nullable, source: func(p *product.Product) { p.Values[product.Image] = product.TextValue("") },
			row: func(r *product.Row) { r.Values[product.Image] = product.NullValue() }, want: []product.Field{product.Image}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, table := lamp(), cartTable()
			row, err := table.Fit(p)
			if err != nil {
				t.Fatal(err)
			}
			if test.table != nil {
				test.table(table)
			}
			if test.source != nil {
				test.source(p)
			}
			if test.row != nil {
				test.row(&row)
			}
			if got := table.Differing(p, &row, product.ProofFields()); !slices.Equal(got, test.want) {
				t.Errorf("differing fields %v, want %v", got, test.want)
			}
		})
	}
}

// The row that fits is the row that does not differ: otherwise a repair could
// never be verified.
func TestWhatFitsDoesNotDiffer(t *testing.T) {
	t.Parallel()
	value := rapid.OneOf(
		rapid.Map(rapid.Int64(), product.IntegerValue),
		rapid.Map(rapid.Float64(), product.FloatValue),
		rapid.Map(rapid.String(), product.TextValue),
		rapid.Map(rapid.StringMatching(`-?[0-9]{1,12}(\.[0-9]{1,3}0*)?(e[0-9])?`), product.TextValue),
		rapid.Just(product.NullValue()), rapid.Just(product.Value{}), rapid.Just(product.OtherValue("array")),
	)
	rapid.Check(t, func(t *rapid.T) {
		p, table := lamp(), cartTable()
		for _, f := range product.CartFields() {
			if rapid.Bool().Draw(t, "change "+f.String()) {
				p.Values[f] = value.Draw(t, f.String())
			}
			c := rapid.SampledFrom([]product.Column{integerColumn(32, "integer"), integerColumn(64, "bigint"), numericColumn(0, 0), numericColumn(9, 2), floatColumn(32), floatColumn(64), textColumn(0), textColumn(10)}).Draw(t, "column")
			c.Name, c.Nullable, c.HasDefault = f.String(), rapid.Bool().Draw(t, "nullable"), rapid.Bool().Draw(t, "default")
			table.Fields[f] = c
		}
		row, err := table.Fit(p)
		if err != nil {
			return
		}
		if differing := table.Differing(p, &row, product.CartFields()); len(differing) > 0 {
			t.Fatalf("%v and the row that fits it, %v, differ in %v", p.Values, row.Values, differing)
		}
	})
}
