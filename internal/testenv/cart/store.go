package cart

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// store is the cart's product table, on one connection. It works below pgx, which would refuse or convert values:
// node-postgres sends every value as text, and the server decides.
type store struct {
	conn     *pgconn.PgConn
	prepared map[string]string // names of prepared statements, by their text
}

func openStore(ctx context.Context, databaseURL string) (*store, error) {
	config, err := pgconn.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("read the cart's database URL: %w", err)
	}
	config.RuntimeParams["application_name"] = ConnectionName
	config.RuntimeParams["client_encoding"] = "UTF8" // as node-postgres asks for
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to the cart's database: %w", err)
	}
	return &store{conn: conn, prepared: map[string]string{}}, nil
}

func (s *store) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = s.conn.Close(ctx) // every statement was a transaction of its own
}

// find looks a product up and returns its id, or nil if there is none. Without an id there is no condition, so that
// it finds whichever row comes first: TypeORM leaves undefined and null out of findOne({ where: { id } }).
func (s *store) find(ctx context.Context, id []byte) ([]byte, error) {
	var rows [][][]byte
	var err error
	const columns = `SELECT id, title, price, image, "sellerId", quantity FROM product `
	if id == nil {
		rows, err = s.query(ctx, columns+"LIMIT 1")
	} else {
		rows, err = s.query(ctx, columns+"WHERE id = $1 LIMIT 1", id)
	}
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0][0], nil
}

// insert has no ON CONFLICT: a row that somebody else has written since the product was looked up is an error.
func (s *store) insert(ctx context.Context, id, title, price, image, sellerID, quantity []byte) error {
	_, err := s.query(ctx,
		`INSERT INTO product (id, title, price, image, "sellerId", quantity) VALUES ($1, $2, $3, $4, $5, $6)`,
		id, title, price, image, sellerID, quantity)
	return err
}

// update sets the given columns of one product and leaves the others alone.
func (s *store) update(ctx context.Context, id []byte, columns []string, values [][]byte) error {
	if len(columns) == 0 {
		return nil
	}
	assignments := make([]string, len(columns))
	for i, column := range columns {
		assignments[i] = fmt.Sprintf("%s = $%d", column, i+2)
	}
	_, err := s.query(ctx, "UPDATE product SET "+strings.Join(assignments, ", ")+" WHERE id = $1", append([][]byte{id}, values...)...)
	return err
}

func (s *store) delete(ctx context.Context, id []byte) error {
	_, err := s.query(ctx, "DELETE FROM product WHERE id = $1", id)
	return err
}

// query runs a statement with parameters in text format, and prepares it the first time.
func (s *store) query(ctx context.Context, sql string, parameters ...[]byte) ([][][]byte, error) {
	name, ok := s.prepared[sql]
	if !ok {
		name = fmt.Sprintf("s%d", len(s.prepared))
		if _, err := s.conn.Prepare(ctx, name, sql, nil); err != nil {
			return nil, err
		}
		s.prepared[sql] = name
	}
	result := s.conn.ExecPrepared(ctx, name, parameters, nil, nil).Read()
	return result.Rows, result.Err
}
