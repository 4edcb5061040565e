package target

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ecom-micro/etl/internal/postgres"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/text"
)

const (
	// pageSize is the number of rows that Span reads with one query, or fewer that have
	// pageBytes together. It is above the source's page, so that a span over one page is
	// read at once.
	pageSize  = 4096
	pageBytes = 4 << 20
)

// Target is the cart's product table.
type Target struct {
	pool    *pgxpool.Pool
	session *postgres.Session
	config  Config
	shape   *shape // set by Describe
	page    int
	// portion is that of a span. No read holds more rows than have its bytes.
	portion *product.Portion
	// pages are those of spans that have ended, to be filled again: *space.
	pages sync.Pool
	// characters are what was learnt of the database's encoding, which never changes.
	characters characters
}

// Open prepares connections to the cart's database. It returns without waiting
// for the server; Ping does.
func Open(ctx context.Context, config Config) (*Target, error) {
	poolConfig, err := config.poolConfig()
	if err != nil {
		return nil, err
	}
	_, variable := config.address()
	session := postgres.NewSession(variable, limits, false)
	session.Install(poolConfig.ConnConfig)
	pool, err := pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		return nil, fmt.Errorf("prepare connections to PostgreSQL: %w", err)
	}
	return &Target{pool: pool, session: session, config: config, page: pageSize, portion: product.NewPortion(pageSize, pageBytes)}, nil
}

// Close ends the connections.
func (t *Target) Close() { t.pool.Close() }

// Name is the table, as database.schema.table.
func (t *Target) Name() string {
	return t.pool.Config().ConnConfig.Database + "." + t.config.Schema + "." + t.config.Table
}

// Table describes the columns. Describe must have been called.
func (t *Target) Table() *product.Table { return &t.shape.table }

// Ping checks that the server answers and that the credentials hold. skew is the
// server's clock minus ours.
func (t *Target) Ping(ctx context.Context) (skew time.Duration, err error) {
	var now time.Time
	if err := t.pool.Ping(ctx); err != nil {
		return 0, fmt.Errorf("reach PostgreSQL: %w", t.explained(ctx, err))
	}
	asked := time.Now()
	if err := t.pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now); err != nil {
		return 0, fmt.Errorf("reach PostgreSQL: %w", t.explained(ctx, err))
	}
	return now.Sub(asked.Add(time.Since(asked) / 2)).Round(time.Millisecond), nil
}

// Limits are those of the role, the database and the server that connections put their
// own in place of, such as "statement_timeout = 8ms of role cart". Ping must have been
// called.
func (t *Target) Limits() []string { return t.session.Replaced() }

// ReadOnly is why nothing may be written; nil where it may. Ping must have been called.
func (t *Target) ReadOnly() error { return t.session.ReadOnly() }

// Count counts the rows exactly.
func (t *Target) Count(ctx context.Context) (n int64, err error) {
	if err := t.pool.QueryRow(ctx, "SELECT count(*) FROM "+t.identifier()).Scan(&n); err != nil {
		return 0, fmt.Errorf("count %s: %w", t.Name(), t.explained(ctx, err))
	}
	return n, nil
}

func (t *Target) identifier() string {
	return pgx.Identifier{t.config.Schema, t.config.Table}.Sanitize()
}

// space is the memory of a page.
type space struct {
	rows  []product.Row
	texts text.Slab
}

func newSpace() *space { return new(space) }

// Span yields the rows with after < id <= through in the id column's own order, with these
// fields, in pages; an empty bound is open. A page stays as it is, its texts included, until the
// next one is asked for. Each page is one query over the id's index, so no transaction is
// held and a page that fails is read again. An error is yielded once, at the end.
func (t *Target) Span(ctx context.Context, after, through product.ID, fields []product.Field) iter.Seq2[[]product.Row, error] {
	return func(yield func([]product.Row, error) bool) {
		space, _ := t.pages.Get().(*space)
		if space == nil {
			space = newSpace()
		}
		defer t.pages.Put(space)
		for first := true; ; first = false {
			most := min(t.page, t.portion.Now())
			query, args := t.pageQuery(after, through, fields, first, most)
			page, err := retried(ctx, func() (page, error) {
				space.texts.Reset()
				return t.read(ctx, space.rows[:0], &space.texts, fields, query, args...)
			})
			if err != nil {
				yield(nil, fmt.Errorf("read rows of %s: %w", t.Name(), t.explained(ctx, err)))
				return
			}
			space.rows = page.rows
			t.portion.Learn(len(page.rows), page.size)
			if len(page.rows) > 0 {
				after = product.ID(strings.Clone(string(page.rows[len(page.rows)-1].ID)))
				if !yield(page.rows, nil) {
					return
				}
			}
			if !page.cut && len(page.rows) < most {
				return
			}
		}
	}
}

// pageQuery is the query of one page. After the first page the lower bound holds
// even where it is the empty string.
func (t *Target) pageQuery(after, through product.ID, fields []product.Field, first bool, most int) (query string, args []any) {
	var conditions []string
	if after != "" || !first {
		args = append(args, string(after))
		conditions = append(conditions, t.shape.idIs(">", "$"+strconv.Itoa(len(args))))
	}
	if through != "" {
		args = append(args, string(through))
		conditions = append(conditions, t.shape.idIs("<=", "$"+strconv.Itoa(len(args))))
	}
	query = t.shape.selectRows(fields)
	if len(conditions) > 0 {
		query += " WHERE " + strings.Join(conditions, " AND ")
	}
	return query + " ORDER BY " + t.shape.id + " LIMIT " + strconv.Itoa(most), args
}

// Find reads rows by id. An id that is not in the result is not in the table. Several
// that are too large to be held together are a *product.TooLargeError.
func (t *Target) Find(ctx context.Context, ids []product.ID) (map[product.ID]product.Row, error) {
	texts, err := t.holdable(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read %d rows of %s by id: %w", len(ids), t.Name(), t.explained(ctx, err))
	}
	found := make(map[product.ID]product.Row, len(texts))
	if len(texts) == 0 {
		return found, nil
	}
	page, err := retried(ctx, func() (page, error) {
		return t.read(ctx, make([]product.Row, 0, min(len(texts), pageSize)), nil, product.CartFields(), t.shape.selectRows(product.CartFields())+" WHERE "+t.shape.named(""), texts)
	})
	if err != nil {
		return nil, fmt.Errorf("read %d rows of %s by id: %w", len(ids), t.Name(), t.explained(ctx, err))
	}
	if page.cut {
		return nil, &product.TooLargeError{Fits: len(page.rows)}
	}
	for _, r := range page.rows {
		found[r.ID] = r
	}
	return found, nil
}

// Present tells which ids have a row.
func (t *Target) Present(ctx context.Context, ids []product.ID) (map[product.ID]bool, error) {
	texts, err := t.holdable(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("look for %d rows of %s by id: %w", len(ids), t.Name(), t.explained(ctx, err))
	}
	present := make(map[product.ID]bool, len(texts))
	if len(texts) == 0 {
		return present, nil
	}
	found, err := retried(ctx, func() ([]product.ID, error) {
		rows, err := t.pool.Query(ctx, "SELECT "+t.shape.id+"::text FROM "+t.identifier()+" WHERE "+t.shape.named(""), pgx.QueryExecModeCacheDescribe, texts)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, pgx.RowTo[product.ID])
	})
	if err != nil {
		return nil, fmt.Errorf("look for %d rows of %s by id: %w", len(ids), t.Name(), t.explained(ctx, err))
	}
	for _, id := range found {
		present[id] = true
	}
	return present, nil
}

// page is what one query has read.
type page struct {
	rows []product.Row
	size int  // in bytes
	cut  bool // there is more, which is too large
}

// read appends what a query selects, as selectRows names it, to rows, until these have the
// bytes of a portion. Their texts are of the slab, which may be nil. The query is planned each time: a prepared statement gets, after some
// executions, a plan that does not know the bounds, and that plan sorts all of a wide
// span for each of its pages.
func (t *Target) read(ctx context.Context, into []product.Row, slab *text.Slab, fields []product.Field, query string, args ...any) (page, error) {
	ctx, stop := context.WithCancel(ctx) // what is cut short is not read to its end
	defer stop()
	rows, err := t.pool.Query(ctx, query, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
	if err != nil {
		return page{}, err
	}
	defer rows.Close()
	read := page{rows: into}
	for rows.Next() {
		if read.size >= t.portion.Bytes() {
			read.cut = true
			stop()
			return read, nil
		}
		raw, described := rows.RawValues(), rows.FieldDescriptions()
		row := product.Row{ID: product.ID(slab.Text(raw[0]))}
		for i, f := range fields {
			v, err := decode(&t.shape.table.Fields[f], described[i+1].Format, raw[i+1], slab)
			if err != nil {
				return page{}, fmt.Errorf("row %q, column %s: %w", row.ID, described[i+1].Name, err)
			}
			row.Values[f] = v
		}
		read.rows, read.size = append(read.rows, row), read.size+row.Bytes()
	}
	return read, rows.Err()
}

// decode reads a column as selectRows casts it: whole numbers as bigint, binary ones
// as double precision, all else as text.
func decode(column *product.Column, format int16, raw []byte, slab *text.Slab) (product.Value, error) {
	switch {
	case raw == nil:
		return product.NullValue(), nil
	case column.Type == product.TextColumn:
		return product.TextValue(slab.Text(raw)), nil
	case column.Type == product.DecimalColumn:
		if v, ok := product.ParseNumber(string(raw)); ok {
			return v, nil
		}
		if v, ok := product.ParseNotFinite(string(raw)); ok {
			return v, nil
		}
		return product.OtherValue(string(raw)), nil // longer than any number of the source
	case len(raw) != 8 || format != pgtype.BinaryFormatCode:
		return product.Value{}, fmt.Errorf("a number of %d bytes in format %d", len(raw), format)
	}
	bits := binary.BigEndian.Uint64(raw)
	if column.Type == product.IntegerColumn {
		return product.IntegerValue(int64(bits)), nil
	}
	return product.StoredFloat(math.Float64frombits(bits), column.Bits), nil
}
