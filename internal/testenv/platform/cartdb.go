package platform

import (
	"context"
	_ "embed"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The tables as TypeORM 0.3 makes them of the Cart Service's entities, with the names that it gives to constraints.
//
//go:embed cart.sql
var cartTables string

// Postgres is what a pgx connection and a pgx pool have in common, as far as this package uses it.
type Postgres interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
}

// CreateCartTables creates the Cart Service's two tables, which must not be there yet.
func CreateCartTables(ctx context.Context, db Postgres) error {
	if _, err := db.Exec(ctx, cartTables); err != nil {
		return fmt.Errorf("create the cart's tables: %w", err)
	}
	return nil
}

// CopyProducts writes into the cart's table the rows that ProductCreated events of these products would have made.
// It writes all of them or, after an error, none.
func CopyProducts(ctx context.Context, db Postgres, products iter.Seq[Product]) error {
	next, stop := iter.Pull(products)
	defer stop()
	columns := []string{"id", "title", "price", "image", "sellerId", "quantity"}
	rows := pgx.CopyFromFunc(func() ([]any, error) {
		p, ok := next()
		if !ok {
			return nil, nil
		}
		return []any{p.ID.Hex(), p.Title, p.Price, p.Image, p.SellerID.Hex(), p.Quantity}, nil
	})
	if _, err := db.CopyFrom(ctx, pgx.Identifier{"product"}, columns, rows); err != nil {
		return fmt.Errorf("copy products into the cart's table: %w", err)
	}
	return nil
}
