package repairertest

import (
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

// Database is a Cart in PostgreSQL.
type Database struct {
	*testenv.CartDB
	// Settle, if set, returns when the cart's consumer has nothing left to do.
	Settle func()
}

// Put sets rows.
func (d Database) Put(rows ...product.Row) {
	for _, r := range rows {
		v := &r.Values
		d.Exec(`INSERT INTO product (id, title, price, image, "sellerId", quantity) VALUES ($1, $2, $3::text::integer, $4, $5, $6::text::integer)
			ON CONFLICT (id) DO UPDATE SET title = EXCLUDED.title, price = EXCLUDED.price, image = EXCLUDED.image, "sellerId" = EXCLUDED."sellerId", quantity = EXCLUDED.quantity`,
			string(r.ID), v[product.Title].String(), v[product.Price].String(), v[product.Image].String(), v[product.SellerID].String(), v[product.Quantity].String())
	}
}

// Hold has a customer's cart refer to a row.
func (d Database) Hold(id product.ID) { d.CartDB.Hold(string(id)) }

// Remove removes a row.
func (d Database) Remove(id product.ID) { d.Exec("DELETE FROM product WHERE id = $1", string(id)) }

// Rows are all rows, once the consumer has nothing left to do.
func (d Database) Rows() map[product.ID]product.Row {
	if d.Settle != nil {
		d.Settle()
	}
	rows := make(map[product.ID]product.Row)
	for _, stored := range d.CartDB.Rows() {
		r := product.Row{ID: product.ID(stored.ID)}
		r.Values[product.Title] = product.TextValue(stored.Title)
		r.Values[product.Price] = product.IntegerValue(int64(stored.Price))
		r.Values[product.Image] = product.TextValue(stored.Image)
		r.Values[product.SellerID] = product.TextValue(stored.SellerID)
		r.Values[product.Quantity] = product.IntegerValue(int64(stored.Quantity))
		rows[r.ID] = r
	}
	return rows
}
