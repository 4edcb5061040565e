package testenv

import (
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// Row is a row of the cart's product table.
type Row struct {
	ID, Title string
	Price     int
	Image     string
	SellerID  string
	Quantity  int
}

// RowOf is the row that a product's ProductCreated event makes.
func RowOf(p platform.Product) Row {
	return Row{p.ID.Hex(), p.Title, int(p.Price), p.Image, p.SellerID.Hex(), int(p.Quantity)}
}

// Fill writes the rows that ProductCreated events of these products would have made.
func (c *CartDB) Fill(products iter.Seq[platform.Product]) {
	c.tb.Helper()
	if err := platform.CopyProducts(c.tb.Context(), c.Pool, products); err != nil {
		c.tb.Fatal(err)
	}
}

// Insert writes rows as they are.
func (c *CartDB) Insert(rows ...Row) {
	c.tb.Helper()
	for _, r := range rows {
		c.Exec(`INSERT INTO product (id, title, price, image, "sellerId", quantity) VALUES ($1, $2, $3, $4, $5, $6)`,
			r.ID, r.Title, r.Price, r.Image, r.SellerID, r.Quantity)
	}
}

// Hold puts a product into a customer's cart, so that its row cannot be deleted.
func (c *CartDB) Hold(productID string) {
	c.tb.Helper()
	c.Exec(`INSERT INTO cart (quantity, "userId", version, "productId") VALUES (1, 'a customer', 0, $1)`, productID)
}

// Exec runs SQL in the database.
func (c *CartDB) Exec(sql string, args ...any) {
	c.tb.Helper()
	if _, err := c.Pool.Exec(c.tb.Context(), sql, args...); err != nil {
		c.tb.Fatalf("%s: %v", sql, err)
	}
}

// Row reads a product's row, if there is one.
func (c *CartDB) Row(id string) (Row, bool) {
	c.tb.Helper()
	rows := c.rows("WHERE id = $1", id)
	if len(rows) == 0 {
		return Row{}, false
	}
	return rows[0], true
}

// Rows reads the whole product table, in byte order of the ids.
func (c *CartDB) Rows() []Row {
	c.tb.Helper()
	return c.rows(`ORDER BY id COLLATE "C"`)
}

func (c *CartDB) rows(where string, args ...any) []Row {
	c.tb.Helper()
	result, err := c.Pool.Query(c.tb.Context(), `SELECT id, title, price, image, "sellerId", quantity FROM product `+where, args...)
	if err != nil {
		c.tb.Fatalf("read the cart's products: %v", err)
	}
	rows, err := pgx.CollectRows(result, pgx.RowToStructByPos[Row])
	if err != nil {
		c.tb.Fatalf("read the cart's products: %v", err)
	}
	return rows
}

// Count is the number of rows in the product table.
func (c *CartDB) Count() int {
	c.tb.Helper()
	var n int
	if err := c.Pool.QueryRow(c.tb.Context(), "SELECT count(*) FROM product").Scan(&n); err != nil {
		c.tb.Fatalf("count the cart's products: %v", err)
	}
	return n
}
