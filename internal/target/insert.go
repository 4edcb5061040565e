package target

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ecom-micro/etl/internal/product"
)

// filledFields are those that are not left to the column's default.
func filledFields(row *product.Row) (set fieldSet) {
	for _, f := range product.CartFields() {
		set[f] = row.Values[f].Kind() != product.Absent
	}
	return set
}

// insert puts rows into the table that are still absent. COPY is several times as
// fast as INSERT (see BenchmarkWrite) and cannot pass over a row that a live consumer
// wrote meanwhile; only then INSERT does it, and where COPY would pass over a rule or is
// not allowed because of row-level security.
func (w *Writer) insert(ctx context.Context, fields fieldSet, changes []change) (map[product.ID]*product.Misfit, error) {
	columns := w.shape.columns(fields)
	if !w.shape.copies {
		return nil, w.insertAbsent(ctx, columns, changes)
	}
	err := w.copy(ctx, columns, changes)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == uniqueViolation {
		err = w.insertAbsent(ctx, columns, changes)
	}
	return nil, err
}

// uniqueViolation: https://www.postgresql.org/docs/15/errcodes-appendix.html
const uniqueViolation = "23505"

// copy streams the rows in COPY's text format, for which the driver needs to ask
// nothing of the server before.
// https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.2
func (w *Writer) copy(ctx context.Context, columns []column, changes []change) error {
	size := 0
	for _, c := range changes {
		size += textSize(&c.Row) + rowOverhead
	}
	data := make([]byte, 0, size)
	for _, c := range changes {
		for _, column := range columns {
			data = append(appendCopied(data, column.of(&c.Row)), '\t')
		}
		data[len(data)-1] = '\n'
	}
	statement := "COPY " + w.identifier() + " (" + nameList(columns) + ") FROM STDIN"
	return w.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		_, err := conn.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(data), statement)
		return err
	})
}

// rowOverhead is about what COPY needs beside a row's texts: separators and short numbers.
const rowOverhead = 64

// appendCopied appends a value in COPY's text format.
func appendCopied(data []byte, v product.Value) []byte {
	if n, is := v.Int(); is {
		return strconv.AppendInt(data, n, 10)
	}
	rest, is := plainText(v)
	if !is {
		return append(data, `\N`...)
	}
	for {
		i := strings.IndexAny(rest, "\\\t\n\r")
		if i < 0 {
			return append(data, rest...)
		}
		data = append(append(data, rest[:i]...), '\\', copyEscapes[rest[i]])
		rest = rest[i+1:]
	}
}

var copyEscapes = map[byte]byte{'\\': '\\', '\t': 't', '\n': 'n', '\r': 'r'}

func (w *Writer) insertAbsent(ctx context.Context, columns []column, changes []change) error {
	rows := make([]product.Row, len(changes))
	for i, c := range changes {
		rows[i] = c.Row
	}
	source, args := rowsAsTable(columns, rows)
	list := nameList(columns)
	absent := "ON CONFLICT (" + w.shape.id + ") DO NOTHING"
	if !w.shape.arbiter {
		absent = "WHERE NOT EXISTS (SELECT FROM " + w.identifier() + " AS held WHERE held." + w.shape.idIs("=", "candidate."+w.shape.id) + ")"
	}
	_, err := w.pool.Exec(ctx, "INSERT INTO "+w.identifier()+" ("+list+") SELECT "+list+" FROM ("+source+") AS candidate "+absent, args...)
	return err
}

func nameList(columns []column) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}
